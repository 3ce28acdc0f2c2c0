//! Blocking calls: the caller turns the engine in place, with poll(2) on one descriptor.

use crate::engine::Engine;
use crate::engine::client::open_call::Destination;
use crate::protocol::outcome::Outcome;
use crate::records::{Command, Malformed, commands};
use crate::socket::wait;
use crate::socket::{Address, Ends, Progress, Stream};
use crate::sync::lock;
use std::cell::Cell;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The wait between two attempts to connect while the listener's backlog is full.
const BACKLOG_RETRY: Duration = Duration::from_millis(5);

/// The longest wait before control returns to the caller. A thread that is told to end ends only there.
const TURN: Duration = Duration::from_millis(20);

/// A call that a blocking caller waits for.
#[derive(Debug)]
pub struct Awaited {
    connection: u32,
    outcome: Arc<Mutex<Option<Outcome>>>,
    /// It was looked for in vain.
    is_slow: Cell<bool>,
}

/// An attempt to connect that a blocking caller waits for.
#[derive(Debug)]
pub struct Attempt {
    address: Address,
    /// `None` means no limit.
    until: Option<Instant>,
    /// The stream that is connecting.
    pending: Option<Stream>,
}

impl Attempt {
    /// An attempt that ends after `timeout`.
    pub fn new(address: Address, timeout: Duration) -> Self {
        // A time that the clock cannot express is no limit.
        Self { address, until: Instant::now().checked_add(timeout), pending: None }
    }

    /// Connects, waiting at most `most`. `WouldBlock` means that it takes longer, for example because a
    /// backlog is full.
    fn advance(&mut self, most: Duration) -> io::Result<Stream> {
        if let Some(mut stream) = self.pending.take() {
            let ready = wait(stream.fd(), !stream.awaits_bytes(), milliseconds(most))?;
            if !ready || stream.advance_connect()? == Progress::Pending {
                self.pending = Some(stream);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            return Ok(stream);
        }
        match Stream::connect(&self.address) {
            Ok((stream, Progress::Connected)) => Ok(stream),
            Ok((stream, Progress::Pending)) => {
                self.pending = Some(stream);
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::WouldBlock {
                    std::thread::sleep(most.min(BACKLOG_RETRY));
                }
                Err(error)
            }
        }
    }
}

impl Engine {
    /// Connects, and waits for a moment. After that, the error is EINPROGRESS, and this must be called again.
    /// Once the attempt's time is over, the error is `TimedOut`. The connection is never watched: it moves
    /// only during [`Engine::wait_blocking`].
    pub fn connect_blocking(&mut self, attempt: &mut Attempt) -> io::Result<u32> {
        let turn = Instant::now() + TURN;
        loop {
            let most = left(attempt.until)?.min(turn.saturating_duration_since(Instant::now()));
            match attempt.advance(most) {
                Ok(stream) => return Ok(self.open_blocking(stream)),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(_) if Instant::now() < turn => {}
                Err(_) => return Err(io::Error::from_raw_os_error(libc::EINPROGRESS)),
            }
        }
    }

    /// Makes a connection from a connected stream. It moves only during [`Engine::wait_blocking`].
    pub fn open_blocking(&mut self, stream: Stream) -> u32 {
        self.open(stream, Progress::Connected, true)
    }

    /// The two ends of a connection.
    pub fn ends(&self, connection: u32) -> Option<Ends> {
        self.connections.get(&connection)?.stream.ends()
    }

    /// Carries out `batch`, whose last command must be a call. [`Engine::wait_blocking`] waits for the call's
    /// outcome.
    pub fn start_blocking(&mut self, batch: &[u8]) -> Result<Awaited, Malformed> {
        let outcome = Arc::new(Mutex::new(None));
        let mut result = Err(Malformed("a blocking batch does not end in a call"));
        self.turn(|engine| {
            result = engine.start_last(batch, Destination::Slot(outcome.clone()));
        });
        result.map(|connection| Awaited { connection, outcome, is_slow: Cell::new(false) })
    }

    /// Carries out a batch whose last call's outcome goes to `destination`. Returns the call's connection.
    fn start_last(&mut self, batch: &[u8], destination: Destination) -> Result<u32, Malformed> {
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
        self.call(call, destination);
        Ok(connection)
    }

    /// Waits for a call's outcome, for a moment. `None` means that it has not come yet.
    pub fn wait_blocking(&mut self, awaited: &Awaited) -> Option<Outcome> {
        let turn = Instant::now() + TURN;
        loop {
            if let Some(outcome) = lock(&awaited.outcome).take() {
                return Some(outcome);
            }
            let most = turn.saturating_duration_since(Instant::now());
            if most.is_zero() {
                return None;
            }
            // A connection is only removed after its calls have finished.
            let Some(conn) = self.connections.get(&awaited.connection) else { continue };
            let fd = conn.stream.fd();
            let writes = conn.wire.unsent() > 0;
            let timeout = self.next_deadline().map_or(most, |deadline| deadline.min(most));
            if !writes && !awaited.is_slow.get() {
                if self.finds_answer(awaited.connection, timeout) {
                    self.ready(awaited.connection, true, false);
                } else {
                    awaited.is_slow.set(true);
                }
                continue;
            }
            match wait(fd, writes, milliseconds(timeout)) {
                Ok(true) => self.ready(awaited.connection, true, writes),
                Ok(false) => self.expire(),
                // poll(2) fails only for lack of memory; the next round tries again.
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
