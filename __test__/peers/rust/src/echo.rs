//! `test.Echo`: a service without generated code, whose handlers see and answer raw payloads.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use async_trait::async_trait;
use protobuf::Message as _;
use ttrpc::{
    Code, Request, Response, Result, Status,
    r#async::{MethodHandler, Server, Service, TtrpcContext},
    get_status,
};

use crate::{Failure, lifecycle::Stop};

/// Serves `test.Echo` at `address` until it is stopped.
pub(crate) async fn serve(address: &str, stop: Stop) -> std::result::Result<(), Failure> {
    let methods = [
        ("Echo", Method::Echo),
        ("Zero", Method::Zero),
        ("Sleep", Method::Sleep),
        ("Fail", Method::Fail),
        ("Metadata", Method::Metadata),
        ("Large", Method::Large),
    ];
    let methods = methods
        .into_iter()
        .map(|(name, method)| {
            let handler: Box<dyn MethodHandler + Send + Sync> = Box::new(method);
            (name.to_owned(), handler)
        })
        .collect();
    let service = Service { methods, streams: HashMap::new() };
    let mut server = Server::new()
        .bind(address)?
        .register_service(HashMap::from([("test.Echo".to_owned(), service)]));
    server.start().await?;
    Ok(stop.ready_until_stopped().await?)
}

/// A method of the service; each is its own handler.
#[derive(Clone, Copy, Debug)]
enum Method {
    /// Answers with the payload.
    Echo,
    /// Answers with a response with no field set, which is an empty frame.
    Zero,
    /// Answers with the payload, a decimal number, that many milliseconds later.
    Sleep,
    /// Answers with the status in the payload.
    Fail,
    /// Answers with the request's metadata and timeout as JSON.
    Metadata,
    /// Answers with as many bytes as the payload, a decimal number, says.
    Large,
}

#[async_trait]
impl MethodHandler for Method {
    async fn handler(&self, context: TtrpcContext, request: Request) -> Result<Response> {
        Ok(match self {
            Self::Echo => ok(request.payload),
            Self::Zero => Response::new(),
            Self::Sleep => match decimal(&request.payload) {
                Some(milliseconds) => {
                    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                    ok(request.payload)
                }
                None => invalid("Sleep takes milliseconds"),
            },
            Self::Fail => match Status::parse_from_bytes(&request.payload) {
                Ok(status) => failed(status),
                Err(_) => invalid("Fail takes a status"),
            },
            Self::Metadata => ok(describe(&context)),
            Self::Large => match decimal(&request.payload).and_then(|size| size.try_into().ok()) {
                Some(size) => ok(vec![b'a'; size]),
                None => invalid("Large takes a size"),
            },
        })
    }
}

/// A success, with the explicit OK status that generated code sends.
fn ok(payload: Vec<u8>) -> Response {
    Response { payload, ..failed(get_status(Code::OK, "")) }
}

/// A response that is a status only.
fn failed(status: Status) -> Response {
    let mut response = Response::new();
    response.set_status(status);
    response
}

/// The answer to a payload the method cannot read.
fn invalid(message: &str) -> Response {
    failed(get_status(Code::INVALID_ARGUMENT, message))
}

/// A payload that is a decimal number as text.
fn decimal(payload: &[u8]) -> Option<u64> {
    str::from_utf8(payload).ok()?.parse().ok()
}

/// The metadata, keys in order, and the timeout the client sent.
fn describe(context: &TtrpcContext) -> Vec<u8> {
    let metadata: BTreeMap<_, _> = context.metadata.iter().collect();
    serde_json::json!({"metadata": metadata, "timeoutNano": context.timeout_nano})
        .to_string()
        .into_bytes()
}
