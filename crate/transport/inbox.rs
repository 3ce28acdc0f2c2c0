//! What came from the peer and was not read by ttrpc yet.

use super::frames::Scanner;
use super::{KEEP_CAPACITY, lock};
use std::sync::Mutex;

/// Storage that no connection holds at the moment: between two reads most hold none, so that thousands
/// of idle connections cost no buffers.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Vec<Vec<u8>>>);

/// More is given back to the allocator.
const SPARE_LIMIT: usize = 16;

impl Spare {
    fn take(&self) -> Vec<u8> {
        lock(&self.0).pop().unwrap_or_default()
    }

    fn put(&self, storage: Vec<u8>) {
        let mut spare = lock(&self.0);
        if spare.len() < SPARE_LIMIT && storage.len() <= KEEP_CAPACITY {
            spare.push(storage);
        }
    }
}

/// A buffer that is filled at the end and taken from the front. Its storage stays initialised, so
/// that making space for a read costs nothing once it has grown to the connection's pace.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    storage: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// Free space of `size` bytes behind what is there.
    pub(super) fn space(&mut self, size: usize, scanner: &mut Scanner, spare: &Spare) -> &mut [u8] {
        if self.storage.is_empty() {
            self.storage = spare.take();
        }
        if self.start > 0 {
            self.storage.copy_within(self.start..self.end, 0);
            scanner.removed(self.start);
            self.end -= self.start;
            self.start = 0;
        }
        let needed = self.end + size;
        if self.storage.len() < needed {
            self.storage.resize(needed, 0);
        }
        &mut self.storage[self.end..needed]
    }

    /// Gives the storage back if nothing is in it.
    pub(super) fn recycle(&mut self, spare: &Spare) {
        if self.end == 0 && !self.storage.is_empty() {
            spare.put(std::mem::take(&mut self.storage));
        }
    }

    /// `count` bytes of the space were filled.
    pub(super) fn filled(&mut self, count: usize) {
        self.end += count;
    }

    /// All bytes from the start of the storage, which is what the scanner's positions count from.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        &mut self.storage[..self.end]
    }

    /// Where the bytes end, in the scanner's positions.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Bytes that were scanned and not taken.
    pub(super) fn readable(&self, scanner: &Scanner) -> usize {
        scanner.scanned() - self.start
    }

    /// Takes `count` readable bytes from the front.
    pub(super) fn take(&mut self, count: usize, scanner: &mut Scanner) -> &[u8] {
        let at = self.start;
        self.start += count;
        if self.start == self.end {
            scanner.removed(self.end);
            self.start = 0;
            self.end = 0;
        }
        &self.storage[at..at + count]
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
