//! The requests that the server got, kept as they came off the wire so that a test can ask for them.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrival {
    /// The method's name, as sent.
    pub(crate) method: String,
    /// The serialized request message, as sent.
    pub(crate) payload: Vec<u8>,
}

/// What the handlers of one server remember, across all connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(Arc<Mutex<Requests>>);

/// The part behind the lock.
#[derive(Debug, Default)]
struct Requests {
    /// The request being answered, from the view of the handler that was just entered.
    latest: Arrival,
    /// The one before it.
    previous: Arrival,
    /// The payload of the last `Forward`.
    forwarded: Vec<u8>,
}

impl History {
    /// Records an arrival. Its handler must run right after, without an await in between, so that
    /// `previous` is correct.
    pub(crate) fn record(&self, method: &str, payload: &[u8]) {
        let mut requests = self.lock();
        if method == "Forward" {
            requests.forwarded = payload.to_vec();
        }
        let arrival = Arrival { method: method.to_owned(), payload: payload.to_vec() };
        requests.previous = mem::replace(&mut requests.latest, arrival);
    }

    /// The request before the one being answered; empty when it is the first.
    pub(crate) fn previous(&self) -> Arrival {
        self.lock().previous.clone()
    }

    /// The payload of the last `Forward`; empty when there was none.
    pub(crate) fn forwarded(&self) -> Vec<u8> {
        self.lock().forwarded.clone()
    }

    /// The requests. A panic cannot leave them half written, so a poisoned lock is fine.
    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
