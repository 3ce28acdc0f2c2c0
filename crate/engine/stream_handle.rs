//! Streams: the messages of one call, both ways.
//!
//! A stream is one task. It takes JavaScript's messages from a queue, which JavaScript bounds: it sends no
//! more than a window ahead of the `sent` events that it gets. It passes on the peer's messages, which the
//! connection bounds: it is not read while too many wait to be taken.

use crate::engine::Shared;
use crate::engine::stream_input::{Input, InputReceiver, InputSender};
use crate::ids::CallId;
use crate::records::Side;
use crate::sync::lock;
use crate::transport::stream_state::StreamState;
use crate::transport::{Queued, Wire};
use std::sync::Arc;
use ttrpc::proto::Codec;

/// The engine's handle on a stream. Dropping it gives the stream up.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) input: InputSender,
    pub(super) state: Arc<StreamState>,
    pub(super) wire: Arc<Wire>,
}

impl Handle {
    pub(super) fn put(&self, input: Input) {
        // If the task is about to end, the input is dropped.
        self.input.put(input);
    }

    pub(super) fn send(&self, payload: Vec<u8>) {
        let queued = Queued::new(&self.wire, payload.len());
        self.put(Input::Message(payload, queued));
    }

    pub(super) fn taken(&self, messages: usize, bytes: usize) {
        self.state.taken(messages, bytes);
        self.wire.mark();
    }

    /// Whether the stream has ended and its reader has taken everything.
    pub(super) fn is_over(&self) -> bool {
        self.input.is_closed() && self.state.is_taken()
    }
}

/// An encoded message, passed on as it is: only JavaScript encodes and decodes.
#[derive(Debug, Clone)]
pub(super) struct Raw(pub(super) Vec<u8>);

impl Codec for Raw {
    type E = std::convert::Infallible;

    fn size(&self) -> u32 {
        self.0.len() as u32
    }

    fn encode(&self) -> Result<Vec<u8>, Self::E> {
        Ok(self.0.clone())
    }

    fn decode(bytes: impl AsRef<[u8]>) -> Result<Self, Self::E> {
        Ok(Self(bytes.as_ref().to_vec()))
    }

    fn merge(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Self::E> {
        self.0 = bytes.as_ref().to_vec();
        Ok(())
    }
}

/// Tells JavaScript which messages have left, several at a time.
#[derive(Debug)]
pub(super) struct Sent<'a> {
    pub(super) shared: &'a Shared,
    pub(super) side: Side,
    pub(super) connection: u32,
    pub(super) call: CallId,
    messages: usize,
    bytes: usize,
}

/// JavaScript is told at the latest after this many bytes.
const SENT_BATCH: usize = 64 * 1024;

impl<'a> Sent<'a> {
    pub(super) fn new(shared: &'a Shared, side: Side, connection: u32, call: CallId) -> Self {
        Self { shared, side, connection, call, messages: 0, bytes: 0 }
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes;
        if self.bytes >= SENT_BATCH {
            self.tell();
        }
    }

    fn tell(&mut self) {
        if self.messages > 0 {
            let (messages, bytes) =
                (std::mem::take(&mut self.messages), std::mem::take(&mut self.bytes));
            lock(&self.shared.events).sent(self.side, self.connection, self.call, messages, bytes);
        }
    }

    /// The next input. Before it waits, JavaScript is told of all messages that have left.
    pub(super) async fn next(&mut self, queue: &mut InputReceiver) -> Option<Input> {
        if let Some(input) = queue.try_next() {
            return Some(input);
        }
        self.tell();
        queue.next().await
    }
}
