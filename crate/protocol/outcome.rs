//! How a call that this side made ended, and how ttrpc's errors map to it.

use super::close_reason::{CloseKind, CloseReason};
use super::code_corrections::code_by_text;
use super::status::{Code, MESSAGE_LIMIT};
use ttrpc::proto::{Response, Status};

/// How a call that this side made ended.
#[derive(Debug)]
pub enum Outcome {
    /// The peer answered with this payload.
    Reply(Vec<u8>),
    /// The peer answered with a status other than OK.
    Status(Status),
    /// No answer came, or none that can be trusted.
    Failed(Failure),
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The status the caller sees.
    pub code: Code,
    /// What happened, in words.
    pub text: String,
    /// Why the connection ended, where that is the reason.
    pub closed: Option<CloseReason>,
}

impl Failure {
    /// A failure of the call alone: the connection goes on.
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

    /// The message is larger than ttrpc carries.
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
            // ttrpc takes a status code that its enum does not know for OK.
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

/// An oversized answer fails locally with INVALID_ARGUMENT, and a Rust server answers an oversized
/// request, and one to a service that it does not have, with it too. Go says RESOURCE_EXHAUSTED and
/// UNIMPLEMENTED, which is what a caller that falls back to another service looks for.
fn corrected(mut status: Status, service: &str) -> Status {
    if status.code.value() == Code::InvalidArgument as i32
        && let Some(code) = code_by_text(status.message.as_bytes())
        && (code == Code::ResourceExhausted as u8
            || status.message.strip_suffix(" service does not exist") == Some(service))
    {
        status.code = protobuf::EnumOrUnknown::from_i32(i32::from(code));
    }
    status
}

/// ttrpc tells its local failures apart only by their texts.
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
