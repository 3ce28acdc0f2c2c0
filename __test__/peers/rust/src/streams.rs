//! The streaming service of ttrpc's integration tests for Go, and `test.Streams` with methods that it
//! lacks, both registered by hand.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use async_trait::async_trait;
use protobuf::{EnumOrUnknown, MessageField};
use ttrpc::{
    Code, Request, Response, Status,
    r#async::{
        MethodHandler, SSReceiver, SSSender, Server, ServerStream, Service, StreamHandler,
        StreamInner, TtrpcContext,
    },
    get_status,
    proto::{Any, Codec as _},
};

use crate::{Failure, lifecycle::Stop, stream_message::Message};

/// The service's name.
pub(crate) const STREAMING: &str = "ttrpc.integration.streaming.Streaming";
/// The name of the service with the other methods.
pub(crate) const EXTRAS: &str = "test.Streams";
/// The text that is sent to the null methods.
pub(crate) const NULL_TEXT: &str = "non-empty empty";

/// Serves both services at `address` until it is stopped.
pub(crate) async fn serve(address: &str, stop: Stop) -> Result<(), Failure> {
    let streaming = service(
        &[("Echo", Unary::Echo)],
        &[
            ("EchoStream", Method::EchoStream),
            ("SumStream", Method::SumStream),
            ("DivideStream", Method::DivideStream),
            ("EchoNull", Method::EchoNull),
            ("EchoNullStream", Method::EchoNullStream),
            ("EmptyPayloadStream", Method::EmptyPayloadStream),
        ],
    );
    let extras = service(
        &[("Describe", Unary::Describe), ("Large", Unary::Large)],
        &[
            ("DescribeStream", Method::DescribeStream),
            ("Count", Method::Count),
            ("Fail", Method::Fail),
            ("Hang", Method::Hang),
        ],
    );
    let services = HashMap::from([(STREAMING.to_owned(), streaming), (EXTRAS.to_owned(), extras)]);
    let mut server = Server::new().bind(address)?.register_service(services);
    server.start().await?;
    Ok(stop.ready_until_stopped().await?)
}

/// A service of these methods.
fn service(unary: &[(&str, Unary)], streams: &[(&str, Method)]) -> Service {
    Service {
        methods: unary
            .iter()
            .map(|&(name, method)| {
                let handler: Box<dyn MethodHandler + Send + Sync> = Box::new(method);
                (name.to_owned(), handler)
            })
            .collect(),
        streams: streams
            .iter()
            .map(|&(name, method)| {
                let handler: Arc<dyn StreamHandler + Send + Sync> = Arc::new(method);
                (name.to_owned(), handler)
            })
            .collect(),
    }
}

/// A unary method; each is its own handler.
#[derive(Clone, Copy, Debug)]
enum Unary {
    /// Answers with the next number.
    Echo,
    /// Answers with the request's metadata and timeout.
    Describe,
    /// Answers with a message of as many bytes as the sum says.
    Large,
}

#[async_trait]
impl MethodHandler for Unary {
    async fn handler(&self, context: TtrpcContext, request: Request) -> ttrpc::Result<Response> {
        let mut message = Message::decode(&request.payload).map_err(undecodable)?;
        let reply = match self {
            Self::Echo => {
                message.number += 1;
                message
            }
            Self::Describe => describe(&context),
            Self::Large => Message::echo(0, "a".repeat(message.number as usize)),
        };
        response(&reply)
    }
}

/// A streaming method; each is its own handler.
#[derive(Clone, Copy, Debug)]
enum Method {
    /// Answers each message with the next number.
    EchoStream,
    /// Adds up the messages.
    SumStream,
    /// Answers with 0, 1, 2 and so on; the last of the parts is what is missing to the sum.
    DivideStream,
    /// Checks what it gets and answers with an empty message.
    EchoNull,
    /// Checks what it gets and answers each message with ten empty ones.
    EchoNullStream,
    /// Answers with 1 and 2.
    EmptyPayloadStream,
    /// Answers with the request's metadata and timeout.
    DescribeStream,
    /// Answers with numbered messages, each with a text of as many bytes as the sum says.
    Count,
    /// Sends back the first message, then fails with its number as the code, its text as the message
    /// and itself as a detail.
    Fail,
    /// Sends one message and waits forever.
    Hang,
}

