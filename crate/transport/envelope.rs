//! What an envelope costs to decode, before ttrpc decodes it.
//!
//! ttrpc makes an object of each repeated or unknown field of an envelope, and keeps them as long as a stream
//! is open. A frame of 4 MiB could take hundreds of MiB.

use crate::limits::{DETAILS_LIMIT, METADATA_LIMIT, UNKNOWN_FIELDS_LIMIT};
use protobuf::Message as _;
use std::ops::Range;
use ttrpc::proto::{Codec as _, Response, Status};

/// The last of gRPC's status codes.
const LAST_CODE: u64 = 16;

/// What was found in an envelope.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Envelope {
    /// Entries of metadata, or details of a status.
    pub(super) entries: usize,
    strange: usize,
    /// The bytes of the payload.
    pub(super) payload: usize,
    /// Fields that hold a status.
    statuses: usize,
    /// Whether a status has a code that ttrpc's enum does not have.
    unknown_code: bool,
}

/// Why an envelope is not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Costly(pub(super) &'static str);

/// Examines a request. ttrpc refuses one that does not decode.
pub(super) fn request(body: &[u8]) -> Result<Envelope, Costly> {
    let mut found = Envelope::default();
    let mut seen = 0u8;
    walk(body, |number, value| {
        match (number, value) {
            (5, Value::Bytes(entry)) => {
                found.entries += 1;
                if found.entries > METADATA_LIMIT {
                    return Err(Costly("the request has more than 1024 entries of metadata"));
                }
                return found.inside(entry, 2);
            }
            (1..=4, value) if seen & 1 << number == 0 => {
                seen |= 1 << number;
                if let (3, Value::Bytes(payload)) = (number, value) {
                    found.payload = payload.len();
                }
            }
            _ => found.strange += 1,
        }
        found.bounded()
    })?;
    Ok(found)
}

/// Examines a response. ttrpc refuses one that does not decode.
pub(super) fn response(body: &[u8]) -> Result<Envelope, Costly> {
    let mut found = Envelope::default();
    let mut seen = false;
    walk(body, |number, value| {
        match (number, value) {
            (1, Value::Bytes(status)) => {
                found.strange += usize::from(found.statuses > 0);
                found.statuses += 1;
                return found.status(status);
            }
            (2, Value::Bytes(payload)) if !seen => {
                seen = true;
                found.payload = payload.len();
            }
            _ => found.strange += 1,
        }
        found.bounded()
    })?;
    Ok(found)
}

impl Envelope {
    fn status(&mut self, status: &[u8]) -> Result<(), Costly> {
        let mut seen = 0u8;
        walk(status, |number, value| {
            if let (1, Value::Number(code)) = (number, &value) {
                self.unknown_code |= *code > LAST_CODE;
            }
            match (number, value) {
                (3, Value::Bytes(detail)) => {
                    self.entries += 1;
                    if self.entries > DETAILS_LIMIT {
                        return Err(Costly("the response has more than 1024 details"));
                    }
                    return self.inside(detail, 2);
                }
                (1 | 2, _) if seen & 1 << number == 0 => seen |= 1 << number,
                _ => self.strange += 1,
            }
            self.bounded()
        })
    }

    /// Examines a message that has the fields 1 to `known`.
    fn inside(&mut self, message: &[u8], known: u64) -> Result<(), Costly> {
        let mut seen = 0u8;
        walk(message, |number, _| {
            if number <= known && seen & 1 << number == 0 {
                seen |= 1 << number;
            } else {
                self.strange += 1;
            }
            self.bounded()
        })
    }

    fn bounded(&self) -> Result<(), Costly> {
        if self.strange > UNKNOWN_FIELDS_LIMIT {
            return Err(Costly("the envelope has more than 64 fields that ttrpc does not have"));
        }
        Ok(())
    }

    /// Whether ttrpc would misread the response, of a stream or of a unary call. Of several statuses it keeps the last,
    /// where they are to be merged; and it takes an unknown code for OK, which only the caller of a unary call can see.
    pub(super) fn is_misread(&self, is_stream: bool) -> bool {
        self.statuses > 1 || is_stream && self.unknown_code
    }

