//! Ids that JavaScript and the engine share, and maps keyed by ids.

use crate::limits::IN_FLIGHT_LIMIT;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A map keyed by ids.
pub type IdMap<V, K = u32> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// A set of ids.
pub type IdSet = HashSet<u32, BuildHasherDefault<IdHasher>>;

/// The name of one call or one request of a port. No two calls, and no two requests, ever have the same name.
///
/// The slot is small, so that JavaScript can use it as an index. A slot is reused with the next
/// generation, and retired once its generations are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallId {
    /// The index under which JavaScript keeps it.
    pub slot: u32,
    /// How many users the slot had before.
    pub generation: u32,
}

impl Hash for CallId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.generation) << 32 | u64::from(self.slot));
    }
}

/// Spreads consecutive integers with one multiplication.
///
/// Ids are this side's counters, or stream ids of a peer that can only hurt its own connection. SipHash's
/// protection against chosen keys buys nothing here and costs a third of a map access.
#[derive(Debug, Default, Clone, Copy)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte) ^ (self.0 as u32));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.write_u64(u64::from(id));
    }

    fn write_u64(&mut self, id: u64) {
        // Fibonacci hashing: the high bits, from which hashbrown takes its tags, depend on the whole id.
        self.0 = id.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(20);
    }
}

/// Hands out the names of requests.
#[derive(Debug)]
pub struct CallIds {
    free: Vec<CallId>,
    /// The highest slot that was ever handed out.
    slots: u32,
    in_use: usize,
    /// How often a slot is used before it is retired.
    generations: u32,
}

impl CallIds {
    /// Slots are used `generations` times each.
    pub fn new(generations: u32) -> Self {
        Self { free: Vec::new(), slots: 0, in_use: 0, generations }
    }

    /// The name of a new request; its slot is never 0. `None` if a million are in use.
    pub fn take(&mut self) -> Option<CallId> {
        if self.in_use >= IN_FLIGHT_LIMIT {
            return None;
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.slots = self.slots.checked_add(1)?;
                CallId { slot: self.slots, generation: 0 }
            }
        };
        self.in_use += 1;
        Some(id)
    }

    /// Gives a name back. Its slot gets the next generation, or is retired after its last.
    pub fn give_back(&mut self, CallId { slot, generation }: CallId) {
        self.in_use -= 1;
        if generation + 1 < self.generations {
            self.free.push(CallId { slot, generation: generation + 1 });
        }
    }
}

/// Hands out the ids of connections and listeners. They repeat after 2^32, but an id in use is never handed
/// out again.
#[derive(Debug, Default)]
pub struct IdSource(u32);

impl IdSource {
    /// The next id that is not `taken`; never 0, which means "none" in a record.
    pub fn next_id(&mut self, taken: impl Fn(u32) -> bool) -> u32 {
        loop {
            self.0 = self.0.wrapping_add(1).max(1);
            if !taken(self.0) {
                return self.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_id_is_ever_handed_out_twice() {
        let mut ids = CallIds::new(3);
        let mut seen = HashSet::new();
        let mut held = Vec::new();
        for round in 0..1000 {
            held.push(ids.take().unwrap());
            let id = held[held.len() - 1];
            assert!(id.slot > 0 && seen.insert((id.slot, id.generation)), "{id:?} again");
            if round % 3 > 0 {
                ids.give_back(held.swap_remove(round * 7 % held.len()));
            }
        }
    }

    #[test]
    fn a_million_calls_are_the_most() {
        let mut ids = CallIds::new(2);
        let taken: Vec<_> = std::iter::from_fn(|| ids.take()).collect();
        assert_eq!(taken.len(), IN_FLIGHT_LIMIT);
        ids.give_back(taken[7]);
        assert_eq!(ids.take(), Some(CallId { slot: taken[7].slot, generation: 1 }));
        assert_eq!(ids.take(), None);
    }

    #[test]
    fn an_id_in_use_is_passed_over_when_the_ids_come_round() {
        let mut ids = IdSource(u32::MAX - 1);
        let taken = |id| id == u32::MAX || id == 1;
        assert_eq!((ids.next_id(taken), ids.next_id(taken)), (2, 3));
    }
}
