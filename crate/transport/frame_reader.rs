//! Splits the peer's bytes into frames, which ttrpc reads one by one, each when it is whole.
//!
//! ttrpc allocates what a header announces, and keeps what it has read. So a frame is gathered here, in
//! memory that grows with the bytes that have arrived, and passed on when there is room for it. The bytes of
//! an unwanted frame are discarded as they arrive. A large payload may be gathered [apart](Apart).

use super::apart::Apart;
use super::detached::{REQUEST_PAYLOAD, RESPONSE_PAYLOAD};
use super::envelope::PayloadField;
use super::frame_header::{self, Header};
use super::receive_buffer::ReceiveBuffer;
use super::spare_memory::SpareBuffers;
use super::stream_state::StreamState;
use std::sync::Arc;
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

impl Sort {
    /// The tag of the payload's field. `None` if the whole body is the payload.
    pub(super) fn tag(self) -> Option<u8> {
        match self {
            Self::Request => Some(REQUEST_PAYLOAD),
            Self::Response => Some(RESPONSE_PAYLOAD),
            Self::Message => None,
        }
    }
}

/// What happens to a whole frame.
#[derive(Debug)]
pub(super) enum Verdict {
    /// ttrpc gets it.
    Pass,
    /// ttrpc gets it without this payload, which is its owner's. If the payload was gathered apart, only the owner counts.
    Detach(PayloadField, Owner),
    /// ttrpc gets nothing of it.
    Refuse,
    /// ttrpc gets this encoded response, which is not longer, in its place.
    Replace(Vec<u8>),
}

/// Who gets a payload that ttrpc does not.
#[derive(Debug)]
pub(super) enum Owner {
    /// The call, or the handler of the request.
    Call,
    /// The stream.
    Stream(Arc<StreamState>),
    /// The stream that begins with the handler of the request.
    EarlyStream,
}

