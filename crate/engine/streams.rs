//! Streams: the messages of one call, both ways.
//!
//! A stream is one task. It takes what JavaScript sends from a queue whose bytes JavaScript bounds (it
//! sends no more than a window ahead of the `sent` events it gets back), and passes on what the peer
//! sends, which the connection bounds (it is not read while too much waits to be taken).

use super::calls::Guard;
use super::inputs::{Inflow, Inputs};
use super::{SEND_LIMIT, Shared};
use crate::ids::CallId;
use crate::port::{Reply, Side, StreamKind};
use crate::status::{Code, Failure, Outcome};
use crate::transport::meter::Meter;
use crate::transport::{Queued, Wire, lock};
use futures::FutureExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use ttrpc::Request;
use ttrpc::r#async::{CSReceiver, CSSender, Client, ClientStream};
use ttrpc::proto::Codec;

/// What JavaScript does with a stream.
#[derive(Debug)]
pub(super) enum Input {
    /// Send a message, which counts until it is given to ttrpc.
    Message(Vec<u8>, Queued),
    /// Send no more.
    HalfClose,
    /// Served: end with this status and, where there is a single response, payload.
    Finish(Box<Reply>),
}

/// The engine's hold on a stream. Dropping it gives the stream up.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) input: Inputs,
    pub(super) meter: Arc<Meter>,
    pub(super) wire: Arc<Wire>,
}

impl Handle {
    pub(super) fn put(&self, input: Input) {
        // The task may be about to end, and then needs nothing.
        self.input.put(input);
    }

    pub(super) fn send(&self, payload: Vec<u8>) {
        let queued = Queued::new(&self.wire, payload.len());
        self.put(Input::Message(payload, queued));
    }

    pub(super) fn taken(&self, messages: usize, bytes: usize) {
        self.meter.taken(messages, bytes);
        self.wire.mark();
    }

    /// Whether the stream has ended and its reader has taken everything.
    pub(super) fn is_over(&self) -> bool {
        self.input.is_closed() && self.meter.is_taken()
    }
}

/// A message that crosses as it is: protobuf is JavaScript's.
#[derive(Debug, Clone)]
pub(super) struct Raw(pub(super) Vec<u8>);

impl Codec for Raw {
    type E = std::convert::Infallible;

    fn size(&self) -> u32 {
        self.0.len() as u32
    }

    fn encode(&self) -> Result<Vec<u8>, Self::E> {
        Ok(self.0.clone())
    }

    fn decode(bytes: impl AsRef<[u8]>) -> Result<Self, Self::E> {
        Ok(Self(bytes.as_ref().to_vec()))
    }

    fn merge(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Self::E> {
        self.0 = bytes.as_ref().to_vec();
        Ok(())
    }
}

/// Tells JavaScript what has left, a batch at a time.
#[derive(Debug)]
pub(super) struct Sent<'a> {
    pub(super) shared: &'a Shared,
    pub(super) side: Side,
    pub(super) connection: u32,
    pub(super) call: CallId,
    messages: usize,
    bytes: usize,
}

/// JavaScript hears of this many bytes at the latest.
const SENT_BATCH: usize = 64 * 1024;

impl<'a> Sent<'a> {
    pub(super) fn new(shared: &'a Shared, side: Side, connection: u32, call: CallId) -> Self {
        Self { shared, side, connection, call, messages: 0, bytes: 0 }
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes;
        if self.bytes >= SENT_BATCH {
            self.tell();
        }
    }

    fn tell(&mut self) {
        if self.messages > 0 {
            let (messages, bytes) =
                (std::mem::take(&mut self.messages), std::mem::take(&mut self.bytes));
            lock(&self.shared.events).sent(self.side, self.connection, self.call, messages, bytes);
        }
    }

    /// The next input; before it has to wait, JavaScript hears of all that has left.
    pub(super) async fn next(&mut self, queue: &mut Inflow) -> Option<Input> {
        if let Some(input) = queue.try_next() {
            return Some(input);
        }
        self.tell();
        queue.next().await
    }
}

