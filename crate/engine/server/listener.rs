//! Listeners, and the connections that they accept.
//!
//! Each connection gets a ttrpc server of its own, so its handlers know who the peer is and when it leaves.
//! ttrpc's own accept loop tells them neither, and spins when descriptors run out.

use crate::engine::busy_poll::{Look, Looks};
use crate::engine::connection::{Connection, Endpoint, Hold, Interest};
use crate::engine::server::connection_server::ConnectionServer;
use crate::engine::server::services::Services;
use crate::engine::{Change, Descriptor, Engine};
use crate::limits::ACCEPT_BUDGET;
use crate::socket::{Address, Ends, Listener, Progress, Stream};
use crate::sync::lock;
use crate::transport::budget::{Budget, Excess, ListenerLimits};
use crate::transport::{Role, Wire, WireInit};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The options of a listener.
#[derive(Debug)]
pub struct ListenOptions {
    /// The methods that JavaScript handles.
    pub services: Services,
    /// Whether to admit only peers of this process's user and group.
    pub require_same_user: bool,
    /// The most connections open at once. One more is closed as soon as it is accepted.
    pub max_connections: u32,
    /// The most requests in flight, over all connections.
    pub max_concurrent_calls: u32,
    /// The most bytes of requests in flight, over all connections.
    pub max_queued_bytes: u32,
    /// What happens to requests beyond these two limits.
    pub excess: Excess,
    /// When connections look for requests before the thread sleeps, if they do.
    pub looks: Option<Looks>,
}

impl ListenOptions {
    /// Fails if a stream could be held back. An open one counts as a request, and a connection that is held back is not
    /// read, so a stream at the limit would wait for ever for its own messages.
    fn check(&self) -> io::Result<()> {
        let streams = self.services.values().flatten().any(|method| method.kind.is_some());
        if streams && self.excess == Excess::HeldBack {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "streams cannot be held back"));
        }
        Ok(())
    }
}

/// A listener, and what its connections share.
pub(in crate::engine) struct Entry {
    /// `None` if a single connection is served.
    listener: Option<Listener>,
    /// That connection.
    only: Option<u32>,
    require_same_user: bool,
    services: Arc<Services>,
    budget: Arc<Budget>,
    max_connections: u32,
    looks: Option<Looks>,
    connections: u32,
    /// Until when it is not watched, because accepting failed.
    pub(in crate::engine) paused_until: Option<Instant>,
    backoff: Duration,
}

impl Entry {
    /// Whether a connection leads to this listener.
    fn is_at(&self, ends: &Ends) -> bool {
        self.listener.as_ref().is_some_and(|listener| ends.lead_to(&listener.name))
    }

    /// Whether nothing of its connections counts.
    #[cfg(test)]
    pub(in crate::engine) fn is_unused(&self) -> bool {
        self.budget.is_unused()
    }

    fn admits(&self, stream: &Stream) -> bool {
        self.connections < self.max_connections
            && (!self.require_same_user
                || stream.peer_credentials().is_some_and(|peer| peer.is_own_user()))
    }

    fn watch(&self, id: u32, read: bool) -> Option<Change> {
        let fd = self.listener.as_ref()?.fd();
        Some(Change::Watch {
            id,
            fd,
            interest: Interest { read, hangup: false, write: false, hold: true },
        })
    }
}

const BACKOFF_FIRST: Duration = Duration::from_millis(5);
const BACKOFF_LIMIT: Duration = Duration::from_secs(1);

impl Engine {
    /// Binds and listens. Returns the listener's id.
    pub fn listen(
        &mut self,
        address: &Address,
        mode: Option<u32>,
        options: ListenOptions,
    ) -> io::Result<u32> {
        options.check()?;
        Ok(self.add_listener(Some(Listener::bind(address, mode)?), options))
    }

    /// Listens on an inherited descriptor, or serves the one peer of a connected one. Returns the
    /// listener's id.
    pub fn listen_on(
        &mut self,
        fd: OwnedFd,
        anonymous: bool,
        options: ListenOptions,
    ) -> io::Result<u32> {
        options.check()?;
        if !Listener::is_connected(&fd) {
            return Ok(self.add_listener(Some(Listener::adopt(fd)?), options));
        }
        let mut stream = Stream::adopt(fd)?;
        if anonymous {
            stream.make_anonymous();
        }
        let id = self.add_listener(None, options);
        self.turn(|engine| {
            if let Some(connection) = engine.admit(id, stream)
                && let Some(conn) = engine.connections.get_mut(&connection)
                && let Some(entry) = engine.listeners.get_mut(&id)
            {
                // Without a listener, nothing else keeps the process alive.
                conn.hold = Hold::Always;
                entry.only = Some(connection);
            } else {
                engine.close_listener(id);
            }
        });
        Ok(id)
    }

