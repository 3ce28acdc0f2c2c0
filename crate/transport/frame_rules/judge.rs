//! What happens to a whole frame from the peer.

use super::{FrameRules, Role, SMALL_REQUEST, encoded_status};
use crate::protocol::status::Code;
use crate::transport::detached::STUB;
use crate::transport::envelope::{self, Costly, PayloadField};
use crate::transport::frame_header::{Header, flags, kind, stream_id};
use crate::transport::frame_reader::{Owner, Sort, Verdict};
use ttrpc::proto::{
    FLAG_NO_DATA, FLAG_REMOTE_CLOSED, MESSAGE_TYPE_DATA, MESSAGE_TYPE_REQUEST,
    MESSAGE_TYPE_RESPONSE,
};

impl FrameRules {
    /// Whether the payload of a frame may be gathered apart, judged by its header.
    pub(in crate::transport) fn may_gather_apart(&self, header: &Header, sort: Sort) -> bool {
        let id = stream_id(header);
        match sort {
            Sort::Request => true,
            Sort::Message => has_data(header),
            Sort::Response => self.is_awaited(id),
        }
    }

    /// Whether ttrpc may get a whole frame without a payload that was gathered apart. If not, the payload must be put
    /// back before the frame is judged.
    pub(in crate::transport) fn may_stay_apart(
        &self,
        header: &Header,
        rest: &[u8],
        sort: Sort,
    ) -> bool {
        sort.tag().is_none_or(|tag| PayloadField::was_only(rest, tag))
            && (sort != Sort::Response || self.is_awaited(stream_id(header)) && !is_misread(rest))
    }

    /// Client: whether a unary call awaits the response with this id.
    fn is_awaited(&self, id: u32) -> bool {
        self.detached.awaited.contains(id) && !self.streams.contains_key(&id)
    }

    /// Judges a whole frame. `body` is without the payload if that was gathered `apart`; its size is given.
    pub(in crate::transport) fn judge(
        &mut self,
        header: &mut Header,
        body: &mut [u8],
        apart: Option<usize>,
    ) -> Verdict {
        let id = stream_id(header);
        match (self.role, kind(header)) {
            (Role::Client, MESSAGE_TYPE_RESPONSE) => self.judge_response(id, body, apart),
            (Role::Server, MESSAGE_TYPE_REQUEST) => self.judge_request(header, body, apart),
            (_, MESSAGE_TYPE_DATA) => self.judge_message(header, body, apart),
            _ => Verdict::Pass,
        }
    }

    fn judge_response(&mut self, id: u32, body: &[u8], apart: Option<usize>) -> Verdict {
        let is_stream = self.answered(id);
        let is_awaited = self.detached.answered(id);
        let found = match envelope::response(body) {
            Ok(found) => found,
            Err(Costly(text)) => {
                return Verdict::Replace(encoded_status(Code::ResourceExhausted, text));
            }
        };
        if found.is_misread(is_stream) {
            return envelope::readable_response(body, is_stream)
                .map_or(Verdict::Pass, Verdict::Replace);
        }
        if is_stream || !is_awaited {
            return Verdict::Pass;
        }
        Verdict::of_field(apart, || PayloadField::of_response(body))
    }

    fn judge_request(&mut self, header: &Header, body: &[u8], apart: Option<usize>) -> Verdict {
        let id = stream_id(header);
        let found = match envelope::request(body) {
            Ok(found) => found,
            Err(Costly(text)) => {
                self.refuse(id, Code::ResourceExhausted, text);
                return Verdict::Refuse;
            }
        };
        let kept = found.kept(body.len());
        // ttrpc has refused what came before.
        self.early.remove(&id);
        // A normal unary request has no flags, and its handler knows its size.
        if flags(header) != 0 || kept > SMALL_REQUEST {
            let early = self.early.entry(id).or_default();
            early.payload = apart.unwrap_or(found.payload);
            early.kept = kept;
        }
        Verdict::of_field(apart, || PayloadField::of_request(body))
    }

    fn judge_message(&mut self, header: &Header, body: &[u8], apart: Option<usize>) -> Verdict {
        let id = stream_id(header);
        let size = apart.unwrap_or(body.len());
        let ends = flags(header) & FLAG_REMOTE_CLOSED != 0;
        let owner = match (self.role, self.streams.get(&id)) {
            // The stream has been given up meanwhile.
            (Role::Client, None) => return Verdict::Refuse,
            (_, Some(state)) => {
                if ends && self.role == Role::Server {
                    state.half_close();
                }
                state.arrived(1, size);
                Owner::Stream(state.clone())
            }
            (Role::Server, None) => {
                let early = self.early.entry(id).or_default();
                early.messages += 1;
                early.bytes += size;
                early.ended |= ends;
                Owner::EarlyStream
            }
        };
        if ends && self.role == Role::Client {
            self.streams.remove(&id);
        }
        // A message that looks like a stub must have one, too.
        if !has_data(header) || apart.is_none() && size != STUB.len() {
            return Verdict::Pass;
        }
        // Of a message that is not apart, nothing is cut: its one byte is the stub.
        Verdict::Detach(PayloadField { at: STUB.len(), payload: 0..size }, owner)
    }

    /// Keeps a payload that was detached for its owner.
    pub(in crate::transport) fn keep(&mut self, id: u32, payload: Vec<u8>, owner: Owner) {
        match owner {
            Owner::Call => self.detached.keep(id, payload),
            Owner::Stream(state) => state.keep(payload),
            Owner::EarlyStream => self.early.entry(id).or_default().payloads.push(payload),
        }
    }
}

/// Whether a message has data, and not a body that breaks the protocol.
fn has_data(header: &Header) -> bool {
    const CLOSES: u8 = FLAG_REMOTE_CLOSED | FLAG_NO_DATA;
    flags(header) & CLOSES != CLOSES
}

/// Whether a unary response is encoded again, for which it must have its payload.
fn is_misread(response: &[u8]) -> bool {
    envelope::response(response).is_ok_and(|found| found.is_misread(false))
}

impl Verdict {
    /// Detaches the payload of a call, if it was gathered `apart`, or is found.
    fn of_field(apart: Option<usize>, find: impl FnOnce() -> Option<PayloadField>) -> Self {
        let field = match apart {
            Some(size) => Some(PayloadField { at: 0, payload: 0..size }),
            None => find(),
        };
        field.map_or(Self::Pass, |field| Self::Detach(field, Owner::Call))
    }
}
