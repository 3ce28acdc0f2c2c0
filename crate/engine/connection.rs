//! One connection: its descriptor, its wire and what ttrpc runs on it.

use crate::engine::busy_poll::Look;
use crate::engine::client::waiting_calls::WaitingCalls;
use crate::engine::server::connection_server::ConnectionServer;
use crate::limits::{LAST_WORDS, READ_BUDGET, WAITING_READ_BUDGET};
use crate::protocol::close_reason::{CloseKind, CloseReason};
use crate::socket::{Progress, Stream};
use crate::transport::budget::Budget;
use crate::transport::{Source, Wire};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use ttrpc::r#async::Client;

/// A connection and everything that belongs to it.
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) wire: Arc<Wire>,
    pub(super) endpoint: Endpoint,
    /// The connection attempt is pending; nothing may be sent yet.
    pub(super) connecting: bool,
    /// Calls that wait until the socket has taken the bytes before them.
    pub(super) waiting: WaitingCalls,
    /// Stream ids that are left.
    pub(super) ids_left: u32,
    /// Calls between submit and outcome, or requests between arrival and answer. They keep the process alive.
    pub(super) in_flight: Arc<AtomicU32>,
    pub(super) hold: Hold,
    /// What the descriptor is watched for now.
    pub(super) watched: Interest,
    /// The descriptor is not watched: a blocking caller turns the engine in place.
    pub(super) blocking: bool,
    /// The reason with which to close once the socket has taken all bytes and no call is in flight.
    pub(super) finishing: Option<CloseReason>,
    /// When it looks for answers before the thread sleeps, if it does.
    pub(super) look: Option<Look>,
    /// Bytes have left since the last turn.
    pub(super) has_sent: bool,
    /// The last read took as much as it was allowed.
    more_waits: bool,
    /// JavaScript was told that the connection ended.
    pub(super) reported: bool,
}

/// What ttrpc runs on a connection.
pub(super) enum Endpoint {
    /// The client. Dropping it releases the connection.
    Client(Option<Arc<Client>>),
    /// The server of one accepted connection, and the listener it came from.
    Server { server: ConnectionServer, listener: u32, budget: Arc<Budget> },
}

/// Whether a connection keeps the process alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// While calls are in flight.
    WhileBusy,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What a descriptor is watched for, and whether watching it keeps the process alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interest {
    /// Bytes to read, or connections to accept.
    pub read: bool,
    /// The peer hanging up, watched while nothing is read.
    pub hangup: bool,
    /// Room to write, or the outcome of a connection attempt.
    pub write: bool,
    /// The watch keeps the process alive.
    pub hold: bool,
}

impl Connection {
    pub(super) fn new(
        stream: Stream,
        progress: Progress,
        wire: Arc<Wire>,
        endpoint: Endpoint,
    ) -> Self {
        Self {
            stream,
            wire,
            endpoint,
            connecting: progress == Progress::Pending,
            waiting: WaitingCalls::default(),
            ids_left: STREAM_IDS,
            in_flight: Arc::default(),
            hold: Hold::WhileBusy,
            watched: Interest::default(),
            blocking: false,
            finishing: None,
            look: None,
            has_sent: false,
            more_waits: false,
            reported: false,
        }
    }

    /// The socket is readable, or has ended.
    pub(super) fn readable(&mut self) {
        if self.wire.may_receive() {
            self.receive_share();
            self.serve();
        } else if self.stream.has_hung_up() {
            // If this side serves the peer, nobody waits for the answers. If not, the peer may have answered
            // before it left.
            if self.is_server() {
                self.wire.fail(hung_up());
            } else {
                self.receive(READ_BUDGET);
            }
        }
    }

    /// What the connection waited for may have come.
    pub(super) fn resume(&mut self) {
        if self.wire.resume() {
            self.readable();
        }
        self.serve();
    }

