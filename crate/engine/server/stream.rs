//! Streams that this side serves.

use crate::engine::server::handlers::{Handlers, METADATA_TOO_LARGE, TOO_MANY, within_limit};
use crate::engine::server::open_request::OpenRequest;
use crate::engine::stream_handle::{Handle, Raw, Sent};
use crate::engine::stream_input::{Input, InputReceiver, input_queue};
use crate::ids::CallId;
use crate::limits::SEND_LIMIT;
use crate::protocol::outcome::Failure;
use crate::protocol::status::{Code, response_of_status};
use crate::records::{RECORD_LIMIT, Reply, Side, StreamKind, request_size};
use crate::sync::lock;
use crate::transport::stream_state::StreamState;
use std::sync::Arc;
use std::time::Duration;
use ttrpc::Response;
use ttrpc::r#async::{
    SSReceiver, SSSender, ServerStream, StreamHandler, StreamInner, TtrpcContext,
};
use ttrpc::proto::{FLAG_NO_DATA, FLAG_REMOTE_CLOSED, FLAG_REMOTE_OPEN};

/// Hands the streams of one method to JavaScript.
pub(super) struct StreamMethod {
    pub(super) handlers: Arc<Handlers>,
    pub(super) route: u16,
    pub(super) kind: StreamKind,
}

#[async_trait::async_trait]
impl StreamHandler for StreamMethod {
    /// Always `Ok`, because ttrpc turns an `Err` into UNKNOWN, whatever status it carries. `None` ends the
    /// server's messages.
    async fn handler(
        &self,
        context: TtrpcContext,
        stream: StreamInner,
    ) -> ttrpc::Result<Option<Response>> {
        let stream_id = context.mh.stream_id;
        let (sender, mut receiver) = ServerStream::<Raw, Raw>::new(stream).split();
        let answer = self.answer(context, sender, &mut receiver).await;
        self.handlers.wire.answering(stream_id, Box::new(receiver));
        Ok(answer)
    }
}

impl StreamMethod {
    /// What the stream ends with.
    async fn answer(
        &self,
        context: TtrpcContext,
        sender: SSSender<Raw>,
        receiver: &mut SSReceiver<Raw>,
    ) -> Option<Response> {
        let Handlers { shared, wire, connection, budget, .. } = &*self.handlers;
        let TtrpcContext { mh: header, timeout_nano: timeout, .. } = context;
        if timeout < 0 {
            return Some(response_of_status(Code::DeadlineExceeded, "context deadline exceeded"));
        }
        let payload_of_request = wire.take_payload(header.stream_id);
        // ttrpc keeps the request for as long as this runs.
        let (payload, kept) = wire.request(header.stream_id);
        if payload > 0 && header.flags & FLAG_NO_DATA != 0 {
            let text = "the request has data, and says that it has none";
            return Some(response_of_status(Code::InvalidArgument, text));
        }
        if let Some(refusal) = budget.refusal(kept) {
            return Some(response_of_status(Code::ResourceExhausted, refusal));
        }
        let pairs = context.metadata.iter();
        let pairs = pairs.flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
        if request_size(pairs, 0) > RECORD_LIMIT {
            return Some(response_of_status(Code::ResourceExhausted, METADATA_TOO_LARGE));
        }
        let Some(mut open) = OpenRequest::begin(&self.handlers, kept, timeout) else {
            return Some(response_of_status(Code::ResourceExhausted, TOO_MANY));
        };
        let state = wire.new_stream();
        wire.opened_stream(header.stream_id, &state, header.flags & FLAG_REMOTE_CLOSED != 0);
        let (input, queue) = input_queue();
        open.stream(Handle { input, state: state.clone(), wire: wire.clone() });
        lock(&shared.events).stream_request(
            *connection,
            open.call,
            self.route,
            self.kind,
            &context,
        );
        drop(context);

        let incoming = Incoming {
            handlers: &self.handlers,
            call: open.call,
            state: &state,
            flags: header.flags,
            payload_of_request,
        };
        let answer = tokio::select! {
            biased;
            answer = outgoing(&self.handlers, (open.call, header.stream_id), sender, queue) => Some(answer),
            status = incoming.run(receiver) => Some(Err(status)),
            size = state.oversized() => {
                let Failure { code, text, .. } = Failure::oversize(size);
                Some(Err(response_of_status(code, text)))
            }
            // ttrpc does not wake the handlers of streams when their connection ends.
            _ = wire.ended() => None,
            () = passes(timeout) => {
                Some(Err(response_of_status(Code::DeadlineExceeded, "context deadline exceeded")))
            }
        };
        wire.forget_stream(&state);
        match answer {
            Some(Ok(Reply { status, payload, .. })) => {
                open.answered();
                wire.exempt_own(header.stream_id, &status);
                let ended = status.code.value() == 0 && self.kind.server;
                (!ended).then(|| {
                    let mut response = Response::new();
                    response.status = protobuf::MessageField::some(status);
                    response.payload = payload;
                    within_limit(response)
                })
            }
            Some(Err(response)) => Some(response),
            None => None,
        }
    }
}

