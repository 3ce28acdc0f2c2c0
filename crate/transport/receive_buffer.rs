//! Bytes that came from the peer and that ttrpc has not read.

use super::spare_memory::SpareBuffers;

/// A buffer that is filled at the end and emptied from the front. Its storage stays initialised, so space for
/// a read costs nothing once the storage is large enough.
#[derive(Debug, Default)]
pub(super) struct ReceiveBuffer {
    storage: Vec<u8>,
    start: usize,
    end: usize,
}

impl ReceiveBuffer {
    /// Free space of `size` bytes behind the bytes in the buffer.
    pub(super) fn space(&mut self, size: usize, spare: &SpareBuffers) -> &mut [u8] {
        if self.storage.is_empty() {
            self.storage = spare.take();
        }
        if self.start > 0 {
            self.storage.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let needed = self.end + size;
        if self.storage.len() < needed {
            if self.storage.capacity() < needed {
                self.grow(needed, spare);
            }
            self.storage.resize(needed, 0);
        }
        &mut self.storage[self.end..needed]
    }

    /// Moves the bytes into larger storage, with room for the next reads. It grows with the bytes that have
    /// arrived, whatever the peer announces.
    fn grow(&mut self, needed: usize, spare: &SpareBuffers) {
        let mut other = spare.take();
        other.clear();
        other.reserve_exact(needed.max(2 * self.storage.capacity().min(self.end)));
        other.extend_from_slice(&self.storage[..self.end]);
        spare.put(std::mem::replace(&mut self.storage, other));
    }

    /// Gives empty storage back.
    pub(super) fn recycle(&mut self, spare: &SpareBuffers) {
        if self.end == 0 && self.storage.capacity() > 0 {
            spare.put(std::mem::take(&mut self.storage));
        }
    }

    /// Frees empty storage.
    pub(super) fn free(&mut self) {
        if self.end == 0 {
            self.storage = Vec::new();
        }
    }

    /// Appends bytes.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.storage.truncate(self.end);
        self.storage.extend_from_slice(bytes);
        self.end = self.storage.len();
    }

    /// Removes `count` bytes at a place near the front: the few bytes before it move, not the many that may follow.
    pub(super) fn cut(&mut self, at: usize, count: usize) {
        let start = self.start;
        self.storage.copy_within(start..start + at, start + count);
        self.take(count);
    }

    /// Puts bytes at a place, in new storage.
    pub(super) fn insert(&mut self, at: usize, parts: [&[u8]; 2]) {
        let (front, back) = self.bytes().split_at(at);
        let joined = [front, parts[0], parts[1], back].concat();
        (self.start, self.end) = (0, joined.len());
        self.storage = joined;
    }

    /// Moves the bytes into storage of their size.
    pub(super) fn compact(&mut self, spare: &SpareBuffers) {
        let small = self.storage[self.start..self.end].to_vec();
        (self.start, self.end) = (0, small.len());
        spare.put(std::mem::replace(&mut self.storage, small));
    }

    /// `count` bytes of the free space were filled.
    pub(super) fn filled(&mut self, count: usize) {
        self.end += count;
    }

    /// The bytes in the buffer.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.end]
    }

    /// Whether the buffer is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of bytes in the buffer.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Takes `count` bytes from the front.
    pub(super) fn take(&mut self, count: usize) -> &[u8] {
        let at = self.start;
        self.start += count;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        &self.storage[at..at + count]
    }

    /// Unused bytes of allocated memory.
    pub(super) fn slack(&self) -> usize {
        self.storage.capacity() - self.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_rest_of_a_large_burst_keeps_little() {
        let spare = SpareBuffers::default();
        let mut received = ReceiveBuffer::default();
        received.space(300_000, &spare).fill(7);
        received.filled(300_000);
        received.take(299_999);
        received.compact(&spare);
        assert_eq!(received.bytes(), [7]);
        assert!(received.slack() < 64, "{}", received.slack());
        received.take(1);
        received.recycle(&spare);
        assert_eq!(received.slack(), 0);
    }

    #[test]
    fn bytes_keep_their_order_however_they_come_and_go() {
        let spare = SpareBuffers::default();
        let mut received = ReceiveBuffer::default();
        let (mut written, mut read) = (0u8, 0u8);
        for step in 0..2000usize {
            let size = step * 37 % 300;
            for byte in &mut received.space(size, &spare)[..] {
                *byte = written;
                written = written.wrapping_add(1);
            }
            received.filled(size);
            for byte in received.take(received.len().min(step * 53 % 310)) {
                assert_eq!(*byte, read);
                read = read.wrapping_add(1);
            }
            if step % 7 == 0 {
                received.compact(&spare);
            }
        }
    }
}
