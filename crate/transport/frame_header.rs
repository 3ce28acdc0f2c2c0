//! The headers of frames.
//!
//! The wire format is a 10-byte header (length u32, stream id u32, both big-endian, type, flags) and `length`
//! bytes of body. A [`Scanner`] walks the headers of outgoing frames in place and skips the bodies.

use ttrpc::proto::MESSAGE_HEADER_LENGTH;

/// A frame's header as it is on the wire.
pub(super) type Header = [u8; MESSAGE_HEADER_LENGTH];

/// How far the outgoing bytes were walked.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// Bytes of the buffer that were walked.
    scanned: usize,
    /// Bytes of the current frame's body still to come.
    body_left: usize,
}

impl Scanner {
    /// `count` bytes were removed from the buffer's front.
    pub(super) fn removed(&mut self, count: usize) {
        self.scanned -= count;
    }

    /// Whether a buffer of `length` bytes, which was walked, ends with a whole frame.
    pub(super) fn is_between_frames(&self, length: usize) -> bool {
        self.body_left == 0 && self.scanned == length
    }

    /// Calls `visit` with each whole header, and with the bytes that follow it in the buffer.
    pub(super) fn walk(
        &mut self,
        buffer: &mut [u8],
        mut visit: impl FnMut(&mut Header, &mut [u8]),
    ) {
        loop {
            let body = self.body_left.min(buffer.len() - self.scanned);
            self.scanned += body;
            self.body_left -= body;
            if self.body_left > 0 {
                return;
            }
            let Some((header, rest)) =
                buffer[self.scanned..].split_first_chunk_mut::<MESSAGE_HEADER_LENGTH>()
            else {
                return;
            };
            visit(header, rest);
            self.body_left = length(header);
            self.scanned += MESSAGE_HEADER_LENGTH;
        }
    }
}

pub(super) fn length(header: &Header) -> usize {
    u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize
}

pub(super) fn set_length(header: &mut Header, length: u32) {
    header[..4].copy_from_slice(&length.to_be_bytes());
}

pub(super) fn stream_id(header: &Header) -> u32 {
    u32::from_be_bytes([header[4], header[5], header[6], header[7]])
}

pub(super) fn kind(header: &Header) -> u8 {
    header[8]
}

pub(super) fn flags(header: &Header) -> u8 {
    header[9]
}
