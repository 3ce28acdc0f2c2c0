//! Writes events for JavaScript.

#[cfg(test)]
mod tests;

use super::batch_size::{Filled, batch_size};
use super::{
    FLAG_CLIENT_STREAM, FLAG_SERVED, FLAG_SERVER_STREAM, FLAG_WHOLE, RECORD_HEADER, RECORD_LIMIT,
    Side, StreamKind, WHOLE, event,
};
use crate::ids::CallId;
use crate::protocol::close_reason::CloseReason;
use crate::protocol::outcome::{Failure, Outcome};
use crate::protocol::status::Code;
use crate::socket::Credentials;
use std::collections::VecDeque;
use ttrpc::r#async::TtrpcContext;
use ttrpc::proto::{KeyValue, Status};

/// Events that wait to be handed over, in order.
#[derive(Debug, Default)]
pub struct Events {
    records: Vec<u8>,
    /// Payloads that are handed over whole, in the order of their records.
    whole: VecDeque<Vec<u8>>,
    taken: usize,
    count: usize,
    /// What `count` was when all events were last taken.
    emptied_at: usize,
}

/// Storage beyond this is freed once it is empty.
const KEEP_CAPACITY: usize = 1024 * 1024;

/// This many bytes, or events, are worth a callback of their own.
const MUCH: usize = 64 * 1024;
const MANY: usize = 32;

impl Events {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.taken == self.records.len()
    }

    /// Whether enough events wait to be worth a callback of their own.
    pub fn is_much(&self) -> bool {
        !self.whole.is_empty()
            || self.records.len() - self.taken > MUCH
            || self.count - self.emptied_at >= MANY
    }

    /// How many events were ever written.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Moves whole records into `buffer`: as many as fit and may cross together, and at least one if any
    /// waits.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Filled {
        self.skip_oversized(buffer.len());
        let waiting = &self.records[self.taken..];
        let size = batch_size(waiting, &self.whole, buffer.len());
        buffer[..size].copy_from_slice(&waiting[..size]);
        self.taken += size;
        if self.is_empty() {
            self.records.clear();
            self.records.shrink_to(KEEP_CAPACITY);
            self.taken = 0;
            self.emptied_at = self.count;
        } else if self.taken > KEEP_CAPACITY && self.taken > self.records.len() / 2 {
            // Writers may never let it become empty. Fewer bytes are moved than were taken.
            self.records.drain(..self.taken);
            self.taken = 0;
        }
        Filled { size, more: !self.is_empty() }
    }

    /// The payload of the next record with [`FLAG_WHOLE`].
    pub fn take_whole(&mut self) -> Option<Vec<u8>> {
        self.whole.pop_front()
    }

    /// Skips records that can never be delivered, which would block all others forever. Every writer bounds
    /// its records, so this only guards against a bug on this side.
    fn skip_oversized(&mut self, limit: usize) {
        while let Some(length) = self.records[self.taken..].first_chunk() {
            let length = u32::from_le_bytes(*length) as usize;
            if length <= limit {
                return;
            }
            debug_assert!(false, "a record of {length} bytes for a buffer of {limit}");
            self.taken += length;
        }
    }

    /// How a call ended.
    pub fn outcome(&mut self, connection: u32, call: CallId, outcome: Outcome) {
        match outcome {
            Outcome::Reply(payload) => {
                let record = Record::new(self, event::RESPONSE, 0, 0, connection, call);
                record.payload(payload);
            }
            Outcome::Status(status) if status_size(&status) > RECORD_LIMIT => {
                let text = format!(
                    "the peer's status has {} details, more than fit",
                    status.details.len()
                );
                let failure = Failure::of_call(Code::ResourceExhausted, text);
                self.outcome(connection, call, Outcome::Failed(failure));
            }
            Outcome::Status(status) => {
                Record::new(self, event::STATUS, 0, 0, connection, call).status(&status).end();
            }
            Outcome::Failed(Failure { code, text, closed }) => {
                let flags = u8::from(closed.is_some());
                let mut record = Record::new(self, event::FAILED, flags, 0, connection, call);
                record = record.i32(code as i32).bytes(text.as_bytes());
                if let Some(closed) = closed {
                    record = record.closed(&closed);
                }
                record.end();
            }
        }
    }

    /// A connection that JavaScript asked for is open.
    pub fn connected(&mut self, connection: u32) {
        Record::new(self, event::CONNECTED, 0, 0, connection, CallId::default()).end();
    }

    /// A connection ended.
    pub fn closed(&mut self, connection: u32, closed: &CloseReason) {
        Record::new(self, event::CLOSED, 0, 0, connection, CallId::default()).closed(closed).end();
    }

    /// A listener accepted a connection.
    pub fn accepted(&mut self, listener: u32, connection: u32, peer: Option<Credentials>) {
        let mut record = Record::new(
            self,
            event::ACCEPTED,
            u8::from(peer.is_some()),
            0,
            connection,
            of_listener(listener),
        );
        if let Some(peer) = peer {
            record = record.i32(peer.pid).u32(peer.uid).u32(peer.gid);
        }
        record.end();
    }

    /// A listener could not accept.
    pub fn accept_failed(&mut self, listener: u32, error: &std::io::Error) {
        Record::new(self, event::ACCEPT_FAILED, 0, 0, 0, of_listener(listener))
            .i32(error.raw_os_error().unwrap_or(0))
            .bytes(error.to_string().as_bytes())
            .end();
    }

    /// A listener accepts no more.
    pub fn listener_closed(&mut self, listener: u32) {
        Record::new(self, event::LISTENER_CLOSED, 0, 0, 0, of_listener(listener)).end();
    }

    /// A request for a handler.
    pub fn request(&mut self, connection: u32, call: CallId, route: u16, request: ttrpc::Request) {
        Record::new(self, event::REQUEST, 0, route, connection, call)
            .f64(request.timeout_nano as f64)
            .u32(request.metadata.len() as u32)
            .metadata(request.metadata.iter().map(|KeyValue { key, value, .. }| (key, value)))
            .payload(request.payload);
    }

    /// A stream request for a handler. All its messages follow.
    pub fn stream_request(
        &mut self,
        connection: u32,
        call: CallId,
        route: u16,
        kind: StreamKind,
        context: &TtrpcContext,
    ) {
        let flags = if kind.client { FLAG_CLIENT_STREAM } else { 0 }
            | if kind.server { FLAG_SERVER_STREAM } else { 0 };
        let metadata = || {
            context
                .metadata
                .iter()
                .flat_map(|(key, values)| values.iter().map(move |value| (key, value)))
        };
        Record::new(self, event::REQUEST, flags, route, connection, call)
            .f64(context.timeout_nano as f64)
            .u32(metadata().count() as u32)
            .metadata(metadata())
            .end();
    }

    /// A message of a stream.
    pub fn message(&mut self, side: Side, connection: u32, call: CallId, payload: Vec<u8>) {
        Record::new(self, event::MESSAGE, served(side), 0, connection, call).payload(payload);
    }

    /// The peer sends no more on a stream.
    pub fn stream_end(&mut self, side: Side, connection: u32, call: CallId) {
        Record::new(self, event::END, served(side), 0, connection, call).end();
    }

    /// Messages of a stream have left.
    pub fn sent(
        &mut self,
        side: Side,
        connection: u32,
        call: CallId,
        messages: usize,
        bytes: usize,
    ) {
        Record::new(self, event::SENT, served(side), 0, connection, call)
            .u32(messages as u32)
            .u32(bytes as u32)
            .end();
    }

    /// A request no longer needs an answer.
    pub fn aborted(&mut self, connection: u32, call: CallId, deadline: bool) {
        Record::new(self, event::ABORTED, u8::from(deadline), 0, connection, call).end();
    }
}

