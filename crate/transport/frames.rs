//! Follows the frames of one direction of a connection and corrects what ttrpc would get wrong.
//!
//! The wire format is a 10-byte header (length u32, stream id u32, both big-endian, type, flags) and
//! `length` bytes of body. A [`Scanner`] walks the headers in place; no body is parsed, except for
//! the first bytes of a server's short error reply.

use super::meter::Meter;
use crate::ids::{IdMap, IdSet};
use std::collections::VecDeque;
use std::sync::Arc;
use ttrpc::proto::{
    FLAG_REMOTE_CLOSED, MESSAGE_HEADER_LENGTH, MESSAGE_LENGTH_MAX, MESSAGE_TYPE_DATA,
    MESSAGE_TYPE_REQUEST, MESSAGE_TYPE_RESPONSE,
};

/// A type that no peer may send: ttrpc's client fails the call it is addressed to, its server
/// ignores it.
const TYPE_REFUSED: u8 = 0x7f;

const CODE_INVALID_ARGUMENT: u8 = 3;
const CODE_RESOURCE_EXHAUSTED: u8 = 8;
const CODE_UNIMPLEMENTED: u8 = 12;

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
pub struct NotTtrpc(pub [u8; MESSAGE_HEADER_LENGTH]);

/// Where one direction stands between two frames.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Bytes of the buffer that were looked at: ttrpc may read (or the socket may send) up to here.
    scanned: usize,
    /// Bytes of the current frame's body still to come.
    body_left: usize,
}

impl Scanner {
    /// How far the buffer was looked at.
    pub fn scanned(&self) -> usize {
        self.scanned
    }

    /// Whether the stream stands inside a frame, given the buffer's length.
    pub fn mid_frame(&self, buffered: usize) -> bool {
        self.body_left > 0 || self.scanned < buffered
    }

    /// Tells the scanner that `count` bytes were removed from the buffer's front.
    pub fn removed(&mut self, count: usize) {
        self.scanned -= count;
    }

