//! A call of this side, from submit to outcome.

use crate::engine::Shared;
use crate::engine::deadlines::Deadline;
use crate::ids::CallId;
use crate::protocol::outcome::{Failure, Outcome};
use crate::protocol::status::Code;
use crate::records::Side;
use crate::sync::lock;
use crate::transport::Wire;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// Where a call's outcome goes.
#[derive(Debug)]
pub(in crate::engine) enum Destination {
    /// Into the batch for JavaScript.
    Events,
    /// To a blocking caller.
    Slot(Arc<Mutex<Option<Outcome>>>),
}

/// A call between submit and outcome. It finishes exactly once: with its outcome, or with INTERNAL if its
/// task ends without one, which takes a panic in ttrpc. If its task is aborted, JavaScript has already
/// finished the call.
#[derive(Debug)]
pub(in crate::engine) struct OpenCall {
    pub(in crate::engine) shared: Arc<Shared>,
    pub(in crate::engine) wire: Arc<Wire>,
    pub(in crate::engine) in_flight: Arc<AtomicU32>,
    pub(in crate::engine) connection: u32,
    pub(in crate::engine) call: CallId,
    pub(in crate::engine) destination: Option<Destination>,
    /// Whether it has an entry in [`Shared::cancellable`].
    pub(in crate::engine) cancellable: bool,
    /// Whether it has an entry in [`Shared::streams`].
    pub(in crate::engine) is_stream: bool,
    _deadline: Option<Deadline>,
}

impl OpenCall {
    pub(in crate::engine) fn new(
        shared: &Arc<Shared>,
        (wire, in_flight): (&Arc<Wire>, &Arc<AtomicU32>),
        connection: u32,
        call: CallId,
        destination: Destination,
        timeout_nano: i64,
    ) -> Self {
        in_flight.fetch_add(1, Ordering::Relaxed);
        shared.in_flight.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: shared.clone(),
            wire: wire.clone(),
            in_flight: in_flight.clone(),
            connection,
            call,
            destination: Some(destination),
            cancellable: false,
            is_stream: false,
            _deadline: shared.deadlines.hold(timeout_nano, connection),
        }
    }

    pub(in crate::engine) fn finish(mut self, outcome: Outcome) {
        if let Some(destination) = self.destination.take() {
            deliver(&self.shared, &destination, self.connection, self.call, outcome);
        }
    }

    /// Finishes a stream whose server's messages ended in order.
    pub(in crate::engine) fn end(mut self) {
        self.destination = None;
        lock(&self.shared.events).stream_end(Side::Called, self.connection, self.call);
    }

    /// Drops a call that JavaScript has already finished.
    pub(in crate::engine) fn forget(mut self) {
        self.destination = None;
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        // A cancel removes the entry before it aborts the task, and JavaScript has already finished the call.
        let aborted =
            self.cancellable && lock(&self.shared.cancellable).remove(&self.call).is_none();
        if let Some(destination) = self.destination.take()
            && !aborted
        {
            let failure = Failure::of_call(Code::Internal, "ttrpc gave the call up");
            deliver(
                &self.shared,
                &destination,
                self.connection,
                self.call,
                Outcome::Failed(failure),
            );
        }
        if self.is_stream {
            let mut streams = lock(&self.shared.streams);
            // The messages of an ended stream that JavaScript holds count until its reader has taken them.
            if streams.get(&self.call).is_some_and(|stream| stream.state.ended()) {
                streams.remove(&self.call);
            }
        }
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.wire.mark();
        }
    }
}

pub(in crate::engine) fn deliver(
    shared: &Shared,
    destination: &Destination,
    connection: u32,
    call: CallId,
    outcome: Outcome,
) {
    match destination {
        Destination::Events => lock(&shared.events).outcome(connection, call, outcome),
        Destination::Slot(slot) => *lock(slot) = Some(outcome),
    }
}
