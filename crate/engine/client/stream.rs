//! Streams that this side opens.

use crate::engine::client::open_call::OpenCall;
use crate::engine::stream_handle::{Raw, Sent};
use crate::engine::stream_input::{Input, InputReceiver};
use crate::limits::SEND_LIMIT;
use crate::protocol::outcome::{Failure, Outcome};
use crate::protocol::status::Code;
use crate::records::{Side, StreamKind};
use crate::sync::lock;
use crate::transport::stream_state::StreamState;
use futures::FutureExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use ttrpc::Request;
use ttrpc::r#async::{CSReceiver, CSSender, Client, ClientStream};

/// How a stream that this side opened ended.
enum Ending {
    /// The server's messages ended in order.
    Finished,
    /// It ended with a single response, a status or a failure.
    Outcome(Outcome),
    /// The caller gave it up.
    GivenUp,
}

/// Runs a stream that this side opened to its end.
pub(in crate::engine) async fn run(
    client: Arc<Client>,
    open: OpenCall,
    request: Request,
    kind: StreamKind,
    queue: InputReceiver,
) {
    let timeout = request.timeout_nano;
    let work = exchange(&client, &open, request, kind, queue);
    let end = if timeout > 0 {
        // ttrpc sends a stream's deadline, but does not enforce it.
        let limit = Duration::from_nanos(timeout as u64);
        let passed = |_| Ending::Outcome(Outcome::Failed(Failure::deadline()));
        tokio::time::timeout(limit, work).await.unwrap_or_else(passed)
    } else {
        work.await
    };
    match end {
        Ending::Finished => open.end(),
        Ending::Outcome(outcome) => open.finish(outcome),
        Ending::GivenUp => open.forget(),
    }
}

async fn exchange(
    client: &Client,
    open: &OpenCall,
    request: Request,
    kind: StreamKind,
    queue: InputReceiver,
) -> Ending {
    let Some(state) = lock(&open.shared.streams).get(&open.call).map(|handle| handle.state.clone())
    else {
        return Ending::GivenUp;
    };
    let service = request.service.clone();
    let stream_id = open.wire.stream_call();
    let inner = match client.new_stream(request, kind.client, kind.server).await {
        Ok(inner) => inner,
        Err(error) => {
            return Ending::Outcome(Outcome::of_error(error, &service, || open.wire.closed()));
        }
    };
    open.wire.opening_stream(&state);
    let (sender, receiver) = ClientStream::<Raw, Raw>::new(inner).split();
    let stream = OpenStream {
        open,
        stream_id,
        state,
        sender,
        half_closed: AtomicBool::new(!kind.client),
        ended: AtomicBool::new(false),
    };
    tokio::select! {
        biased;
        end = receive(open, &stream.state, receiver, kind, &service) => {
            stream.ended.store(true, Relaxed);
            end
        }
        end = send(&stream, queue) => end,
    }
}

/// A stream whose request was written.
struct OpenStream<'a> {
    open: &'a OpenCall,
    stream_id: u32,
    state: Arc<StreamState>,
    sender: CSSender<Raw>,
    half_closed: AtomicBool,
    /// The peer has ended the stream.
    ended: AtomicBool,
}

impl Drop for OpenStream<'_> {
    /// Tells the peer that no more messages come, however the stream ends. ttrpc itself does not, and a
    /// server that waits for messages would wait for as long as the connection lasts. But messages that were
    /// cut off must not look complete.
    fn drop(&mut self) {
        let wire = &self.open.wire;
        wire.forget_stream(&self.state);
        if self.half_closed.load(Relaxed) {
            return;
        }
        if self.ended.load(Relaxed) || self.state.is_left() {
            let sender = self.sender.clone();
            tokio::spawn(async move { sender.close_send().await });
        } else {
            wire.break_off(&self.state);
        }
    }
}

async fn receive(
    open: &OpenCall,
    state: &StreamState,
    mut receiver: CSReceiver<Raw>,
    kind: StreamKind,
    service: &str,
) -> Ending {
    let OpenCall { shared, wire, connection, call, .. } = open;
    let mut current = receiver.recv().await;
    loop {
        match current {
            Ok(message) if kind.server => {
                let payload = state.whole(message.into_payload());
                // After a final message, or a final response, ttrpc reports RemoteClosed. A response ends the
                // server's messages; its payload is a message only if it is not empty.
                let following = receiver.recv().now_or_never();
                let last = matches!(following, Some(Err(ttrpc::Error::RemoteClosed)));
                if !(last && state.is_answered() && payload.is_empty()) {
                    state.handed_over(payload.len());
                    lock(&shared.events).message(Side::Called, *connection, *call, payload);
                }
                if last {
                    return Ending::Finished;
                }
                current = match following {
                    Some(next) => next,
                    None => receiver.recv().await,
                };
            }
            Ok(message) => {
                let payload = state.whole(message.into_payload());
                return Ending::Outcome(Outcome::Reply(payload));
            }
            Err(ttrpc::Error::Eof) if kind.server => return Ending::Finished,
            Err(ttrpc::Error::Eof) => {
                let text = "the peer ended the stream without a response";
                return Ending::Outcome(Outcome::Failed(Failure::of_call(Code::Internal, text)));
            }
            Err(error) => {
                return Ending::Outcome(Outcome::of_error(error, service, || wire.closed()));
            }
        }
    }
}

async fn send(stream: &OpenStream<'_>, mut queue: InputReceiver) -> Ending {
    let OpenCall { shared, wire, connection, call, .. } = stream.open;
    let mut sent = Sent::new(shared, Side::Called, *connection, *call);
    loop {
        let result = match sent.next(&mut queue).await {
            None => return Ending::GivenUp,
            Some(Input::Message(mut payload, _)) => {
                wire.writable(SEND_LIMIT).await;
                let size = payload.len();
                let _leaving = wire.detach_message(stream.stream_id, &mut payload);
                let result = stream.sender.send(&Raw::new(payload)).await;
                sent.add(size);
                result
            }
            Some(Input::HalfClose) => {
                stream.half_closed.store(true, Relaxed);
                stream.sender.close_send().await
            }
            Some(Input::Finish(_)) => Ok(()),
        };
        match result {
            Ok(()) => {}
            // If the connection ended, the receiving half reports it, with the reason.
            Err(ttrpc::Error::Others(text)) if text.starts_with("message length ") => {
                let failure = Failure::of_call(Code::ResourceExhausted, text);
                return Ending::Outcome(Outcome::Failed(failure));
            }
            Err(_) => std::future::pending().await,
        }
    }
}
