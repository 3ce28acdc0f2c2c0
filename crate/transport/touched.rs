//! What a turn leaves for the engine to look at.

use super::inbox::Spare;
use super::lock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a turn did to the connections.
#[derive(Debug, Default)]
pub struct Touched {
    /// The tokens of those that it touched, each once.
    tokens: Mutex<Vec<u32>>,
    /// Reads and writes of ttrpc's tasks, ever.
    activity: AtomicUsize,
    pub(super) spare: Spare,
}

impl Touched {
    /// Moves the tokens collected so far into `into`.
    pub fn take(&self, into: &mut Vec<u32>) {
        into.append(&mut lock(&self.tokens));
    }

    /// How often ttrpc's tasks have read or written.
    pub fn activity(&self) -> usize {
        self.activity.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, token: u32) {
        lock(&self.tokens).push(token);
    }

    pub(super) fn count(&self) {
        self.activity.fetch_add(1, Ordering::Relaxed);
    }
}
