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
use std::fmt;
use std::sync::{Arc, Mutex};
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

/// An encoded message, passed on as it is: only JavaScript encodes and decodes. ttrpc copies a message neither way,
/// because a large one takes longer to copy than anything else that is done with it.
#[derive(Debug)]
pub(super) struct Raw(Mutex<Option<Vec<u8>>>);

impl Raw {
    pub(super) fn new(payload: Vec<u8>) -> Self {
        Self(Mutex::new(Some(payload)))
    }

    pub(super) fn into_payload(self) -> Vec<u8> {
        self.take().unwrap_or_default()
    }

    fn take(&self) -> Option<Vec<u8>> {
        lock(&self.0).take()
    }
}

/// ttrpc's senders can be cloned only if their messages can. No message is.
impl Clone for Raw {
    fn clone(&self) -> Self {
        Self(Mutex::new(lock(&self.0).clone()))
    }
}

/// ttrpc asked for the bytes of a message that it already had.
#[derive(Debug)]
pub(super) struct EncodedTwice;

impl fmt::Display for EncodedTwice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the message was encoded twice")
    }
}

impl Codec for Raw {
    type E = EncodedTwice;

    fn size(&self) -> u32 {
        lock(&self.0).as_ref().map_or(0, Vec::len) as u32
    }

    /// Gives the bytes away: ttrpc encodes a message once, when it is sent.
    fn encode(&self) -> Result<Vec<u8>, Self::E> {
        self.take().ok_or(EncodedTwice)
    }

    /// Keeps the bytes if they are ttrpc's own vector, which they are for whatever came from a peer.
    fn decode(bytes: impl AsRef<[u8]>) -> Result<Self, Self::E> {
        let payload = castaway::cast!(bytes, Vec<u8>);
        Ok(Self::new(payload.unwrap_or_else(|bytes| bytes.as_ref().to_vec())))
    }

    fn merge(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Self::E> {
        *self = Self::decode(bytes)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_message_passes_through_ttrpc_both_ways() {
        let payload = vec![7; 100];
        let memory = payload.as_ptr();
        let received = Raw::decode(payload).expect("any bytes are a message");
        assert_eq!(received.size(), 100);
        let sent = received.encode().expect("it was not encoded before");
        assert_eq!((sent.as_ptr(), sent.len()), (memory, 100));
        assert!(received.encode().is_err());
    }

    #[test]
    fn bytes_that_are_borrowed_are_copied() {
        let mut raw = Raw::decode(&b"one"[..]).expect("any bytes are a message");
        raw.merge([8, 9]).expect("any bytes are a message");
        assert_eq!(raw.into_payload(), [8, 9]);
    }
}
