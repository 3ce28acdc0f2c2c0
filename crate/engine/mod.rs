//! The runtime of one driver of a JavaScript environment: its connections, listeners and calls.
//!
//! The engine never waits. Its owner calls it when there is something to do: a batch of commands, a
//! descriptor that is ready, a deadline. Each call is a turn: it runs the tokio runtime until no task is
//! ready, flushes the connections' bytes to the sockets, and leaves behind events to deliver and [`Change`]s
//! for whoever watches the descriptors. So a libuv loop, an I/O thread and a blocking caller can all turn the
//! same engine.

mod blocking;
mod busy_poll;
mod changes;
mod client;
mod connection;
mod deadlines;
mod flush;
mod pending_events;
mod resume;
mod server;
mod stalled_peers;
mod stream_handle;
mod stream_input;
#[cfg(test)]
mod tests;
mod turn;

pub use crate::transport::budget::Excess;
pub use blocking::{Attempt, Awaited};
pub use busy_poll::Looks;
pub use changes::{Change, Descriptor};
pub use connection::{Hold, Interest};
pub use pending_events::PendingEvents;
pub use server::listener::ListenOptions;
pub use server::services::{Method, Services};

use crate::ids::{CallId, IdMap, IdSource};
use crate::protocol::close_reason::CloseReason;
use crate::records::{Command, Events, Malformed, Side, commands};
use crate::socket::{Address, Progress, Stream};
use crate::sync::lock;
use crate::transport::{Pipe, Role, SparePayloads, Wire, WireInit, Worklist};
use client::calls::Route;
use client::open_call::Destination;
use client::waiting_calls::Place;
use connection::{Connection, Endpoint};
use deadlines::Deadlines;
use server::listener::Entry;
use server::requests::Requests;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use stream_handle::Handle;
use stream_input::Input;
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;
use ttrpc::r#async::Client;
use ttrpc::r#async::transport::Socket;

/// State that tasks and the engine share. It is used by the thread that turns the engine, where the mutexes only
/// satisfy ttrpc's `Send` bounds and are never contended. Only events may be taken on another thread.
#[derive(Debug)]
pub(crate) struct Shared {
    events: Mutex<Events>,
    worklist: Arc<Worklist>,
    deadlines: Arc<Deadlines>,
    /// Calls that can be cancelled.
    cancellable: Mutex<IdMap<AbortHandle, CallId>>,
    /// Calls that wait to start.
    waiting: Mutex<IdMap<Place, CallId>>,
    /// Streams that this side opened.
    streams: Mutex<IdMap<Handle, CallId>>,
    requests: Mutex<Requests>,
    /// Calls and requests in flight, of all connections.
    in_flight: AtomicUsize,
}

impl Shared {
    fn new(generations: u32) -> Self {
        Self {
            events: Mutex::default(),
            worklist: Arc::default(),
            deadlines: Arc::default(),
            cancellable: Mutex::default(),
            waiting: Mutex::default(),
            streams: Mutex::default(),
            requests: Mutex::new(Requests::new(generations)),
            in_flight: AtomicUsize::default(),
        }
    }

    /// A count that grows with what tasks do.
    fn progress(&self) -> usize {
        self.worklist.activity() + lock(&self.events).count()
    }
}

/// See the module's documentation.
pub struct Engine {
    /// In an `Arc`, so that a turn can use the engine while the runtime runs.
    runtime: Arc<Runtime>,
    shared: Arc<Shared>,
    ids: IdSource,
    connections: IdMap<Connection>,
    listeners: IdMap<Entry>,
    routes: Vec<Option<Route>>,
    changes: Vec<Change>,
    /// Payloads of the next batch's commands.
    lent: VecDeque<Vec<u8>>,
    scratch: Vec<u32>,
    contended: stalled_peers::Contended,
    /// Up to when passed deadlines were looked for; see [`deadlines`].
    deadlines_seen: u64,
    busy_poll: busy_poll::BusyPoll,
}

impl Engine {
    /// An empty engine, whose requests use each slot `generations` times; see [`CallId`].
    pub fn new(generations: u32) -> io::Result<Self> {
        // Without an I/O driver, a turn makes no system call of its own. The event interval keeps tokio from
        // interrupting a long turn to check for timers.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .event_interval(1 << 20)
            .build()?;
        Ok(Self {
            runtime: Arc::new(runtime),
            shared: Arc::new(Shared::new(generations)),
            ids: IdSource::default(),
            connections: IdMap::default(),
            listeners: IdMap::default(),
            routes: Vec::new(),
            changes: Vec::new(),
            lent: VecDeque::new(),
            scratch: Vec::new(),
            contended: stalled_peers::Contended::default(),
            deadlines_seen: 0,
            busy_poll: busy_poll::BusyPoll::default(),
        })
    }

    /// Starts to connect. The outcome arrives as an event, unless this fails at once.
    pub fn connect(&mut self, address: &Address) -> io::Result<u32> {
        let (stream, progress) = Stream::connect(address)?;
        Ok(self.open(stream, progress, false))
    }

    /// Makes a connection from a connected stream.
    pub fn adopt(&mut self, stream: Stream) -> u32 {
        self.open(stream, Progress::Connected, false)
    }

    fn open(&mut self, stream: Stream, progress: Progress, blocking: bool) -> u32 {
        let connection = self.next_id();
        let worklist = self.shared.worklist.clone();
        let init = WireInit { id: connection, worklist, budget: None, blocking };
        let (wire, pipe) = Wire::pair(Role::Client, init);
        let end = Endpoint::Client(Some(self.client(pipe)));
        let mut conn = Connection::new(stream, progress, wire, end);
        conn.blocking = blocking;
        conn.wire.mark();
        self.connections.insert(connection, conn);
        if progress == Progress::Connected && !blocking {
            lock(&self.shared.events).connected(connection);
        }
        self.turn(|_| {});
        connection
    }

