//! The rules about frames: each frame is inspected in passing, and corrected if ttrpc would misread it or
//! wrote it wrong. A new rule goes here, or into [`judge`]; rules about an envelope's fields are in
//! [`envelope`](super::envelope).
//!
//! Outgoing frames never grow, shrink or vanish: only single bytes of short replies are changed. Incoming
//! frames that ttrpc would ignore, or that would cost too much, are withheld.

use super::detached::Detached;
use super::frame_header::{Header, Scanner, flags, kind, length, stream_id};
use super::frame_reader::{Plan, Sort};
use super::stream_state::StreamState;
use super::used_ids::UsedIds;
use crate::ids::{IdMap, IdSet};
use crate::protocol::code_corrections::code_that_go_answers;
use crate::protocol::status::{Code, response_of_status};
use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use ttrpc::proto::{
    Codec as _, FLAG_REMOTE_CLOSED, MESSAGE_LENGTH_MAX, MESSAGE_TYPE_DATA, MESSAGE_TYPE_REQUEST,
    MESSAGE_TYPE_RESPONSE, MessageHeader,
};

/// A type that no peer may send: ttrpc's client fails the call with this id, and its server ignores the
/// frame.
const TYPE_REFUSED: u8 = 0x7f;

/// A request without flags of which no more bytes than this are kept gets no entry in `early`.
const SMALL_REQUEST: usize = 1024;

/// Which end of the connection ttrpc is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// ttrpc's client.
    Client,
    /// ttrpc's server.
    Server,
}

/// The first byte of a header was not 0: the peer does not speak ttrpc, or announces 16 MiB or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotTtrpc(pub(super) Header);

/// What the rules remember of a connection's frames to judge the next one.
#[derive(Debug)]
pub(super) struct FrameRules {
    role: Role,
    /// The open streams. On a client, every other id that awaits an answer is a unary call's.
    streams: IdMap<Arc<StreamState>>,
    /// Client: streams whose requests ttrpc has not written yet, in order.
    opening: VecDeque<Arc<StreamState>>,
    /// Server: frames of streams whose handlers have not begun, because they came in the same turn as the
    /// request, and of streams that there are not. Cleared when the turn is over.
    early: IdMap<Early>,
    /// Server: the ids that requests have used.
    used_ids: UsedIds,
    /// Server: whole frames to send, with which the rules answer in place of ttrpc.
    own_replies: Vec<u8>,
    /// Server: ids whose handler itself answered with a status that [`code_that_go_answers`] would correct.
    exempt: IdSet,
    /// Server: what keeps ttrpc from forgetting the streams whose answers it has not written.
    answering: IdMap<Box<dyn Any + Send>>,
    /// The payloads that ttrpc does not see.
    pub(super) detached: Detached,
}

/// What is known of a stream before its handler has begun.
#[derive(Debug, Default)]
struct Early {
    /// Bytes of its request's payload, and of what else is kept of the request.
    payload: usize,
    kept: usize,
    messages: usize,
    bytes: usize,
    /// Those of the messages that ttrpc got as stubs.
    payloads: Vec<Vec<u8>>,
    /// The size of a message that was too large, or 0.
    oversized: usize,
    ended: bool,
}

