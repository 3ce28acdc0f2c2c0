//! Calls that wait in place: the same runtime, turned by the caller with poll(2) on one descriptor.

use super::Engine;
use super::calls::Sink;
use crate::port::{Command, Malformed, commands};
use crate::socket::{Address, PeerName, Progress, Stream, wait};
use crate::status::Outcome;
use crate::transport::lock;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a connection attempt waits before it asks a full backlog again.
const BACKLOG_RETRY: Duration = Duration::from_millis(5);

impl Engine {
    /// Connects and waits for it, at most until `timeout` passed: then the error is `TimedOut`.
    /// The connection is never watched: it moves only during [`Engine::call_blocking`].
    pub fn connect_blocking(&mut self, address: &Address, timeout: Duration) -> io::Result<u32> {
        // A time that no clock reaches is no limit.
        let until = Instant::now().checked_add(timeout);
        let stream = loop {
            match Stream::connect(address) {
                Ok((stream, Progress::Connected)) => break stream,
                Ok((stream, Progress::Pending)) => {
                    while !wait(stream.fd(), true, milliseconds(left(until)?))? {}
                    stream.finish_connect()?;
                    break stream;
                }
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                    std::thread::sleep(left(until)?.min(BACKLOG_RETRY));
                }
                Err(error) => return Err(error),
            }
        };
        Ok(self.open_blocking(stream))
    }

    /// Makes a connection of a connected stream that moves only during [`Engine::call_blocking`].
    pub fn open_blocking(&mut self, stream: Stream) -> u32 {
        self.open(stream, Progress::Connected, true)
    }

    /// Who is at the other end of a connection.
    pub fn peer(&self, connection: u32) -> Option<PeerName> {
        self.links.get(&connection)?.stream.peer_name()
    }

    /// Whether a peer is a listener of this engine. If the thread that serves it waits, it cannot answer.
    pub fn listens_at(&self, peer: &PeerName) -> bool {
        self.listeners.values().any(|entry| entry.is(peer))
    }

    /// Carries out `batch`, whose last command must be a call, and waits for that call's outcome.
    pub fn call_blocking(&mut self, batch: &[u8]) -> Result<Outcome, Malformed> {
        let slot = Arc::new(Mutex::new(None));
        let mut result = Err(Malformed("a blocking batch does not end in a call"));
        self.turn(|engine| {
            result = engine.start_blocking(batch, Sink::Slot(slot.clone()));
        });
        result.map(|connection| self.wait_for(connection, &slot))
    }

    /// Starts the last call with `sink` and everything before it as usual. Returns its connection.
    fn start_blocking(&mut self, batch: &[u8], sink: Sink) -> Result<u32, Malformed> {
        let mut last = None;
        let mut lent = std::mem::take(&mut self.lent);
        for command in commands(batch, &mut lent) {
            if let Some(earlier) = last.replace(command?) {
                self.command(earlier);
            }
        }
        let Some(Command::Call(call)) = last else {
            return Err(Malformed("a blocking batch does not end in a call"));
        };
        let connection = call.connection;
        self.call(call, sink);
        Ok(connection)
    }

    fn wait_for(&mut self, connection: u32, slot: &Mutex<Option<Outcome>>) -> Outcome {
        loop {
            if let Some(outcome) = lock(slot).take() {
                return outcome;
            }
            // A link is only removed after its calls have settled.
            let Some(link) = self.links.get(&connection) else { continue };
            let fd = link.stream.fd();
            let writes = link.wire.unsent() > 0;
            let timeout = self.next_deadline().map_or(-1, milliseconds);
            match wait(fd, writes, timeout) {
                Ok(true) => self.ready(connection, true, writes),
                Ok(false) => self.expire(),
                // poll(2) fails for lack of memory only; the next round tries again.
                Err(_) => std::thread::sleep(BACKLOG_RETRY),
            }
        }
    }
}

fn left(until: Option<Instant>) -> io::Result<Duration> {
    let Some(until) = until else { return Ok(Duration::MAX) };
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Rounds up, so that poll(2) does not return just before the time.
fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
}
