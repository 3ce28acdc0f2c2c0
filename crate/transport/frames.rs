//! Walks the frames of one direction of a connection.
//!
//! The wire format is a 10-byte header (length u32, stream id u32, both big-endian, type, flags) and
//! `length` bytes of body. A [`Scanner`] walks the headers in place; bodies are skipped.

use ttrpc::proto::MESSAGE_HEADER_LENGTH;

/// A frame's header as it is on the wire.
pub(super) type Header = [u8; MESSAGE_HEADER_LENGTH];

/// Where one direction stands between two frames.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// Bytes of the buffer that were looked at: ttrpc may read (or the socket may send) up to here.
    scanned: usize,
    /// Bytes of the current frame's body still to come.
    body_left: usize,
    /// Bytes of the whole frame.
    frame: usize,
}

impl Scanner {
    /// How far the buffer was looked at.
    pub(super) fn scanned(&self) -> usize {
        self.scanned
    }

    /// Bytes of the last frame of which the header was seen.
    pub(super) fn frame(&self) -> usize {
        self.frame
    }

    /// Whether the stream stands inside a frame, given the buffer's length.
    pub(super) fn mid_frame(&self, buffered: usize) -> bool {
        self.body_left > 0 || self.scanned < buffered
    }

    /// Whether the last frame that was seen is whole.
    pub(super) fn between_frames(&self) -> bool {
        self.body_left == 0
    }

    /// Tells the scanner that `count` bytes were removed from the buffer's front.
    pub(super) fn removed(&mut self, count: usize) {
        self.scanned -= count;
    }

    /// Walks all headers that are whole, calling `visit` with each header and what follows it in
    /// the buffer. A visit may stop the walk before its frame, to see it again with more of its body.
    pub(super) fn walk<E>(
        &mut self,
        buffer: &mut [u8],
        mut visit: impl FnMut(&mut Header, &mut [u8]) -> Result<Visit, E>,
    ) -> Result<(), E> {
        loop {
            let body = self.body_left.min(buffer.len() - self.scanned);
            self.scanned += body;
            self.body_left -= body;
            if self.body_left > 0 {
                return Ok(());
            }
            let Some((header, rest)) =
                buffer[self.scanned..].split_first_chunk_mut::<MESSAGE_HEADER_LENGTH>()
            else {
                return Ok(());
            };
            if visit(header, rest)? == Visit::Wait {
                return Ok(());
            }
            self.body_left = length(header);
            self.frame = MESSAGE_HEADER_LENGTH + self.body_left;
            self.scanned += MESSAGE_HEADER_LENGTH;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visit {
    /// Go on behind it.
    Pass,
    /// Stop before it.
    Wait,
}

pub(super) fn length(header: &Header) -> usize {
    u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize
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
