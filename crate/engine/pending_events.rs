//! The events of an engine that JavaScript has not taken.

use crate::engine::Shared;
use crate::records::Filled;
use crate::sync::lock;
use std::sync::Arc;

/// The events of an engine that wait to be handed over, possibly on another thread.
#[derive(Debug, Clone)]
pub struct PendingEvents(Arc<Shared>);

impl PendingEvents {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Moves whole event records into `buffer`.
    pub fn fill(&self, buffer: &mut [u8]) -> Filled {
        let filled = lock(&self.0.events).fill(buffer);
        if !filled.more {
            self.0.worklist.backlog.clear();
        }
        filled
    }

    /// Whether connections wait for JavaScript to take events. They resume with the engine's next turn after
    /// that.
    pub fn is_crowded(&self) -> bool {
        self.0.worklist.backlog.is_waited_for()
    }

    /// The payload of the next record that is handed over whole.
    pub fn take_whole(&self) -> Option<Vec<u8>> {
        lock(&self.0.events).take_whole()
    }

    /// How many events were ever written.
    pub fn count(&self) -> usize {
        lock(&self.0.events).count()
    }

    /// Whether enough events wait to be worth a callback of their own.
    pub fn is_much(&self) -> bool {
        lock(&self.0.events).is_much()
    }

    /// Whether no event waits.
    pub fn is_empty(&self) -> bool {
        lock(&self.0.events).is_empty()
    }
}
