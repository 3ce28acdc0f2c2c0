//! What serves an accepted connection, from its first frame on.

use crate::engine::Shared;
use crate::engine::server::handlers::Handlers;
use crate::engine::server::services::{Services, table};
use crate::transport::budget::Budget;
use crate::transport::{Pipe, Wire};
use futures::{FutureExt as _, StreamExt as _, stream};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use ttrpc::r#async::Server;

/// What serves an accepted connection.
pub(in crate::engine) enum ConnectionServer {
    /// ttrpc's server, its tasks and its method table are made for the first frame, so an idle peer costs
    /// none of them.
    NotStarted(Pipe, Arc<Services>, Arc<Shared>),
    /// ttrpc's server. Its tasks stop when it is dropped.
    Running { _server: Server },
    /// The connection ended before a server was needed.
    Over,
}

impl ConnectionServer {
    /// Starts ttrpc's server, unless it has been started. Must be called inside the runtime.
    pub(in crate::engine) fn start(
        &mut self,
        wire: &Arc<Wire>,
        budget: &Arc<Budget>,
        in_flight: &Arc<AtomicU32>,
    ) {
        if !matches!(self, Self::NotStarted(..)) {
            return;
        }
        let Self::NotStarted(pipe, services, shared) = std::mem::replace(self, Self::Over) else {
            return;
        };
        let handlers = Handlers {
            shared,
            connection: wire.id(),
            wire: wire.clone(),
            budget: budget.clone(),
            in_flight: in_flight.clone(),
        };
        *self = Self::Running { _server: start_server(pipe, &services, &Arc::new(handlers)) };
    }

    /// Releases a connection whose server never started.
    pub(in crate::engine) fn let_go(&mut self) {
        if matches!(self, Self::NotStarted(..)) {
            *self = Self::Over;
        }
    }
}

/// Runs a ttrpc server on one connection. Must be called inside the runtime.
fn start_server(pipe: Pipe, services: &Services, handlers: &Arc<Handlers>) -> Server {
    // The stream of connections must not end, or ttrpc would panic when it is told to stop listening.
    let once = stream::iter([Ok(pipe)]).chain(stream::pending());
    let mut server = Server::new()
        .add_listener(ttrpc::r#async::transport::Listener::new(once))
        .register_service(table(services, handlers));
    // `start` only spawns a task, so it is ready at once; it fails only without a listener.
    let started = server.start().now_or_never();
    debug_assert!(matches!(started, Some(Ok(()))));
    server
}
