//! Resumes connections that waited for others to free room, or for JavaScript to take events.

use crate::engine::Engine;
use crate::sync::lock;

/// Connections that resume in one round. The engine flushes before the next round.
const AT_ONCE: usize = 32;

impl Engine {
    /// Resumes connections whose wait is over. Call it when JavaScript may have taken events.
    pub fn resume(&mut self) {
        if self.has_room() {
            self.turn(Self::resume_waiting);
        }
    }

    /// Whether a waiting connection may resume.
    pub fn has_room(&self) -> bool {
        let worklist = &self.shared.worklist;
        if !worklist.is_waited() {
            return false;
        }
        if worklist.backlog.is_waited_for() && lock(&self.shared.events).is_empty() {
            worklist.backlog.clear();
        }
        worklist.has_room()
    }

    /// Resumes some of the waiting connections. Must be called inside the runtime.
    pub(super) fn resume_waiting(&mut self) {
        let worklist = self.shared.worklist.clone();
        for _ in 0..AT_ONCE {
            let Some(id) = worklist.backlog.next_waiting() else { break };
            self.resume_one(id);
        }
        for budget in worklist.take_freed() {
            let Some(budget) = budget.upgrade() else { continue };
            let mut round = budget.round();
            while let Some(id) =
                round.next(|id| self.connections.get(&id).is_none_or(|conn| conn.wire.has_room()))
            {
                self.resume_one(id);
            }
        }
    }

    fn resume_one(&mut self, id: u32) {
        // It may have ended meanwhile.
        if let Some(conn) = self.connections.get_mut(&id) {
            conn.resume();
        } else {
            self.resume_accepting(id);
        }
    }
}
