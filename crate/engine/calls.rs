//! Calls that this side makes.

use super::deadlines::Deadline;
use super::inputs::{Inflow, inputs};
use super::link::{End, Link};
use super::streams::{self, Handle};
use super::{Engine, SEND_LIMIT, Shared};
use crate::ids::CallId;
use crate::port::{Call, Side, StreamKind};
use crate::status::{Code, Failure, Outcome, wire_size};
use crate::transport::{CloseKind, Closed, Wire, lock};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use ttrpc::Request;
use ttrpc::r#async::Client;

/// A service and method that calls name by number.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) service: String,
    pub(super) method: String,
}

/// Where a call waits: on which connection, and as which of its waiting calls.
pub(super) type Place = (u32, u64);

/// A call that has not started, since the socket has not taken what was sent before it.
#[derive(Debug)]
pub(super) struct Waiting {
    guard: Guard,
    request: Request,
    kind: Kind,
    pub(super) size: usize,
    /// When its deadline passes.
    until: Option<Instant>,
}

/// What there is to start.
#[derive(Debug)]
enum Kind {
    /// A unary call, and whether a cancel may follow.
    Unary { cancellable: bool },
    /// A stream with what JavaScript sends on it.
    Stream(StreamKind, Inflow),
}

/// What may wait on one connection, in bytes. A call beyond it is refused with RESOURCE_EXHAUSTED.
const WAITING_LIMIT: usize = 64 << 20;

/// What a waiting call takes besides its bytes, so that empty ones count too.
const WAITING_COST: usize = 512;

/// Where an outcome goes.
#[derive(Debug)]
pub(super) enum Sink {
    /// Into the batch for JavaScript.
    Events,
    /// To a blocking caller.
    Slot(Arc<Mutex<Option<Outcome>>>),
}

impl Engine {
    /// Starts a unary call, or puts it behind those that wait for the socket.
    pub(super) fn call(&mut self, call: Call, sink: Sink) {
        let kind = Kind::Unary { cancellable: call.cancellable };
        self.begin(call, sink, kind);
    }

    /// Starts a stream, or puts it behind the calls that wait for the socket.
    pub(super) fn open_stream(&mut self, call: Call, kind: StreamKind) {
        let (input, queue) = inputs();
        if let Some(link) = self.links.get(&call.connection) {
            let handle = Handle { input, meter: link.wire.meter(), wire: link.wire.clone() };
            lock(&self.shared.streams).insert(call.call, handle);
        }
        self.begin(call, Sink::Events, Kind::Stream(kind, queue));
    }

    fn begin(&mut self, call: Call, sink: Sink, kind: Kind) {
        let Call { connection, call, route, timeout_nano, metadata, payload, .. } = call;
        let Some(link) = self.links.get_mut(&connection) else {
            let mut closed = Closed::local();
            closed.text = "the connection is closed".to_owned();
            settle(&self.shared, &sink, connection, call, Outcome::Failed(Failure::closed(closed)));
            return;
        };
        let mut guard = Guard::new(&self.shared, link, connection, call, sink, timeout_nano);
        guard.is_stream = matches!(kind, Kind::Stream(..));
        if link.ids_left == 0 {
            // Calls in flight end in their own time; then the connection does.
            let text = "the connection has used up its stream ids; connect again";
            let closed = Closed { kind: CloseKind::Error, errno: 0, text: text.to_owned() };
            link.finishing = Some(closed.clone());
            return guard.settle(Outcome::Failed(Failure::closed(closed)));
        }
        link.ids_left -= 1;
        if let Some(closed) = link.wire.closed() {
            return guard.settle(Outcome::Failed(Failure::closed(closed)));
        }
        let Some(Route { service, method }) =
            self.routes.get(usize::from(route)).cloned().flatten()
        else {
            return guard
                .settle(Outcome::Failed(Failure::of_call(Code::Internal, "unknown route")));
        };
        let request =
            Request { service, method, payload, timeout_nano, metadata, ..Default::default() };
        let must_wait =
            link.connecting || !link.waiting.is_empty() || link.wire.unsent() > SEND_LIMIT;
        if !must_wait {
            return start(&self.shared, link, guard, request, kind);
        }
        let size = wire_size(&request) + WAITING_COST;
        if link.waiting_bytes + size > WAITING_LIMIT {
            let text =
                format!("calls of more than {WAITING_LIMIT} bytes wait for the peer to read");
            return guard.settle(Outcome::Failed(Failure::of_call(Code::ResourceExhausted, text)));
        }
        let until = (timeout_nano > 0)
            .then(|| Instant::now().checked_add(Duration::from_nanos(timeout_nano as u64)))
            .flatten();
        let waiting = Waiting { guard, request, kind, size, until };
        let place = link.wait(waiting);
        lock(&self.shared.waiting).insert(call, (connection, place));
    }

    /// Gives a call up: a waiting one is never sent, of a sent one the answer is dropped.
    pub(super) fn cancel(&mut self, call: CallId, left: bool) {
        if let Some(stream) = lock(&self.shared.streams).remove(&call) {
            stream.meter.give_up();
            if left {
                stream.meter.leave();
            }
            stream.wire.mark();
        }
        if let Some(task) = lock(&self.shared.cancellable).remove(&call) {
            task.abort();
            return;
        }
        let place = lock(&self.shared.waiting).remove(&call);
        if let Some((connection, place)) = place
            && let Some(link) = self.links.get_mut(&connection)
            && let Some(waiting) = link.stop_waiting(place)
        {
            waiting.guard.forget();
        }
    }

