//! The unary calls that await a response, by stream id.

use crate::ids::IdSet;
use std::collections::VecDeque;

/// Calls end about in the order in which they were made, so most ids are in a window of flags. The ids of calls that
/// last longer are in a set.
#[derive(Debug)]
pub(super) struct AwaitedIds {
    /// The id of the first flag.
    first: u32,
    window: VecDeque<bool>,
    older: IdSet,
}

/// The most flags in the window.
const WINDOW: usize = 256;

impl Default for AwaitedIds {
    fn default() -> Self {
        Self { first: 1, window: VecDeque::new(), older: IdSet::default() }
    }
}

impl AwaitedIds {
    /// The request with this odd id, which no other call has, was written.
    pub(super) fn add(&mut self, id: u32) {
        if self.window.is_empty() && id > self.first {
            self.first = id;
        }
        let Some(distance) = id.checked_sub(self.first) else {
            self.older.insert(id);
            return;
        };
        let index = distance as usize / 2;
        if index >= 2 * WINDOW {
            self.older.insert(id);
            return;
        }
        while self.window.len() <= index {
            self.window.push_back(false);
        }
        self.window[index] = true;
        while self.window.len() > WINDOW {
            if self.window[0] {
                self.older.insert(self.first);
            }
            self.advance();
        }
    }

    /// Whether the call is awaited.
    pub(super) fn contains(&self, id: u32) -> bool {
        let flag =
            id.checked_sub(self.first).and_then(|distance| self.window.get(distance as usize / 2));
        flag.is_some_and(|flag| *flag && id % 2 == 1) || self.older.contains(&id)
    }

    /// The call is answered, or given up. Returns whether it was awaited.
    pub(super) fn remove(&mut self, id: u32) -> bool {
        let Some(distance) = id.checked_sub(self.first) else { return self.older.remove(&id) };
        let Some(flag) = self.window.get_mut(distance as usize / 2) else {
            return self.older.remove(&id);
        };
        let awaited = id % 2 == 1 && std::mem::take(flag);
        while self.window.front() == Some(&false) {
            self.advance();
        }
        awaited
    }

    fn advance(&mut self) {
        self.window.pop_front();
        self.first = self.first.saturating_add(2);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.older.is_empty() && !self.window.contains(&true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_awaited_from_the_time_it_is_added_until_it_is_removed_in_any_order() {
        let mut awaited = AwaitedIds::default();
        let mut expected = IdSet::default();
        let (mut next, mut random) = (1u32, 7u64);
        let mut below = |limit: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % limit
        };
        for step in 0..200_000 {
            if step % 5000 == 0 {
                // Ids of streams, or of calls that were given up before they were written.
                next += 2 * below(2000) as u32;
            }
            if below(2) == 0 {
                // A request may overtake another.
                let pair = if below(4) == 0 { [next + 2, next] } else { [next, next + 2] };
                for id in pair {
                    awaited.add(id);
                    expected.insert(id);
                }
                next += 4;
            }
            let recent = if step % 100 == 0 { next } else { 20 };
            for _ in 0..3 {
                let id = next.saturating_sub(below(recent as usize) as u32);
                assert_eq!(awaited.remove(id), expected.remove(&id), "{id}");
            }
        }
        assert!(awaited.window.len() <= WINDOW);
        for id in 0..=next + 10 {
            assert_eq!(awaited.remove(id), expected.remove(&id), "{id}");
        }
        assert!(awaited.is_empty());
    }

    #[test]
    fn the_last_ids_there_are_come_and_go() {
        let mut awaited = AwaitedIds::default();
        for id in [1, u32::MAX - 2, u32::MAX] {
            awaited.add(id);
        }
        for id in [u32::MAX, 1, u32::MAX - 2] {
            assert!(awaited.remove(id) && !awaited.remove(id), "{id}");
        }
    }
}
