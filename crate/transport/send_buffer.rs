//! Bytes that ttrpc wrote and the socket has not taken, and the payloads that go between them.

use super::frame_header::{self, Scanner};
use super::spare_memory::{SpareBuffers, SpareMemory, SparePayloads};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Instant;
use ttrpc::proto::MESSAGE_HEADER_LENGTH;

/// Parts that the socket gets at once.
const PARTS: usize = 16;

/// The bytes that wait for one connection's socket.
#[derive(Debug, Default)]
pub(super) struct SendBuffer {
    /// What ttrpc wrote.
    bytes: Vec<u8>,
    taken: usize,
    /// Payloads that ttrpc did not see, in order. They leave from the memory that they are in.
    payloads: VecDeque<Payload>,
    /// Bytes of the payloads that wait.
    apart: usize,
    pub(super) scanner: Scanner,
    /// Since when the socket has taken none of the bytes that wait.
    stuck: Option<Instant>,
}

#[derive(Debug)]
struct Payload {
    /// The place in `bytes` before which it leaves.
    at: usize,
    payload: Vec<u8>,
    taken: usize,
}

impl SendBuffer {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.taken + self.apart
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

    /// Puts a payload into the frame at the end, which has `back` bytes behind it, and was walked. `length` is that of
    /// the frame's body so far.
    pub(super) fn insert(&mut self, payload: Vec<u8>, length: usize, back: usize) {
        let frame = self.bytes.len() - length - MESSAGE_HEADER_LENGTH;
        if let Some(header) = self.bytes[frame..].first_chunk_mut() {
            frame_header::set_length(header, (length + payload.len()) as u32);
        }
        self.apart += payload.len();
        self.payloads.push_back(Payload { at: self.bytes.len() - back, payload, taken: 0 });
    }

    /// Whether the next byte begins a frame.
    pub(super) fn is_between_frames(&self) -> bool {
        self.scanner.is_between_frames(self.bytes.len())
    }

    /// Unused bytes of allocated memory.
    pub(super) fn slack(&self) -> usize {
        self.bytes.capacity() - (self.bytes.len() - self.taken)
    }

    /// Moves the bytes that wait into storage of their size.
    pub(super) fn compact(&mut self, spare: &SpareBuffers) {
        let small = self.bytes[self.taken..].to_vec();
        let mut large = std::mem::replace(&mut self.bytes, small);
        self.removed();
        // Its next user appends to it.
        large.clear();
        spare.put(large);
    }

    /// The scanner, and the bytes to walk.
    pub(super) fn parts(&mut self) -> (&mut Scanner, &mut [u8]) {
        (&mut self.scanner, &mut self.bytes)
    }

    /// Gives bytes to `write` until all are gone or it would block. It returns what `writev(2)` does. Returns how many have
    /// left.
    pub(super) fn send(
        &mut self,
        SpareMemory { sent: spare, payloads, .. }: &SpareMemory,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let before = self.len();
        while self.len() > 0 {
            let written = if self.payloads.is_empty() {
                write(&[IoSlice::new(&self.bytes[self.taken..])])
            } else {
                let mut parts = [IoSlice::new(&[]); PARTS];
                let count = self.front(&mut parts);
                write(&parts[..count])
            };
            match written {
                Ok(count) => self.took(count, payloads),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.len() < before || self.stuck.is_none() {
                        self.stuck = Some(Instant::now());
                    }
                    self.forget_sent();
                    return Ok(before - self.len());
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
        Ok(before)
    }

    /// Fills `parts` with the bytes that leave next, and returns their number.
    fn front<'a>(&'a self, parts: &mut [IoSlice<'a>]) -> usize {
        let mut at = self.taken;
        let mut count = 0;
        let mut payloads = self.payloads.iter().peekable();
        for part in parts {
            let until = payloads.peek().map_or(self.bytes.len(), |next| next.at);
            *part = IoSlice::new(if until > at {
                &self.bytes[std::mem::replace(&mut at, until)..until]
            } else if let Some(next) = payloads.next() {
                &next.payload[next.taken..]
            } else {
                break;
            });
            count += 1;
        }
        count
    }

    /// The socket has taken `count` bytes.
    fn took(&mut self, mut count: usize, spare: &SparePayloads) {
        while count > 0 {
            let until = self.payloads.front().map_or(self.bytes.len(), |next| next.at);
            if until > self.taken {
                let taken = count.min(until - self.taken);
                self.taken += taken;
                count -= taken;
            } else if let Some(next) = self.payloads.front_mut() {
                let taken = count.min(next.payload.len() - next.taken);
                next.taken += taken;
                self.apart -= taken;
                count -= taken;
                if next.taken == next.payload.len()
                    && let Some(Payload { payload, .. }) = self.payloads.pop_front()
                {
                    spare.put(payload);
                }
            } else {
                debug_assert!(false, "the socket took more than there was");
                return;
            }
        }
    }

    /// Drops bytes that were sent, so that a connection that never quite drains does not keep them all. It
    /// costs no more to move the rest to the front than was sent since the last time.
    fn forget_sent(&mut self) {
        if self.taken > self.bytes.len() / 2 {
            self.bytes.drain(..self.taken);
            self.removed();
        }
    }

    /// The bytes that were taken have left the front.
    fn removed(&mut self) {
        self.scanner.removed(self.taken);
        for payload in &mut self.payloads {
            payload.at -= self.taken;
        }
        self.taken = 0;
    }

    /// Drops the bytes that wait.
    pub(super) fn clear(&mut self, spare: &SpareBuffers) {
        self.scanner.removed(self.bytes.len());
        self.bytes.clear();
        self.taken = 0;
        self.payloads = VecDeque::new();
        self.apart = 0;
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
        let memory = SpareMemory::default();
        let spare = &memory.sent;
        let mut buffer = SendBuffer::default();
        write(&mut buffer, &[1; 20_000], spare);
        let mut room = 19_990;
        buffer
            .send(&memory, |parts| match std::mem::take(&mut room) {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                count => Ok(count.min(parts[0].len())),
            })
            .unwrap();
        buffer.compact(spare);
        assert_eq!((buffer.len(), buffer.slack()), (10, 0));
        let mut next = SendBuffer::default();
        write(&mut next, &[2; 12], spare);
        let mut sent = Vec::new();
        for buffer in [&mut buffer, &mut next] {
            buffer
                .send(&memory, |parts| {
                    sent.extend_from_slice(&parts[0]);
                    Ok(parts[0].len())
                })
                .unwrap();
        }
        assert_eq!(sent, [&[1; 10][..], &[2; 12]].concat());
    }
}
