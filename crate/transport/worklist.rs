//! What a turn leaves for the engine to flush, and how much a turn may bring.

use super::budget::Budget;
use super::receive_buffer::Spare;
use crate::sync::lock;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, Weak};

/// What a turn did to the connections, and what all connections share.
#[derive(Debug, Default)]
pub struct Worklist {
    /// The ids of the connections that it changed, each once.
    tokens: Mutex<Vec<u32>>,
    /// Reads and writes of ttrpc's tasks, ever.
    activity: AtomicUsize,
    /// A connection waits, or a budget needs a check.
    is_waited: AtomicBool,
    /// Requests that ttrpc got since JavaScript took the last event.
    requests: AtomicUsize,
    /// Bytes of frames that it got since then.
    bytes: AtomicUsize,
    /// Connections that were accepted since then.
    accepted: AtomicUsize,
    /// Connections, and listeners, that wait for JavaScript to take events.
    crowd: Mutex<VecDeque<u32>>,
    /// Budgets in which there may be room again.
    freed: Mutex<Vec<Weak<Budget>>>,
    /// Budgets in which somebody has begun to wait.
    contended: Mutex<Vec<Weak<Budget>>>,
    /// Bytes of memory that connections keep although nothing is in them.
    slack: AtomicUsize,
    pub(super) received: Spare,
    pub(super) sent: Spare,
}

/// JavaScript gets no more requests at once than it takes to keep it busy: what their handlers answer is
/// counted before others start.
const REQUESTS_AT_ONCE: usize = 32;

/// Nor do so many bytes wait for it before it has taken what came first.
const BYTES_AT_ONCE: usize = 16 << 20;

/// Nor so many connections of which it has not heard: each leaves two events, however short its life.
const ACCEPTED_AT_ONCE: usize = 1024;

/// Busy connections keep their storage between two reads up to so many bytes; beyond, what waits in it
/// moves.
const SLACK_LIMIT: usize = 4 << 20;

impl Worklist {
    /// Moves the ids of the connections that changed into `into`.
    pub fn take(&self, into: &mut Vec<u32>) {
        into.append(&mut lock(&self.tokens));
    }

    /// How often ttrpc's tasks have read or written.
    pub fn activity(&self) -> usize {
        self.activity.load(Relaxed)
    }

    /// Whether a connection waits, or a budget needs a check.
    pub fn is_waited(&self) -> bool {
        self.is_waited.load(Relaxed)
    }

    /// Whether some connection that waits may go on.
    pub fn has_room(&self) -> bool {
        let waits =
            self.is_crowded() || !lock(&self.freed).is_empty() || !lock(&self.contended).is_empty();
        self.is_waited.store(waits, Relaxed);
        self.is_crowded() && !self.is_enough() || !lock(&self.freed).is_empty()
    }

    /// Takes the budgets in which there may be room again.
    pub fn take_freed(&self) -> Vec<Weak<Budget>> {
        std::mem::take(&mut lock(&self.freed))
    }

    /// Takes the budgets in which somebody has begun to wait.
    pub fn take_contended(&self) -> Vec<Weak<Budget>> {
        std::mem::take(&mut lock(&self.contended))
    }

    /// JavaScript has taken all events.
    pub fn events_taken(&self) {
        self.requests.store(0, Relaxed);
        self.bytes.store(0, Relaxed);
        self.accepted.store(0, Relaxed);
    }

    /// Whether connections wait until JavaScript has taken all events.
    pub fn is_crowded(&self) -> bool {
        !lock(&self.crowd).is_empty()
    }

    /// The first connection, or listener, that waited for it, if it may go on.
    pub fn next_of_crowd(&self) -> Option<u32> {
        if self.is_enough() { None } else { lock(&self.crowd).pop_front() }
    }

    /// A connection was accepted.
    pub fn accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    /// Whether connections may be accepted before JavaScript takes events.
    pub fn may_accept(&self) -> bool {
        self.accepted.load(Relaxed) < ACCEPTED_AT_ONCE
    }

    /// Whether JavaScript is to take events before frames are passed on.
    pub(super) fn is_enough(&self) -> bool {
        self.requests.load(Relaxed) >= REQUESTS_AT_ONCE
            || self.bytes.load(Relaxed) >= BYTES_AT_ONCE
            || !self.may_accept()
    }

    /// A connection, or listener, waits until JavaScript has taken events.
    pub fn wait_for_events(&self, id: u32) {
        lock(&self.crowd).push_back(id);
        self.is_waited.store(true, Relaxed);
    }

    /// A frame is passed on.
    pub(super) fn passed(&self, is_request: bool, bytes: usize) {
        self.requests.fetch_add(usize::from(is_request), Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// A connection keeps `now` bytes of memory in which nothing is, in place of `before`. Returns whether
    /// all of them together may.
    pub(super) fn keeps(&self, before: usize, now: usize) -> bool {
        let others = self.slack.load(Relaxed) - before;
        let may = now == 0 || others + now <= SLACK_LIMIT;
        self.slack.store(others + if may { now } else { 0 }, Relaxed);
        may
    }

    pub(super) fn freed(&self, budget: Weak<Budget>) {
        lock(&self.freed).push(budget);
        self.is_waited.store(true, Relaxed);
    }

    pub(super) fn contended(&self, budget: Weak<Budget>) {
        lock(&self.contended).push(budget);
        self.is_waited.store(true, Relaxed);
    }

    pub(super) fn add(&self, id: u32) {
        lock(&self.tokens).push(id);
    }

    pub(super) fn count(&self) {
        self.activity.fetch_add(1, Relaxed);
    }
}
