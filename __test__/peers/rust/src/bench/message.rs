//! The messages of the benchmark.

use containerd_shim_protos as protos;
use protobuf::{MessageField, well_known_types::any::Any, well_known_types::timestamp::Timestamp};
use protos::{api::ForwardRequest, shim::event::Envelope};
use ttrpc::proto::Codec;

/// Bytes as a message.
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl Codec for Raw {
    type E = protobuf::Error;

    fn size(&self) -> u32 {
        self.0.len() as u32
    }

    fn encode(&self) -> protobuf::Result<Vec<u8>> {
        Ok(self.0.clone())
    }

    fn decode(bytes: impl AsRef<[u8]>) -> protobuf::Result<Self> {
        Ok(Self(bytes.as_ref().to_vec()))
    }

    fn merge(&mut self, bytes: impl AsRef<[u8]>) -> protobuf::Result<()> {
        self.0.extend_from_slice(bytes.as_ref());
        Ok(())
    }
}

/// A payload of `size` bytes that is a google.protobuf.BytesValue, because ttrpc for Go requires a message.
pub(crate) fn payload(size: usize) -> Vec<u8> {
    let mut header = Vec::new();
    for width in 1..=4 {
        header = vec![0x0a];
        let mut rest = size.saturating_sub(1 + width);
        while rest > 0x7f {
            header.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        header.push(rest as u8);
        if header.len() == 1 + width {
            break;
        }
    }
    header.resize(size, b'a');
    header
}

/// The event of a container that started.
pub(crate) fn forward(index: usize) -> ForwardRequest {
    let envelope = Envelope {
        timestamp: MessageField::some(Timestamp {
            seconds: 1_760_000_000,
            nanos: 123_456_700,
            ..Default::default()
        }),
        namespace: "k8s.io".to_owned(),
        topic: protos::topics::TASK_START_EVENT_TOPIC.to_owned(),
        event: MessageField::some(Any {
            type_url: "containerd.events.TaskStart".to_owned(),
            value: vec![index as u8; 58],
            ..Default::default()
        }),
        ..Default::default()
    };
    ForwardRequest { envelope: MessageField::some(envelope), ..Default::default() }
}
