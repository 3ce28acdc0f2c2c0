//! Looking for answers instead of sleeping.
//!
//! A thread that sleeps until an answer comes pays for two context switches, which is most of the latency of a small call to
//! a peer on the same machine, and much of its processor time. So for some time after bytes of a call or a stream left, and
//! as long as answers come before that time is up, whoever turns the engine asks the descriptor again and again before it
//! sleeps.
//!
//! What is in flight when a look ends in vain is slow: it is not looked for until more bytes leave. So a call that the peer
//! holds for hours costs one look. Unless a program says how long to look, a connection looks while that pays: each look in
//! vain makes it skip twice as many of the next ones, up to a limit. With many calls in flight, a look finds the first answer
//! at once.
//!
//! A server's connection looks for the next request after it has answered one. Many peers make a call or two and leave, so it
//! begins as if looks had been in vain.

use super::Engine;
use super::connection::Connection;
use crate::limits::{LOOK_CONNECTIONS, LOOK_TIME};
use crate::patience::Patience;
use crate::system::poll::look_for_input;
use std::os::fd::RawFd;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// When a connection looks for answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// For that long, whenever bytes have left.
    For(Duration),
    /// For [`LOOK_TIME`], if the last looks were not in vain.
    WhileTheyPay,
}

impl Looks {
    /// What a program asks for by a number of microseconds, if by any. Nobody looks on a machine with one processor, which
    /// cannot run the peer meanwhile.
    pub fn asked_for(microseconds: Option<u32>) -> Option<Self> {
        static HAS_ANOTHER: LazyLock<bool> =
            LazyLock::new(|| available_parallelism().is_ok_and(|processors| processors.get() > 1));
        match microseconds {
            Some(0) => None,
            _ if !*HAS_ANOTHER => None,
            Some(us) => Some(Self::For(Duration::from_micros(us.into()))),
            None => Some(Self::WhileTheyPay),
        }
    }
}

/// The looks of one connection.
#[derive(Debug)]
pub(super) struct Look {
    time: Duration,
    /// `None` if the program asked for every look.
    patience: Option<Patience>,
    /// How many of the calls and streams in flight are not looked for until more bytes leave.
    slow: u32,
    /// The look has no purpose once no more than that are in flight.
    enough: u32,
    /// When it ends.
    until: Option<Instant>,
    /// It is among those of which bytes have left.
    has_sent: bool,
    /// It is for requests, which may come whatever is in flight.
    serves: bool,
}

impl Look {
    /// For answers, on a client's connection.
    pub(super) fn for_answers(looks: Looks) -> Self {
        Self::new(looks, Patience::default(), false)
    }

    /// For requests, on a server's connection.
    pub(super) fn for_requests(looks: Looks) -> Self {
        Self::new(looks, Patience::doubtful(), true)
    }

    fn new(looks: Looks, patience: Patience, serves: bool) -> Self {
        let (time, patience) = match looks {
            Looks::For(time) => (time, None),
            Looks::WhileTheyPay => (LOOK_TIME, Some(patience)),
        };
        Self { time, patience, slow: 0, enough: 0, until: None, has_sent: false, serves }
    }

    /// Has looks last for long, for a test.
    #[cfg(test)]
    pub(super) fn lengthen(&mut self) {
        self.time = Duration::from_secs(60);
    }

    /// Bytes have left, and the peer has whole messages. `looking` is how many connections are looked at already.
    fn sent(&mut self, in_flight: u32, looking: usize) {
        let now = Instant::now();
        let fresh = now.checked_add(self.time);
        self.until = match &mut self.patience {
            _ if in_flight == 0 && !self.serves => None,
            None => fresh,
            // If each message prolonged the look, one for messages that are not answered would not end.
            Some(_) if self.until.is_some_and(|until| now < until) => self.until,
            Some(patience) => fresh.filter(|_| looking < LOOK_CONNECTIONS && patience.may_try()),
        };
        // A message of a slow stream may be answered soon.
        self.enough = if in_flight > self.slow { self.slow } else { 0 };
    }

    /// Bytes have come.
    fn read(&mut self, in_flight: u32) {
        if self.until.is_none() {
            return;
        }
        if let Some(patience) = &mut self.patience {
            patience.paid();
        }
        // A server answers first.
        let others = in_flight > self.slow && !self.serves;
        self.until = others.then(|| Instant::now().checked_add(self.time)).flatten();
    }
}

/// The connections that look for answers.
#[derive(Debug, Default)]
pub(super) struct BusyPoll {
    /// Those of which bytes have left since the last look.
    sent: Vec<u32>,
    /// Those that are looked at, and some that need not be any more.
    looking: Vec<u32>,
}

impl BusyPoll {
    /// Bytes of the connection have left.
    pub(super) fn sent(&mut self, id: u32, conn: &mut Connection) {
        if let Some(look) = &mut conn.look
            && !std::mem::replace(&mut look.has_sent, true)
        {
            self.sent.push(id);
        }
    }
}

