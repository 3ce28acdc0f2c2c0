//! Splits the peer's bytes into frames, which ttrpc reads one by one, each when it is whole.
//!
//! ttrpc allocates what a header announces, and keeps what it has read. So a frame is gathered here, in
//! memory that grows with the bytes that have arrived, and passed on when there is room for it. The bytes of
//! an unwanted frame are discarded as they arrive.

use super::envelope::PayloadField;
use super::frame_header::{self, Header};
use super::receive_buffer::ReceiveBuffer;
use std::time::Instant;
use ttrpc::proto::MESSAGE_HEADER_LENGTH;

/// What happens to a frame, judged by its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// It is gathered, and judged again when it is whole.
    Gather(Sort),
    /// ttrpc gets only the header, as if the body were empty.
    Head,
    /// ttrpc gets nothing of it.
    Drop,
    /// It passes as it arrives: it is too large for ttrpc, which reads it to its end and drops it.
    Through,
}

/// What a gathered frame does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// It starts a handler.
    Request,
    /// It is a message of a stream.
    Message,
    /// It answers a call.
    Response,
}

/// What happens to a whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// ttrpc gets it.
    Pass,
    /// ttrpc gets it without this field.
    Detach(PayloadField),
    /// ttrpc gets nothing of it.
    Refuse,
    /// ttrpc gets this encoded response, which is not longer, in its place.
    Replace(Vec<u8>),
}

/// Where in the byte stream the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between two frames.
    Between,
    /// A frame of `frame` bytes, header included, is being gathered, or waits to be passed on.
    WakeDelay { frame: usize, sort: Sort },
    /// ttrpc reads `left` bytes, all of which have arrived; then `behind` bytes are dropped.
    Reading { left: usize, behind: usize },
    /// ttrpc reads `left` bytes as they arrive.
    Through { left: usize },
    /// `left` bytes are dropped as they arrive.
    Dropping { left: usize },
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct FrameReader {
    pub(super) received: ReceiveBuffer,
    state: State,
    /// Bytes of the last frame whose header was seen.
    last: usize,
    /// When the gathered frame was granted room, if it needed more than any connection may hold.
    pub(super) granted: Option<Instant>,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self { received: ReceiveBuffer::default(), state: State::Between, last: 0, granted: None }
    }
}

/// A frame that is being gathered, or has to wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gathered {
    pub(super) frame: usize,
    pub(super) sort: Sort,
    pub(super) is_whole: bool,
}

impl FrameReader {
    /// Bytes of the last frame whose header was seen.
    pub(super) fn last_frame(&self) -> usize {
        self.last
    }

    /// Bytes that ttrpc may read now.
    pub(super) fn readable(&self) -> usize {
        match self.state {
            State::Reading { left, .. } => left,
            State::Through { left } => left.min(self.received.len()),
            _ => 0,
        }
    }

    /// Takes bytes that ttrpc may read.
    pub(super) fn take(&mut self, count: usize) -> &[u8] {
        match &mut self.state {
            State::Reading { left, behind } => {
                *left -= count;
                if *left == 0 {
                    self.state = dropping(*behind);
                }
            }
            State::Through { left } => {
                *left -= count;
                if *left == 0 {
                    self.state = State::Between;
                }
            }
            _ => debug_assert!(count == 0, "nothing may be read"),
        }
        self.received.take(count)
    }

    /// Bytes that the gathered frame lacks.
    pub(super) fn missing(&self) -> usize {
        match self.state {
            State::WakeDelay { frame, .. } => frame.saturating_sub(self.received.len()),
            _ => 0,
        }
    }

    /// The frame that is being gathered, or has to wait, if there is one.
    pub(super) fn gathered(&self) -> Option<Gathered> {
        let State::WakeDelay { frame, sort } = self.state else { return None };
        Some(Gathered { frame, sort, is_whole: self.received.len() >= frame })
    }

    /// Advances to the next header, and asks `plan` about it. Returns whether a frame is being gathered.
    pub(super) fn advance<E>(
        &mut self,
        mut plan: impl FnMut(&mut Header) -> Result<Plan, E>,
    ) -> Result<bool, E> {
        loop {
            match self.state {
                State::Dropping { left } => {
                    let count = left.min(self.received.len());
                    self.received.take(count);
                    if count < left {
                        self.state = State::Dropping { left: left - count };
                        return Ok(false);
                    }
                    self.state = State::Between;
                }
                State::Between => {
                    let Some(header) = self.received.bytes().first_chunk_mut() else {
                        return Ok(false);
                    };
                    let length = frame_header::length(header);
                    let frame = MESSAGE_HEADER_LENGTH + length;
                    self.state = match plan(header)? {
                        Plan::Gather(sort) => State::WakeDelay { frame, sort },
                        Plan::Head => {
                            frame_header::set_length(header, 0);
                            State::Reading { left: MESSAGE_HEADER_LENGTH, behind: length }
                        }
                        Plan::Drop => State::Dropping { left: frame },
                        Plan::Through => State::Through { left: frame },
                    };
                    self.last = frame;
                }
                State::WakeDelay { .. } => return Ok(true),
                State::Reading { .. } | State::Through { .. } => return Ok(false),
            }
        }
    }

    /// The header and the body of the gathered frame, which must be whole.
    pub(super) fn whole(&mut self) -> Option<(&mut Header, &mut [u8])> {
        let State::WakeDelay { frame, .. } = self.state else { return None };
        self.received.bytes().get_mut(..frame)?.split_first_chunk_mut()
    }

    /// Cuts a payload's field out of the gathered frame, which must be whole. Returns the payload.
    pub(super) fn detach(&mut self, field: &PayloadField) -> Vec<u8> {
        let State::WakeDelay { frame, .. } = &mut self.state else { return Vec::new() };
        let bytes = self.received.bytes();
        let body = &bytes[MESSAGE_HEADER_LENGTH..*frame];
        let payload = body[field.payload.clone()].to_vec();
        // The few bytes before the field move, not the many that may follow.
        let cut = field.payload.end - field.at;
        bytes.copy_within(..MESSAGE_HEADER_LENGTH + field.at, cut);
        *frame -= cut;
        if let Some(header) = bytes[cut..].first_chunk_mut() {
            frame_header::set_length(header, (*frame - MESSAGE_HEADER_LENGTH) as u32);
        }
        self.received.take(cut);
        payload
    }

    /// Lets ttrpc read the first `left` bytes of the gathered frame, and drops the others.
    pub(super) fn pass(&mut self, left: usize) {
        if let State::WakeDelay { frame, .. } = self.state {
            let behind = frame - left;
            self.state = if left == 0 { dropping(behind) } else { State::Reading { left, behind } };
        }
    }

    /// Whether the bytes that arrived end in the middle of a frame.
    pub(super) fn mid_frame(&mut self) -> bool {
        let mut at = match self.state {
            State::Between | State::WakeDelay { .. } => 0,
            State::Reading { left, behind } => left + behind,
            State::Through { left } | State::Dropping { left } => left,
        };
        let bytes = self.received.bytes();
        while let Some(header) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            at += MESSAGE_HEADER_LENGTH + frame_header::length(header);
        }
        at != bytes.len()
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn dropping(left: usize) -> State {
    if left == 0 { State::Between } else { State::Dropping { left } }
}
