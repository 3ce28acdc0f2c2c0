//! The two directions of one connection, between its socket and ttrpc.

use super::Role;
use super::backpressure::Block;
use super::frame_reader::FrameReader;
use super::frame_rules::FrameRules;
use super::send_buffer::SendBuffer;
use crate::protocol::close_reason::{CloseKind, CloseReason};
use std::task::Waker;

/// The bytes, the rules and the state of one connection.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) rules: FrameRules,
    /// Bytes from the peer that ttrpc has not read.
    pub(super) rx: FrameReader,
    /// Unused bytes of allocated memory in `rx` and `tx`, as last reported.
    pub(super) slack: usize,
    /// Bytes that ttrpc wrote and the socket has not taken.
    pub(super) tx: SendBuffer,
    /// Wakes the task in which ttrpc waits for bytes.
    pub(super) reader: Option<Waker>,
    /// Bytes that are counted in advance for a message that is not whole.
    pub(super) reserved: usize,
    /// What the connection waits for before the next frame is passed on or the socket is read.
    pub(super) block: Option<Block>,
    /// The socket was readable and was not read.
    pub(super) refused: bool,
    /// Why the connection ended, if it did.
    pub(super) closed: Option<CloseReason>,
    /// ttrpc dropped its end.
    pub(super) released: bool,
    /// The connection is on the engine's worklist.
    pub(super) is_marked: bool,
}

impl Flow {
    /// A new connection, on which nothing has arrived or was sent.
    pub(super) fn new(role: Role) -> Self {
        Self {
            rules: FrameRules::new(role),
            rx: FrameReader::default(),
            slack: 0,
            tx: SendBuffer::default(),
            reader: None,
            reserved: 0,
            block: None,
            refused: false,
            closed: None,
            released: false,
            is_marked: false,
        }
    }

    /// Ends the connection. The first reason stays.
    pub(super) fn close(&mut self, closed: CloseReason) {
        if self.closed.is_none() {
            self.closed = Some(closed);
            // A server's connection has nothing left to wait for; a client's has answers to deliver.
            if self.rules.is_server() {
                self.block = None;
            }
            self.rules.no_more_answers();
        }
        self.wake_reader();
    }

    /// Wakes ttrpc if it waits for bytes.
    pub(super) fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// The socket has ended: closes the connection, in order or in the middle of a frame.
    pub(super) fn end_of_stream(&mut self) {
        let closed = if self.rx.mid_frame() {
            let text = "the peer closed the connection in the middle of a message".to_owned();
            CloseReason { kind: CloseKind::Error, errno: libc::ECONNRESET, text }
        } else {
            CloseReason {
                kind: CloseKind::Remote,
                errno: 0,
                text: "the peer closed the connection".to_owned(),
            }
        };
        self.close(closed);
    }
}