    /// Bytes that ttrpc and JavaScript keep of a stream's request besides its payload. Each keeps all
    /// strings, and some memory around each entry of metadata.
    pub(super) fn kept(&self, length: usize) -> usize {
        const ENTRY: usize = 128;
        2 * (length.saturating_sub(self.payload) + self.entries * ENTRY)
    }
}

/// Encodes a response again, in no more bytes, so that ttrpc reads it as it is meant: its statuses are merged, and in
/// that of a stream an unknown code becomes UNKNOWN. `None` if it does not decode.
pub(super) fn readable_response(body: &[u8], is_stream: bool) -> Option<Vec<u8>> {
    let mut response = Response::decode(body).ok()?;
    let mut merged = Vec::new();
    walk(body, |number, value| {
        if let (1, Value::Bytes(status)) = (number, value) {
            merged.extend(status);
        }
        Ok(())
    })
    .ok()?;
    let mut status = Status::parse_from_bytes(&merged).ok()?;
    if is_stream && status.code.enum_value().is_err() {
        status.code = ttrpc::Code::UNKNOWN.into();
    }
    response.status = protobuf::MessageField::some(status);
    response.encode().ok()
}

/// Where the field of a payload is in an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PayloadField {
    /// Where the field begins, with its tag.
    pub(super) at: usize,
    /// The payload, behind the field's tag and length.
    pub(super) payload: Range<usize>,
}

/// A field whose tag is one byte.
struct Field {
    tag: u8,
    at: usize,
    /// Where its value is, which may end behind the bytes that are there.
    value: Range<usize>,
}

/// Reads the field at `at`. `None` if it might be read in two ways, or if its tag or length is not whole.
fn field(body: &[u8], at: usize) -> Option<Field> {
    let (&tag, mut rest) = body.get(at..)?.split_first()?;
    if tag & 0x80 != 0 || tag >> 3 == 0 {
        return None;
    }
    let start = at + 1;
    let value = match tag & 7 {
        0 => {
            varint(&mut rest)?;
            start..body.len() - rest.len()
        }
        1 => start..start + 8,
        2 => {
            let length = usize::try_from(varint(&mut rest)?).ok()?;
            let first = body.len() - rest.len();
            if first - start > 5 {
                return None;
            }
            first..first.checked_add(length)?
        }
        5 => start..start + 4,
        _ => return None,
    };
    Some(Field { tag, at, value })
}

impl PayloadField {
    /// Finds the one field with this tag, for bytes and a number below 16. `None` if there is another one, or anything
    /// that might be read in two ways: then ttrpc has to see the whole envelope. Without the field, an envelope in which
    /// it was found decodes to the same in everything else, or fails to for the same reason.
    pub(super) fn only(body: &[u8], tag: u8) -> Option<Self> {
        let mut found = None;
        let mut at = 0;
        while at < body.len() {
            let field = field(body, at).filter(|field| field.value.end <= body.len())?;
            at = field.value.end;
            if field.tag == tag && found.replace(Self::from(field)).is_some() {
                return None;
            }
        }
        found
    }

    /// Finds the first field with this tag in the front of an envelope, of which it may be the last that has begun to
    /// arrive.
    pub(super) fn ahead(front: &[u8], tag: u8) -> Option<Self> {
        let mut at = 0;
        loop {
            let field = field(front, at)?;
            if field.tag == tag {
                return Some(Self::from(field));
            }
            at = field.value.end;
        }
    }

    /// Whether the rest of an envelope, from which [`PayloadField::ahead`] has taken a field with this tag, has no other,
    /// so that it would have been [the only](PayloadField::only) one.
    pub(super) fn was_only(rest: &[u8], tag: u8) -> bool {
        let mut at = 0;
        while at < rest.len() {
            match field(rest, at) {
                Some(field) if field.tag != tag && field.value.end <= rest.len() => {
                    at = field.value.end
                }
                _ => return false,
            }
        }
        true
    }
}

