//! Streams that this side opens.

use crate::engine::SEND_LIMIT;
use crate::engine::client::guard::Guard;
use crate::engine::inputs::{Inflow, Input};
use crate::engine::stream_handle::{Raw, Sent};
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
    /// With a single response, a status or a failure.
    Outcome(Outcome),
    /// The caller gave it up.
    GivenUp,
}

/// Runs a stream that this side opened to its end.
pub(in crate::engine) async fn run(
    client: Arc<Client>,
    guard: Guard,
    request: Request,
    kind: StreamKind,
    queue: Inflow,
) {
    let timeout = request.timeout_nano;
    let work = exchange(&client, &guard, request, kind, queue);
    let end = if timeout > 0 {
        // ttrpc sends a stream's deadline and never enforces it.
        let limit = Duration::from_nanos(timeout as u64);
        let passed = |_| Ending::Outcome(Outcome::Failed(Failure::deadline()));
        tokio::time::timeout(limit, work).await.unwrap_or_else(passed)
    } else {
        work.await
    };
    match end {
        Ending::Finished => guard.end(),
        Ending::Outcome(outcome) => guard.finish(outcome),
        Ending::GivenUp => guard.forget(),
    }
}

async fn exchange(
    client: &Client,
    guard: &Guard,
    request: Request,
    kind: StreamKind,
    queue: Inflow,
) -> Ending {
    let Some(state) =
        lock(&guard.shared.streams).get(&guard.call).map(|handle| handle.state.clone())
    else {
        return Ending::GivenUp;
    };
    let service = request.service.clone();
    let inner = match client.new_stream(request, kind.client, kind.server).await {
        Ok(inner) => inner,
        Err(error) => {
            return Ending::Outcome(Outcome::of_error(error, &service, || guard.wire.closed()));
        }
    };
    guard.wire.opening_stream(&state);
    let (sender, receiver) = ClientStream::<Raw, Raw>::new(inner).split();
    let open = Open {
        guard,
        state,
        sender,
        half_closed: AtomicBool::new(!kind.client),
        ended: AtomicBool::new(false),
    };
    tokio::select! {
        biased;
        end = receive(guard, &open.state, receiver, kind, &service) => {
            open.ended.store(true, Relaxed);
            end
        }
        end = send(&open, queue) => end,
    }
}

/// A stream whose request was written.
struct Open<'a> {
    guard: &'a Guard,
    state: Arc<StreamState>,
    sender: CSSender<Raw>,
    half_closed: AtomicBool,
    /// The peer has ended the stream.
    ended: AtomicBool,
}

impl Drop for Open<'_> {
    /// However the stream ends, the peer hears that no more comes: ttrpc does not say so by itself, and
    /// a server that waits for messages would wait for as long as the connection lasts. But a source
    /// that was cut off must not look complete.
    fn drop(&mut self) {
        let wire = &self.guard.wire;
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
    guard: &Guard,
    state: &StreamState,
    mut receiver: CSReceiver<Raw>,
    kind: StreamKind,
    service: &str,
) -> Ending {
    let Guard { shared, wire, connection, call, .. } = guard;
    let mut current = receiver.recv().await;
    loop {
        match current {
            Ok(Raw(payload)) if kind.server => {
                // Behind a final message, or a final response, ttrpc says RemoteClosed. A response ends
                // the messages of a server; what it carries is a message only if it is something.
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
            Ok(Raw(payload)) => return Ending::Outcome(Outcome::Reply(payload)),
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

async fn send(open: &Open<'_>, mut queue: Inflow) -> Ending {
    let Guard { shared, wire, connection, call, .. } = open.guard;
    let mut sent = Sent::new(shared, Side::Called, *connection, *call);
    loop {
        let result = match sent.next(&mut queue).await {
            None => return Ending::GivenUp,
            Some(Input::Message(payload, _)) => {
                wire.writable(SEND_LIMIT).await;
                let size = payload.len();
                let result = open.sender.send(&Raw(payload)).await;
                sent.add(size);
                result
            }
            Some(Input::HalfClose) => {
                open.half_closed.store(true, Relaxed);
                open.sender.close_send().await
            }
            Some(Input::Finish(_)) => Ok(()),
        };
        match result {
            Ok(()) => {}
            // The end of the connection reaches the receiving half too, with the reason.
            Err(ttrpc::Error::Others(text)) if text.starts_with("message length ") => {
                let failure = Failure::of_call(Code::ResourceExhausted, text);
                return Ending::Outcome(Outcome::Failed(failure));
            }
            Err(_) => std::future::pending().await,
        }
    }
}
