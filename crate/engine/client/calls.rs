//! Calls that this side makes.

use crate::engine::client::open_call::{Destination, OpenCall, deliver};
use crate::engine::client::stream;
use crate::engine::client::waiting_calls::{CallKind, Waiting};
use crate::engine::connection::{Connection, Endpoint};
use crate::engine::stream_handle::Handle;
use crate::engine::stream_input::input_queue;
use crate::engine::{Engine, Shared};
use crate::ids::CallId;
use crate::limits::{SEND_LIMIT, WAITING_CALLS_LIMIT, WAITING_COST};
use crate::protocol::close_reason::{CloseKind, CloseReason};
use crate::protocol::outcome::{Failure, Outcome};
use crate::protocol::status::{Code, wire_size};
use crate::records::{Call, StreamKind};
use crate::sync::lock;
use std::sync::Arc;
use std::time::{Duration, Instant};
use ttrpc::Request;

/// A service and method, which calls name by a number.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Route {
    pub(in crate::engine) service: String,
    pub(in crate::engine) method: String,
}

impl Engine {
    /// Makes a unary call.
    pub(in crate::engine) fn call(&mut self, call: Call, destination: Destination) {
        let kind = CallKind::Unary { cancellable: call.cancellable };
        self.start_or_queue(call, destination, kind);
    }

    /// Opens a stream.
    pub(in crate::engine) fn open_stream(&mut self, call: Call, kind: StreamKind) {
        let (input, queue) = input_queue();
        if let Some(conn) = self.connections.get(&call.connection) {
            let handle = Handle { input, state: conn.wire.new_stream(), wire: conn.wire.clone() };
            lock(&self.shared.streams).insert(call.call, handle);
        }
        self.start_or_queue(call, Destination::Events, CallKind::Stream(kind, queue));
    }

    /// Starts a call, or puts it behind those that wait for the socket.
    fn start_or_queue(&mut self, call: Call, destination: Destination, kind: CallKind) {
        let Call { connection, call, route, timeout_nano, metadata, payload, .. } = call;
        let Some(conn) = self.connections.get_mut(&connection) else {
            let mut closed = CloseReason::local();
            closed.text = "the connection is closed".to_owned();
            deliver(
                &self.shared,
                &destination,
                connection,
                call,
                Outcome::Failed(Failure::closed(closed)),
            );
            return;
        };
        let mut open = OpenCall::new(
            &self.shared,
            (&conn.wire, &conn.in_flight),
            connection,
            call,
            destination,
            timeout_nano,
        );
        open.is_stream = matches!(kind, CallKind::Stream(..));
        if conn.ids_left == 0 {
            // The calls in flight may end first; then the connection ends.
            let text = "the connection has used up its stream ids; connect again";
            let closed = CloseReason { kind: CloseKind::Error, errno: 0, text: text.to_owned() };
            conn.finishing = Some(closed.clone());
            return open.finish(Outcome::Failed(Failure::closed(closed)));
        }
        conn.ids_left -= 1;
        if let Some(closed) = conn.wire.closed() {
            return open.finish(Outcome::Failed(Failure::closed(closed)));
        }
        let Some(Route { service, method }) =
            self.routes.get(usize::from(route)).cloned().flatten()
        else {
            return open.finish(Outcome::Failed(Failure::of_call(Code::Internal, "unknown route")));
        };
        let request =
            Request { service, method, payload, timeout_nano, metadata, ..Default::default() };
        let must_wait =
            conn.connecting || !conn.waiting.is_empty() || conn.wire.unsent() > SEND_LIMIT;
        if !must_wait {
            return start(&self.shared, conn, open, request, kind);
        }
        let size = wire_size(&request) + WAITING_COST;
        if conn.waiting.bytes() + size > WAITING_CALLS_LIMIT {
            let text =
                format!("calls of more than {WAITING_CALLS_LIMIT} bytes wait for the peer to read");
            return open.finish(Outcome::Failed(Failure::of_call(Code::ResourceExhausted, text)));
        }
        let until = (timeout_nano > 0)
            .then(|| Instant::now().checked_add(Duration::from_nanos(timeout_nano as u64)))
            .flatten();
        let waiting = Waiting { open, request, kind, size, until };
        conn.waiting.push(waiting);
        // The call keeps the process alive, and no byte of it has told the watcher so.
        conn.wire.mark();
    }