impl Connection {
    /// Until when to look at it; `None` also if the calls ended by a deadline or were given up.
    fn looks_until(&self) -> Option<Instant> {
        let look = self.look.as_ref()?;
        let is_due = || look.serves || self.in_flight.load(Ordering::Relaxed) > look.enough;
        look.until.filter(|_| is_due())
    }
}

impl Engine {
    /// Sets when a client's connection looks for answers, if it does.
    pub fn look(&mut self, connection: u32, looks: Option<Looks>) {
        if let Some(conn) = self.connections.get_mut(&connection) {
            conn.look = looks.map(Look::for_answers);
        }
    }

    /// Looks for a blocking call's answer, for as long as `most`. Returns whether bytes have come. The caller then waits.
    pub(super) fn finds_answer(&mut self, connection: u32, most: Duration) -> bool {
        let Some(conn) = self.connections.get_mut(&connection) else { return false };
        let Some(look) = &mut conn.look else { return false };
        if !look.patience.as_mut().is_none_or(Patience::may_try) {
            return false;
        }
        let until = Instant::now() + look.time.min(most);
        let found = look_for_input(std::iter::once(conn.stream.fd()), None, until);
        let has_come = !found.places.is_empty();
        if let Some(patience) = &mut look.patience {
            match (has_come, found.interrupted) {
                (true, _) => patience.paid(),
                (false, true) => patience.harmed(),
                (false, false) => patience.failed(),
            }
        }
        has_come
    }

    /// Begins the looks of the connections of which bytes have left.
    pub(super) fn look_for_answers(&mut self) {
        if !self.busy_poll.sent.is_empty() {
            self.drop_settled();
        }
        while let Some(id) = self.busy_poll.sent.pop() {
            if let Some(look) = self.connections.get_mut(&id).and_then(|conn| conn.look.as_mut()) {
                look.has_sent = false;
                let looking = self.busy_poll.looking.len();
                self.update_look(id, |look, in_flight| look.sent(in_flight, looking));
            }
        }
    }

    /// Bytes of a connection have come.
    pub(super) fn look_on(&mut self, id: u32) {
        self.update_look(id, Look::read);
    }

    /// Drops the looks for calls that ended by a deadline or were given up, and those of connections that are gone.
    fn drop_settled(&mut self) {
        let Self { busy_poll, connections, .. } = self;
        busy_poll.looking.retain(|id| {
            let Some(conn) = connections.get_mut(id) else { return false };
            let is_due = conn.looks_until().is_some();
            if !is_due && let Some(look) = &mut conn.look {
                look.until = None;
            }
            is_due
        });
    }

    fn update_look(&mut self, id: u32, update: impl FnOnce(&mut Look, u32)) {
        let Some(conn) = self.connections.get_mut(&id) else { return };
        let Some(look) = &mut conn.look else { return };
        let in_flight = conn.in_flight.load(Ordering::Relaxed);
        look.slow = look.slow.min(in_flight);
        // While the socket takes no more, the peer has no whole message.
        if conn.watched.write || !conn.watched.read {
            look.until = None;
        } else {
            update(look, in_flight);
        }
        let looking = &mut self.busy_poll.looking;
        let place = looking.iter().position(|looked| *looked == id);
        match (place, look.until) {
            (None, Some(_)) => looking.push(id),
            (Some(place), None) => drop(looking.swap_remove(place)),
            _ => {}
        }
    }

    /// Whether to look before sleeping.
    pub fn looks(&self) -> bool {
        self.looking().next().is_some()
    }

    /// Until when to look before sleeping; `None` if there is nothing to look for.
    pub fn looks_until(&self) -> Option<Instant> {
        self.looking().map(|(.., until)| until).max()
    }

    /// The connections to look at, and their descriptors.
    pub fn looked_at(&self) -> impl Iterator<Item = (u32, RawFd)> {
        self.looking().map(|(id, conn, _)| (id, conn.stream.fd()))
    }

    /// The connections to look at.
    fn looking(&self) -> impl Iterator<Item = (u32, &Connection, Instant)> {
        self.busy_poll.looking.iter().filter_map(|id| {
            let conn = self.connections.get(id)?;
            Some((*id, conn, conn.looks_until()?))
        })
    }

    /// Ends the looks for which no program asked. Whether they would have paid is not known.
    pub fn end_own_looks(&mut self) {
        let Self { busy_poll, connections, .. } = self;
        busy_poll.looking.retain(|id| {
            let look = connections.get_mut(id).and_then(|conn| conn.look.as_mut());
            look.is_some_and(|look| {
                if look.patience.is_some() {
                    look.until = None;
                }
                look.until.is_some()
            })
        });
    }

    /// The looks were in vain, or `interrupted` by others that needed the processor.
    pub fn end_look(&mut self, interrupted: bool) {
        for id in std::mem::take(&mut self.busy_poll.looking) {
            if let Some(conn) = self.connections.get_mut(&id)
                && let Some(look) = &mut conn.look
            {
                look.slow = conn.in_flight.load(Ordering::Relaxed);
                look.until = None;
                if let Some(patience) = &mut look.patience {
                    if interrupted { patience.harmed() } else { patience.failed() }
                }
            }
        }
    }
}
