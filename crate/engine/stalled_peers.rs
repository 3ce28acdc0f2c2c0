//! Ends connections whose peers keep others waiting: they hold a part of their listener's budget and neither
//! read their replies nor finish a frame, while another connection waits for room.

use crate::engine::Engine;
use crate::limits::{UNFINISHED_TIME, UNREAD_TIME};
use crate::protocol::close_reason::CloseReason;
use crate::transport::budget::{Budget, Kind};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How often contended budgets are checked.
const EVERY: Duration = Duration::from_millis(250);

/// The budgets in which connections wait for room.
#[derive(Debug, Default)]
pub(super) struct Contended {
    budgets: Vec<Weak<Budget>>,
    /// When they are checked next.
    at: Option<Instant>,
    /// The last check came late.
    was_late: bool,
}

impl Engine {
    /// Starts checking the budgets in which a connection has begun to wait.
    pub(super) fn watch_contended(&mut self) {
        let new = self.shared.worklist.take_contended();
        if new.is_empty() {
            return;
        }
        self.contended.budgets.extend(new);
        self.contended.at.get_or_insert_with(|| Instant::now() + EVERY);
    }

    /// When the budgets are checked next.
    pub(super) fn contended_at(&self) -> Option<Instant> {
        self.contended.at
    }

    /// Ends the connections of peers that keep others waiting, in the order in which they began to.
    pub(super) fn end_stalled(&mut self) {
        let now = Instant::now();
        let Some(at) = self.contended.at.filter(|at| *at <= now) else { return };
        let is_late = now - at > EVERY;
        if is_late && !std::mem::replace(&mut self.contended.was_late, is_late) {
            // This side was busy or stopped, and has not looked since at what peers read and sent meanwhile. If it is always
            // late, it has looked between two checks.
            self.contended.at = Some(now + EVERY);
            return;
        }
        self.contended.was_late = is_late;
        let mut budgets = std::mem::take(&mut self.contended.budgets);
        budgets.retain(|budget| budget.upgrade().is_some_and(|budget| self.relieve(&budget, now)));
        self.contended.at = (!budgets.is_empty()).then(|| now + EVERY);
        self.contended.budgets = budgets;
    }

    /// Returns whether a connection still waits.
    fn relieve(&mut self, budget: &Arc<Budget>, now: Instant) -> bool {
        if budget.is_waited_for(Kind::Replies) {
            for id in self.stalled(budget, Kind::Replies, now, UNREAD_TIME) {
                if !budget.is_full(Kind::Replies) {
                    break;
                }
                self.end(id, "the peer does not read its replies, and others wait for their room");
            }
        }
        if budget.is_waited_for(Kind::Frames) || budget.is_waited_for(Kind::Messages) {
            for id in self.stalled(budget, Kind::Frames, now, UNFINISHED_TIME) {
                self.end(id, "the peer does not finish a message, and others wait for its room");
            }
        }
        budget.is_contended()
    }

    fn stalled(&self, budget: &Arc<Budget>, kind: Kind, now: Instant, limit: Duration) -> Vec<u32> {
        let connections = self.connections.iter().filter(|(_, conn)| {
            conn.budget().is_some_and(|own| Arc::ptr_eq(own, budget)) && !conn.reported
        });
        let mut stalled: Vec<(Instant, u32)> = connections
            .filter_map(|(id, conn)| Some((conn.wire.keeps_waiting(kind)?, *id)))
            .filter(|(since, _)| now.saturating_duration_since(*since) >= limit)
            .collect();
        stalled.sort_unstable();
        stalled.into_iter().map(|(_, id)| id).collect()
    }

    fn end(&mut self, id: u32, why: &str) {
        if let Some(conn) = self.connections.get_mut(&id) {
            conn.wire.close(CloseReason::stalled(why));
            conn.wire.forget_unsent();
        }
    }
}