/// The size of a request's record, in bytes.
pub fn request_size<'a>(
    pairs: impl Iterator<Item = (&'a String, &'a String)>,
    payload: usize,
) -> usize {
    pairs
        .fold(RECORD_HEADER + 12 + payload, |size, (key, value)| size + 8 + key.len() + value.len())
}

/// A listener's id takes the place of the slot.
fn of_listener(listener: u32) -> CallId {
    CallId { slot: listener, generation: 0 }
}

fn status_size(status: &Status) -> usize {
    let details = status.details.iter().map(|any| 8 + any.type_url.len() + any.value.len());
    RECORD_HEADER + 12 + status.message.len() + details.sum::<usize>()
}

fn served(side: Side) -> u8 {
    if side == Side::Served { FLAG_SERVED } else { 0 }
}

/// One record under construction.
struct Record<'a> {
    events: &'a mut Vec<u8>,
    whole: &'a mut VecDeque<Vec<u8>>,
    start: usize,
}

impl<'a> Record<'a> {
    fn new(
        events: &'a mut Events,
        op: u8,
        flags: u8,
        route: u16,
        connection: u32,
        call: CallId,
    ) -> Self {
        events.count += 1;
        let Events { records: events, whole, .. } = events;
        let start = events.len();
        let mut header = [0; RECORD_HEADER];
        header[4] = op;
        header[5] = flags;
        header[6..8].copy_from_slice(&route.to_le_bytes());
        header[8..12].copy_from_slice(&connection.to_le_bytes());
        header[12..16].copy_from_slice(&call.slot.to_le_bytes());
        header[16..20].copy_from_slice(&call.generation.to_le_bytes());
        events.extend_from_slice(&header);
        Self { events, whole, start }
    }

    fn raw(self, bytes: &[u8]) -> Self {
        self.events.extend_from_slice(bytes);
        self
    }

    fn u32(self, value: u32) -> Self {
        self.raw(&value.to_le_bytes())
    }

    fn i32(self, value: i32) -> Self {
        self.raw(&value.to_le_bytes())
    }

    fn f64(self, value: f64) -> Self {
        self.raw(&value.to_le_bytes())
    }

    fn bytes(self, value: &[u8]) -> Self {
        self.u32(value.len() as u32).raw(value)
    }

    fn metadata<'b>(mut self, pairs: impl Iterator<Item = (&'b String, &'b String)>) -> Self {
        for (key, value) in pairs {
            self = self.bytes(key.as_bytes()).bytes(value.as_bytes());
        }
        self
    }

    fn status(mut self, status: &Status) -> Self {
        self = self.i32(status.code.value()).bytes(status.message.as_bytes());
        self = self.u32(status.details.len() as u32);
        for detail in &status.details {
            self = self.bytes(detail.type_url.as_bytes()).bytes(&detail.value);
        }
        self
    }

    fn closed(self, closed: &CloseReason) -> Self {
        self.raw(&[closed.kind as u8]).i32(closed.errno).bytes(closed.text.as_bytes())
    }

    fn payload(self, bytes: Vec<u8>) {
        if bytes.len() < WHOLE {
            return self.raw(&bytes).end();
        }
        self.events[self.start + 5] |= FLAG_WHOLE;
        self.whole.push_back(bytes);
        self.end();
    }

    fn end(self) {
        let length = (self.events.len() - self.start) as u32;
        self.events[self.start..self.start + 4].copy_from_slice(&length.to_le_bytes());
    }
}
