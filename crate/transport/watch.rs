//! Judges the frames of a connection in passing, and corrects what ttrpc would misread or get wrong.
//!
//! Only types, and single bytes of short replies, are changed: no frame grows, shrinks or vanishes.

use super::codes::{STATUS_CODE_AT, code_that_go_answers, make_code_known};
use super::frames::{Header, Scanner, Visit, flags, kind, length, stream_id};
use super::meter::Meter;
use super::requested::Requested;
use crate::ids::{IdMap, IdSet};
use crate::status::{Code, response_of_status};
use std::collections::VecDeque;
use std::sync::Arc;
use ttrpc::proto::{
    FLAG_REMOTE_CLOSED, MESSAGE_LENGTH_MAX, MESSAGE_TYPE_DATA, MESSAGE_TYPE_REQUEST,
    MESSAGE_TYPE_RESPONSE, MessageHeader,
};

/// A type that no peer may send: ttrpc's client fails the call it is addressed to, its server
/// ignores it.
const TYPE_REFUSED: u8 = 0x7f;

/// Which end of the connection ttrpc plays here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// ttrpc's client.
    Client,
    /// ttrpc's server.
    Server,
}

/// The first byte of a header was not 0: the peer does not speak ttrpc, or announces 16 MiB and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotTtrpc(pub(super) Header);

/// What a connection remembers of its frames to judge the next one.
#[derive(Debug)]
pub(super) struct Watch {
    role: Role,
    /// The open calls that are streams. On a client, all other ids that await an answer are unary.
    streams: IdMap<Arc<Meter>>,
    /// The stream whose message is on its way in, and its size. It counts once it is whole: a message
    /// that counted before could stop the reading of its own rest.
    arriving: Option<(Arc<Meter>, usize)>,
    /// Client: streams whose requests are on their way through ttrpc, in order.
    opening: VecDeque<Arc<Meter>>,
    /// Server: streams of which the end came in the same read as their request, which ttrpc has not
    /// seen yet. Forgotten with the next read.
    ended_early: IdSet,
    /// Server: likewise, the sizes of messages that are too large.
    oversized_early: IdMap<usize>,
    /// Server: the ids that requests have had.
    requested: Requested,
    /// Server: replies of the watch's own, whole frames that are to be sent.
    own_replies: Vec<u8>,
    /// Server: ids whose handler itself answered with a text that [`code_that_go_answers`] would correct.
    exempt: IdSet,
}

