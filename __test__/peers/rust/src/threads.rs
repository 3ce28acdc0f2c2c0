//! Events over ttrpc's other server, which has threads in place of tokio, and answers otherwise to what it does not know.

use std::sync::Arc;

use containerd_shim_protos::{Events, create_events};
use ttrpc::Server;

use crate::{Failure, lifecycle::Stop};

/// Serves Events at `address` until it is stopped.
pub(crate) async fn serve(address: &str, stop: Stop) -> Result<(), Failure> {
    let mut server =
        Server::new().bind(address)?.register_service(create_events(Arc::new(EventsPeer)));
    server.start()?;
    stop.ready_until_stopped().await?;
    server.shutdown();
    Ok(())
}

/// Has no method of its own.
struct EventsPeer;

impl Events for EventsPeer {}
