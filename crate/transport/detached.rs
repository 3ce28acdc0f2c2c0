//! Large payloads, which pass ttrpc by.
//!
//! ttrpc copies a payload when it encodes an envelope and when it decodes one, and zeroes the memory that it reads a
//! frame into. So ttrpc gets envelopes without their large payloads. What it sends has a stub of one byte in the
//! payload's place, and the payload is put back when ttrpc writes the frame. What arrives has no payload field any
//! more, and the payload is put back when the call, or the handler of the request, has the rest of the message. The
//! bytes on the wire are the same.
//!
//! A payload is kept under the stream id of its call, which a connection never uses twice, and each kind of entry has
//! one owner that removes it: the [`UnaryCall`](super::UnaryCall) of a call of this side, when it ends; a request's
//! handler, or ttrpc's answer in the handler's place; for a reply, its frame.
//!
//! For a message of a stream, which has no envelope, ttrpc gets the stub alone. A stream has one message at a time on
//! its way to ttrpc's writer ([`LeavingMessage`](super::stream_message::LeavingMessage)). Those that arrive wait in
//! their [`StreamState`](super::stream_state::StreamState), in the order in which ttrpc gets the stubs. A message of
//! one byte, which could be taken for a stub, waits there, too.
//!
//! The largest are not copied at all: they are read from the socket [into memory of their own](super::apart), and
//! [written from there](super::send_buffer).

use super::awaited_ids::AwaitedIds;
use super::envelope::PayloadField;
use super::frame_header::{self, Header};
use crate::ids::IdMap;
use ttrpc::proto::{
    DEFAULT_PAGE_SIZE, MESSAGE_TYPE_DATA, MESSAGE_TYPE_REQUEST, MESSAGE_TYPE_RESPONSE,
};

/// The smallest payload of a unary call that passes ttrpc by, in bytes. Below, the copies cost less than the detour.
pub(super) const DETACHED: usize = 4 << 10;

/// What ttrpc gets for a payload that it sends.
pub(super) const STUB: [u8; 1] = [0];

/// ttrpc writes a frame of at most this size at once.
pub(super) const ONE_WRITE: usize = DEFAULT_PAGE_SIZE;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Detached {
    /// Client: the unary calls whose requests were written and that have no response.
    pub(super) awaited: AwaitedIds,
    /// Payloads of frames that ttrpc has not written.
    pub(super) leaving: IdMap<Leaving>,
    /// Messages of streams that ttrpc has not written. Of each stream, it has one at a time.
    pub(super) messages: IdMap<Vec<u8>>,
    /// Streams that were given up while ttrpc had a message of theirs.
    pub(super) abandoned: Vec<u32>,
    /// Payloads of responses that their calls have not taken, and of requests whose handlers have not begun.
    pub(super) arriving: IdMap<Vec<u8>>,
    /// Bytes of the payloads that arrived and were not taken.
    arrived: usize,
}

#[derive(Debug)]
pub(super) struct Leaving {
    /// Where the stub's field begins in the frame's body.
    pub(super) at: usize,
    pub(super) payload: Vec<u8>,
}

/// The parts of a frame whose stub is replaced.
#[derive(Debug)]
pub(super) struct Spliced<'a> {
    /// The header of the frame with the stub.
    header: Header,
    /// The envelope up to the payload's field.
    pub(super) front: &'a [u8],
    /// The tag and the length of the field, if it is in an envelope.
    pub(super) prefix: Option<Prefix>,
    pub(super) payload: Vec<u8>,
    /// The envelope behind the field.
    pub(super) back: &'a [u8],
}

impl Spliced<'_> {
    /// The header for a body of this length.
    pub(super) fn header(&self, length: usize) -> Header {
        let mut header = self.header;
        frame_header::set_length(&mut header, length as u32);
        header
    }
}

/// The tag and the length of a field that has a number below 16.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prefix {
    bytes: [u8; 6],
    length: usize,
}

