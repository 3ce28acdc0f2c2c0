//! The record format of the two batch buffers.
//!
//! JavaScript writes commands into the outbound buffer and submits them with one call; Rust writes
//! events into the inbound buffer and hands them over with one callback. Both are sequences of
//! records, little-endian, unaligned:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | length of the record, these 4 bytes included |
//! | 4 | 1 | operation |
//! | 5 | 1 | flags |
//! | 6 | 2 | route: which service and method |
//! | 8 | 4 | connection |
//! | 12 | 4 | call: its slot, or the id of a listener |
//! | 16 | 4 | call: its generation |
//! | 20 | … | body, by operation |
//!
//! A payload of [`WHOLE`] bytes or more is not in its record, which has [`FLAG_WHOLE`] instead. An event's
//! payload is handed over as the memory in which it arrived. A command's payload is lent before the batch: it
//! is copied once, into the memory that ttrpc gets. (A message that is encoded into its record stays there.)
//!
//! A string or byte field in a body is a u32 length and that many bytes; a payload is the rest of the record.
//! `src/native/records.ts` is the other side and keeps the same order.

mod batch_size;
mod commands;
mod events;

pub use batch_size::Filled;
pub use commands::{Call, Command, Malformed, Reply, StreamKind, commands, opened_by};
pub use events::{Events, request_size};

/// The largest record, in bytes: the largest message with its fields. Each buffer has room for one. Metadata
/// and details are denser on the wire than here, so a peer can send more than fits.
pub const RECORD_LIMIT: usize = 5 << 20;

/// Bytes before a record's body.
pub const RECORD_HEADER: usize = 20;

/// Operations of commands.
pub mod op {
    /// Define a route. Body: service, method.
    pub const ROUTE: u8 = 1;
    /// Make a unary call. Body: timeout in nanoseconds (f64, 0 = none), metadata, payload.
    pub const CALL: u8 = 2;
    /// Give a call up: its answer is not wanted. Flag 1, for a stream: its reader left, and the requests end
    /// in order.
    pub const CANCEL: u8 = 3;
    /// Answer a request. Body: status code (i32), message, details, payload.
    pub const REPLY: u8 = 4;
    /// Open a stream. Flags: its kind. Body: as for [`CALL`].
    pub const OPEN: u8 = 5;
    /// Send a message on a stream. Flag: side. Body: payload.
    pub const SEND: u8 = 6;
    /// Send no more on a stream.
    pub const HALF_CLOSE: u8 = 7;
    /// Messages of a stream were taken. Flag: side. Body: how many (u32), their bytes (u32).
    pub const TAKEN: u8 = 8;
    /// JavaScript has let go of a request that no longer needed an answer:
    /// [`event::ABORTED`](super::event::ABORTED).
    pub const LET_GO: u8 = 9;
}

/// Operations of events.
pub mod event {
    /// A call's answer. Body: payload.
    pub const RESPONSE: u8 = 1;
    /// A call's status other than OK. Body: code (i32), message, details.
    pub const STATUS: u8 = 2;
    /// A call failed on this side. Body: code (i32), text, then if flag 1 the [`CLOSED`] body.
    pub const FAILED: u8 = 3;
    /// A connection that JavaScript asked for is open.
    pub const CONNECTED: u8 = 4;
    /// A connection ended, or could not be made. Body: kind (u8), errno (i32), text.
    pub const CLOSED: u8 = 5;
    /// A listener accepted a connection. `call` is the listener. Body: flag 1: pid, uid, gid (u32 each).
    pub const ACCEPTED: u8 = 6;
    /// A request for a handler. Body: timeout in nanoseconds (f64, 0 = none), metadata, payload.
    pub const REQUEST: u8 = 7;
    /// A request no longer needs an answer. Flags: 1 = its deadline passed.
    pub const ABORTED: u8 = 8;
    /// A listener could not accept. `call` is the listener. Body: errno (i32), text.
    pub const ACCEPT_FAILED: u8 = 9;
    /// A message of a stream. Flag: side. Body: payload.
    pub const MESSAGE: u8 = 10;
    /// The peer sends no more on a stream, which ends a call of this side. Flag: side.
    pub const END: u8 = 11;
    /// Messages of a stream have left. Flag: side. Body: how many (u32), their bytes (u32).
    pub const SENT: u8 = 12;
    /// A listener accepts no more, and every connection that it accepted was reported. `call` is the
    /// listener.
    pub const LISTENER_CLOSED: u8 = 13;
}

/// Which side opened a stream. As a flag: [`FLAG_SERVED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A call of this side.
    Called,
    /// A request that this side serves.
    Served,
}

/// Flag of a stream's records: this side serves the stream.
pub const FLAG_SERVED: u8 = 1;
/// Flag of [`op::OPEN`] and of [`event::REQUEST`]: the client sends any number of messages.
pub const FLAG_CLIENT_STREAM: u8 = 2;
/// Flag of [`op::OPEN`] and of [`event::REQUEST`]: the server sends any number of messages.
pub const FLAG_SERVER_STREAM: u8 = 4;

/// Flag of a record: its payload is the next one that crosses whole.
pub const FLAG_WHOLE: u8 = 0x80;
/// The smallest payload that crosses whole, in bytes. Below, a copy is cheaper than an ArrayBuffer of its
/// own.
pub const WHOLE: usize = 8 << 10;

/// Bit in the returned number of event bytes: more events wait.
pub const MORE: u32 = 1 << 31;

/// Flag of [`op::CANCEL`]: the reader left.
pub const FLAG_LEFT: u8 = 1;

/// Flag of a command: the call may be cancelled.
pub const FLAG_CANCELLABLE: u8 = 1;

/// A command, for tests.
#[cfg(test)]
pub(crate) fn record(operation: u8, connection: u32, call: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = ((RECORD_HEADER + body.len()) as u32).to_le_bytes().to_vec();
    bytes.extend([operation, 0, 0, 0]);
    bytes.extend(connection.to_le_bytes());
    bytes.extend(call.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes
}