    /// Starts the server once there is a frame to serve. Must be called inside the runtime.
    fn serve(&mut self) {
        if let Endpoint::Server { server, budget, .. } = &mut self.endpoint
            && self.wire.has_frame()
        {
            server.start(&self.wire, budget, &self.in_flight);
        }
    }

    /// Releases what nothing else releases: ttrpc's client, or a server that never started. A running server
    /// stays until its tasks end, because a server that is told to shut down lets its handlers run on, while
    /// one whose connection ends cancels them.
    pub(super) fn let_go(&mut self) {
        match &mut self.endpoint {
            Endpoint::Client(client) => drop(client.take()),
            Endpoint::Server { server, .. } => server.let_go(),
        }
    }

    /// Reads what waits in the socket, or part of it.
    ///
    /// A server reads half of what waits, and its answers leave before it reads the rest. The peer may send
    /// no more until it is answered, and if the server read everything at once, the two sides would work one
    /// after the other.
    pub(super) fn receive_share(&mut self) {
        let most = if self.waits_for_room() { WAITING_READ_BUDGET } else { READ_BUDGET };
        let budget = if self.is_server() {
            let few = (self.wire.frame() * FEW_FRAMES).clamp(SMALL_READ, most);
            // It takes a system call to ask how much waits, which is worth it only if there was more last
            // time.
            let waiting = if self.more_waits { self.stream.readable_bytes() } else { 0 };
            (waiting / 2).clamp(few, most)
        } else {
            most
        };
        self.more_waits = self.receive(budget) == budget;
    }

    /// Reads what waits in the socket, up to `budget` bytes.
    pub(super) fn receive(&self, budget: usize) -> usize {
        self.wire.receive(budget, &self.stream)
    }

    /// Reads what the peer sent before it left, and how it left. A turn's reading may end before that: at a short read, or
    /// at a large frame.
    fn receive_last_words(&self) {
        let mut left = LAST_WORDS;
        while left > 0 {
            match self.receive(left) {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
    }

    /// Gives the socket the bytes that ttrpc wrote. A failure ends the connection, after the peer's last
    /// bytes were read.
    pub(super) fn send(&mut self) {
        match self.wire.send(|parts| self.stream.write(parts)) {
            Ok(bytes) => self.has_sent |= bytes > 0,
            Err(error) => {
                self.receive_last_words();
                self.wire.fail(CloseReason::failed("write", &error));
            }
        }
    }

    /// Continues the connection attempt. Returns whether the connection is open.
    pub(super) fn advance_connect(&mut self) -> io::Result<bool> {
        self.connecting = self.stream.advance_connect()? == Progress::Pending;
        Ok(!self.connecting)
    }

    /// The budget that it shares with the other connections of its listener.
    pub(super) fn budget(&self) -> Option<&Arc<Budget>> {
        match &self.endpoint {
            Endpoint::Server { budget, .. } => Some(budget),
            Endpoint::Client(_) => None,
        }
    }

    /// Whether its requests are held back when there are too many.
    fn waits_for_room(&self) -> bool {
        self.budget().is_some_and(|budget| budget.waits())
    }

    pub(super) fn is_server(&self) -> bool {
        matches!(self.endpoint, Endpoint::Server { .. })
    }
}

impl Source for &Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Stream::read(self, into)
    }

    fn append(&mut self, to: &mut Vec<u8>) -> io::Result<usize> {
        Stream::append(self, to)
    }
}

fn hung_up() -> CloseReason {
    let text = "the peer closed the connection".to_owned();
    CloseReason { kind: CloseKind::Remote, errno: 0, text }
}

/// A server reads at least this many frames of the last one's size, and at least this many bytes.
const FEW_FRAMES: usize = 4;
const SMALL_READ: usize = 512;

/// The calls that a connection can make: stream ids are odd 32-bit numbers that only grow. ttrpc would start
/// again from 1, and a server that keeps to the protocol would refuse every call from then on.
const STREAM_IDS: u32 = 1 << 31;
