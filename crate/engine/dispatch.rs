//! Requests that this side answers: from ttrpc's server to JavaScript and back.

use super::Shared;
use super::deadlines::Deadline;
use super::served::Streamer;
use super::streams::{Handle, Input};
use crate::ids::{CallId, CallIds, IdMap};
use crate::port::{RECORD_LIMIT, Reply, StreamKind, request_size};
use crate::status::{Code, Failure, MESSAGE_LIMIT, response_of_status};
use crate::transport::budget::{Budget, Charge};
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
    /// What kind of stream it is, if it is one.
    pub kind: Option<StreamKind>,
}

/// Requests that JavaScript has not answered.
#[derive(Debug)]
pub(super) struct Requests {
    ids: CallIds,
    waiting: IdMap<oneshot::Sender<Reply>, CallId>,
    streams: IdMap<Handle, CallId>,
    /// What counts of requests that need no answer any more, until JavaScript has let go of them.
    aborted: IdMap<Charge, CallId>,
}

impl Requests {
    /// Slots are used `generations` times each.
    pub(super) fn new(generations: u32) -> Self {
        Self {
            ids: CallIds::new(generations),
            waiting: IdMap::default(),
            streams: IdMap::default(),
            aborted: IdMap::default(),
        }
    }

    /// JavaScript holds nothing any more of a request that needed no answer.
    pub(super) fn let_go(&mut self, call: CallId) {
        self.aborted.remove(&call);
    }

    /// Passes an answer on; one that nobody waits for any more is dropped.
    pub(super) fn answer(&mut self, reply: Reply) {
        if let Some(handler) = self.waiting.remove(&reply.call) {
            let _ = handler.send(reply);
        } else if let Some(stream) = self.streams.get(&reply.call) {
            stream.put(Input::Finish(Box::new(reply)));
        }
    }

    /// A stream that JavaScript serves.
    pub(super) fn stream(&self, call: CallId) -> Option<&Handle> {
        self.streams.get(&call)
    }
}

/// What the handlers of one connection share.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) shared: Arc<Shared>,
    pub(super) wire: Arc<Wire>,
    pub(super) connection: u32,
    pub(super) budget: Arc<Budget>,
    /// Requests of the connection between their arrival and the last byte of their answer.
    pub(super) in_flight: Arc<AtomicU32>,
}

/// ttrpc's dispatch table for one connection.
pub(super) fn table(services: &Services, peer: &Arc<Peer>) -> HashMap<String, Service> {
    let service = |methods: &Vec<Method>| {
        let mut service = Service { methods: HashMap::new(), streams: HashMap::new() };
        for Method { name, route, kind } in methods {
            let peer = peer.clone();
            match *kind {
                None => {
                    let handler = Handler { peer, route: *route };
                    service.methods.insert(name.clone(), Box::new(handler));
                }
                Some(kind) => {
                    let handler = Streamer { peer, route: *route, kind };
                    service.streams.insert(name.clone(), Arc::new(handler));
                }
            }
        }
        service
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
        let Peer { shared, wire, connection, budget, .. } = &*self.peer;
        if request.timeout_nano < 0 {
            // ttrpc reads it as unsigned, which is no deadline for 584 years. Go has it expired.
            return Ok(response_of_status(Code::DeadlineExceeded, "context deadline exceeded"));
        }
        let entries = &request.metadata;
        let metadata: usize =
            entries.iter().map(|pair| METADATA_COST + pair.key.len() + pair.value.len()).sum();
        let size = request.payload.len() + metadata;
        if let Some(refusal) = budget.refusal(size) {
            return Ok(response_of_status(Code::ResourceExhausted, refusal));
        }
        let pairs = request.metadata.iter().map(|pair| (&pair.key, &pair.value));
        if request_size(pairs, request.payload.len()) > RECORD_LIMIT {
            return Ok(response_of_status(Code::ResourceExhausted, METADATA_TOO_LARGE));
        }
        let (sender, answer) = oneshot::channel();
        let stream_id = context.mh.stream_id;
        // It would stay until the answer is there, and JavaScript has its own.
        drop(context);
        let Some(mut ticket) = Ticket::issue(&self.peer, size, request.timeout_nano) else {
            return Ok(response_of_status(Code::ResourceExhausted, TOO_MANY));
        };
        lock(&shared.requests).waiting.insert(ticket.call, sender);
        lock(&shared.events).request(*connection, ticket.call, self.route, request);
        let answer = answer.await;
        ticket.answered();
        let Ok(Reply { status, payload, .. }) = answer else {
            return Ok(response_of_status(Code::Unavailable, "the server is shutting down"));
        };
        wire.exempt_own(stream_id, &status);
        let mut response = Response::new();
        response.status = protobuf::MessageField::some(status);
        response.payload = payload;
        Ok(within_limit(response))
    }
}

/// What JavaScript has around the two texts of an entry of metadata.
const METADATA_COST: usize = 128;

/// Said of a request whose metadata does not fit a record of the port.
pub(super) const METADATA_TOO_LARGE: &str = "the request has too many metadata entries";

/// Said of a request for which there is no id.
pub(super) const TOO_MANY: &str = "the server handles a million calls";

/// A response that is too large is replaced by the status that Go gives.
pub(super) fn within_limit(response: Response) -> Response {
    let size = response.size() as usize;
    if size <= MESSAGE_LIMIT {
        return response;
    }
    let Failure { code, text, .. } = Failure::oversize(size);
    response_of_status(code, text)
}

/// A request that JavaScript has. If ttrpc drops the handler before the answer, at the deadline or
/// when the connection ends, JavaScript is told.
#[derive(Debug)]
pub(super) struct Ticket {
    peer: Arc<Peer>,
    pub(super) call: CallId,
    /// What counts of it.
    charge: Option<Charge>,
    expires: Option<Instant>,
    open: bool,
    _deadline: Option<Deadline>,
}

impl Ticket {
    /// None if there is no id left.
    pub(super) fn issue(peer: &Arc<Peer>, size: usize, timeout_nano: i64) -> Option<Self> {
        let call = lock(&peer.shared.requests).ids.take()?;
        let charge = Some(peer.budget.enter(size));
        peer.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        peer.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            peer: peer.clone(),
            call,
            charge,
            expires: (timeout_nano > 0)
                .then(|| Instant::now().checked_add(Duration::from_nanos(timeout_nano as u64)))
                .flatten(),
            open: true,
            _deadline: peer.shared.deadlines.hold(timeout_nano),
        })
    }

    /// JavaScript sends messages and the final status through `handle`.
    pub(super) fn stream(&self, handle: Handle) {
        lock(&self.peer.shared.requests).streams.insert(self.call, handle);
    }

    /// JavaScript has answered: it needs to hear nothing more.
    pub(super) fn answered(&mut self) {
        self.open = false;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Peer { shared, connection, in_flight, wire, .. } = &*self.peer;
        shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        if in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            wire.mark();
        }
        let mut requests = lock(&shared.requests);
        requests.waiting.remove(&self.call);
        requests.streams.remove(&self.call);
        requests.ids.give_back(self.call);
        if self.open
            && let Some(charge) = self.charge.take()
        {
            requests.aborted.insert(self.call, charge);
        }
        drop(requests);
        if self.open {
            // On a connection that goes on, it is the deadline that drops a handler.
            let deadline =
                self.expires.is_some_and(|at| at <= Instant::now() || wire.closed().is_none());
            lock(&shared.events).aborted(*connection, self.call, deadline);
        }
    }
}
