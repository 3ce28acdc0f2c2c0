//! The server: `test.Bench`, registered by hand, and the generated Events.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use containerd_shim_protos::{
    api::{Empty, ForwardRequest},
    shim_async::{Events, create_events},
};
use ttrpc::{
    Code, Request, Response, Result,
    r#async::{
        MethodHandler, Server, ServerStream, Service, StreamHandler, StreamInner, TtrpcContext,
    },
    get_status,
    proto::Codec as _,
};

use super::{
    SERVICE,
    message::{Raw, payload},
};
use crate::{Failure, lifecycle::Stop, stream_message::Message};

/// Serves until it is stopped.
pub(crate) async fn serve(address: &str, stop: Stop) -> std::result::Result<(), Failure> {
    let echo: Box<dyn MethodHandler + Send + Sync> = Box::new(Echo);
    let streams = [("Sink", Stream::Sink), ("Source", Stream::Source), ("Chat", Stream::Chat)];
    let service = Service {
        methods: HashMap::from([("Echo".to_owned(), echo)]),
        streams: streams
            .into_iter()
            .map(|(name, stream)| {
                let handler: Arc<dyn StreamHandler + Send + Sync> = Arc::new(stream);
                (name.to_owned(), handler)
            })
            .collect(),
    };
    let mut server = Server::new()
        .bind(address)?
        .register_service(HashMap::from([(SERVICE.to_owned(), service)]))
        .register_service(create_events(Arc::new(Ingest)));
    server.start().await?;
    Ok(stop.ready_until_stopped().await?)
}

/// Answers with the payload.
struct Echo;

#[async_trait]
impl MethodHandler for Echo {
    async fn handler(&self, _: TtrpcContext, request: Request) -> Result<Response> {
        Ok(ok(request.payload))
    }
}

/// Takes events, which the generated code has decoded.
struct Ingest;

#[async_trait]
impl Events for Ingest {
    async fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> Result<Empty> {
        if request.envelope.topic.is_empty() {
            return Err(ttrpc::Error::Others("no topic".to_owned()));
        }
        Ok(Empty::new())
    }
}

/// A streaming method; each is its own handler.
#[derive(Clone, Copy)]
enum Stream {
    /// Receives everything and answers with the first message.
    Sink,
    /// Sends messages for as many milliseconds as the request's first number, of as many bytes as its second.
    Source,
    /// Sends each message back.
    Chat,
}

#[async_trait]
impl StreamHandler for Stream {
    async fn handler(&self, _: TtrpcContext, stream: StreamInner) -> Result<Option<Response>> {
        let (sender, mut receiver) = ServerStream::<Raw, Raw>::new(stream).split();
        match self {
            Self::Sink => {
                let mut first = None;
                while let Some(message) = receiver.recv().await? {
                    first.get_or_insert(message);
                }
                return Ok(Some(ok(first.map(|Raw(bytes)| bytes).unwrap_or_default())));
            }
            Self::Source => {
                let Raw(bytes) = receiver.recv().await?.unwrap_or(Raw(Vec::new()));
                let request = Message::decode(&bytes)
                    .map_err(|error| ttrpc::Error::Others(error.to_string()))?;
                let message = Raw(payload(request.count as usize));
                let until = Instant::now() + Duration::from_millis(request.number as u64);
                while Instant::now() < until {
                    sender.send(&message).await?;
                }
            }
            Self::Chat => {
                while let Some(message) = receiver.recv().await? {
                    sender.send(&message).await?;
                }
            }
        }
        Ok(None)
    }
}

/// A success.
fn ok(payload: Vec<u8>) -> Response {
    let mut response = Response { payload, ..Response::new() };
    response.set_status(get_status(Code::OK, ""));
    response
}
