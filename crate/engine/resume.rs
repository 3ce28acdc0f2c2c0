//! Connections that wait for others to give room back, or for JavaScript to take events, and resume when
//! that happens.

use crate::engine::Engine;
use crate::sync::lock;

/// Connections that resume in one round, before the engine checks what they have brought.
const AT_ONCE: usize = 32;

impl Engine {
    /// Resumes connections that wait for JavaScript, which may have taken events since.
    pub fn resume(&mut self) {
        if self.has_room() {
            self.turn(Self::go_on);
        }
    }

    /// Whether a waiting connection may resume.
    pub fn has_room(&self) -> bool {
        let dirty = &self.shared.dirty;
        if !dirty.is_waited() {
            return false;
        }
        if dirty.is_crowded() && lock(&self.shared.events).is_empty() {
            dirty.events_taken();
        }
        dirty.has_room()
    }

    /// Resumes some of them. Call it inside the runtime.
    pub(super) fn go_on(&mut self) {
        let dirty = self.shared.dirty.clone();
        for _ in 0..AT_ONCE {
            let Some(token) = dirty.next_of_crowd() else { break };
            self.go_on_with(token);
        }
        for budget in dirty.take_freed() {
            let Some(budget) = budget.upgrade() else { continue };
            let mut round = budget.round();
            while let Some(token) = round
                .next(|token| self.connections.get(&token).is_none_or(|conn| conn.wire.has_room()))
            {
                self.go_on_with(token);
            }
        }
    }

    fn go_on_with(&mut self, token: u32) {
        // It may have ended meanwhile.
        if let Some(conn) = self.connections.get_mut(&token) {
            conn.go_on();
        } else {
            self.accept_on(token);
        }
    }
}
