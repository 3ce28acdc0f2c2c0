//! Reads the commands of a batch.

use super::{
    FLAG_CLIENT_STREAM, FLAG_SERVED, FLAG_SERVER_STREAM, FLAG_WHOLE, RECORD_HEADER, Side, op,
};
use crate::ids::CallId;
use protobuf::EnumOrUnknown;
use std::collections::VecDeque;
use ttrpc::proto::{Any, KeyValue, Status};

/// The batch breaks the record format: a bug in the JavaScript half, never in user code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// One command.
#[derive(Debug)]
pub enum Command {
    /// Names a service and method by a number.
    Route {
        /// The number.
        route: u16,
        /// The full name of the service.
        service: String,
        /// The name of the method.
        method: String,
    },
    /// Makes a unary call.
    Call(Call),
    /// Gives a call up.
    Cancel {
        /// The call.
        call: CallId,
        /// The reader of a stream left: its requests end in order.
        left: bool,
    },
    /// Answers a request.
    Reply(Reply),
    /// Opens a stream.
    Open(Call, StreamKind),
    /// Sends a message on a stream.
    Send {
        /// Whose stream it is.
        side: Side,
        /// The call or request.
        call: CallId,
        /// The encoded message.
        payload: Vec<u8>,
    },
    /// Sends no more on a stream.
    HalfClose {
        /// The call.
        call: CallId,
    },
    /// JavaScript has let go of a request that no longer needed an answer.
    LetGo {
        /// The request.
        call: CallId,
    },
    /// Messages of a stream were taken.
    Taken {
        /// Whose stream it is.
        side: Side,
        /// The call or request.
        call: CallId,
        /// How many.
        messages: usize,
        /// Their total bytes.
        bytes: usize,
    },
}

/// The kind of a streaming call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamKind {
    /// The client sends any number of messages.
    pub client: bool,
    /// The server sends any number of messages.
    pub server: bool,
}

/// A call to make.
#[derive(Debug)]
pub struct Call {
    /// The connection to make it on.
    pub connection: u32,
    /// The name that its outcome carries.
    pub call: CallId,
    /// The service and method.
    pub route: u16,
    /// Whether a cancel may follow.
    pub cancellable: bool,
    /// Nanoseconds until the deadline, 0 for none.
    pub timeout_nano: i64,
    /// The metadata, in the caller's order.
    pub metadata: Vec<KeyValue>,
    /// The encoded request message.
    pub payload: Vec<u8>,
}

/// A handler's answer.
#[derive(Debug)]
pub struct Reply {
    /// The request's name.
    pub call: CallId,
    /// The status, which may be OK.
    pub status: Status,
    /// The encoded response message.
    pub payload: Vec<u8>,
}

/// The commands of a batch, in order. `lent` has the payloads that are not in their records.
pub fn commands<'a>(
    batch: &'a [u8],
    lent: &'a mut VecDeque<Vec<u8>>,
) -> impl Iterator<Item = Result<Command, Malformed>> + 'a {
    let mut rest = batch;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let record = split_record(&mut rest);
        if record.is_err() {
            rest = &[];
        }
        Some(record.and_then(|record| command(record, lent)))
    })
}

/// How many calls and streams a batch opens.
pub fn opened_by(mut batch: &[u8]) -> usize {
    let records = std::iter::from_fn(|| split_record(&mut batch).ok());
    records.filter(|record| matches!(record[4], op::CALL | op::OPEN)).count()
}

fn split_record<'a>(batch: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = batch.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize);
    if length < RECORD_HEADER {
        return Err(Malformed("a record is shorter than its header"));
    }
    let (record, rest) = batch.split_at_checked(length).ok_or(Malformed("a record is cut off"))?;
    *batch = rest;
    Ok(record)
}

fn command(record: &[u8], lent: &mut VecDeque<Vec<u8>>) -> Result<Command, Malformed> {
    let mut body = Body(&record[RECORD_HEADER..]);
    let route = u16::from_le_bytes([record[6], record[7]]);
    let word = |at: usize| {
        u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]])
    };
    let call = CallId { slot: word(12), generation: word(16) };
    let flag = |flag: u8| record[5] & flag != 0;
    let side = if flag(FLAG_SERVED) { Side::Served } else { Side::Called };
    let mut payload = |body: Body<'_>| {
        if flag(FLAG_WHOLE) {
            lent.pop_front().ok_or(Malformed("a payload was not lent"))
        } else {
            Ok(body.0.to_vec())
        }
    };
    Ok(match record[4] {
        op::ROUTE => Command::Route { route, service: body.string()?, method: body.string()? },
        operation @ (op::CALL | op::OPEN) => {
            let call = Call {
                connection: word(8),
                call,
                route,
                cancellable: flag(super::FLAG_CANCELLABLE),
                timeout_nano: body.nanoseconds()?,
                metadata: body.metadata()?,
                payload: payload(body)?,
            };
            if operation == op::CALL {
                Command::Call(call)
            } else {
                let kind = StreamKind {
                    client: flag(FLAG_CLIENT_STREAM),
                    server: flag(FLAG_SERVER_STREAM),
                };
                Command::Open(call, kind)
            }
        }
        op::CANCEL => Command::Cancel { call, left: flag(super::FLAG_LEFT) },
        op::REPLY => {
            Command::Reply(Reply { call, status: body.status()?, payload: payload(body)? })
        }
        op::SEND => Command::Send { side, call, payload: payload(body)? },
        op::LET_GO => Command::LetGo { call },
        op::HALF_CLOSE => Command::HalfClose { call },
        op::TAKEN => Command::Taken { side, call, messages: body.count()?, bytes: body.count()? },
        _ => return Err(Malformed("an operation is unknown")),
    })
}

