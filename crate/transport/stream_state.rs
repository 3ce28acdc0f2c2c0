//! How much of a stream has arrived and was not taken.
//!
//! ttrpc queues the messages of a stream without limit, and its protocol has no window. So a connection is
//! not read while too many messages wait, which bounds the memory of slow readers. Bytes count from the
//! moment their frame is whole until JavaScript has taken the message.

use super::budget::Tally;
use super::detached::STUB;
use crate::limits::MESSAGE_COST;
use crate::sync::lock;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// The state of one stream. Its count is part of its connection's.
#[derive(Debug, Default)]
pub struct StreamState {
    /// 0 until the request is written.
    stream_id: AtomicU32,
    /// Bytes that arrived and were not taken.
    unread: AtomicUsize,
    /// Those of them that JavaScript holds.
    held: AtomicUsize,
    total: Option<Arc<Tally>>,
    /// Served: the peer sends no more messages.
    half_closed: AtomicBool,
    /// Called: the peer has ended the stream with a response.
    answered: AtomicBool,
    /// Called: the reader of the peer's messages has left, which ends this side's messages in order.
    left: AtomicBool,
    /// Served: the size of a message that was too large, or 0. ttrpc tells the peer; the handler must be told
    /// too.
    oversized: AtomicUsize,
    /// Messages that ttrpc has as stubs, in order.
    payloads: Mutex<VecDeque<Vec<u8>>>,
    changed: Notify,
}

impl StreamState {
    /// A new stream of the connection whose count is `total`.
    pub(super) fn new(total: Arc<Tally>) -> Self {
        let mut state = Self::default();
        state.total = Some(total);
        state
    }

    /// The stream's id, once it has one.
    pub fn stream_id(&self) -> Option<u32> {
        Some(self.stream_id.load(Relaxed)).filter(|id| *id != 0)
    }

    pub(super) fn opened(&self, stream_id: u32) {
        self.stream_id.store(stream_id, Relaxed);
    }

    /// `messages` messages of `size` bytes in all have arrived.
    pub fn arrived(&self, messages: usize, size: usize) {
        let cost = size + messages * MESSAGE_COST;
        self.unread.fetch_add(cost, Relaxed);
        if let Some(total) = &self.total {
            total.add(cost);
        }
    }

    /// ttrpc gets a message as a stub.
    pub(super) fn keep(&self, payload: Vec<u8>) {
        lock(&self.payloads).push_back(payload);
    }

    /// The message that ttrpc has as this, which may be a stub. Call it with each message of the peer, in order.
    pub fn whole(&self, message: Vec<u8>) -> Vec<u8> {
        if message.len() != STUB.len() {
            return message;
        }
        // A message that looks like a stub was kept, too. Only the payload of a response is not, and when it comes,
        // all messages before it have been taken.
        lock(&self.payloads).pop_front().unwrap_or(message)
    }

    /// Nobody takes the messages any more that ttrpc has as stubs.
    pub(super) fn drop_payloads(&self) {
        *lock(&self.payloads) = VecDeque::new();
    }

    /// A message of `size` bytes was handed to JavaScript.
    pub fn handed_over(&self, size: usize) {
        self.held.fetch_add(size + MESSAGE_COST, Relaxed);
    }

    /// JavaScript's reader took `messages` messages of `size` bytes in all.
    pub fn taken(&self, messages: usize, size: usize) {
        let cost = size + messages * MESSAGE_COST;
        self.held.fetch_sub(cost.min(self.held.load(Relaxed)), Relaxed);
        self.lower(cost);
    }

    /// The stream has ended: only the messages that JavaScript holds still count. Returns whether it holds
    /// none.
    pub fn ended(&self) -> bool {
        let held = self.held.load(Relaxed);
        self.lower(self.unread.load(Relaxed).saturating_sub(held));
        held == 0
    }

    /// The stream was given up: none of its messages count any more.
    pub fn give_up(&self) {
        self.lower(self.unread.load(Relaxed));
    }

    /// The reader has left.
    pub fn leave(&self) {
        self.left.store(true, Relaxed);
    }

    /// Whether the reader has left.
    pub fn is_left(&self) -> bool {
        self.left.load(Relaxed)
    }

    pub(super) fn answer(&self) {
        self.answered.store(true, Relaxed);
    }

    /// Whether a response has ended the stream, as opposed to a message.
    pub fn is_answered(&self) -> bool {
        self.answered.load(Relaxed)
    }

    pub(super) fn half_close(&self) {
        self.half_closed.store(true, Relaxed);
    }

    pub(super) fn is_half_closed(&self) -> bool {
        self.half_closed.load(Relaxed)
    }

    pub(super) fn too_large(&self, size: usize) {
        self.oversized.store(size, Relaxed);
        self.changed.notify_waiters();
    }

    /// Waits for a message that is too large; returns its size.
    pub async fn oversized(&self) -> usize {
        loop {
            let changed = self.changed.notified();
            let size = self.oversized.load(Relaxed);
            if size > 0 {
                return size;
            }
            changed.await;
        }
    }

    /// Whether JavaScript's reader has taken all messages that it got.
    pub fn is_taken(&self) -> bool {
        self.held.load(Relaxed) == 0
    }

    fn lower(&self, cost: usize) {
        let cost = cost.min(self.unread.load(Relaxed));
        self.unread.fetch_sub(cost, Relaxed);
        if let Some(total) = &self.total {
            total.sub(cost);
        }
    }

    /// Bytes that arrived and were not taken.
    #[cfg(test)]
    pub(super) fn unread(&self) -> usize {
        self.unread.load(Relaxed)
    }
}

impl Drop for StreamState {
    fn drop(&mut self) {
        self.give_up();
    }
}
