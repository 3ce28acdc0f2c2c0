//! Status codes, and responses that carry one.

use ttrpc::proto::{Request, Response, Status};

/// The largest message that ttrpc carries, in bytes, envelope included.
pub const MESSAGE_LIMIT: usize = ttrpc::proto::MESSAGE_LENGTH_MAX;

/// Those of gRPC's status codes that this side itself produces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
#[expect(missing_docs, reason = "the names are gRPC's own")]
pub enum Code {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    ResourceExhausted = 8,
    Internal = 13,
    Unavailable = 14,
}

/// A response with a status that this side itself produces.
pub fn response_of_status(code: Code, message: impl Into<String>) -> Response {
    let mut status = Status::new();
    status.code = protobuf::EnumOrUnknown::from_i32(code as i32);
    status.message = message.into();
    let mut response = Response::new();
    response.status = protobuf::MessageField::some(status);
    response
}

/// The bytes that `request` takes on the wire, header included.
pub fn wire_size(request: &Request) -> usize {
    ttrpc::proto::MESSAGE_HEADER_LENGTH + ttrpc::proto::Codec::size(request) as usize
}