impl FrameRules {
    /// The rules for a new connection.
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            streams: IdMap::default(),
            opening: VecDeque::new(),
            early: IdMap::default(),
            used_ids: UsedIds::default(),
            own_replies: Vec::new(),
            exempt: IdSet::default(),
            answering: IdMap::default(),
            detached: Detached::new(),
        }
    }

    /// Server: the next reply on this stream id carries a handler's own status, which is not corrected.
    pub(super) fn exempt(&mut self, stream_id: u32) {
        self.exempt.insert(stream_id);
    }

    /// Server: ttrpc knows the stream until its answer is written.
    pub(super) fn answering(&mut self, stream_id: u32, receiver: Box<dyn Any + Send>) {
        self.answering.insert(stream_id, receiver);
    }

    /// Server: ttrpc writes nothing any more.
    pub(super) fn no_more_answers(&mut self) {
        self.answering.clear();
    }

    /// Client: the next stream request that ttrpc writes, after those announced before, belongs to `state`.
    pub(super) fn opening(&mut self, state: Arc<StreamState>) {
        self.opening.push_back(state);
    }

    /// A stream has got its id.
    pub(super) fn opened(&mut self, stream_id: u32, state: Arc<StreamState>) {
        state.opened(stream_id);
        if let Some(early) = self.early.remove(&stream_id) {
            state.arrived(early.messages, early.bytes);
            early.payloads.into_iter().for_each(|payload| state.keep(payload));
            if early.ended {
                state.half_close();
            }
            if early.oversized > 0 {
                state.too_large(early.oversized);
            }
        }
        self.streams.insert(stream_id, state);
    }

    /// The stream needs nothing more from the peer. Messages that still arrive are not counted, and nobody takes those
    /// that ttrpc has.
    pub(super) fn forget(&mut self, state: &StreamState) {
        state.drop_payloads();
        if let Some(stream_id) = state.stream_id() {
            self.streams.remove(&stream_id);
        }
    }

    pub(super) fn is_server(&self) -> bool {
        self.role == Role::Server
    }

    /// The turn is over: ttrpc has read what passed, and the handlers of its requests have begun. It has written every
    /// message that it had.
    pub(super) fn turn_over(&mut self) {
        self.early.clear();
        self.detached.forget_abandoned();
    }

    /// Judges a frame from the peer by its header.
    pub(super) fn plan(&mut self, header: &mut Header) -> Result<Plan, NotTtrpc> {
        if header[0] != 0 {
            return Err(NotTtrpc(*header));
        }
        Ok(match self.role {
            Role::Client => self.plan_from_server(header),
            Role::Server => self.plan_from_client(header),
        })
    }

    /// A DATA frame that answers a unary call would be decoded as a Response and taken for success.
    fn plan_from_server(&mut self, header: &mut Header) -> Plan {
        let id = stream_id(header);
        let fits = length(header) <= MESSAGE_LENGTH_MAX;
        match kind(header) {
            MESSAGE_TYPE_RESPONSE if fits => Plan::Gather(Sort::Response),
            MESSAGE_TYPE_RESPONSE => {
                self.answered(id);
                self.detached.answered(id);
                Plan::Through
            }
            MESSAGE_TYPE_DATA if !self.streams.contains_key(&id) => {
                header[8] = TYPE_REFUSED;
                Plan::Head
            }
            MESSAGE_TYPE_DATA if fits => Plan::Gather(Sort::Message),
            MESSAGE_TYPE_DATA => {
                // It may end the stream, and is never handed over.
                if flags(header) & FLAG_REMOTE_CLOSED != 0 {
                    self.streams.remove(&id);
                }
                Plan::Through
            }
            _ => Plan::Head,
        }
    }

    /// A request with a used id is refused, because ttrpc would run it and mix up the two streams.
    fn plan_from_client(&mut self, header: &mut Header) -> Plan {
        let id = stream_id(header);
        let fits = length(header) <= MESSAGE_LENGTH_MAX;
        let is_odd = id % 2 == 1;
        match kind(header) {
            MESSAGE_TYPE_REQUEST if is_odd && !self.used_ids.take(id) => {
                let text = "StreamID cannot be re-used and must increment";
                self.refuse(id, Code::InvalidArgument, text);
                Plan::Drop
            }
            MESSAGE_TYPE_REQUEST if !fits => Plan::Through,
            MESSAGE_TYPE_REQUEST if is_odd => Plan::Gather(Sort::Request),
            MESSAGE_TYPE_DATA => match self.streams.get(&id) {
                // Nobody takes messages behind the end, and ttrpc would queue them without limit.
                Some(state) if state.is_half_closed() => Plan::Drop,
                None if self.early.get(&id).is_some_and(|early| early.ended) => Plan::Drop,
                Some(state) if !fits => {
                    state.too_large(length(header));
                    Plan::Through
                }
                None if !fits => {
                    self.early.entry(id).or_default().oversized = length(header);
                    Plan::Through
                }
                _ if is_odd => Plan::Gather(Sort::Message),
                _ => Plan::Head,
            },
            // ttrpc refuses even ids, and ignores unknown types.
            _ if is_odd => Plan::Drop,
            _ => Plan::Head,
        }
    }

    /// Client: a response ends a call. Returns whether the call is a stream.
    fn answered(&mut self, id: u32) -> bool {
        let stream = self.streams.remove(&id);
        if let Some(state) = &stream {
            state.answer();
        }
        stream.is_some()
    }

    /// Server: the bytes of a request's payload, and of what else is kept of the request, for its handler.
    pub(super) fn request(&self, stream_id: u32) -> (usize, usize) {
        self.early.get(&stream_id).map_or((0, 0), |early| (early.payload, early.kept))
    }

    fn refuse(&mut self, stream_id: u32, code: Code, text: &str) {
        let body = encoded_status(code, text);
        let header = MessageHeader::new_response(stream_id, body.len() as u32);
        self.own_replies.extend(Vec::<u8>::from(header));
        self.own_replies.extend(body);
    }

    /// Takes the frames with which the rules answer in place of ttrpc.
    pub(super) fn own_replies(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.own_replies)
    }

    /// Inspects what ttrpc wrote before it leaves.
    pub(super) fn outbound(&mut self, scanner: &mut Scanner, buffer: &mut [u8]) {
        scanner.walk(buffer, |header, rest| match (self.role, kind(header)) {
            (Role::Client, MESSAGE_TYPE_REQUEST) if flags(header) != 0 => {
                if let Some(state) = self.opening.pop_front() {
                    self.opened(stream_id(header), state);
                }
            }
            (Role::Client, MESSAGE_TYPE_REQUEST) => self.detached.called(stream_id(header)),
            (Role::Server, MESSAGE_TYPE_RESPONSE) => {
                let size = length(header).min(rest.len());
                self.reply_from_ttrpc(stream_id(header), &mut rest[..size]);
                self.answering.remove(&stream_id(header));
            }
            (Role::Server, MESSAGE_TYPE_DATA) if flags(header) & FLAG_REMOTE_CLOSED != 0 => {
                self.answering.remove(&stream_id(header));
            }
            _ => {}
        });
    }

    /// ttrpc answers INVALID_ARGUMENT to an unknown service and to an oversized message; Go answers
    /// UNIMPLEMENTED and RESOURCE_EXHAUSTED. containerd depends on UNIMPLEMENTED to find out which version of
    /// the task service a shim has. The codes are one byte each, so the frame keeps its length.
    fn reply_from_ttrpc(&mut self, stream_id: u32, body: &mut [u8]) {
        let Some((at, code)) = code_that_go_answers(body) else { return };
        if !self.exempt.remove(&stream_id) {
            body[at] = code;
        }
    }
}

fn encoded_status(code: Code, text: &str) -> Vec<u8> {
    // A status that this side makes always encodes.
    response_of_status(code, text).encode().unwrap_or_default()
}

mod judge;
#[cfg(test)]
mod tests;
