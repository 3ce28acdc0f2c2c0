//! How many requests the connections of one listener have open, and what happens to one too many.

use crate::ids::IdMap;
use crate::transport::{Wire, lock};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// What becomes of requests beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// They are answered RESOURCE_EXHAUSTED.
    Refused,
    /// They are not read: their connections wait, and so do their callers.
    HeldBack,
}

/// Requests that the connections of one listener have open, and may have.
#[derive(Debug)]
pub(super) struct Gauge {
    calls: AtomicU32,
    calls_limit: u32,
    bytes: AtomicU32,
    bytes_limit: u32,
    excess: Excess,
    /// Connections that are not read until there is room.
    held: Mutex<IdMap<Weak<Wire>>>,
}

impl Gauge {
    pub(super) fn new(calls_limit: u32, bytes_limit: u32, excess: Excess) -> Self {
        Self {
            calls: AtomicU32::new(0),
            calls_limit,
            bytes: AtomicU32::new(0),
            bytes_limit,
            excess,
            held: Mutex::default(),
        }
    }

    /// Why a request of this size cannot be taken, if it cannot. Where requests are held back, those
    /// that were read all the same are taken: they are no more than one turn reads.
    pub(super) fn refusal(&self, size: u32) -> Option<String> {
        if self.excess == Excess::HeldBack {
            return None;
        }
        let calls = self.calls.load(Ordering::Relaxed);
        if calls >= self.calls_limit {
            return Some(format!("the server handles {calls} calls, its limit"));
        }
        let bytes = self.bytes.load(Ordering::Relaxed);
        // A lone request passes whatever its size: ttrpc bounds that, and it could never pass later.
        let full = bytes > 0 && bytes.saturating_add(size) > self.bytes_limit;
        full.then(|| {
            format!(
                "the server handles requests of {bytes} bytes, near its limit of {}",
                self.bytes_limit
            )
        })
    }

    /// Whether a connection is not to be read now. If so, it is marked once there is room.
    pub(super) fn holds_back(&self, token: u32, wire: &Arc<Wire>) -> bool {
        let full = self.is_full();
        if full {
            lock(&self.held).insert(token, Arc::downgrade(wire));
        }
        full
    }

    /// Whether connections wait for room instead of being refused.
    pub(super) fn waits(&self) -> bool {
        self.excess == Excess::HeldBack
    }

    pub(super) fn enter(&self, size: u32) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(size, Ordering::Relaxed);
    }

    pub(super) fn leave(&self, size: u32) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(size, Ordering::Relaxed);
        if self.excess == Excess::HeldBack && !self.is_full() {
            for (_, wire) in lock(&self.held).drain() {
                if let Some(wire) = wire.upgrade() {
                    wire.mark();
                }
            }
        }
    }

    fn is_full(&self) -> bool {
        self.excess == Excess::HeldBack
            && (self.calls.load(Ordering::Relaxed) >= self.calls_limit
                || self.bytes.load(Ordering::Relaxed) >= self.bytes_limit)
    }
}
