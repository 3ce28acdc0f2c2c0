//! A large payload that is read from the socket into memory of its own, while the rest of its frame is gathered.

use super::detached::{DETACHED, ONE_WRITE};
use super::envelope::PayloadField;
use super::frame_reader::Sort;
use ttrpc::proto::MESSAGE_HEADER_LENGTH;

/// The smallest payload that is read into memory of its own, and written from there. Of smaller ones, several arrive or
/// leave in one system call, for which they are copied.
pub(super) const APART: usize = 32 << 10;

/// Memory is allocated for this many bytes that have not arrived, or for as many as have, if those are more.
const AHEAD: usize = 256 << 10;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Apart {
    /// What has arrived of the payload.
    payload: Vec<u8>,
    /// The payload's size.
    size: usize,
    /// Where its field begins in the frame's body.
    at: usize,
    /// The tag and the length of the field; nothing, if the whole body is the payload.
    prefix: Vec<u8>,
}

impl Apart {
    /// Finds the payload in the front of a frame's body, which has `length` bytes in all, and takes what has arrived of
    /// it. `None` if it is small, or not there.
    pub(super) fn begin(front: &[u8], length: usize, sort: Sort) -> Option<Self> {
        let field = match sort.tag() {
            None => PayloadField { at: 0, payload: 0..length },
            Some(tag) => PayloadField::ahead(&front[..front.len().min(ONE_WRITE)], tag)?,
        };
        let size = field.payload.len();
        if size < APART || field.payload.end > length || length - size > ONE_WRITE {
            return None;
        }
        let prefix = front.get(field.at..field.payload.start)?.to_vec();
        let arrived = &front[field.payload.start..field.payload.end.min(front.len())];
        // It must not grow by itself, because that could make it larger than the payload.
        let mut payload = Vec::with_capacity(size.min(AHEAD).max(arrived.len()));
        payload.extend_from_slice(arrived);
        Some(Self { payload, size, at: field.at, prefix })
    }

    /// The place in the frame from which bytes were taken.
    pub(super) fn at(&self) -> usize {
        MESSAGE_HEADER_LENGTH + self.at
    }

    /// Bytes of the frame that are here, and not with its rest.
    pub(super) fn len(&self) -> usize {
        self.prefix.len() + self.payload.len()
    }

    /// The payload's size.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Bytes of the payload that have not arrived.
    pub(super) fn missing(&self) -> usize {
        self.size - self.payload.len()
    }

    /// Unused bytes of allocated memory.
    pub(super) fn slack(&self) -> usize {
        self.payload.capacity() - self.payload.len()
    }

    /// Frees memory in which nothing has arrived, unless that is less than what has.
    pub(super) fn compact(&mut self) {
        if self.slack() > self.payload.len() {
            self.payload.shrink_to_fit();
        }
    }

    /// Where the next bytes go, which has room for some of them, and for no byte more than are missing.
    pub(super) fn space(&mut self) -> &mut Vec<u8> {
        if self.slack() == 0 {
            let more = self.payload.len().max(AHEAD).min(self.missing());
            self.payload.reserve_exact(more);
        }
        &mut self.payload
    }

    /// The payload, which is whole.
    pub(super) fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    /// The bytes to put back into the frame.
    pub(super) fn parts(&self) -> [&[u8]; 2] {
        [&self.prefix, &self.payload]
    }
}

const _: () = assert!(APART >= DETACHED);