impl Watch {
    /// The watch over a fresh connection.
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            streams: IdMap::default(),
            arriving: None,
            opening: VecDeque::new(),
            ended_early: IdSet::default(),
            oversized_early: IdMap::default(),
            requested: Requested::default(),
            own_replies: Vec::new(),
            exempt: IdSet::default(),
        }
    }

    /// Server: the next reply on this stream id carries a handler's own status, which goes out as it is.
    pub(super) fn exempt(&mut self, stream_id: u32) {
        self.exempt.insert(stream_id);
    }

    /// Client: the next stream request that leaves, after those announced before, belongs to `meter`.
    pub(super) fn opening(&mut self, meter: Arc<Meter>) {
        self.opening.push_back(meter);
    }

    /// A stream has its id.
    pub(super) fn opened(&mut self, stream_id: u32, meter: Arc<Meter>) {
        meter.opened(stream_id);
        if self.ended_early.remove(&stream_id) {
            meter.half_close();
        }
        if let Some(size) = self.oversized_early.remove(&stream_id) {
            meter.too_large(size);
        }
        self.streams.insert(stream_id, meter);
    }

    /// The stream needs nothing more from the peer: what still comes is not counted.
    pub(super) fn forget(&mut self, meter: &Meter) {
        if let Some(stream_id) = meter.stream_id() {
            self.streams.remove(&stream_id);
        }
        self.arriving =
            self.arriving.take().filter(|(arriving, _)| !std::ptr::eq(&**arriving, meter));
    }

    /// Looks at what came from the peer before ttrpc does.
    pub(super) fn inbound(
        &mut self,
        scanner: &mut Scanner,
        buffer: &mut [u8],
    ) -> Result<(), NotTtrpc> {
        self.ended_early.clear();
        self.oversized_early.clear();
        scanner.walk(buffer, |header, rest| {
            if header[0] != 0 {
                return Err(NotTtrpc(*header));
            }
            self.arrived();
            Ok(match self.role {
                Role::Client => self.answer_from_server(header, rest),
                Role::Server => self.frame_from_client(header),
            })
        })?;
        if scanner.between_frames() {
            self.arrived();
        }
        Ok(())
    }

    fn arrived(&mut self) {
        if let Some((meter, size)) = self.arriving.take() {
            meter.arrived(size);
        }
    }

    /// A DATA frame that answers a unary call would be decoded as a Response and taken for success. A
    /// status code that ttrpc's enum does not know would end a stream as if it were OK.
    fn answer_from_server(&mut self, header: &mut Header, rest: &mut [u8]) -> Visit {
        let (id, size) = (stream_id(header), length(header));
        match kind(header) {
            MESSAGE_TYPE_RESPONSE if self.streams.contains_key(&id) => {
                if size <= MESSAGE_LENGTH_MAX {
                    let Some(body) = rest.get_mut(..size) else { return Visit::Wait };
                    make_code_known(body);
                }
                if let Some(meter) = self.streams.remove(&id) {
                    meter.answer();
                }
            }
            MESSAGE_TYPE_DATA => match self.streams.get(&id) {
                Some(meter) => {
                    // One that is too large ends the stream and is never handed over.
                    if size <= MESSAGE_LENGTH_MAX {
                        self.arriving = Some((meter.clone(), size));
                    }
                    if flags(header) & FLAG_REMOTE_CLOSED != 0 {
                        self.streams.remove(&id);
                    }
                }
                None => header[8] = TYPE_REFUSED,
            },
            _ => {}
        }
        Visit::Pass
    }

    /// ttrpc runs a request whose id was used before, and the streams of the two get mixed up.
    fn frame_from_client(&mut self, header: &mut Header) -> Visit {
        let id = stream_id(header);
        match kind(header) {
            // An even id is refused by ttrpc itself.
            MESSAGE_TYPE_REQUEST if id % 2 == 1 && !self.requested.take(id) => {
                header[8] = TYPE_REFUSED;
                self.refuse(id, "StreamID cannot be re-used and must increment");
            }
            MESSAGE_TYPE_DATA => match self.streams.get(&id) {
                // Nobody takes what comes behind the end, and ttrpc would queue it without limit.
                Some(meter) if meter.is_half_closed() => header[8] = TYPE_REFUSED,
                Some(meter) if length(header) > MESSAGE_LENGTH_MAX => {
                    meter.too_large(length(header))
                }
                Some(meter) => {
                    if flags(header) & FLAG_REMOTE_CLOSED != 0 {
                        meter.half_close();
                    }
                    self.arriving = Some((meter.clone(), length(header)));
                }
                None if self.ended_early.contains(&id) => header[8] = TYPE_REFUSED,
                None if length(header) > MESSAGE_LENGTH_MAX => {
                    self.oversized_early.insert(id, length(header));
                }
                None if flags(header) & FLAG_REMOTE_CLOSED != 0 => {
                    self.ended_early.insert(id);
                }
                None => {}
            },
            _ => {}
        }
        Visit::Pass
    }

    fn refuse(&mut self, stream_id: u32, text: &str) {
        let response = response_of_status(Code::InvalidArgument, text);
        // A status of this side's making always encodes.
        let Ok(body) = ttrpc::proto::Codec::encode(&response) else { return };
        let header = MessageHeader::new_response(stream_id, body.len() as u32);
        self.own_replies.extend(Vec::<u8>::from(header));
        self.own_replies.extend(body);
    }

    /// Takes the replies that the watch itself gives.
    pub(super) fn own_replies(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.own_replies)
    }

    /// Looks at what ttrpc wrote before it leaves.
    pub(super) fn outbound(&mut self, scanner: &mut Scanner, buffer: &mut [u8]) {
        let result: Result<(), std::convert::Infallible> = scanner.walk(buffer, |header, rest| {
            match (self.role, kind(header)) {
                (Role::Client, MESSAGE_TYPE_REQUEST) if flags(header) != 0 => {
                    if let Some(meter) = self.opening.pop_front() {
                        self.opened(stream_id(header), meter);
                    }
                }
                (Role::Server, MESSAGE_TYPE_RESPONSE) => {
                    let size = length(header).min(rest.len());
                    self.reply_from_ttrpc(stream_id(header), &mut rest[..size]);
                }
                _ => {}
            }
            Ok(Visit::Pass)
        });
        let Ok(()) = result;
    }

    /// ttrpc answers INVALID_ARGUMENT for an unknown service and for an oversized message, where
    /// Go answers UNIMPLEMENTED and RESOURCE_EXHAUSTED. containerd depends on the first to find out
    /// which version of the task service a shim has. The codes are one byte each, so the frame's
    /// length stays.
    fn reply_from_ttrpc(&mut self, stream_id: u32, body: &mut [u8]) {
        let Some(code) = code_that_go_answers(body) else { return };
        if !self.exempt.remove(&stream_id) {
            body[STATUS_CODE_AT] = code;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream_id: u32, kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
        bytes.extend(stream_id.to_be_bytes());
        bytes.extend([kind, flags]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_header_is_hidden_until_all_ten_bytes_are_there() {
        let bytes = frame(1, MESSAGE_TYPE_RESPONSE, 0, b"abc");
        let mut watch = Watch::new(Role::Client);
        for cut in 0..bytes.len() {
            let mut scanner = Scanner::default();
            watch.inbound(&mut scanner, &mut bytes[..cut].to_vec()).unwrap();
            assert_eq!(scanner.scanned(), if cut < 10 { 0 } else { cut }, "after {cut} bytes");
            assert_eq!(scanner.mid_frame(cut), cut != 0, "after {cut} bytes");
        }
    }

    #[test]
    fn data_that_answers_a_unary_call_is_refused_and_data_of_a_stream_is_counted() {
        let mut watch = Watch::new(Role::Client);
        let meter = Arc::new(Meter::default());
        watch.opening(meter.clone());
        let mut sent = frame(1, MESSAGE_TYPE_REQUEST, 0, b"unary");
        sent.extend(frame(3, MESSAGE_TYPE_REQUEST, 2, b"stream"));
        watch.outbound(&mut Scanner::default(), &mut sent);
        assert_eq!(meter.stream_id(), Some(3));

        let mut answers = frame(1, MESSAGE_TYPE_DATA, 0, b"x");
        answers.extend(frame(3, MESSAGE_TYPE_DATA, 0, b"y"));
        answers.extend(frame(3, MESSAGE_TYPE_DATA, 5, b""));
        answers.extend(frame(3, MESSAGE_TYPE_DATA, 0, b"late"));
        watch.inbound(&mut Scanner::default(), &mut answers).unwrap();
        let kinds = [answers[8], answers[19], answers[30], answers[40]];
        assert_eq!(kinds, [TYPE_REFUSED, MESSAGE_TYPE_DATA, MESSAGE_TYPE_DATA, TYPE_REFUSED]);
        // Three frames of one, none and no more bytes: the last was refused.
        assert_eq!(meter.unread(), 1 + 2 * 64);
    }

    #[test]
    fn an_unknown_status_code_of_a_stream_becomes_unknown_once_its_body_is_whole() {
        for (code, expected) in
            [(vec![99], vec![2]), (vec![0xc8, 1], vec![0x82, 0]), (vec![5], vec![5])]
        {
            let mut watch = Watch::new(Role::Client);
            watch.opened(3, Arc::default());
            let body = [&[0x0a, (1 + code.len()) as u8, 0x08], &code[..]].concat();
            let mut bytes = frame(3, MESSAGE_TYPE_RESPONSE, 0, &body);
            let mut scanner = Scanner::default();
            let cut = bytes.len() - 1;
            watch.inbound(&mut scanner, &mut bytes[..cut]).unwrap();
            assert_eq!(scanner.scanned(), 0);
            watch.inbound(&mut scanner, &mut bytes).unwrap();
            assert_eq!(scanner.scanned(), bytes.len());
            assert_eq!(bytes[13..], expected);
        }
    }

    #[test]
    fn bytes_of_another_protocol_are_told_by_the_first_one() {
        let mut watch = Watch::new(Role::Server);
        let refused = watch.inbound(&mut Scanner::default(), &mut b"GET / HTTP/1.1\r\n".to_vec());
        assert_eq!(refused, Err(NotTtrpc(*b"GET / HTTP")));
    }

    #[test]
    fn a_request_with_a_used_id_is_answered_in_place_of_ttrpc() {
        let mut watch = Watch::new(Role::Server);
        let mut bytes = frame(3, MESSAGE_TYPE_REQUEST, 0, b"a");
        for id in [3, 1, 1, 5] {
            bytes.extend(frame(id, MESSAGE_TYPE_REQUEST, 0, b"b"));
        }
        watch.inbound(&mut Scanner::default(), &mut bytes).unwrap();
        let kinds: Vec<u8> = bytes.chunks(11).map(|frame| frame[8]).collect();
        const RUN: u8 = MESSAGE_TYPE_REQUEST;
        assert_eq!(kinds, [RUN, TYPE_REFUSED, RUN, TYPE_REFUSED, RUN]);
        let replies = watch.own_replies();
        let half = replies.len() / 2;
        assert_eq!((replies[7], replies[half + 7]), (3, 1));
        assert!(watch.own_replies().is_empty());
    }

    fn invalid_argument(message: &str) -> Vec<u8> {
        use ttrpc::proto::{Codec, Response, ResponseInit};
        Response::init_status(ttrpc::get_status(ttrpc::Code::INVALID_ARGUMENT, message))
            .encode()
            .unwrap()
    }

    #[test]
    fn an_unknown_service_and_an_oversized_message_get_the_codes_of_go() {
        let unknown = invalid_argument("a.B service does not exist");
        let oversized =
            invalid_argument("message length 4194305 exceed maximum message size of 4194304");
        for (body, code) in [(unknown, 12), (oversized, 8)] {
            let mut watch = Watch::new(Role::Server);
            let mut sent = frame(1, MESSAGE_TYPE_RESPONSE, 0, &body);
            watch.outbound(&mut Scanner::default(), &mut sent);
            assert_eq!(sent[10 + STATUS_CODE_AT], code);
        }
    }

    #[test]
    fn a_handlers_own_status_with_the_same_text_goes_out_as_it_is() {
        let body = invalid_argument("a.B service does not exist");
        let mut watch = Watch::new(Role::Server);
        watch.exempt(7);
        let mut sent = frame(7, MESSAGE_TYPE_RESPONSE, 0, &body);
        watch.outbound(&mut Scanner::default(), &mut sent);
        assert_eq!(sent[10 + STATUS_CODE_AT], 3);
    }
}