    fn add_listener(&mut self, listener: Option<Listener>, options: ListenOptions) -> u32 {
        let ListenOptions {
            services,
            require_same_user,
            max_connections,
            max_concurrent_calls,
            max_queued_bytes,
            excess,
            looks,
        } = options;
        let id = self.next_id();
        let entry = Entry {
            listener,
            only: None,
            require_same_user,
            services: Arc::new(services),
            budget: Budget::new(
                ListenerLimits { calls: max_concurrent_calls, bytes: max_queued_bytes, excess },
                self.shared.worklist.clone(),
            ),
            max_connections,
            looks,
            connections: 0,
            paused_until: None,
            backoff: BACKOFF_FIRST,
        };
        self.changes.extend(entry.watch(id, true));
        self.listeners.insert(id, entry);
        id
    }

    /// The TCP address to which a listener is bound.
    pub fn tcp_address(&self, listener: u32) -> Option<std::net::SocketAddr> {
        self.listeners.get(&listener)?.listener.as_ref()?.tcp_address()
    }

    /// The file of a unix socket that a listener has made.
    pub(in crate::engine) fn file_of_listener(&self, id: u32) -> Option<PathBuf> {
        self.listeners.get(&id)?.listener.as_ref()?.own_file()
    }

    /// Whether this engine serves the other end of a connection. If the thread that turns it waits, it cannot answer.
    pub fn serves(&self, ends: &Ends) -> bool {
        self.listeners.values().any(|entry| {
            let only = entry.only.and_then(|id| self.connections.get(&id));
            entry.is_at(ends) || only.is_some_and(|conn| conn.stream.is_other_of(ends))
        })
    }

    /// Stops accepting. Accepted connections stay open.
    pub fn close_listener(&mut self, id: u32) {
        let Some(entry) = self.listeners.remove(&id) else { return };
        if let Some(listener) = entry.listener {
            self.changes.push(Change::Forget { id, descriptor: Descriptor::Listener(listener) });
        }
        lock(&self.shared.events).listener_closed(id);
    }

    pub(in crate::engine) fn connection_ended(&mut self, listener: u32) {
        let Some(entry) = self.listeners.get_mut(&listener) else { return };
        entry.connections -= 1;
        if entry.listener.is_none() && entry.connections == 0 {
            // The only peer has left.
            self.close_listener(listener);
        }
    }

    /// Accepts connections that wait in the backlog.
    pub(in crate::engine) fn accept(&mut self, id: u32) {
        for _ in 0..ACCEPT_BUDGET {
            let Some(entry) = self.listeners.get_mut(&id) else { return };
            let Some(listener) = &entry.listener else { return };
            if !self.shared.worklist.backlog.may_accept() {
                // The next connections wait in the kernel's backlog.
                self.changes.extend(entry.watch(id, false));
                self.shared.worklist.wait_for_events(id);
                return;
            }
            match listener.accept() {
                Ok(Some(stream)) => {
                    entry.backoff = BACKOFF_FIRST;
                    self.admit(id, stream);
                }
                Ok(None) => return,
                Err(error) => {
                    // Out of descriptors or memory: the connection stays in the backlog and the descriptor
                    // readable, so it must not be watched for a while.
                    entry.paused_until = Some(Instant::now() + entry.backoff);
                    entry.backoff = (entry.backoff * 2).min(BACKOFF_LIMIT);
                    self.changes.extend(entry.watch(id, false));
                    lock(&self.shared.events).accept_failed(id, &error);
                    return;
                }
            }
        }
    }

    /// Resumes a listener that waited for JavaScript to take events.
    pub(in crate::engine) fn resume_accepting(&mut self, id: u32) {
        if let Some(entry) = self.listeners.get(&id) {
            self.changes.extend(entry.watch(id, true));
        }
    }

    /// Serves an accepted connection from its first frame on if the listener's rules allow it; otherwise closes it.
    fn admit(&mut self, listener: u32, stream: Stream) -> Option<u32> {
        let entry = self.listeners.get_mut(&listener)?;
        if !entry.admits(&stream) {
            return None;
        }
        entry.connections += 1;
        let (services, budget) = (entry.services.clone(), entry.budget.clone());
        let looks = entry.looks;
        let connection = self.next_id();
        let init = WireInit {
            id: connection,
            worklist: self.shared.worklist.clone(),
            budget: Some(budget.clone()),
            blocking: false,
        };
        let (wire, pipe) = Wire::pair(Role::Server, init);
        self.shared.worklist.backlog.accepted();
        lock(&self.shared.events).accepted(listener, connection, stream.peer_credentials());
        wire.mark();
        let server = ConnectionServer::NotStarted(pipe, services, self.shared.clone());
        let end = Endpoint::Server { server, listener, budget };
        let mut conn = Connection::new(stream, Progress::Connected, wire, end);
        conn.look = looks.map(Look::for_requests);
        self.connections.insert(connection, conn);
        Some(connection)
    }

    /// Resumes the listeners whose pause is over.
    pub(in crate::engine) fn resume_listeners(&mut self) {
        let now = Instant::now();
        for (&id, entry) in &mut self.listeners {
            if entry.paused_until.take_if(|at| *at <= now).is_some() {
                self.changes.extend(entry.watch(id, true));
            }
        }
    }
}
