//! The deadlines of ttrpc's timers.
//!
//! tokio's timers fire only in a turn, so whoever turns the engine must do so at the earliest deadline.

use crate::sync::lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The number of deadlines in each millisecond. There are only entries for calls in flight.
#[derive(Debug)]
pub(super) struct Deadlines {
    start: Instant,
    at: Mutex<BTreeMap<u64, u32>>,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { start: Instant::now(), at: Mutex::default() }
    }
}

impl Deadlines {
    /// Adds a deadline `timeout_nano` from now, until the guard is dropped. `None` if there is no deadline.
    pub(super) fn hold(self: &Arc<Self>, timeout_nano: i64) -> Option<Deadline> {
        if timeout_nano <= 0 {
            return None;
        }
        let after = self.start.elapsed().saturating_add(Duration::from_nanos(timeout_nano as u64));
        // A timer fires in the millisecond after its deadline. One more millisecond ensures that it has
        // fired.
        let at = u64::try_from(after.as_millis()).unwrap_or(u64::MAX).saturating_add(2);
        *lock(&self.at).entry(at).or_default() += 1;
        Some(Deadline { deadlines: self.clone(), at })
    }

    /// The time until the earliest deadline, if there is one.
    pub(super) fn next(&self) -> Option<Duration> {
        let at = *lock(&self.at).first_key_value()?.0;
        Some(Duration::from_millis(at).saturating_sub(self.start.elapsed()))
    }
}

/// One deadline. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Deadline {
    deadlines: Arc<Deadlines>,
    at: u64,
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
