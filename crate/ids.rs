//! Maps keyed by the small integers that both sides of the port hand out.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A map from an id to its owner's record.
pub type IdMap<V> = HashMap<u32, V, BuildHasherDefault<IdHasher>>;

/// A set of ids.
pub type IdSet = HashSet<u32, BuildHasherDefault<IdHasher>>;

/// Spreads consecutive integers with one multiplication.
///
/// Ids are counters of ours or stream ids of a peer that can only hurt its own connection, so
/// SipHash's protection against chosen keys buys nothing here and costs a third of a map access.
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
        // Fibonacci hashing: the high bits, which hashbrown takes its tags from, depend on all of id.
        self.0 = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(20);
    }
}

/// Hands out ids whose low bits are small, for the other side to use as an index. An id that was given
/// back comes again only after its slot was used [`USES`] times.
#[derive(Debug, Default)]
pub struct SlotIds {
    free: Vec<u32>,
    slots: u32,
}

/// Bits of an id that are the number of its slot.
const SLOT_BITS: u32 = 20;

/// How often a slot is used before its ids repeat. Ids are below 2^31.
const USES: u32 = 1 << (31 - SLOT_BITS);

impl SlotIds {
    /// An id, never 0; None if a million are in use.
    pub fn take(&mut self) -> Option<u32> {
        if let Some(id) = self.free.pop() {
            return Some(id);
        }
        if self.slots + 1 >= 1 << SLOT_BITS {
            return None;
        }
        self.slots += 1;
        Some(self.slots)
    }

    /// Gives an id back.
    pub fn give_back(&mut self, id: u32) {
        let uses = (id >> SLOT_BITS) + 1;
        self.free.push((uses % USES) << SLOT_BITS | id & ((1 << SLOT_BITS) - 1));
    }
}

/// Hands out ids that do not repeat before 2^32 of them were used.
#[derive(Debug, Default)]
pub struct IdSource(u32);

impl IdSource {
    /// The next id; never 0, which stands for "none" in the port's records.
    pub fn next_id(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(1).max(1);
        self.0
    }
}