/// How a stream that this side opened ended.
enum End {
    /// The server's messages ended in order.
    Finished,
    /// With a single response, a status or a failure.
    Outcome(Outcome),
    /// The caller gave it up.
    GivenUp,
}

/// Runs a stream that this side opened to its end.
pub(super) async fn run(
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
        let passed = |_| End::Outcome(Outcome::Failed(Failure::deadline()));
        tokio::time::timeout(limit, work).await.unwrap_or_else(passed)
    } else {
        work.await
    };
    match end {
        End::Finished => guard.end(),
        End::Outcome(outcome) => guard.settle(outcome),
        End::GivenUp => guard.forget(),
    }
}

async fn exchange(
    client: &Client,
    guard: &Guard,
    request: Request,
    kind: StreamKind,
    queue: Inflow,
) -> End {
    let Some(meter) =
        lock(&guard.shared.streams).get(&guard.call).map(|handle| handle.meter.clone())
    else {
        return End::GivenUp;
    };
    let service = request.service.clone();
    let inner = match client.new_stream(request, kind.client, kind.server).await {
        Ok(inner) => inner,
        Err(error) => return End::Outcome(Outcome::of_error(error, &guard.wire, &service)),
    };
    guard.wire.opening_stream(&meter);
    let (sender, receiver) = ClientStream::<Raw, Raw>::new(inner).split();
    let open = Open {
        guard,
        meter,
        sender,
        half_closed: AtomicBool::new(!kind.client),
        ended: AtomicBool::new(false),
    };
    tokio::select! {
        biased;
        end = receive(guard, &open.meter, receiver, kind, &service) => {
            open.ended.store(true, Relaxed);
            end
        }
        end = send(&open, queue) => end,
    }
}

/// A stream whose request was written.
struct Open<'a> {
    guard: &'a Guard,
    meter: Arc<Meter>,
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
        wire.forget_stream(&self.meter);
        if self.half_closed.load(Relaxed) {
            return;
        }
        if self.ended.load(Relaxed) || self.meter.is_left() {
            let sender = self.sender.clone();
            tokio::spawn(async move { sender.close_send().await });
        } else {
            wire.break_off(&self.meter);
        }
    }
}

async fn receive(
    guard: &Guard,
    meter: &Meter,
    mut receiver: CSReceiver<Raw>,
    kind: StreamKind,
    service: &str,
) -> End {
    let Guard { shared, wire, connection, call, .. } = guard;
    let mut current = receiver.recv().await;
    loop {
        match current {
            Ok(Raw(payload)) if kind.server => {
                // Behind a final message, or a final response, ttrpc says RemoteClosed. A response ends
                // the messages of a server; what it carries is a message only if it is something.
                let following = receiver.recv().now_or_never();
                let last = matches!(following, Some(Err(ttrpc::Error::RemoteClosed)));
                if !(last && meter.is_answered() && payload.is_empty()) {
                    meter.handed_over(payload.len());
                    lock(&shared.events).message(Side::Called, *connection, *call, payload);
                }
                if last {
                    return End::Finished;
                }
                current = match following {
                    Some(next) => next,
                    None => receiver.recv().await,
                };
            }
            Ok(Raw(payload)) => return End::Outcome(Outcome::Reply(payload)),
            Err(ttrpc::Error::Eof) if kind.server => return End::Finished,
            Err(ttrpc::Error::Eof) => {
                let text = "the peer ended the stream without a response";
                return End::Outcome(Outcome::Failed(Failure::of_call(Code::Internal, text)));
            }
            Err(error) => return End::Outcome(Outcome::of_error(error, wire, service)),
        }
    }
}

async fn send(open: &Open<'_>, mut queue: Inflow) -> End {
    let Guard { shared, wire, connection, call, .. } = open.guard;
    let mut sent = Sent::new(shared, Side::Called, *connection, *call);
    loop {
        let result = match sent.next(&mut queue).await {
            None => return End::GivenUp,
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
                return End::Outcome(Outcome::Failed(failure));
            }
            Err(_) => std::future::pending().await,
        }
    }
}