impl Prefix {
    pub(super) fn new(tag: u8, mut length: usize) -> Self {
        let mut prefix = Self { bytes: [tag, 0, 0, 0, 0, 0], length: 1 };
        while length > 0x7f {
            prefix.push(length as u8 | 0x80);
            length >>= 7;
        }
        prefix.push(length as u8);
        prefix
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

pub(super) const REQUEST_PAYLOAD: u8 = 0x1a;
pub(super) const RESPONSE_PAYLOAD: u8 = 0x12;

impl Detached {
    pub(super) fn new() -> Self {
        Self {
            awaited: AwaitedIds::default(),
            leaving: IdMap::default(),
            messages: IdMap::default(),
            abandoned: Vec::new(),
            arriving: IdMap::default(),
            arrived: 0,
        }
    }

    /// Bytes of the payloads that arrived and were not taken.
    pub(super) fn arrived(&self) -> usize {
        self.arrived
    }

    /// ttrpc writes a frame, or the first part of one. Puts the payload back if the frame has a stub. Only the call or
    /// the handler itself makes a frame of this id with a payload; ttrpc's own answers have none.
    pub(super) fn splice<'a>(&mut self, bytes: &'a [u8]) -> Option<Spliced<'a>> {
        if self.leaving.is_empty() && self.arriving.is_empty() && self.messages.is_empty() {
            return None;
        }
        let (header, body) = bytes.split_first_chunk()?;
        let id = frame_header::stream_id(header);
        let tag = match frame_header::kind(header) {
            MESSAGE_TYPE_DATA => {
                let payload = (*body == STUB).then(|| self.messages.remove(&id)).flatten()?;
                return Some(Spliced {
                    header: *header,
                    front: &[],
                    prefix: None,
                    payload,
                    back: &[],
                });
            }
            MESSAGE_TYPE_REQUEST => REQUEST_PAYLOAD,
            MESSAGE_TYPE_RESPONSE => {
                // A request that still has its payload here had no handler.
                self.take(id);
                RESPONSE_PAYLOAD
            }
            _ => return None,
        };
        if frame_header::length(header) != body.len() {
            return None;
        }
        let at = self.leaving.get(&id)?.at;
        let (front, rest) = body.split_at_checked(at)?;
        let back = rest.strip_prefix(&[tag, STUB.len() as u8, STUB[0]])?;
        let Leaving { payload, .. } = self.leaving.remove(&id)?;
        let prefix = Prefix::new(tag, payload.len());
        Some(Spliced { header: *header, front, prefix: Some(prefix), payload, back })
    }

    /// Client: ttrpc wrote a unary call's request, which it does only for a call that is under way.
    pub(super) fn called(&mut self, id: u32) {
        self.awaited.add(id);
    }

    /// Client: a response to a call of this id arrived. Returns whether its payload may be detached, which is so for
    /// the first response to a unary call that is under way.
    pub(super) fn answered(&mut self, id: u32) -> bool {
        self.awaited.remove(id)
    }

    /// The payload of a response, or of a request, was detached.
    pub(super) fn keep(&mut self, id: u32, payload: Vec<u8>) {
        self.arrived += payload.len();
        self.arriving.insert(id, payload);
    }

    /// Takes a payload that was kept.
    pub(super) fn take(&mut self, id: u32) -> Option<Vec<u8>> {
        if self.arriving.is_empty() {
            return None;
        }
        let payload = self.arriving.remove(&id)?;
        self.arrived -= payload.len();
        Some(payload)
    }

    /// ttrpc has written every message that it had. What is left of streams that were given up, it will never write.
    pub(super) fn forget_abandoned(&mut self) {
        for id in self.abandoned.drain(..) {
            self.messages.remove(&id);
        }
    }
}

impl PayloadField {
    /// Where the payload's field is in a request that is large enough.
    pub(super) fn of_request(body: &[u8]) -> Option<Self> {
        Self::find(body, REQUEST_PAYLOAD)
    }

    /// The same for a response.
    pub(super) fn of_response(body: &[u8]) -> Option<Self> {
        Self::find(body, RESPONSE_PAYLOAD)
    }

    fn find(body: &[u8], tag: u8) -> Option<Self> {
        if body.len() < DETACHED {
            return None;
        }
        Self::only(body, tag)
            .filter(|field| field.payload.len() >= DETACHED && field.at < ONE_WRITE)
    }
}