    /// An unused id for a connection or listener.
    fn next_id(&mut self) -> u32 {
        let Self { ids, connections, listeners, .. } = self;
        ids.next_id(|id| connections.contains_key(&id) || listeners.contains_key(&id))
    }

    fn client(&self, pipe: Pipe) -> Arc<Client> {
        let _inside = self.runtime.enter();
        Arc::new(Client::new(Socket::new(pipe)))
    }

    /// Ends a connection. Its calls fail, its requests are aborted.
    pub fn close(&mut self, connection: u32) {
        if let Some(conn) = self.connections.get_mut(&connection) {
            conn.send();
            conn.wire.close(CloseReason::local());
            self.turn(|_| {});
        }
    }

    /// Ends a connection once the socket has taken all bytes.
    pub fn finish(&mut self, connection: u32) {
        if let Some(conn) = self.connections.get_mut(&connection) {
            conn.finishing = Some(CloseReason::local());
            conn.wire.mark();
            self.turn(|_| {});
        }
    }

    /// Sets whether a connection keeps the process alive.
    pub fn hold(&mut self, connection: u32, hold: Hold) {
        if let Some(conn) = self.connections.get_mut(&connection) {
            conn.hold = hold;
            conn.wire.mark();
            self.turn(|_| {});
        }
    }

    /// Takes the payload of a command in the next batch that has [`FLAG_WHOLE`](crate::records::FLAG_WHOLE).
    pub fn lend(&mut self, payload: Vec<u8>) {
        self.lent.push_back(payload);
    }

    /// Memory for payloads to lend.
    pub fn spare_payloads(&self) -> Arc<SparePayloads> {
        self.shared.worklist.spare_payloads()
    }

    /// Carries out a batch of commands.
    pub fn submit(&mut self, batch: &[u8]) -> Result<(), Malformed> {
        let mut result = Ok(());
        let mut lent = std::mem::take(&mut self.lent);
        self.turn(|engine| {
            result = commands(batch, &mut lent).try_for_each(|command| {
                engine.command(command?);
                Ok(())
            });
        });
        self.look_for_answers();
        result
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Route { route, service, method } => {
                let route = usize::from(route);
                if self.routes.len() <= route {
                    self.routes.resize(route + 1, None);
                }
                self.routes[route] = Some(Route { service, method });
            }
            Command::Call(call) => self.call(call, Destination::Events),
            Command::Cancel { call, left } => self.cancel(call, left),
            Command::Reply(reply) => lock(&self.shared.requests).answer(reply),
            Command::LetGo { call } => lock(&self.shared.requests).let_go(call),
            Command::Open(call, kind) => self.open_stream(call, kind),
            Command::Send { side, call, payload } => {
                self.with_stream(side, call, |stream| stream.send(payload));
            }
            Command::HalfClose { call } => {
                self.with_stream(Side::Called, call, |stream| stream.put(Input::HalfClose));
            }
            Command::Taken { side, call, messages, bytes } => {
                self.with_stream(side, call, |stream| stream.taken(messages, bytes));
            }
        }
    }

    /// Does nothing if the stream has ended meanwhile.
    fn with_stream(&self, side: Side, call: CallId, work: impl FnOnce(&Handle)) {
        match side {
            Side::Called => {
                let mut streams = lock(&self.shared.streams);
                let over = streams.get(&call).is_some_and(|stream| {
                    work(stream);
                    stream.is_over()
                });
                if over {
                    streams.remove(&call);
                }
            }
            Side::Served => {
                lock(&self.shared.requests).stream(call).map(work);
            }
        }
    }

    /// A watched descriptor can be read or written. If it is in error, both are set.
    pub fn ready(&mut self, id: u32, read: bool, write: bool) {
        if self.listeners.contains_key(&id) {
            self.turn(|engine| engine.accept(id));
            return;
        }
        self.turn(|engine| {
            let Some(conn) = engine.connections.get_mut(&id) else { return };
            if conn.connecting {
                match conn.advance_connect() {
                    Ok(true) => lock(&engine.shared.events).connected(id),
                    Ok(false) => {}
                    Err(error) => conn.wire.close(CloseReason::failed("connect", &error)),
                }
                conn.wire.mark();
                return;
            }
            if write {
                conn.send();
                conn.wire.mark();
            }
            if read {
                conn.readable();
            }
        });
        if read {
            self.look_on(id);
        }
        self.look_for_answers();
    }

    /// Fires the timers that are due. Call it when [`Engine::next_deadline`] has passed.
    pub fn expire(&mut self) {
        self.expire_waiting();
        self.resume_listeners();
        self.turn(Self::end_stalled);
        // The first turn ends with a check of the clock, which readies the tasks of expired timers.
        self.turn(|_| {});
    }

    /// The time until [`Engine::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Duration> {
        let resume = self.listeners.values().filter_map(|entry| entry.paused_until).min();
        let next = resume.into_iter().chain(self.contended_at()).min();
        let next = next.map(|at| at.saturating_duration_since(Instant::now()));
        [self.shared.deadlines.next(), next].into_iter().flatten().min()
    }

    /// Whether the wait for the next deadline must keep the process alive. For a listener that cannot accept
    /// for a while, nothing else does.
    pub fn timer_holds(&self) -> bool {
        self.listeners.values().any(|entry| entry.paused_until.is_some())
    }

    /// Calls and requests in flight, of all connections.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// The pending events, for whoever hands them over.
    pub fn events(&self) -> PendingEvents {
        PendingEvents::new(self.shared.clone())
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Engine")
            .field("connections", &self.connections.len())
            .field("listeners", &self.listeners.len())
            .finish_non_exhaustive()
    }
}