impl From<Field> for PayloadField {
    fn from(field: Field) -> Self {
        Self { at: field.at, payload: field.value }
    }
}

enum Value<'a> {
    Bytes(&'a [u8]),
    /// A varint; for what is neither bytes nor a varint, 0.
    Number(u64),
}

/// Calls `visit` with the number and value of each field, up to the first malformed one.
fn walk(
    mut rest: &[u8],
    mut visit: impl FnMut(u64, Value<'_>) -> Result<(), Costly>,
) -> Result<(), Costly> {
    while !rest.is_empty() {
        let Some(tag) = varint(&mut rest) else { return Ok(()) };
        let value = match tag & 7 {
            0 => varint(&mut rest).map(Value::Number),
            1 => skip(&mut rest, 8).map(|_| Value::Number(0)),
            2 => varint(&mut rest).and_then(|length| skip(&mut rest, length)).map(Value::Bytes),
            5 => skip(&mut rest, 4).map(|_| Value::Number(0)),
            // ttrpc skips groups; their fields count as if they were outside.
            3 | 4 => Some(Value::Number(0)),
            _ => None,
        };
        let Some(value) = value else { return Ok(()) };
        visit(tag >> 3, value)?;
    }
    Ok(())
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (at, byte) in rest.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            *rest = &rest[at + 1..];
            return Some(value);
        }
    }
    None
}

fn skip<'a>(rest: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let length = usize::try_from(length).ok()?;
    let (skipped, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(skipped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ttrpc::proto::{KeyValue, Request};

    fn with_metadata(entries: usize) -> Request {
        let mut request = Request::new();
        request.service = "a.B".to_owned();
        request.method = "C".to_owned();
        request.payload = vec![7; 100];
        request.timeout_nano = -1;
        request.metadata = vec![KeyValue::new(); entries];
        request
    }

    #[test]
    fn a_request_that_ttrpc_makes_passes_with_as_much_metadata_as_it_may_have() {
        for entries in [0, 1, METADATA_LIMIT] {
            let body = with_metadata(entries).encode().unwrap();
            let found = Envelope { entries, payload: 100, ..Envelope::default() };
            assert_eq!(request(&body), Ok(found));
        }
        let body = with_metadata(METADATA_LIMIT + 1).encode().unwrap();
        assert!(request(&body).is_err());
    }

    #[test]
    fn few_fields_of_a_later_protocol_pass_and_many_do_not_wherever_they_are() {
        let unknown = |count: usize| [0x98, 0x06, 1].repeat(count);
        let plain = with_metadata(0).encode().unwrap();
        let inside = |count: usize| {
            let fields = unknown(count);
            [
                &plain[..],
                &[0x2a, 0x80 | (fields.len() & 0x7f) as u8, (fields.len() >> 7) as u8],
                &fields,
            ]
            .concat()
        };
        for make in [
            &|count| [plain.clone(), unknown(count)].concat(),
            &inside as &dyn Fn(usize) -> Vec<u8>,
        ] {
            assert!(request(&make(UNKNOWN_FIELDS_LIMIT)).is_ok());
            assert!(request(&make(UNKNOWN_FIELDS_LIMIT + 1)).is_err());
        }
        // An empty service, again and again.
        assert!(request(&[0x0a, 0].repeat(UNKNOWN_FIELDS_LIMIT + 2)).is_err());
        assert!(response(&[0x12, 0].repeat(UNKNOWN_FIELDS_LIMIT + 2)).is_err());
        assert!(response(&[&[0x0a, 0x82, 0x11][..], &[0x1a, 0].repeat(1089)].concat()).is_err());
    }

    #[test]
    fn what_does_not_decode_is_left_to_ttrpc() {
        let body = with_metadata(3).encode().unwrap();
        for end in 0..body.len() {
            assert!(request(&body[..end]).is_ok());
        }
        assert!(request(&[0x0f; 20]).is_ok());
        assert!(response(&[0xff; 20]).is_ok());
    }
}
