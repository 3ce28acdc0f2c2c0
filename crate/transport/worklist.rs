//! What tasks leave for the engine to do: connections to flush, and connections that may resume.

use super::budget::Budget;
use super::event_backlog::EventBacklog;
use super::spare_memory::{SpareMemory, SparePayloads};
use crate::sync::lock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};

/// The work that connections, tasks and budgets leave for the engine, and what else all its connections share.
#[derive(Debug, Default)]
pub struct Worklist {
    /// Connections that the turn touched, each once: the engine flushes them at its end.
    touched: Mutex<Vec<u32>>,
    /// Reads and writes of ttrpc's tasks, ever.
    activity: AtomicUsize,
    /// A connection waits, or a budget needs a check.
    is_waited: AtomicBool,
    /// Budgets in which there may be room again.
    freed: Mutex<Vec<Weak<Budget>>>,
    /// Budgets in which a connection has begun to wait.
    contended: Mutex<Vec<Weak<Budget>>>,
    /// What waits for JavaScript.
    pub backlog: EventBacklog,
    pub(super) memory: SpareMemory,
}

impl Worklist {
    /// The memory of payloads that have left.
    pub fn spare_payloads(&self) -> Arc<SparePayloads> {
        self.memory.payloads.clone()
    }

    /// Unused bytes of allocated memory that connections keep.
    #[cfg(test)]
    pub fn slack(&self) -> usize {
        self.memory.slack()
    }

    /// Moves the ids of the touched connections into `into`.
    pub fn take_touched(&self, into: &mut Vec<u32>) {
        into.append(&mut lock(&self.touched));
    }

    /// How often ttrpc's tasks have read or written.
    pub fn activity(&self) -> usize {
        self.activity.load(Relaxed)
    }

    /// Whether a connection waits, or a budget needs a check.
    pub fn is_waited(&self) -> bool {
        self.is_waited.load(Relaxed)
    }

    /// Whether a waiting connection may resume.
    pub fn has_room(&self) -> bool {
        let waits = self.backlog.is_waited_for()
            || !lock(&self.freed).is_empty()
            || !lock(&self.contended).is_empty();
        self.is_waited.store(waits, Relaxed);
        self.backlog.may_resume() || !lock(&self.freed).is_empty()
    }

    /// Takes the budgets in which there may be room again.
    pub fn take_freed(&self) -> Vec<Weak<Budget>> {
        std::mem::take(&mut lock(&self.freed))
    }

    /// Takes the budgets in which a connection has begun to wait.
    pub fn take_contended(&self) -> Vec<Weak<Budget>> {
        std::mem::take(&mut lock(&self.contended))
    }

    /// A connection or listener waits until JavaScript has taken events.
    pub fn wait_for_events(&self, id: u32) {
        self.backlog.wait(id);
        self.is_waited.store(true, Relaxed);
    }

    /// There may be room in a budget again.
    pub(super) fn freed(&self, budget: Weak<Budget>) {
        lock(&self.freed).push(budget);
        self.is_waited.store(true, Relaxed);
    }

    /// A connection has begun to wait for room in a budget.
    pub(super) fn contended(&self, budget: Weak<Budget>) {
        lock(&self.contended).push(budget);
        self.is_waited.store(true, Relaxed);
    }

    /// A connection was touched.
    pub(super) fn touch(&self, connection: u32) {
        lock(&self.touched).push(connection);
    }

    /// Counts a read or write of a task.
    pub(super) fn count_activity(&self) {
        self.activity.fetch_add(1, Relaxed);
    }
}