#[async_trait]
impl StreamHandler for Method {
    /// A response, for the kinds that have one and for failures; none at the end of a stream.
    async fn handler(
        &self,
        context: TtrpcContext,
        stream: StreamInner,
    ) -> ttrpc::Result<Option<Response>> {
        let (sender, mut receiver) = ServerStream::<Message, Message>::new(stream).split();
        match self {
            Self::EchoStream => {
                while let Some(mut message) = receiver.recv().await? {
                    message.number += 1;
                    sender.send(&message).await?;
                }
            }
            Self::SumStream => {
                let mut sum = Message::default();
                while let Some(part) = receiver.recv().await? {
                    sum.number += part.number;
                    sum.count += 1;
                }
                return response(&sum).map(Some);
            }
            Self::DivideStream => divide(&sender, &first(&mut receiver).await?).await?,
            Self::EchoNull => {
                let mut seq = 0;
                while let Some(message) = receiver.recv().await? {
                    check_null(&message, &mut seq)?;
                }
                return response(&Message::default()).map(Some);
            }
            Self::EchoNullStream => {
                let mut seq = 0;
                while let Some(message) = receiver.recv().await? {
                    check_null(&message, &mut seq)?;
                    for _ in 0..10 {
                        sender.send(&Message::default()).await?;
                    }
                }
            }
            Self::EmptyPayloadStream => {
                first(&mut receiver).await?;
                sender.send(&Message::echo(1, "")).await?;
                sender.send(&Message::echo(2, "")).await?;
            }
            Self::DescribeStream => {
                first(&mut receiver).await?;
                sender.send(&describe(&context)).await?;
            }
            Self::Count => {
                let Message { number: size, count, .. } = first(&mut receiver).await?;
                let text = "a".repeat(size as usize);
                for seq in 0..count as usize {
                    sender.send(&Message::echo(seq, text.as_str())).await?;
                }
            }
            Self::Fail => {
                let message = first(&mut receiver).await?;
                sender.send(&message).await?;
                return Ok(Some(failed(refusal(&message))));
            }
            Self::Hang => {
                sender.send(&first(&mut receiver).await?).await?;
                std::future::pending::<()>().await;
            }
        }
        Ok(None)
    }
}

/// The request of a method with a single request.
async fn first(receiver: &mut SSReceiver<Message>) -> ttrpc::Result<Message> {
    receiver.recv().await?.ok_or_else(|| ttrpc::Error::Others("no request".to_owned()))
}

/// The parts of a sum.
async fn divide(sender: &SSSender<Message>, sum: &Message) -> ttrpc::Result<()> {
    let mut rest = sum.number;
    for add in 0..sum.count - 1 {
        rest -= add;
        sender.send(&Message::part(add)).await?;
    }
    sender.send(&Message::part(rest)).await
}

/// Checks a message to a null method.
fn check_null(message: &Message, seq: &mut i64) -> ttrpc::Result<()> {
    if message.number != *seq || message.text != NULL_TEXT {
        return Err(ttrpc::Error::Others(format!("unexpected {message:?}, expected {seq}")));
    }
    *seq += 1;
    Ok(())
}

/// The status that `Fail` is asked for. The code may be unknown to ttrpc.
fn refusal(message: &Message) -> Status {
    let mut status = get_status(Code::OK, &message.text);
    status.code = EnumOrUnknown::from_i32(message.number as i32);
    status.details.push(Any {
        type_url: "type.googleapis.com/ttrpc.integration.streaming.EchoPayload".to_owned(),
        value: message.encode().unwrap_or_default(),
        ..Any::new()
    });
    status
}

/// The metadata, keys in order, and the timeout the client sent.
fn describe(context: &TtrpcContext) -> Message {
    let metadata: BTreeMap<_, _> = context.metadata.iter().collect();
    let timeout = context.timeout_nano / 1_000_000;
    Message::echo(0, serde_json::json!({"metadata": metadata, "timeoutMs": timeout}).to_string())
}

/// A success.
fn response(message: &Message) -> ttrpc::Result<Response> {
    let payload = message.encode().map_err(undecodable)?;
    Ok(Response { payload, ..failed(get_status(Code::OK, "")) })
}

/// A response that is a status only.
fn failed(status: Status) -> Response {
    Response { status: MessageField::some(status), ..Response::new() }
}

/// The error for a message that is not one of the service's.
fn undecodable(error: protobuf::Error) -> ttrpc::Error {
    ttrpc::Error::Others(error.to_string())
}
