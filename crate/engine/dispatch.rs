//! Requests that this side answers: from ttrpc's server to JavaScript and back.

use super::Shared;
use super::deadlines::Deadline;
use crate::ids::{IdMap, IdSource};
use crate::port::Reply;
use crate::status::{Code, Failure, MESSAGE_LIMIT, response_of_status};
use crate::transport::frames::code_by_text;
use crate::transport::{Wire, lock};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use ttrpc::r#async::{MethodHandler, Service, TtrpcContext};
use ttrpc::proto::Codec as _;
use ttrpc::{Request, Response};

/// The services of one server, by full name.
pub type Services = HashMap<String, Vec<Method>>;

/// A method that JavaScript handles.
#[derive(Debug, Clone)]
pub struct Method {
    /// Its name.
    pub name: String,
    /// The number its requests carry.
    pub route: u16,
}

/// Requests that JavaScript has not answered.
#[derive(Debug, Default)]
pub(super) struct Requests {
    ids: IdSource,
    waiting: IdMap<oneshot::Sender<Reply>>,
}

impl Requests {
    /// Passes an answer on; one that nobody waits for any more is dropped.
    pub(super) fn answer(&mut self, reply: Reply) {
        if let Some(handler) = self.waiting.remove(&reply.call) {
            let _ = handler.send(reply);
        }
    }
}

/// Requests that the connections of one listener have open, and may have.
#[derive(Debug)]
pub(super) struct Gauge {
    calls: AtomicU32,
    calls_limit: u32,
    bytes: AtomicU32,
    bytes_limit: u32,
}

impl Gauge {
    pub(super) fn new(calls_limit: u32, bytes_limit: u32) -> Self {
        Self { calls: AtomicU32::new(0), calls_limit, bytes: AtomicU32::new(0), bytes_limit }
    }

    /// Why a request of this size cannot be taken, if it cannot.
    fn refusal(&self, size: u32) -> Option<String> {
        let calls = self.calls.load(Ordering::Relaxed);
        if calls >= self.calls_limit {
            return Some(format!("the server handles {calls} calls, its limit"));
        }
        let bytes = self.bytes.load(Ordering::Relaxed);
        // A lone request passes whatever its size: ttrpc bounds that, and it could never pass later.
        let full = bytes > 0 && bytes.saturating_add(size) > self.bytes_limit;
        full.then(|| {
            format!(
                "the server handles requests of {bytes} bytes, near its limit of {}",
                self.bytes_limit
            )
        })
    }

    fn enter(&self, size: u32) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(size, Ordering::Relaxed);
    }

    fn leave(&self, size: u32) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(size, Ordering::Relaxed);
    }
}

/// What the handlers of one connection share.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) shared: Arc<Shared>,
    pub(super) wire: Arc<Wire>,
    pub(super) connection: u32,
    pub(super) gauge: Arc<Gauge>,
}

/// ttrpc's dispatch table for one connection.
pub(super) fn table(services: &Services, peer: &Arc<Peer>) -> HashMap<String, Service> {
    let service = |methods: &Vec<Method>| Service {
        methods: methods
            .iter()
            .map(|method| {
                let handler = Handler { peer: peer.clone(), route: method.route };
                let handler: Box<dyn MethodHandler + Send + Sync> = Box::new(handler);
                (method.name.clone(), handler)
            })
            .collect(),
        streams: HashMap::new(),
    };
    services.iter().map(|(name, methods)| (name.clone(), service(methods))).collect()
}

/// Hands the requests of one method to JavaScript.
struct Handler {
    peer: Arc<Peer>,
    route: u16,
}

#[async_trait::async_trait]
impl MethodHandler for Handler {
    /// Always `Ok`: ttrpc turns an `Err`, whatever status it carries, into UNKNOWN.
    async fn handler(&self, context: TtrpcContext, request: Request) -> ttrpc::Result<Response> {
        let Peer { shared, wire, connection, gauge } = &*self.peer;
        if request.timeout_nano < 0 {
            // ttrpc reads it as unsigned, which is no deadline for 584 years. Go has it expired.
            return Ok(response_of_status(Code::DeadlineExceeded, "context deadline exceeded"));
        }
        let size = request.payload.len() as u32;
        if let Some(refusal) = gauge.refusal(size) {
            return Ok(response_of_status(Code::ResourceExhausted, refusal));
        }
        let (ticket, answer) =
            Ticket::issue(shared, *connection, gauge, size, request.timeout_nano);
        lock(&shared.events).request(*connection, ticket.call, self.route, &request);
        drop(request);
        let answer = answer.await;
        ticket.answered();
        let Ok(Reply { status, payload, .. }) = answer else {
            return Ok(response_of_status(Code::Unavailable, "the server is shutting down"));
        };
        if status.code.value() == Code::InvalidArgument as i32
            && code_by_text(status.message.as_bytes()).is_some()
        {
            wire.exempt(context.mh.stream_id);
        }
        let mut response = Response::new();
        response.status = protobuf::MessageField::some(status);
        response.payload = payload;
        let size = response.size() as usize;
        if size > MESSAGE_LIMIT {
            let Failure { code, text, .. } = Failure::oversize(size);
            return Ok(response_of_status(code, text));
        }
        Ok(response)
    }
}

/// A request that JavaScript has. If ttrpc drops the handler before the answer, at the deadline or
/// when the connection ends, JavaScript is told.
#[derive(Debug)]
struct Ticket {
    shared: Arc<Shared>,
    gauge: Arc<Gauge>,
    connection: u32,
    call: u32,
    size: u32,
    expires: Option<Instant>,
    open: bool,
    _deadline: Option<Deadline>,
}

impl Ticket {
    fn issue(
        shared: &Arc<Shared>,
        connection: u32,
        gauge: &Arc<Gauge>,
        size: u32,
        timeout_nano: i64,
    ) -> (Self, oneshot::Receiver<Reply>) {
        let (sender, receiver) = oneshot::channel();
        let mut requests = lock(&shared.requests);
        let call = requests.ids.next_id();
        requests.waiting.insert(call, sender);
        gauge.enter(size);
        let expires = (timeout_nano > 0)
            .then(|| Instant::now().checked_add(Duration::from_nanos(timeout_nano as u64)))
            .flatten();
        let _deadline = shared.deadlines.hold(timeout_nano);
        let (shared, gauge) = (shared.clone(), gauge.clone());
        drop(requests);
        (Self { shared, gauge, connection, call, size, expires, open: true, _deadline }, receiver)
    }

    fn answered(mut self) {
        self.open = false;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.gauge.leave(self.size);
        if self.open {
            lock(&self.shared.requests).waiting.remove(&self.call);
            let deadline = self.expires.is_some_and(|at| at <= Instant::now());
            lock(&self.shared.events).aborted(self.connection, self.call, deadline);
        }
    }
}
