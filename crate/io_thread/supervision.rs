//! What the I/O thread does while JavaScript's looks for answers: it takes over if that has something else to do.

use super::turned::Turned;
use std::time::{Duration, Instant};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Supervision {
    /// How often JavaScript's thread had looked at the last check.
    seen: u64,
    /// When the next check is due; `None` if nobody looks.
    due: Option<Instant>,
}

impl Supervision {
    /// Whether JavaScript's thread has not looked between two checks. Then the supervision ends. So it goes on for a while
    /// after the last look, because to begin it, the I/O thread must be woken.
    pub(super) fn finds_idle(&mut self, turned: &mut Turned, now: Instant) -> bool {
        match self.due {
            None if !turned.driven => return false,
            Some(due) if now < due => return false,
            Some(_) if turned.looked == self.seen => self.due = None,
            _ => {
                self.seen = turned.looked;
                self.due = now.checked_add(turned.check_after);
            }
        }
        turned.supervised = self.due.is_some();
        !turned.supervised
    }

    /// The time until the next check.
    pub(super) fn next(&self, now: Instant) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(now))
    }
}
