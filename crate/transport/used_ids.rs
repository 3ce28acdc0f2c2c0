//! The stream ids that a client has used.

use crate::ids::IdSet;
use crate::limits::SKIPPED_IDS_LIMIT;

/// The ids that requests of one connection have used: all odd ones up to `last`, except those skipped.
#[derive(Debug, Default)]
pub(super) struct UsedIds {
    last: u32,
    skipped: IdSet,
}

impl UsedIds {
    /// Marks an odd id as used. Returns whether it was new.
    pub(super) fn take(&mut self, id: u32) -> bool {
        if id <= self.last {
            return self.skipped.remove(&id);
        }
        let first = if self.last == 0 { 1 } else { self.last + 2 };
        let room = SKIPPED_IDS_LIMIT - self.skipped.len();
        // The nearest ids are the ones that may still come. The room is used up only if a client leaves gaps
        // for good.
        self.skipped.extend((first..id).step_by(2).rev().take(room));
        self.last = id;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_was_passed_over_is_taken_once_and_a_used_one_never() {
        let mut used_ids = UsedIds::default();
        let taken = [3, 1, 1, 3, 9, 7, 5, 7, 11].map(|id| used_ids.take(id));
        assert_eq!(taken, [true, true, false, false, true, true, true, false, true]);
    }

    #[test]
    fn gaps_of_any_size_are_remembered_up_to_a_limit() {
        let mut used_ids = UsedIds::default();
        assert!(used_ids.take(u32::MAX));
        assert_eq!(used_ids.skipped.len(), SKIPPED_IDS_LIMIT);
        assert!(used_ids.take(u32::MAX - 2));
        assert!(!used_ids.take(1));
    }
}