/// Waits for a deadline. The timer is boxed, because most streams have none.
async fn passes(timeout_nano: i64) {
    if timeout_nano > 0 {
        Box::pin(tokio::time::sleep(Duration::from_nanos(timeout_nano as u64))).await;
    } else {
        std::future::pending().await
    }
}

/// Sends JavaScript's messages until it answers.
async fn outgoing(
    handlers: &Handlers,
    (call, stream_id): (CallId, u32),
    sender: SSSender<Raw>,
    mut queue: InputReceiver,
) -> Result<Reply, Response> {
    let mut sent = Sent::new(&handlers.shared, Side::Served, handlers.connection, call);
    loop {
        match sent.next(&mut queue).await {
            None => {
                return Err(response_of_status(Code::Unavailable, "the server is shutting down"));
            }
            Some(Input::Finish(reply)) => return Ok(*reply),
            Some(Input::HalfClose) => {}
            Some(Input::Message(mut payload, queued)) => {
                handlers.wire.writable(SEND_LIMIT).await;
                let size = payload.len();
                let _leaving = handlers.wire.detach_message(stream_id, &mut payload);
                // This fails when the connection ends, which also ends the handler.
                let _ = sender.send(&Raw::new(payload)).await;
                drop(queued);
                sent.add(size);
            }
        }
    }
}

/// The peer's messages on a stream.
struct Incoming<'a> {
    handlers: &'a Handlers,
    call: CallId,
    state: &'a StreamState,
    /// The flags of the request.
    flags: u8,
    /// The payload of the request, if ttrpc got the request without it.
    payload_of_request: Option<Vec<u8>>,
}

impl Incoming<'_> {
    /// Passes the messages on. Returns only if they break the protocol.
    async fn run(mut self, receiver: &mut SSReceiver<Raw>) -> Response {
        let Handlers { shared, connection, .. } = self.handlers;
        let has = |flag: u8| self.flags & flag != 0;
        let mut first = !has(FLAG_NO_DATA);
        if !first && has(FLAG_REMOTE_CLOSED) {
            lock(&shared.events).stream_end(Side::Served, *connection, self.call);
            return std::future::pending().await;
        }
        loop {
            match receiver.recv().await {
                Ok(Some(message)) => {
                    let mut payload = message.into_payload();
                    let from_request = std::mem::take(&mut first);
                    if !from_request {
                        payload = self.state.whole(payload);
                    } else if let Some(whole) = self.payload_of_request.take() {
                        payload = whole;
                    }
                    // Go opens a stream with a request without a payload, and ttrpc reports it as an empty
                    // message that nobody sent.
                    let phantom = from_request && has(FLAG_REMOTE_OPEN) && payload.is_empty();
                    if from_request && !phantom {
                        // The other messages were counted when their frames arrived.
                        self.state.arrived(1, payload.len());
                    }
                    if !phantom {
                        self.state.handed_over(payload.len());
                        lock(&shared.events).message(Side::Served, *connection, self.call, payload);
                    }
                    if !(from_request && has(FLAG_REMOTE_CLOSED)) {
                        continue;
                    }
                }
                // RemoteClosed follows a final message that closed the stream itself.
                Ok(None) | Err(ttrpc::Error::RemoteClosed) => {}
                Err(error) => return response_of_status(Code::InvalidArgument, error.to_string()),
            }
            lock(&shared.events).stream_end(Side::Served, *connection, self.call);
            std::future::pending::<()>().await;
        }
    }
}