    /// Walks all headers that are whole, calling `visit` with each header and what follows it in
    /// the buffer. A visit may stop the walk before its frame, to see it again with more of its body.
    fn walk<E>(
        &mut self,
        buffer: &mut [u8],
        mut visit: impl FnMut(&mut [u8; MESSAGE_HEADER_LENGTH], &mut [u8]) -> Result<Visit, E>,
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
            self.scanned += MESSAGE_HEADER_LENGTH;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visit {
    Pass,
    Wait,
}

/// What a connection remembers of its frames to judge the next one.
#[derive(Debug)]
pub struct Watch {
    role: Role,
    /// The open calls that are streams. On a client, all other ids that await an answer are unary.
    streams: IdMap<Arc<Meter>>,
    /// Client: streams whose requests are on their way through ttrpc, in order.
    opening: VecDeque<Arc<Meter>>,
    /// Server: ids whose handler itself answered with a text that [`code_that_go_answers`] would correct.
    exempt: IdSet,
}

impl Watch {
    /// The watch over a fresh connection.
    pub fn new(role: Role) -> Self {
        Self { role, streams: IdMap::default(), opening: VecDeque::new(), exempt: IdSet::default() }
    }

    /// Server: the next reply on this stream id carries a handler's own status, which goes out as it is.
    pub fn exempt(&mut self, stream_id: u32) {
        self.exempt.insert(stream_id);
    }

    /// Client: the next stream request that leaves, after those announced before, belongs to `meter`.
    pub fn opening(&mut self, meter: Arc<Meter>) {
        self.opening.push_back(meter);
    }

    /// Server: a request that was read opened a stream.
    pub fn opened(&mut self, stream_id: u32, meter: Arc<Meter>) {
        meter.opened(stream_id);
        self.streams.insert(stream_id, meter);
    }

    /// The stream needs nothing more from the peer: what still comes is not counted.
    pub fn forget(&mut self, meter: &Meter) {
        if let Some(stream_id) = meter.stream_id() {
            self.streams.remove(&stream_id);
        }
    }

    /// Looks at what came from the peer before ttrpc does.
    pub fn inbound(&mut self, scanner: &mut Scanner, buffer: &mut [u8]) -> Result<(), NotTtrpc> {
        scanner.walk(buffer, |header, rest| {
            if header[0] != 0 {
                return Err(NotTtrpc(*header));
            }
            Ok(match self.role {
                Role::Client => self.answer_from_server(header, rest),
                Role::Server => self.data_from_client(header),
            })
        })
    }

    /// A DATA frame that answers a unary call would be decoded as a Response and taken for success. A
    /// status code that ttrpc's enum does not know would end a stream as if it were OK.
    fn answer_from_server(
        &mut self,
        header: &mut [u8; MESSAGE_HEADER_LENGTH],
        rest: &mut [u8],
    ) -> Visit {
        let (id, size) = (stream_id(header), length(header));
        match kind(header) {
            MESSAGE_TYPE_RESPONSE if self.streams.contains_key(&id) => {
                if size <= MESSAGE_LENGTH_MAX {
                    let Some(body) = rest.get_mut(..size) else { return Visit::Wait };
                    make_code_known(body);
                }
                self.streams.remove(&id);
            }
            MESSAGE_TYPE_DATA => match self.streams.get(&id) {
                Some(meter) => {
                    meter.arrived(size);
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

    fn data_from_client(&mut self, header: &[u8; MESSAGE_HEADER_LENGTH]) -> Visit {
        if kind(header) == MESSAGE_TYPE_DATA
            && let Some(meter) = self.streams.get(&stream_id(header))
        {
            meter.arrived(length(header));
        }
        Visit::Pass
    }

    /// Looks at what ttrpc wrote before it leaves.
    pub fn outbound(&mut self, scanner: &mut Scanner, buffer: &mut [u8]) {
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

const STATUS_CODE_AT: usize = 3;

/// Judges an encoded `Response { status: { code: INVALID_ARGUMENT, message } }` by its text: the
/// code it should have had if it is one of the two that ttrpc itself makes.
///
/// Only lengths below 128 (one byte) are looked at: longer service names are beyond any in use, and
/// keep ttrpc's own code.
pub fn code_that_go_answers(body: &[u8]) -> Option<u8> {
    const STATUS: u8 = 0x0a;
    const CODE: u8 = 0x08;
    const MESSAGE: u8 = 0x12;
    let &[STATUS, _, CODE, CODE_INVALID_ARGUMENT, MESSAGE, size, ref text @ ..] = body else {
        return None;
    };
    let message = text.get(..usize::from(size))?;
    code_by_text(message)
}

/// The code that Go answers in place of INVALID_ARGUMENT with this text.
pub fn code_by_text(message: &[u8]) -> Option<u8> {
    if message.ends_with(b" service does not exist") {
        Some(CODE_UNIMPLEMENTED)
    } else if message.starts_with(b"message length ")
        && message.windows(OVERSIZE.len()).any(|part| part == OVERSIZE)
    {
        Some(CODE_RESOURCE_EXHAUSTED)
    } else {
        None
    }
}

/// ttrpc reads a status code that its enum does not know as OK. In an encoded Response it is replaced
/// by UNKNOWN, in as many bytes.
fn make_code_known(body: &mut [u8]) {
    const LAST_CODE: u64 = 16;
    const UNKNOWN: u8 = 2;
    let [0x0a, rest @ ..] = body else { return };
    let Some(size_bytes) = rest.iter().position(|byte| byte & 0x80 == 0) else { return };
    let Some([0x08, code @ ..]) = rest.get_mut(size_bytes + 1..) else { return };
    let Some(last) = code.iter().take(10).position(|byte| byte & 0x80 == 0) else { return };
    let code = &mut code[..=last];
    let value = code.iter().rev().fold(0u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
    if value > LAST_CODE {
        code.fill(0x80);
        code[last] = 0;
        code[0] |= UNKNOWN;
    }
}

const OVERSIZE: &[u8] = b" exceed maximum message size of ";

fn length(header: &[u8; MESSAGE_HEADER_LENGTH]) -> usize {
    u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize
}

fn stream_id(header: &[u8; MESSAGE_HEADER_LENGTH]) -> u32 {
    u32::from_be_bytes([header[4], header[5], header[6], header[7]])
}

fn kind(header: &[u8; MESSAGE_HEADER_LENGTH]) -> u8 {
    header[8]
}

fn flags(header: &[u8; MESSAGE_HEADER_LENGTH]) -> u8 {
    header[9]
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
        for (body, code) in [(unknown, CODE_UNIMPLEMENTED), (oversized, CODE_RESOURCE_EXHAUSTED)] {
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
        assert_eq!(sent[10 + STATUS_CODE_AT], CODE_INVALID_ARGUMENT);
    }
}
