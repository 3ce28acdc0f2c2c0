//! A request of a peer, from arrival to the last byte of the answer.

use crate::engine::deadlines::Deadline;
use crate::engine::server::handlers::Handlers;
use crate::engine::stream_handle::Handle;
use crate::ids::CallId;
use crate::sync::lock;
use crate::transport::budget::Charge;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A request that JavaScript handles. If ttrpc drops the handler before the answer, because the deadline
/// passed or the connection ended, JavaScript is told.
#[derive(Debug)]
pub(in crate::engine) struct OpenRequest {
    handlers: Arc<Handlers>,
    pub(in crate::engine) call: CallId,
    /// What it counts in the budget.
    charge: Option<Charge>,
    expires: Option<Instant>,
    unanswered: bool,
    _deadline: Option<Deadline>,
}

impl OpenRequest {
    /// Gives the request a name. `None` if none is left.
    pub(in crate::engine) fn begin(
        handlers: &Arc<Handlers>,
        size: usize,
        timeout_nano: i64,
    ) -> Option<Self> {
        let call = lock(&handlers.shared.requests).ids.take()?;
        let charge = Some(handlers.budget.enter(size));
        handlers.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        handlers.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            handlers: handlers.clone(),
            call,
            charge,
            expires: (timeout_nano > 0)
                .then(|| Instant::now().checked_add(Duration::from_nanos(timeout_nano as u64)))
                .flatten(),
            unanswered: true,
            _deadline: handlers.shared.deadlines.hold(timeout_nano, 0),
        })
    }

    /// Registers `handle`, through which JavaScript sends messages and the final status.
    pub(in crate::engine) fn stream(&self, handle: Handle) {
        lock(&self.handlers.shared.requests).streams.insert(self.call, handle);
    }

    /// JavaScript has answered, and is told nothing more.
    pub(in crate::engine) fn answered(&mut self) {
        self.unanswered = false;
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let Handlers { shared, connection, in_flight, wire, .. } = &*self.handlers;
        shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        if in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            wire.mark();
        }
        let mut requests = lock(&shared.requests);
        requests.waiting.remove(&self.call);
        requests.streams.remove(&self.call);
        requests.ids.give_back(self.call);
        if self.unanswered
            && let Some(charge) = self.charge.take()
        {
            requests.aborted.insert(self.call, charge);
        }
        drop(requests);
        if self.unanswered {
            // On a connection that is still open, only a deadline drops a handler.
            let deadline =
                self.expires.is_some_and(|at| at <= Instant::now() || wire.closed().is_none());
            lock(&shared.events).aborted(*connection, self.call, deadline);
        }
    }
}