/// What is left of a record's body.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(Malformed("a field is cut off"))?;
        self.0 = rest;
        Ok(*chunk)
    }

    fn count(&mut self) -> Result<usize, Malformed> {
        Ok(u32::from_le_bytes(self.chunk()?) as usize)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.count()?;
        let (bytes, rest) =
            self.0.split_at_checked(length).ok_or(Malformed("a field is cut off"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn string(&mut self) -> Result<String, Malformed> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| Malformed("a string is not UTF-8"))
    }

    fn nanoseconds(&mut self) -> Result<i64, Malformed> {
        Ok(f64::from_le_bytes(self.chunk()?) as i64)
    }

    fn metadata(&mut self) -> Result<Vec<KeyValue>, Malformed> {
        let count = self.count()?;
        let mut pairs = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            let (key, value) = (self.string()?, self.string()?);
            pairs.push(KeyValue { key, value, ..Default::default() });
        }
        Ok(pairs)
    }

    fn status(&mut self) -> Result<Status, Malformed> {
        let code = EnumOrUnknown::from_i32(i32::from_le_bytes(self.chunk()?));
        let message = self.string()?;
        let count = self.count()?;
        let mut details = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            let (type_url, value) = (self.string()?, self.bytes()?.to_vec());
            details.push(Any { type_url, value, ..Default::default() });
        }
        Ok(Status { code, message, details, ..Default::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(operation: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((RECORD_HEADER + body.len()) as u32).to_le_bytes().to_vec();
        bytes.extend([operation, 1, 2, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0]);
        bytes.extend(body);
        bytes
    }

    fn text(value: &str) -> Vec<u8> {
        [&(value.len() as u32).to_le_bytes(), value.as_bytes()].concat()
    }

    #[test]
    fn a_call_crosses_with_all_its_fields() {
        let body = [
            &1.5e9f64.to_le_bytes()[..],
            &2u32.to_le_bytes(),
            &text("k"),
            &text("v1"),
            &text("k"),
            &text("v2"),
            b"payload",
        ]
        .concat();
        let batch = record(op::CALL, &body);
        let Some(Ok(Command::Call(call))) = commands(&batch, &mut VecDeque::new()).next() else {
            panic!("not a call")
        };
        let id = CallId { slot: 4, generation: 5 };
        assert_eq!((call.connection, call.call, call.route, call.cancellable), (3, id, 2, true));
        assert_eq!(call.timeout_nano, 1_500_000_000);
        let pairs: Vec<_> = call.metadata.iter().map(|pair| (&*pair.key, &*pair.value)).collect();
        assert_eq!(pairs, [("k", "v1"), ("k", "v2")]);
        assert_eq!(call.payload, b"payload");
    }

    #[test]
    fn a_reply_keeps_a_code_that_ttrpc_does_not_know() {
        let body =
            [&99i32.to_le_bytes()[..], &text("m"), &1u32.to_le_bytes(), &text("t"), &text("v")]
                .concat();
        let batch = record(op::REPLY, &body);
        let Some(Ok(Command::Reply(reply))) = commands(&batch, &mut VecDeque::new()).next() else {
            panic!("not a reply")
        };
        assert_eq!(reply.status.code.value(), 99);
        assert_eq!(reply.status.details[0].type_url, "t");
        assert!(reply.payload.is_empty());
    }

    #[test]
    fn payloads_that_were_lent_belong_to_the_records_that_say_so_in_order() {
        let whole = |body: &[u8]| {
            let mut bytes = record(op::SEND, body);
            bytes[5] |= FLAG_WHOLE;
            bytes
        };
        let batch =
            [whole(b""), record(op::SEND, b"in the record"), whole(b""), whole(b"")].concat();
        let mut lent = VecDeque::from([b"first".to_vec(), b"second".to_vec()]);
        let payloads: Vec<_> = commands(&batch, &mut lent)
            .map(|command| match command {
                Ok(Command::Send { payload, .. }) => payload,
                other => format!("{other:?}").into_bytes(),
            })
            .collect();
        let expected: [&[u8]; 4] =
            [b"first", b"in the record", b"second", br#"Err(Malformed("a payload was not lent"))"#];
        assert_eq!(payloads, expected);
    }

    #[test]
    fn no_cut_of_a_batch_reads_past_its_end() {
        let batch =
            record(op::CALL, &[&0f64.to_le_bytes()[..], &1u32.to_le_bytes(), &text("k")].concat());
        for end in 1..batch.len() {
            let mut cut = batch[..end].to_vec();
            assert!(
                commands(&cut, &mut VecDeque::new()).any(|command| command.is_err()),
                "cut at {end}"
            );
            if end >= RECORD_HEADER {
                cut[..4].copy_from_slice(&(end as u32).to_le_bytes());
                assert!(
                    commands(&cut, &mut VecDeque::new()).any(|command| command.is_err()),
                    "short record of {end}"
                );
            }
        }
    }
}
