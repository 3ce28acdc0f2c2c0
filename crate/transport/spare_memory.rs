//! Memory that an engine's connections lend each other. Between two turns most of them hold no buffer, so that thousands
//! of idle connections cost none.

use crate::limits::{SLACK_LIMIT, SPARE_BUFFERS, SPARE_SIZE};
use crate::sync::lock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct SpareMemory {
    pub(super) received: SpareBuffers,
    pub(super) sent: SpareBuffers,
    /// Unused bytes of allocated memory that connections keep.
    slack: AtomicUsize,
}

impl SpareMemory {
    /// A connection keeps `now` unused bytes of allocated memory in place of `before`. Returns whether the limit on
    /// those of all connections allows it.
    pub(super) fn keeps(&self, before: usize, now: usize) -> bool {
        let others = self.slack.load(Relaxed) - before;
        let may = now == 0 || others + now <= SLACK_LIMIT;
        self.slack.store(others + if may { now } else { 0 }, Relaxed);
        may
    }
}

/// Buffers that no connection holds.
#[derive(Debug, Default)]
pub(super) struct SpareBuffers(Mutex<Vec<Vec<u8>>>);

/// A smaller buffer would not serve the next connection.
const SMALLEST: usize = 4 * 1024;

impl SpareBuffers {
    pub(super) fn take(&self) -> Vec<u8> {
        lock(&self.0).pop().unwrap_or_default()
    }

    /// Keeps a buffer for the next connection, or gives it back to the allocator.
    pub(super) fn put(&self, storage: Vec<u8>) {
        let mut spare = lock(&self.0);
        let serves = SMALLEST..=SPARE_SIZE;
        if spare.len() < SPARE_BUFFERS && serves.contains(&storage.capacity()) {
            spare.push(storage);
        }
    }
}
