//! The way out of an engine.

use crate::engine::Shared;
use crate::records::Filled;
use crate::sync::lock;
use std::sync::Arc;

/// The events of an engine that wait to be handed over, which may happen on another thread than its own.
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

    /// Whether connections wait for events to be taken, and go on with the engine's next turn behind that.
    pub fn is_crowded(&self) -> bool {
        self.0.worklist.backlog.is_waited_for()
    }

    /// The payload of the next record that says that it is handed over whole.
    pub fn take_whole(&self) -> Option<Vec<u8>> {
        lock(&self.0.events).take_whole()
    }

    /// How many events there ever were.
    pub fn count(&self) -> usize {
        lock(&self.0.events).count()
    }

    /// Whether what waits is worth handing over by itself.
    pub fn is_much(&self) -> bool {
        lock(&self.0.events).is_much()
    }

    /// Whether no event waits.
    pub fn is_empty(&self) -> bool {
        lock(&self.0.events).is_empty()
    }
}
