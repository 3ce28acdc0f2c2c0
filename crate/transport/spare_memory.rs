//! Memory that an engine's connections lend each other. Between two turns most of them hold no buffer, so that thousands
//! of idle connections cost none.

use crate::limits::{SLACK_LIMIT, SPARE_BUFFERS, SPARE_PAYLOADS, SPARE_SIZE};
use crate::sync::lock;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct SpareMemory {
    pub(super) received: SpareBuffers,
    pub(super) sent: SpareBuffers,
    pub(super) payloads: Arc<SparePayloads>,
    /// Unused bytes of allocated memory that connections keep.
    slack: AtomicUsize,
}

impl SpareMemory {
    /// A connection keeps `now` unused bytes of allocated memory in place of `before`. Returns whether the limit on
    /// those of all connections allows it.
    pub(super) fn keeps(&self, before: usize, now: usize) -> bool {
        let others = self.slack.load(Relaxed) - before;
        let may = now == 0 || others + now <= SLACK_LIMIT;
        self.slack.store(others + if may { now } else { 0 }, Relaxed);
        may
    }

    #[cfg(test)]
    pub(super) fn slack(&self) -> usize {
        self.slack.load(Relaxed)
    }
}

/// Buffers that no connection holds.
#[derive(Debug, Default)]
pub(super) struct SpareBuffers(Mutex<Vec<Vec<u8>>>);

/// A smaller buffer would not serve the next connection.
const SMALLEST: usize = 4 * 1024;

impl SpareBuffers {
    pub(super) fn take(&self) -> Vec<u8> {
        lock(&self.0).pop().unwrap_or_default()
    }

    /// Keeps a buffer for the next connection, or gives it back to the allocator.
    pub(super) fn put(&self, storage: Vec<u8>) {
        let mut spare = lock(&self.0);
        let serves = SMALLEST..=SPARE_SIZE;
        if spare.len() < SPARE_BUFFERS && serves.contains(&storage.capacity()) {
            spare.push(storage);
        }
    }
}

/// Memory of payloads that have left. The next ones are written into the memory that was used last, which is still in
/// the cache. The allocator would give that to payloads that arrive, which JavaScript keeps for longer.
#[derive(Debug, Default)]
pub struct SparePayloads(Mutex<Payloads>);

#[derive(Debug, Default)]
struct Payloads {
    buffers: VecDeque<Vec<u8>>,
    /// The bytes of all of them.
    bytes: usize,
}

/// How many of the last buffers may be too small, or more than a quarter too large, before new memory is allocated.
const TRIES: usize = 4;

/// Memory of the smallest payloads that are lent.
const SMALLEST_PAYLOAD: usize = 8 << 10;

impl SparePayloads {
    /// A copy of a payload.
    pub fn copy(&self, payload: &[u8]) -> Vec<u8> {
        let mut copy = self.take(payload.len());
        copy.extend_from_slice(payload);
        copy
    }

    fn take(&self, size: usize) -> Vec<u8> {
        let mut spare = lock(&self.0);
        let fits = |buffer: &Vec<u8>| (size..=size + size / 4).contains(&buffer.capacity());
        let Some(place) = spare.buffers.iter().rev().take(TRIES).position(fits) else {
            return Vec::with_capacity(size);
        };
        let last = spare.buffers.len() - 1;
        let buffer = spare.buffers.remove(last - place).unwrap_or_default();
        spare.bytes -= buffer.capacity();
        buffer
    }

    /// Keeps the memory of a payload that has left.
    pub(super) fn put(&self, mut payload: Vec<u8>) {
        payload.clear();
        let size = payload.capacity();
        if !(SMALLEST_PAYLOAD..=SPARE_PAYLOADS).contains(&size) {
            return;
        }
        let mut spare = lock(&self.0);
        spare.bytes += size;
        spare.buffers.push_back(payload);
        while spare.bytes > SPARE_PAYLOADS
            && let Some(oldest) = spare.buffers.pop_front()
        {
            spare.bytes -= oldest.capacity();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn a_copy_has_the_bytes_of_its_payload_whatever_memory_it_gets() {
        let mut random = Random(0x1357_9bdf_2468_ace1);
        let spare = SparePayloads::default();
        let mut held = VecDeque::new();
        for step in 0..5000usize {
            let payload = vec![step as u8; 1 + random.below(300_000) / (1 + random.below(20))];
            let copy = spare.copy(&payload);
            assert!(copy == payload && copy.capacity() <= payload.len() * 5 / 4);
            held.push_back(copy);
            while held.len() > random.below(20) {
                spare.put(held.pop_front().unwrap_or_default());
            }
            let kept = lock(&spare.0);
            let bytes = kept.buffers.iter().map(Vec::capacity).sum::<usize>();
            assert!(bytes == kept.bytes && bytes <= SPARE_PAYLOADS, "{bytes}");
        }
    }

    #[test]
    fn the_memory_that_was_used_last_is_used_next() {
        let spare = SparePayloads::default();
        let (first, second) = (spare.copy(&[1; 20_000]), spare.copy(&[2; 20_000]));
        let last = second.as_ptr();
        spare.put(first);
        spare.put(second);
        let (next, small) = (spare.copy(&[3; 17_000]), spare.copy(&[3; 100]));
        assert_eq!(next.as_ptr(), last);
        assert_eq!(small.capacity(), 100);
    }
}