    /// Gives a call up. One that waits is never sent; the answer to one that was sent is dropped.
    pub(in crate::engine) fn cancel(&mut self, call: CallId, left: bool) {
        if let Some(stream) = lock(&self.shared.streams).remove(&call) {
            stream.state.give_up();
            if left {
                stream.state.leave();
            }
            stream.wire.mark();
        }
        if let Some(task) = lock(&self.shared.cancellable).remove(&call) {
            task.abort();
            return;
        }
        let place = lock(&self.shared.waiting).get(&call).copied();
        if let Some((connection, place)) = place
            && let Some(conn) = self.connections.get_mut(&connection)
            && let Some(waiting) = conn.waiting.take(place)
        {
            waiting.open.forget();
        }
    }

    /// Fails the waiting calls whose deadlines have passed. ttrpc has not seen them, so it does not.
    pub(in crate::engine) fn expire_waiting(&mut self) {
        let now = Instant::now();
        if lock(&self.shared.waiting).is_empty() {
            return;
        }
        for conn in self.connections.values_mut() {
            let expired = |waiting: &Waiting| waiting.until.is_some_and(|until| until <= now);
            let expired: Vec<u64> = conn.waiting.places(expired).collect();
            for waiting in expired.into_iter().filter_map(|place| conn.waiting.take(place)) {
                waiting.open.finish(Outcome::Failed(Failure::deadline()));
            }
        }
    }
}

/// Starts waiting calls, in order, while there is `room` in bytes. Returns whether any was started.
pub(in crate::engine) fn start_waiting(
    shared: &Arc<Shared>,
    conn: &mut Connection,
    mut room: usize,
) -> bool {
    let mut any = false;
    while room > 0
        && let Some(waiting) = conn.waiting.pop()
    {
        let Waiting { open, mut request, kind, size, until } = waiting;
        if let Some(until) = until {
            let left = until.saturating_duration_since(Instant::now()).as_nanos() as i64;
            if left == 0 {
                open.finish(Outcome::Failed(Failure::deadline()));
                continue;
            }
            // The peer's clock starts when it reads the request.
            request.timeout_nano = left;
        }
        room = room.saturating_sub(size);
        start(shared, conn, open, request, kind);
        any = true;
    }
    any
}

/// Fails all waiting calls of a connection that has ended.
pub(in crate::engine) fn fail_waiting(conn: &mut Connection, closed: &CloseReason) {
    while let Some(waiting) = conn.waiting.pop() {
        waiting.open.finish(Outcome::Failed(Failure::closed(closed.clone())));
    }
}

fn start(
    shared: &Arc<Shared>,
    conn: &Connection,
    mut open: OpenCall,
    mut request: Request,
    kind: CallKind,
) {
    let Endpoint::Client(Some(client)) = &conn.endpoint else {
        return open.finish(Outcome::Failed(Failure::closed(CloseReason::local())));
    };
    let (client, call) = (client.clone(), open.call);
    match kind {
        CallKind::Unary { cancellable } => {
            open.cancellable = cancellable;
            let task = tokio::spawn(async move {
                let service = request.service.clone();
                let unary = open.wire.unary_call(&mut request);
                let mut result = client.request(request).await;
                match &mut result {
                    Ok(response) => unary.end(response),
                    Err(_) => drop(unary),
                }
                let outcome = Outcome::of_request(result, &service, || open.wire.closed());
                open.finish(outcome);
            });
            if cancellable {
                lock(&shared.cancellable).insert(call, task.abort_handle());
            }
        }
        CallKind::Stream(kind, queue) => {
            open.cancellable = true;
            let task = tokio::spawn(stream::run(client, open, request, kind, queue));
            lock(&shared.cancellable).insert(call, task.abort_handle());
        }
    }
}
