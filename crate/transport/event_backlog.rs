//! What waits for JavaScript to take its events, and the connections and listeners that wait until it has.

use crate::limits::{UNTAKEN_BYTES, UNTAKEN_CONNECTIONS, UNTAKEN_REQUESTS};
use crate::sync::lock;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts since JavaScript last took all events.
#[derive(Debug, Default)]
pub struct EventBacklog {
    /// Requests that ttrpc got.
    requests: AtomicUsize,
    /// Bytes of frames that ttrpc got.
    bytes: AtomicUsize,
    /// Connections that were accepted.
    accepted: AtomicUsize,
    /// Connections and listeners that wait until JavaScript has taken the events, in order.
    waiting: Mutex<VecDeque<u32>>,
}

impl EventBacklog {
    /// JavaScript has taken all events.
    pub fn clear(&self) {
        self.requests.store(0, Relaxed);
        self.bytes.store(0, Relaxed);
        self.accepted.store(0, Relaxed);
    }

    /// Whether connections or listeners wait.
    pub fn is_waited_for(&self) -> bool {
        !lock(&self.waiting).is_empty()
    }

    /// Whether the first that waits may resume.
    pub(super) fn may_resume(&self) -> bool {
        self.is_waited_for() && !self.is_full()
    }

    /// Takes out the first connection or listener that waits, if it may resume.
    pub fn next_waiting(&self) -> Option<u32> {
        if self.is_full() { None } else { lock(&self.waiting).pop_front() }
    }

    pub(super) fn wait(&self, id: u32) {
        lock(&self.waiting).push_back(id);
    }

    /// Counts an accepted connection.
    pub fn accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    /// Whether connections may be accepted before JavaScript takes events.
    pub fn may_accept(&self) -> bool {
        self.accepted.load(Relaxed) < UNTAKEN_CONNECTIONS
    }

    /// Whether JavaScript must take events before more frames are passed on.
    pub(super) fn is_full(&self) -> bool {
        self.requests.load(Relaxed) >= UNTAKEN_REQUESTS
            || self.bytes.load(Relaxed) >= UNTAKEN_BYTES
            || !self.may_accept()
    }

    /// Counts a frame that is passed on.
    pub(super) fn passed(&self, is_request: bool, bytes: usize) {
        self.requests.fetch_add(usize::from(is_request), Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }
}