/// Where in the byte stream the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between two frames.
    Between,
    /// A frame of `frame` bytes, header included, is being gathered, or waits to be passed on.
    Gathering { frame: usize, sort: Sort },
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
    /// Frames that were passed on without the payloads that were gathered apart. ttrpc reads them first.
    passed: ReceiveBuffer,
    state: State,
    /// The payload of the gathered frame, if it is gathered apart.
    apart: Option<Apart>,
    /// Bytes of the last frame whose header was seen.
    last: usize,
    /// When the gathered frame was granted room, if it needed more than any connection may hold.
    pub(super) granted: Option<Instant>,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self {
            received: ReceiveBuffer::default(),
            passed: ReceiveBuffer::default(),
            state: State::Between,
            apart: None,
            last: 0,
            granted: None,
        }
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
        if !self.passed.is_empty() {
            return self.passed.len();
        }
        match self.state {
            State::Reading { left, .. } => left,
            State::Through { left } => left.min(self.received.len()),
            _ => 0,
        }
    }

    /// Takes bytes that ttrpc may read.
    pub(super) fn take(&mut self, count: usize) -> &[u8] {
        if !self.passed.is_empty() {
            return self.passed.take(count);
        }
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
            State::Gathering { frame, .. } => frame.saturating_sub(self.arrived()),
            _ => 0,
        }
    }

    /// Whether the next bytes are of a frame that is not gathered.
    pub(super) fn is_skipping(&self) -> bool {
        self.left() > self.received.len()
    }

    /// What is left of a frame that is not gathered, or not any more: bytes in the buffer, and bytes to come.
    fn left(&self) -> usize {
        match self.state {
            State::Between | State::Gathering { .. } => 0,
            State::Reading { left, behind } => left + behind,
            State::Through { left } | State::Dropping { left } => left,
        }
    }

    /// Bytes of the gathered frame, and of those behind it.
    fn arrived(&self) -> usize {
        self.received.len() + self.apart_len()
    }

    /// Bytes of the gathered frame that are apart.
    fn apart_len(&self) -> usize {
        self.apart.as_ref().map_or(0, Apart::len)
    }

    /// Bytes that have arrived and that ttrpc has not read.
    pub(super) fn len(&self) -> usize {
        self.arrived() + self.passed.len()
    }

    /// Where the next bytes go, if they are of a payload that is gathered apart.
    pub(super) fn apart(&mut self) -> Option<&mut Apart> {
        self.apart.as_mut().filter(|apart| apart.missing() > 0)
    }

    /// Unused bytes of allocated memory.
    pub(super) fn slack(&self) -> usize {
        let apart = self.apart.as_ref().map_or(0, Apart::slack);
        self.received.slack() + self.passed.slack() + apart
    }

    /// Frees memory that nothing uses, if no byte is in it.
    pub(super) fn recycle(&mut self, spare: &SpareBuffers) {
        self.received.recycle(spare);
        self.passed.free();
    }

    /// Frees memory that nothing uses.
    pub(super) fn compact(&mut self, spare: &SpareBuffers) {
        self.received.compact(spare);
        if let Some(apart) = &mut self.apart {
            apart.compact();
        }
    }

    /// The frame that is being gathered, or has to wait, if there is one.
    pub(super) fn gathered(&self) -> Option<Gathered> {
        let State::Gathering { frame, sort } = self.state else { return None };
        Some(Gathered { frame, sort, is_whole: self.arrived() >= frame })
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
                        Plan::Gather(sort) => State::Gathering { frame, sort },
                        Plan::Head => {
                            frame_header::set_length(header, 0);
                            State::Reading { left: MESSAGE_HEADER_LENGTH, behind: length }
                        }
                        Plan::Drop => State::Dropping { left: frame },
                        Plan::Through => State::Through { left: frame },
                    };
                    self.last = frame;
                }
                State::Gathering { .. } => return Ok(true),
                State::Reading { .. } | State::Through { .. } => return Ok(false),
            }
        }
    }

    /// The header and the body of the gathered frame, which must be whole. The body is without a payload that was
    /// gathered apart.
    pub(super) fn whole(&mut self) -> Option<(&mut Header, &mut [u8])> {
        let State::Gathering { frame, .. } = self.state else { return None };
        let gathered = frame - self.apart_len();
        self.received.bytes().get_mut(..gathered)?.split_first_chunk_mut()
    }

    /// Gathers the payload of the frame, which is not whole, apart, if it is large.
    pub(super) fn gather_apart(&mut self) {
        let State::Gathering { frame, sort } = self.state else { return };
        if self.apart.is_some() {
            return;
        }
        let bytes = self.received.bytes();
        let Some(body) = bytes.get(MESSAGE_HEADER_LENGTH..) else { return };
        let length = frame - MESSAGE_HEADER_LENGTH;
        if let Some(apart) = Apart::begin(body, length, sort) {
            self.received.cut(apart.at(), apart.len());
            self.apart = Some(apart);
        }
    }

    /// The size of the gathered frame's payload, if that is apart.
    pub(super) fn apart_size(&self) -> Option<usize> {
        self.apart.as_ref().map(Apart::size)
    }

    /// Whether the payload of the gathered frame is apart.
    pub(super) fn is_apart(&self) -> bool {
        self.apart.is_some()
    }

    /// Puts a payload that was gathered apart back into its frame.
    pub(super) fn rejoin(&mut self) {
        if let Some(apart) = self.apart.take() {
            self.received.insert(apart.at(), apart.parts());
        }
    }

    /// Passes the gathered frame, which is whole and whose payload is apart, without the payload, which is returned.
    /// ttrpc reads `body` in place of the frame's own.
    pub(super) fn pass_apart(&mut self, body: Option<&[u8]>) -> Vec<u8> {
        let (State::Gathering { frame, .. }, Some(apart)) = (self.state, self.apart.take()) else {
            return Vec::new();
        };
        let gathered = frame - apart.len();
        let frame = &mut self.received.bytes()[..gathered];
        if let Some((header, own)) = frame.split_first_chunk_mut() {
            let body = body.unwrap_or(own);
            frame_header::set_length(header, body.len() as u32);
            self.passed.extend(header);
            self.passed.extend(body);
        }
        self.received.take(gathered);
        self.state = State::Between;
        apart.into_payload()
    }

    /// Drops the gathered frame.
    pub(super) fn drop_frame(&mut self) {
        let State::Gathering { frame, .. } = self.state else { return };
        self.received.take(frame - self.apart_len());
        self.apart = None;
        self.state = State::Between;
    }

    /// Cuts a payload's field out of the gathered frame, which must be whole. Returns the payload.
    pub(super) fn detach(&mut self, field: &PayloadField) -> Vec<u8> {
        let State::Gathering { frame, .. } = &mut self.state else { return Vec::new() };
        let bytes = self.received.bytes();
        let payload = bytes[MESSAGE_HEADER_LENGTH..*frame][field.payload.clone()].to_vec();
        let cut = field.payload.end - field.at;
        self.received.cut(MESSAGE_HEADER_LENGTH + field.at, cut);
        *frame -= cut;
        if let Some(header) = self.received.bytes().first_chunk_mut() {
            frame_header::set_length(header, (*frame - MESSAGE_HEADER_LENGTH) as u32);
        }
        payload
    }

    /// Lets ttrpc read the first `left` bytes of the gathered frame, and drops the others.
    pub(super) fn pass(&mut self, left: usize) {
        if let State::Gathering { frame, .. } = self.state {
            let behind = frame - left;
            self.state = if left == 0 { dropping(behind) } else { State::Reading { left, behind } };
        }
    }

    /// Whether the bytes that arrived end in the middle of a frame.
    pub(super) fn mid_frame(&mut self) -> bool {
        let mut at = match self.state {
            // The header tells the size of the whole frame, and not all of it is in the buffer.
            State::Gathering { frame, .. } if self.is_apart() => frame - self.apart_len(),
            _ => self.left(),
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
