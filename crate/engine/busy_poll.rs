//! Looking on for answers instead of sleeping.
//!
//! A thread that sleeps until an answer comes pays two switches for it, which is most of the latency of a small call to a
//! peer on the same machine. So a connection can ask for a look: for some time after its calls left, and after each
//! answer while others are due, whoever turns the engine asks its descriptor again and again before it sleeps.

use super::Engine;
use super::connection::Connection;
use crate::ids::IdMap;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// The connections that asked for a look.
#[derive(Debug, Default)]
pub(super) struct BusyPoll {
    /// How long a look lasts.
    asked: IdMap<Duration>,
    /// When the look ends that began last.
    until: Option<Instant>,
}

impl BusyPoll {
    /// The connection is gone.
    pub(super) fn forget(&mut self, connection: u32) {
        self.asked.remove(&connection);
    }
}

/// Whether an answer is due whose arrival the descriptor would show.
fn awaits_answer(conn: &Connection) -> bool {
    conn.watched.read && conn.in_flight.load(Ordering::Relaxed) > 0
}

impl Engine {
    /// Has a connection looked at for `time` before anyone sleeps.
    pub fn busy_poll(&mut self, connection: u32, time: Duration) {
        // With one processor, the peer cannot answer while this side looks.
        let has_another = available_parallelism().is_ok_and(|processors| processors.get() > 1);
        if has_another && self.connections.contains_key(&connection) {
            self.busy_poll.asked.insert(connection, time);
        }
    }

    /// Begins a look, or the next one, if an answer is due.
    pub(super) fn look_on(&mut self) {
        if self.busy_poll.asked.is_empty() {
            return;
        }
        let asked = self.busy_poll.asked.iter();
        let due = asked.filter(|(id, _)| self.connections.get(id).is_some_and(awaits_answer));
        let longest = due.map(|(_, time)| *time).max();
        self.busy_poll.until = longest.and_then(|time| Instant::now().checked_add(time));
    }

    /// Until when to look before sleeping; `None` if there is nothing to look for.
    pub fn looks_until(&self) -> Option<Instant> {
        self.busy_poll.until
    }

    /// The connections to look at, and their descriptors.
    pub fn looked_at(&self) -> impl Iterator<Item = (u32, RawFd)> {
        let asked = self.busy_poll.asked.keys();
        let found = asked.filter_map(|id| Some((*id, self.connections.get(id)?)));
        found.filter(|(_, conn)| awaits_answer(conn)).map(|(id, conn)| (id, conn.stream.fd()))
    }

    /// The look was in vain.
    pub fn end_look(&mut self) {
        self.busy_poll.until = None;
    }
}
