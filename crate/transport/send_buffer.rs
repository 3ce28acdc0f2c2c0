//! Bytes that ttrpc wrote and the socket has not taken.

use super::frame_header::Scanner;
use super::spare_memory::SpareBuffers;
use std::io;
use std::time::Instant;

/// The bytes that wait for one connection's socket.
#[derive(Debug, Default)]
pub(super) struct SendBuffer {
    bytes: Vec<u8>,
    taken: usize,
    pub(super) scanner: Scanner,
    /// Since when the socket has taken none of the bytes that wait.
    stuck: Option<Instant>,
}

impl SendBuffer {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Since when the socket has taken none of the bytes that wait.
    pub(super) fn stuck(&self) -> Option<Instant> {
        self.stuck
    }

    pub(super) fn extend(&mut self, bytes: &[u8], spare: &SpareBuffers) {
        if self.bytes.capacity() == 0 {
            self.bytes = spare.take();
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Makes room for `more` bytes.
    pub(super) fn reserve(&mut self, more: usize, spare: &SpareBuffers) {
        if self.bytes.capacity() == 0 {
            self.bytes = spare.take();
        }
        self.bytes.reserve(more);
    }

    /// Whether the next byte begins a frame.
    pub(super) fn is_between_frames(&self) -> bool {
        self.scanner.is_between_frames(self.bytes.len())
    }

    /// Unused bytes of allocated memory.
    pub(super) fn slack(&self) -> usize {
        self.bytes.capacity() - self.len()
    }

    /// Moves the bytes that wait into storage of their size.
    pub(super) fn compact(&mut self, spare: &SpareBuffers) {
        let small = self.bytes[self.taken..].to_vec();
        let mut large = std::mem::replace(&mut self.bytes, small);
        self.scanner.removed(self.taken);
        self.taken = 0;
        // Its next user appends to it.
        large.clear();
        spare.put(large);
    }

    /// The scanner, and the bytes to walk.
    pub(super) fn parts(&mut self) -> (&mut Scanner, &mut [u8]) {
        (&mut self.scanner, &mut self.bytes)
    }

    /// Gives bytes to `write` until all are gone or it would block. It returns what `write(2)` does.
    pub(super) fn send(
        &mut self,
        spare: &SpareBuffers,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        let before = self.taken;
        while self.taken < self.bytes.len() {
            match write(&self.bytes[self.taken..]) {
                Ok(count) => self.taken += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.taken > before || self.stuck.is_none() {
                        self.stuck = Some(Instant::now());
                    }
                    self.forget_sent();
                    return Ok(());
                }
                Err(error) => {
                    self.clear(spare);
                    return Err(error);
                }
            }
        }
        if !self.bytes.is_empty() {
            self.clear(spare);
        }
        Ok(())
    }

    /// Drops bytes that were sent, so that a connection that never quite drains does not keep them all. It
    /// costs no more to move the rest to the front than was sent since the last time.
    fn forget_sent(&mut self) {
        if self.taken > self.bytes.len() / 2 {
            self.bytes.drain(..self.taken);
            self.scanner.removed(self.taken);
            self.taken = 0;
        }
    }

    /// Drops the bytes that wait.
    pub(super) fn clear(&mut self, spare: &SpareBuffers) {
        self.scanner.removed(self.bytes.len());
        self.bytes.clear();
        self.taken = 0;
        self.stuck = None;
        spare.put(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The start of a long frame.
    fn write(buffer: &mut SendBuffer, bytes: &[u8], spare: &SpareBuffers) {
        buffer.extend(bytes, spare);
        let (scanner, bytes) = buffer.parts();
        scanner.walk(bytes, |_, _| ());
    }

    #[test]
    fn storage_that_goes_round_carries_no_bytes_along() {
        let spare = SpareBuffers::default();
        let mut buffer = SendBuffer::default();
        write(&mut buffer, &[1; 20_000], &spare);
        let mut room = 19_990;
        buffer
            .send(&spare, |bytes| match std::mem::take(&mut room) {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                count => Ok(count.min(bytes.len())),
            })
            .unwrap();
        buffer.compact(&spare);
        assert_eq!((buffer.len(), buffer.slack()), (10, 0));
        let mut next = SendBuffer::default();
        write(&mut next, &[2; 12], &spare);
        let mut sent = Vec::new();
        for buffer in [&mut buffer, &mut next] {
            buffer
                .send(&spare, |bytes| {
                    sent.extend_from_slice(bytes);
                    Ok(bytes.len())
                })
                .unwrap();
        }
        assert_eq!(sent, [&[1; 10][..], &[2; 12]].concat());
    }
}
