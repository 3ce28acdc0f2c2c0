//! What tests of the transport share: random messages, and both ends of a connection.

use super::apart::APART;
use super::detached::{DETACHED, Prefix};
use super::{Pipe, Role, Source, Wire, WireInit, Worklist};
use crate::random::Random;
use futures::FutureExt as _;
use std::io;
use std::sync::Arc;
use ttrpc::proto::{
    Any, Codec as _, GenMessage, KeyValue, MessageHeader, Request, Response, Status,
};

impl Random {
    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let first = self.below(256);
        (0..length).map(|at| (first + at * 7) as u8).collect()
    }

    pub(super) fn text(&mut self) -> String {
        "abc.XYZ/".repeat(20)[..self.below(150)].to_owned()
    }

    /// A length around one of the limits, or a small one.
    pub(super) fn length(&mut self) -> usize {
        match self.below(16) {
            0 if self.below(8) == 0 => self.below(1 << 20),
            0..=3 => self.below(200),
            4..=6 => DETACHED - 2 + self.below(4),
            7..=8 => APART - 2 + self.below(4),
            9..=11 => (1 << 14) - 2 + self.below(4),
            12 => self.below(3 * APART),
            _ => self.below(3 * DETACHED),
        }
    }

    /// How many bytes arrive at once.
    pub(super) fn piece(&mut self) -> usize {
        match self.below(4) {
            0 => 1 + self.below(4000),
            1 => 1 + self.below(100_000),
            2 => usize::MAX,
            _ => 700 + self.below(200),
        }
    }

    pub(super) fn metadata(&mut self) -> Vec<KeyValue> {
        let count = [0, 0, 1, 2, 40][self.below(5)];
        let pair = |random: &mut Self| KeyValue {
            key: random.text(),
            value: random.text(),
            ..Default::default()
        };
        (0..count).map(|_| pair(self)).collect()
    }

    pub(super) fn request(&mut self) -> Request {
        let length = self.length();
        Request {
            service: self.text(),
            method: self.text(),
            payload: self.bytes(length),
            timeout_nano: [0, 1, -1, 5_000_000_000][self.below(4)],
            metadata: self.metadata(),
            ..Default::default()
        }
    }

    pub(super) fn response(&mut self) -> Response {
        let length = self.length();
        let mut response = Response { payload: self.bytes(length), ..Default::default() };
        if self.below(4) > 0 {
            let mut status = Status { message: self.text(), ..Default::default() };
            status.code = protobuf::EnumOrUnknown::from_i32([0, 3, 99][self.below(3)]);
            let detail = Any { type_url: self.text(), value: self.bytes(30), ..Default::default() };
            status.details = vec![detail; self.below(3)];
            response.status = protobuf::MessageField::some(status);
        }
        response
    }

    /// The fields of a body in any order, some twice, some strange, and perhaps cut off.
    pub(super) fn body(&mut self, payload: u8) -> Vec<u8> {
        let mut body = Vec::new();
        for _ in 0..self.below(7) {
            let length = self.length();
            match self.below(12) {
                0..=3 => {
                    body.extend(Prefix::new(payload, length).bytes());
                    body.extend(self.bytes(length));
                }
                // The tag of the payload with more bytes than it needs, or with bits that do not count.
                4 => {
                    let tag = [[payload | 0x80, 0x80, 0], [payload | 0x80, 0x80, 0x40]];
                    body.extend(tag[self.below(2)]);
                    body.extend([0x80 | (length & 0x7f) as u8, (length >> 7) as u8 & 0x7f]);
                    body.extend(self.bytes(length & 0x3fff));
                }
                // Its length with more bytes than it needs.
                5 => {
                    body.extend(
                        [payload, 0x83, 0x80, 0x80, 0x80, 0x80, 0x80][..3 + self.below(4)].iter(),
                    );
                    body.extend([0, 1, 2, 3]);
                }
                // Its number with another type, and as a group.
                6 => body.extend([payload & !7, 5]),
                7 => body.extend([0x33, payload, 2, 1, 1, 0x34]),
                8 => body.extend([0x9d, 0x06, 1, 2, 3, 4, 0x41, 1, 2, 3, 4, 5, 6, 7, 8]),
                9 => body.extend([0x0a, 2, 0x08, 5]),
                // A string that is not UTF-8, or a status that does not decode.
                10 => body.extend([0x0a, 2, 0xff, 0xff]),
                _ => body.extend(self.request().encode().unwrap()),
            }
        }
        if self.below(4) == 0 {
            body.truncate(self.below(body.len() + 1));
        }
        body
    }
}

pub(super) fn pair(role: Role) -> (Arc<Wire>, Pipe) {
    let worklist = Arc::<Worklist>::default();
    Wire::pair(role, WireInit { id: 1, worklist, budget: None, blocking: false })
}

pub(super) fn frame(kind: u8, id: u32, body: Vec<u8>) -> GenMessage {
    let mut header = MessageHeader::new_request(id, body.len() as u32);
    header.type_ = kind;
    GenMessage { header, payload: body }
}

pub(super) fn bytes(message: &GenMessage) -> Vec<u8> {
    [&Vec::<u8>::from(message.header)[..], &message.payload].concat()
}

/// A socket that has these bytes, and no more. It gives at most so many of them at once.
pub(super) struct Bytes<'a>(pub(super) &'a [u8], pub(super) usize);

impl Source for &mut Bytes<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = into.len().min(self.0.len()).min(self.1);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (read, rest) = self.0.split_at(count);
        into[..count].copy_from_slice(read);
        self.0 = rest;
        Ok(count)
    }

    fn append(&mut self, to: &mut Vec<u8>) -> io::Result<usize> {
        let mut read = vec![0; to.capacity() - to.len()];
        let count = self.read(&mut read)?;
        to.extend_from_slice(&read[..count]);
        Ok(count)
    }
}

/// These bytes arrive. JavaScript has taken all events.
pub(super) fn receive(wire: &Wire, bytes: &[u8]) {
    receive_in_pieces(wire, bytes, usize::MAX);
}

/// These bytes arrive, a few at a time. JavaScript has taken all events.
pub(super) fn receive_in_pieces(wire: &Wire, bytes: &[u8], piece: usize) {
    wire.worklist.backlog.clear();
    let mut bytes = Bytes(bytes, piece);
    while wire.receive(usize::MAX, &mut bytes) > 0 && !bytes.0.is_empty() {
        wire.snapshot();
    }
    wire.snapshot();
    assert!(bytes.0.is_empty());
}

/// The frame that ttrpc reads next.
pub(super) fn read(pipe: &mut Pipe) -> Option<GenMessage> {
    GenMessage::read_from(pipe).now_or_never().map(|message| message.unwrap())
}

/// ttrpc writes a frame; what the socket gets.
pub(super) fn write(wire: &Wire, pipe: &mut Pipe, message: &GenMessage) -> Vec<u8> {
    message.write_to(pipe).now_or_never().unwrap().unwrap();
    sent(wire)
}

pub(super) fn sent(wire: &Wire) -> Vec<u8> {
    let mut sent = Vec::new();
    wire.send(|parts| {
        let before = sent.len();
        sent.extend(parts.iter().flat_map(|part| part.iter()).take(5000));
        Ok(sent.len() - before)
    })
    .unwrap();
    sent
}
