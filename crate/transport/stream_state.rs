//! How much of a stream arrived and was not taken.
//!
//! ttrpc queues the messages of a stream without limit and its protocol has no window, so what bounds
//! a slow reader's memory is that its connection is not read while too much waits. For that, bytes are
//! counted from the moment their frame is whole until JavaScript has taken the message.

use super::budget::Tally;
use crate::limits::MESSAGE_COST;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use tokio::sync::Notify;

/// One stream's count, which is part of its connection's.
#[derive(Debug, Default)]
pub struct StreamState {
    /// 0 until the request was written.
    stream_id: AtomicU32,
    /// Arrived and not taken.
    unread: AtomicUsize,
    /// Of these, what JavaScript holds.
    held: AtomicUsize,
    total: Option<Arc<Tally>>,
    /// Served: the peer has said that it sends no more.
    half_closed: AtomicBool,
    /// Called: the peer has ended the stream with a response.
    answered: AtomicBool,
    /// Called: the reader of the peer's messages has left, which ends the requests in order.
    left: AtomicBool,
    /// Served: the size of a message that was too large to be taken, or 0. ttrpc has told the peer; the handler must hear too.
    oversized: AtomicUsize,
    changed: Notify,
}

impl StreamState {
    /// A stream of the connection whose count is `total`.
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

    /// `messages` of `size` bytes altogether came in.
    pub fn arrived(&self, messages: usize, size: usize) {
        let cost = size + messages * MESSAGE_COST;
        self.unread.fetch_add(cost, Relaxed);
        if let Some(total) = &self.total {
            total.add(cost);
        }
    }

    /// A message of `size` bytes was handed to JavaScript.
    pub fn handed_over(&self, size: usize) {
        self.held.fetch_add(size + MESSAGE_COST, Relaxed);
    }

    /// JavaScript's reader took `messages` of `size` bytes altogether.
    pub fn taken(&self, messages: usize, size: usize) {
        let cost = size + messages * MESSAGE_COST;
        self.held.fetch_sub(cost.min(self.held.load(Relaxed)), Relaxed);
        self.lower(cost);
    }

    /// The stream has ended: only what JavaScript holds still counts. Returns whether that is nothing.
    pub fn ended(&self) -> bool {
        let held = self.held.load(Relaxed);
        self.lower(self.unread.load(Relaxed).saturating_sub(held));
        held == 0
    }

    /// Nobody wants the stream any more: nothing of it counts.
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

    /// Whether a response has ended the stream, and not a message.
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

    /// Waits for a message that is too large to be taken; returns its size.
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

    /// Whether JavaScript's reader has taken all that was handed over.
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