    /// Fails the waiting calls whose deadline passed. ttrpc never saw them, so nothing else would.
    pub(super) fn expire_waiting(&mut self) {
        let now = Instant::now();
        if lock(&self.shared.waiting).is_empty() {
            return;
        }
        for link in self.links.values_mut() {
            let expired = |waiting: &Waiting| waiting.until.is_some_and(|until| until <= now);
            let expired: Vec<u64> = link
                .waiting
                .iter()
                .filter_map(|(place, waiting)| expired(waiting).then_some(*place))
                .collect();
            for waiting in expired.into_iter().filter_map(|place| link.stop_waiting(place)) {
                lock(&self.shared.waiting).remove(&waiting.guard.call);
                waiting.guard.settle(Outcome::Failed(Failure::deadline()));
            }
        }
    }
}

/// Starts waiting calls while the socket keeps up. Returns whether any was.
pub(super) fn start_waiting(shared: &Arc<Shared>, link: &mut Link, mut room: usize) -> bool {
    let mut any = false;
    while room > 0
        && let Some((&place, _)) = link.waiting.first_key_value()
        && let Some(waiting) = link.stop_waiting(place)
    {
        let Waiting { guard, mut request, kind, size, until } = waiting;
        lock(&shared.waiting).remove(&guard.call);
        if let Some(until) = until {
            let left = until.saturating_duration_since(Instant::now()).as_nanos() as i64;
            if left == 0 {
                guard.settle(Outcome::Failed(Failure::deadline()));
                continue;
            }
            // The peer's clock starts when it reads the request.
            request.timeout_nano = left;
        }
        room = room.saturating_sub(size);
        start(shared, link, guard, request, kind);
        any = true;
    }
    any
}

/// Fails all calls that wait, when their connection has ended.
pub(super) fn fail_waiting(shared: &Shared, link: &mut Link, closed: &Closed) {
    while let Some((&place, _)) = link.waiting.first_key_value()
        && let Some(waiting) = link.stop_waiting(place)
    {
        lock(&shared.waiting).remove(&waiting.guard.call);
        waiting.guard.settle(Outcome::Failed(Failure::closed(closed.clone())));
    }
}

fn start(shared: &Arc<Shared>, link: &Link, mut guard: Guard, request: Request, kind: Kind) {
    let End::Client(Some(client)) = &link.end else {
        return guard.settle(Outcome::Failed(Failure::closed(Closed::local())));
    };
    let (client, call) = (client.clone(), guard.call);
    match kind {
        Kind::Unary { cancellable } => {
            guard.cancellable = cancellable;
            let task = tokio::spawn(run(client, guard, request));
            if cancellable {
                lock(&shared.cancellable).insert(call, task.abort_handle());
            }
        }
        Kind::Stream(kind, queue) => {
            guard.cancellable = true;
            let task = tokio::spawn(streams::run(client, guard, request, kind, queue));
            lock(&shared.cancellable).insert(call, task.abort_handle());
        }
    }
}

async fn run(client: Arc<Client>, guard: Guard, request: Request) {
    let service = request.service.clone();
    let result = client.request(request).await;
    let outcome = Outcome::of_request(result, &guard.wire, &service);
    guard.settle(outcome);
}

/// A call between submit and outcome. It settles exactly once: with its outcome, or, if its task
/// ends without one (which takes a panic in ttrpc), with INTERNAL. An aborted task's caller has
/// settled already.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) shared: Arc<Shared>,
    pub(super) wire: Arc<Wire>,
    in_flight: Arc<AtomicU32>,
    pub(super) connection: u32,
    pub(super) call: CallId,
    sink: Option<Sink>,
    /// Whether an entry in [`Shared::cancellable`] goes with it.
    cancellable: bool,
    /// Whether an entry in [`Shared::streams`] goes with it.
    is_stream: bool,
    _deadline: Option<Deadline>,
}

impl Guard {
    fn new(
        shared: &Arc<Shared>,
        link: &Link,
        connection: u32,
        call: CallId,
        sink: Sink,
        timeout_nano: i64,
    ) -> Self {
        link.in_flight.fetch_add(1, Ordering::Relaxed);
        shared.in_flight.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: shared.clone(),
            wire: link.wire.clone(),
            in_flight: link.in_flight.clone(),
            connection,
            call,
            sink: Some(sink),
            cancellable: false,
            is_stream: false,
            _deadline: shared.deadlines.hold(timeout_nano),
        }
    }

    pub(super) fn settle(mut self, outcome: Outcome) {
        if let Some(sink) = self.sink.take() {
            settle(&self.shared, &sink, self.connection, self.call, outcome);
        }
    }

    /// The server's messages have ended in order.
    pub(super) fn end(mut self) {
        self.sink = None;
        lock(&self.shared.events).stream_end(Side::Called, self.connection, self.call);
    }

    /// The caller has settled already.
    pub(super) fn forget(mut self) {
        self.sink = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // A cancel takes the entry out before it aborts the task; its caller has settled already.
        let aborted =
            self.cancellable && lock(&self.shared.cancellable).remove(&self.call).is_none();
        if let Some(sink) = self.sink.take()
            && !aborted
        {
            let failure = Failure::of_call(Code::Internal, "ttrpc gave the call up");
            settle(&self.shared, &sink, self.connection, self.call, Outcome::Failed(failure));
        }
        if self.is_stream {
            let mut streams = lock(&self.shared.streams);
            // What JavaScript holds of an ended stream counts until its reader has taken it.
            if streams.get(&self.call).is_some_and(|stream| stream.meter.ended()) {
                streams.remove(&self.call);
            }
        }
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.wire.mark();
        }
    }
}

fn settle(shared: &Shared, sink: &Sink, connection: u32, call: CallId, outcome: Outcome) {
    match sink {
        Sink::Events => lock(&shared.events).outcome(connection, call, outcome),
        Sink::Slot(slot) => *lock(slot) = Some(outcome),
    }
}
