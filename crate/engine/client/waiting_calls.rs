//! Calls that wait on one connection until the socket has taken the bytes before them.

use crate::engine::client::open_call::OpenCall;
use crate::engine::stream_input::InputReceiver;
use crate::records::StreamKind;
use crate::sync::lock;
use std::collections::BTreeMap;
use std::time::Instant;
use ttrpc::Request;

/// Where a call waits: the connection, and the place among its waiting calls.
pub(in crate::engine) type Place = (u32, u64);

/// A call that waits to start.
#[derive(Debug)]
pub(in crate::engine) struct Waiting {
    pub(in crate::engine) open: OpenCall,
    pub(in crate::engine) request: Request,
    pub(in crate::engine) kind: CallKind,
    pub(in crate::engine) size: usize,
    /// When its deadline passes.
    pub(in crate::engine) until: Option<Instant>,
}

/// What kind of call to start.
#[derive(Debug)]
pub(in crate::engine) enum CallKind {
    /// A unary call, and whether it can be cancelled.
    Unary { cancellable: bool },
    /// A stream, and the queue of what JavaScript does with it.
    Stream(StreamKind, InputReceiver),
}

/// The waiting calls of one connection, in order.
#[derive(Debug, Default)]
pub(in crate::engine) struct WaitingCalls {
    calls: BTreeMap<u64, Waiting>,
    bytes: usize,
    /// How many calls ever waited.
    count: u64,
}

impl WaitingCalls {
    /// Appends a call, and registers its place under its name.
    pub(in crate::engine) fn push(&mut self, waiting: Waiting) {
        let OpenCall { shared, connection, call, .. } = &waiting.open;
        self.count += 1;
        lock(&shared.waiting).insert(*call, (*connection, self.count));
        self.bytes += waiting.size;
        self.calls.insert(self.count, waiting);
    }

    /// Takes out the call that has waited longest.
    pub(in crate::engine) fn pop(&mut self) -> Option<Waiting> {
        let (&place, _) = self.calls.first_key_value()?;
        self.take(place)
    }

    /// Takes out the call at this place, and removes its name.
    pub(in crate::engine) fn take(&mut self, place: u64) -> Option<Waiting> {
        let waiting = self.calls.remove(&place)?;
        lock(&waiting.open.shared.waiting).remove(&waiting.open.call);
        self.bytes -= waiting.size;
        Some(waiting)
    }

    /// The places of the calls for which `wanted` holds.
    pub(in crate::engine) fn places(
        &self,
        wanted: impl Fn(&Waiting) -> bool,
    ) -> impl Iterator<Item = u64> {
        self.calls.iter().filter_map(move |(place, waiting)| wanted(waiting).then_some(*place))
    }

    /// Whether no call waits.
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The bytes of all of them.
    pub(in crate::engine) fn bytes(&self) -> usize {
        self.bytes
    }
}
