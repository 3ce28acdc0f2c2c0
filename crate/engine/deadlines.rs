//! The deadlines of ttrpc's timers.
//!
//! tokio's timers fire only in a turn, so whoever turns the engine must do so at the earliest deadline.
//!
//! That may be late: the thread was busy or stopped, and what came in time waits in a socket. So the turn that finds a
//! call's deadline passed first reads the call's connection. Timers fire at the end of a turn's run, and by then the
//! call has its outcome.

use super::Engine;
use crate::sync::lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A millisecond, and the connection whose calls have their deadlines in it; 0 for requests.
type Place = (u64, u32);

/// The number of deadlines in each place. There are only entries for calls in flight.
#[derive(Debug)]
pub(super) struct Deadlines {
    start: Instant,
    at: Mutex<BTreeMap<Place, u32>>,
}

/// A timer fires in the millisecond after its deadline. One more millisecond ensures that it has fired.
const LATE: u64 = 2;

impl Default for Deadlines {
    fn default() -> Self {
        Self { start: Instant::now(), at: Mutex::default() }
    }
}

impl Deadlines {
    /// Adds a deadline `timeout_nano` from now, until the guard is dropped. `None` if there is no deadline. `connection` is
    /// that of a call, or 0.
    pub(super) fn hold(self: &Arc<Self>, timeout_nano: i64, connection: u32) -> Option<Deadline> {
        if timeout_nano <= 0 {
            return None;
        }
        let after = self.start.elapsed().saturating_add(Duration::from_nanos(timeout_nano as u64));
        let at = (whole_milliseconds(after).saturating_add(LATE), connection);
        *lock(&self.at).entry(at).or_default() += 1;
        Some(Deadline { deadlines: self.clone(), at })
    }

    /// The time until the earliest deadline, if there is one.
    pub(super) fn next(&self) -> Option<Duration> {
        let (at, _) = *lock(&self.at).first_key_value()?.0;
        Some(Duration::from_millis(at).saturating_sub(self.start.elapsed()))
    }

    /// The connections of the calls whose deadlines have passed since this was last asked with the same `seen`.
    fn passed(&self, seen: &mut u64) -> Vec<u32> {
        let at = lock(&self.at);
        let first = *seen + 1;
        if at.is_empty() {
            return Vec::new();
        }
        let now = whole_milliseconds(self.start.elapsed()) + LATE;
        if now < first {
            return Vec::new();
        }
        *seen = now;
        at.range((first, 1)..=(now, u32::MAX)).map(|((_, connection), _)| *connection).collect()
    }
}

fn whole_milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Engine {
    /// The connections whose calls would end at their deadlines in this turn.
    pub(super) fn due(&mut self) -> Vec<u32> {
        self.shared.deadlines.passed(&mut self.deadlines_seen)
    }

    /// Reads what has come for them.
    pub(super) fn read_first(&mut self, connections: &[u32]) {
        for id in connections {
            if let Some(conn) = self.connections.get_mut(id)
                && conn.watched.read
                && !conn.connecting
            {
                conn.readable();
            }
        }
    }
}

/// One deadline. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Deadline {
    deadlines: Arc<Deadlines>,
    at: Place,
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let mut at = lock(&self.deadlines.at);
        if let Some(count) = at.get_mut(&self.at) {
            *count -= 1;
            if *count == 0 {
                at.remove(&self.at);
            }
        }
    }
}
