//! Looking for answers instead of sleeping.
//!
//! A thread that sleeps until an answer comes pays for two context switches, which is most of the latency of a small call to
//! a peer on the same machine. So a connection can ask for a look: for some time after a call left, and as long as bytes
//! come before that time is up, whoever turns the engine asks its descriptor again and again before it sleeps.
//!
//! What is in flight when a look ends in vain is slow, or a stream, and is not looked for again. So a call that the peer
//! holds for hours costs one look.

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
    asked: IdMap<Look>,
    /// Connections whose calls are in the batch that is being carried out.
    called: Vec<u32>,
    /// Connections that are looked at.
    looking: Vec<u32>,
}

#[derive(Debug)]
struct Look {
    /// How long it lasts.
    time: Duration,
    /// Calls and streams in flight when the last look began or ended.
    seen: u32,
    /// How many of them are not looked for any more.
    slow: u32,
    /// When the look ends.
    until: Option<Instant>,
}

impl Look {
    /// Bytes may have left or come. Begins, prolongs or ends the look.
    fn update(&mut self, conn: &Connection, has_read: bool) {
        let in_flight = conn.in_flight.load(Ordering::Relaxed);
        self.slow = self.slow.min(in_flight);
        // While the socket takes no more, the peer has no whole request.
        if in_flight <= self.slow || conn.watched.write || !conn.watched.read {
            self.until = None;
            // The look begins when the rest has left.
            self.seen = if conn.watched.write { 0 } else { in_flight };
            return;
        }
        if in_flight != self.seen || has_read && self.until.is_some() {
            self.seen = in_flight;
            self.until = Instant::now().checked_add(self.time);
        }
    }
}

impl BusyPoll {
    /// A call is being made.
    pub(super) fn called(&mut self, connection: u32) {
        if self.asked.contains_key(&connection) && !self.called.contains(&connection) {
            self.called.push(connection);
        }
    }

    /// The connection is gone.
    pub(super) fn forget(&mut self, connection: u32) {
        if self.asked.remove(&connection).is_some() {
            self.looking.retain(|id| *id != connection);
        }
    }

    fn update(&mut self, connection: u32, conn: &Connection, has_read: bool) {
        let Some(look) = self.asked.get_mut(&connection) else { return };
        look.update(conn, has_read);
        let is_looking = look.until.is_some();
        let place = self.looking.iter().position(|id| *id == connection);
        match place {
            None if is_looking => self.looking.push(connection),
            Some(place) if !is_looking => drop(self.looking.swap_remove(place)),
            _ => {}
        }
    }
}

impl Engine {
    /// Looks at a connection for `time` before the thread sleeps.
    pub fn busy_poll(&mut self, connection: u32, time: Duration) {
        // With one processor, or if this engine is the peer, nobody can answer while this side looks.
        let has_another = available_parallelism().is_ok_and(|processors| processors.get() > 1);
        let is_own = self.ends(connection).is_some_and(|ends| self.serves(&ends));
        if has_another && !is_own && self.connections.contains_key(&connection) {
            let look = Look { time, seen: 0, slow: 0, until: None };
            self.busy_poll.asked.insert(connection, look);
        }
    }

    /// The calls of a batch have left.
    pub(super) fn look_for_answers(&mut self) {
        while let Some(id) = self.busy_poll.called.pop() {
            self.look_on(id, false);
        }
    }

    /// Bytes of a connection may have left, or with `has_read` come.
    pub(super) fn look_on(&mut self, id: u32, has_read: bool) {
        if !self.busy_poll.asked.is_empty()
            && let Some(conn) = self.connections.get(&id)
        {
            self.busy_poll.update(id, conn, has_read);
        }
    }

    /// Until when to look before sleeping; `None` if there is nothing to look for.
    pub fn looks_until(&self) -> Option<Instant> {
        self.looking().map(|(.., until)| until).max()
    }

    /// The connections to look at, and their descriptors.
    pub fn looked_at(&self) -> impl Iterator<Item = (u32, RawFd)> {
        self.looking().map(|(id, conn, _)| (id, conn.stream.fd()))
    }

    /// The connections to look at, without those whose calls ended by a deadline or were given up.
    fn looking(&self) -> impl Iterator<Item = (u32, &Connection, Instant)> {
        let BusyPoll { asked, looking, .. } = &self.busy_poll;
        looking.iter().filter_map(|id| {
            let (look, conn) = (asked.get(id)?, self.connections.get(id)?);
            let is_due = conn.in_flight.load(Ordering::Relaxed) > look.slow;
            is_due.then_some((*id, conn, look.until?))
        })
    }

    /// The look was in vain.
    pub fn end_look(&mut self) {
        let BusyPoll { asked, looking, .. } = &mut self.busy_poll;
        for id in looking.drain(..) {
            if let Some(look) = asked.get_mut(&id) {
                look.slow = look.seen;
                look.until = None;
            }
        }
    }
}
