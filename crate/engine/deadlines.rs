//! The deadlines that ttrpc's timers stand at.
//!
//! tokio's timers fire only while the runtime is turned, so whoever turns it must wake it at the
//! earliest one.

use crate::sync::lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Counts of deadlines by the millisecond they fall into: as many entries as there are different
/// ones in flight, and none once their calls are over.
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
    /// Stands at `timeout_nano` from now until the guard is dropped. `None` where there is no deadline.
    pub(super) fn hold(self: &Arc<Self>, timeout_nano: i64) -> Option<Deadline> {
        if timeout_nano <= 0 {
            return None;
        }
        let after = self.start.elapsed().saturating_add(Duration::from_nanos(timeout_nano as u64));
        // A timer fires in the millisecond after its deadline: one more, so that it has when we look.
        let at = u64::try_from(after.as_millis()).unwrap_or(u64::MAX).saturating_add(2);
        *lock(&self.at).entry(at).or_default() += 1;
        Some(Deadline { deadlines: self.clone(), at })
    }

    /// How long until the earliest, if there is one.
    pub(super) fn next(&self) -> Option<Duration> {
        let at = *lock(&self.at).first_key_value()?.0;
        Some(Duration::from_millis(at).saturating_sub(self.start.elapsed()))
    }
}

/// One deadline that stands.
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
