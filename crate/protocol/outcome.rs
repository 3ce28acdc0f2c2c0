//! How calls end, and how ttrpc's errors map to outcomes.

use super::close_reason::{CloseKind, CloseReason};
use super::code_corrections::{CODE_RESOURCE_EXHAUSTED, CODE_UNIMPLEMENTED, code_by_text};
use super::status::{Code, MESSAGE_LIMIT};
use ttrpc::proto::{Response, Status};

/// How a call that this side made ended.
#[derive(Debug)]
pub enum Outcome {
    /// The peer answered with this payload.
    Reply(Vec<u8>),
    /// The peer answered with a status other than OK.
    Status(Status),
    /// No usable answer came.
    Failed(Failure),
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The status the caller sees.
    pub code: Code,
    /// What happened, in words.
    pub text: String,
    /// Why the connection ended, if that is the reason.
    pub closed: Option<CloseReason>,
}

impl Failure {
    /// A failure of the call alone; the connection stays open.
    pub fn of_call(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), closed: None }
    }

    /// The deadline passed.
    pub fn deadline() -> Self {
        Self::of_call(Code::DeadlineExceeded, "the deadline passed before the reply arrived")
    }

    /// The connection ended.
    pub fn closed(closed: CloseReason) -> Self {
        Self { code: Code::Unavailable, text: closed.text.clone(), closed: Some(closed) }
    }

    /// The message is larger than ttrpc allows.
    pub fn oversize(length: usize) -> Self {
        let text =
            format!("message length {length} exceed maximum message size of {MESSAGE_LIMIT}");
        Self::of_call(Code::ResourceExhausted, text)
    }
}

impl Outcome {
    /// Reads the result of `ttrpc::Client::request` to a method of `service`.
    pub fn of_request(
        result: ttrpc::Result<Response>,
        service: &str,
        closed: impl FnOnce() -> Option<CloseReason>,
    ) -> Self {
        match result {
            // ttrpc takes a status code that its enum does not have for OK.
            Ok(response) if response.status.code.value() != 0 => {
                Self::Status(response.status.unwrap_or_default())
            }
            Ok(response) => Self::Reply(response.payload),
            Err(error) => Self::of_error(error, service, closed),
        }
    }

    /// Reads an error of ttrpc's client from a call of `service`.
    pub fn of_error(
        error: ttrpc::Error,
        service: &str,
        closed: impl FnOnce() -> Option<CloseReason>,
    ) -> Self {
        match error {
            ttrpc::Error::RpcStatus(status) => Self::Status(corrected(status, service)),
            error => Self::Failed(failure(error, closed)),
        }
    }
}

/// ttrpc fails an oversized answer locally with INVALID_ARGUMENT. A Rust server also answers INVALID_ARGUMENT
/// to an oversized request and to an unknown service. Go answers RESOURCE_EXHAUSTED and UNIMPLEMENTED, and a
/// caller that falls back to another service looks for the latter.
fn corrected(mut status: Status, service: &str) -> Status {
    if status.code.value() != Code::InvalidArgument as i32 {
        return status;
    }
    let code = if is_unknown(&status.message, service) {
        CODE_UNIMPLEMENTED
    } else {
        match code_by_text(status.message.as_bytes()) {
            Some(CODE_RESOURCE_EXHAUSTED) => CODE_RESOURCE_EXHAUSTED,
            _ => return status,
        }
    };
    status.code = protobuf::EnumOrUnknown::from_i32(i32::from(code));
    status
}

/// Whether a Rust server says that it does not have a service: one with threads says so of the path of the method.
fn is_unknown(message: &str, service: &str) -> bool {
    let Some(what) = message.strip_suffix(" does not exist") else { return false };
    if what.strip_suffix(" service") == Some(service) {
        return true;
    }
    let path = what.strip_prefix('/').and_then(|path| path.strip_prefix(service));
    path.and_then(|path| path.strip_prefix('/')).is_some_and(|method| !method.contains(['/', ' ']))
}

/// ttrpc's local failures can only be told apart by their messages.
fn failure(error: ttrpc::Error, closed: impl FnOnce() -> Option<CloseReason>) -> Failure {
    if let ttrpc::Error::Others(text) = &error {
        if text == "Request deadline elapsed" {
            return Failure::deadline();
        }
        if text.starts_with("message length ") {
            return Failure::of_call(Code::ResourceExhausted, text.clone());
        }
        let undecodable = ["Unpack response error ", "Decode message failed."];
        if let Some(reason) = undecodable.iter().find_map(|prefix| text.strip_prefix(prefix)) {
            let text = format!("the reply does not decode: {reason}");
            return Failure::of_call(Code::Internal, text);
        }
        if text.starts_with("Receiver got malformed packet")
            || text == "received data from non-streaming server."
            || text == "not support"
            || text.ends_with("close message cannot include data")
        {
            let text = "the peer answered with a frame that does not fit the kind of the call";
            return Failure::of_call(Code::Internal, text);
        }
    }
    Failure::closed(closed().unwrap_or_else(|| CloseReason {
        kind: CloseKind::Error,
        errno: 0,
        text: error.to_string(),
    }))
}
