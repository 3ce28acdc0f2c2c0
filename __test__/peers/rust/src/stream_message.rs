//! The messages of ttrpc's streaming service, without generated code.

use protobuf::{CodedInputStream, CodedOutputStream, rt::WireType};
use ttrpc::proto::Codec;

/// `EchoPayload { 1 seq: uint32, 2 msg: string }`, `Part { 1 add: int32 }`,
/// `Sum { 1 sum: int32, 2 num: int32 }` or `Empty`: on the wire they differ only in field 2.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Message {
    /// Field 1.
    pub(crate) number: i64,
    /// Field 2, if it is a number.
    pub(crate) count: i64,
    /// Field 2, if it is text.
    pub(crate) text: String,
}

impl Message {
    /// An `EchoPayload`.
    pub(crate) fn echo(seq: usize, text: impl Into<String>) -> Self {
        Self { number: seq as i64, text: text.into(), ..Self::default() }
    }

    /// A `Part`.
    pub(crate) fn part(add: i64) -> Self {
        Self { number: add, ..Self::default() }
    }

    /// A `Sum`.
    pub(crate) fn sum(sum: i64, num: i64) -> Self {
        Self { number: sum, count: num, ..Self::default() }
    }
}

impl Codec for Message {
    type E = protobuf::Error;

    fn size(&self) -> u32 {
        self.encode().map_or(0, |bytes| bytes.len() as u32)
    }

    fn encode(&self) -> protobuf::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut output = CodedOutputStream::vec(&mut bytes);
        if self.number != 0 {
            output.write_int64(1, self.number)?;
        }
        if !self.text.is_empty() {
            output.write_string(2, &self.text)?;
        } else if self.count != 0 {
            output.write_int64(2, self.count)?;
        }
        output.flush()?;
        drop(output);
        Ok(bytes)
    }

    fn decode(bytes: impl AsRef<[u8]>) -> protobuf::Result<Self> {
        let mut message = Self::default();
        message.merge(bytes)?;
        Ok(message)
    }

    fn merge(&mut self, bytes: impl AsRef<[u8]>) -> protobuf::Result<()> {
        const NUMBER: u32 = 1 << 3;
        const COUNT: u32 = 2 << 3;
        const TEXT: u32 = 2 << 3 | WireType::LengthDelimited as u32;
        let mut input = CodedInputStream::from_bytes(bytes.as_ref());
        while let Some(tag) = input.read_raw_tag_or_eof()? {
            match tag {
                NUMBER => self.number = input.read_int64()?,
                COUNT => self.count = input.read_int64()?,
                TEXT => self.text = input.read_string()?,
                other => {
                    let text = format!("a message has the tag {other}");
                    return Err(std::io::Error::other(text).into());
                }
            }
        }
        Ok(())
    }
}
