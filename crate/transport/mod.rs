//! The in-memory byte stream between one socket and ttrpc.
//!
//! ttrpc reads from and writes to a [`Pipe`]. The engine moves bytes between the other end, the [`Wire`], and
//! the descriptor. Writing into a pipe never waits: all frames of a turn gather in one buffer and leave in
//! one system call. (If a deadline passed in the middle of a write, ttrpc would close the whole connection; a
//! write into a pipe has no middle.) The engine bounds the buffer: it starts no call and reads no request
//! while [`Wire::unsent`] is above its limit.

mod apart;
mod awaited_ids;
mod backpressure;
pub mod budget;
mod detached;
mod envelope;
mod event_backlog;
mod flow;
mod frame_header;
mod frame_reader;
mod frame_rules;
mod pipe;
mod receive;
mod receive_buffer;
mod send_buffer;
mod spare_memory;
mod stream_message;
pub mod stream_state;
#[cfg(test)]
mod testing;
mod unary_call;
mod used_ids;
mod wire;
mod worklist;

pub use frame_rules::Role;
pub use pipe::Pipe;
pub use receive::Source;
pub use spare_memory::SparePayloads;
pub use unary_call::UnaryCall;
pub use wire::{Queued, Wire, WireInit};
pub use worklist::Worklist;
