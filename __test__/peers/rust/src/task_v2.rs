//! `containerd.task.v2.Task`, as containerd-shim-protos 0.11 generates it over ttrpc 0.9.
//!
//! Its messages have the same fields as v3's, but other types, so the files below `task/` are
//! compiled a second time, against this crate.

use std::collections::HashMap;

use containerd_shim_protos_v2 as protos;
use protos::shim_async::Client;

use crate::{CallOptions, Failure, history::History, lifecycle::Stop};

#[path = "task/answers.rs"]
mod answers;
#[path = "task/client.rs"]
mod client;
#[path = "task/failure.rs"]
mod failure;
#[path = "task/recorder.rs"]
mod recorder;
#[path = "task/requests.rs"]
mod requests;
#[path = "task/server.rs"]
mod server;

/// The version in Connect's answer, which distinguishes the two servers.
const VERSION: &str = "peer-v2";

/// Serves Task until it is stopped.
pub(crate) async fn serve(address: &str, stop: Stop) -> Result<(), Failure> {
    server::serve(address, stop, History::default(), HashMap::new()).await
}

/// Calls the Task server at `address`.
pub(crate) async fn call(address: &str, options: &CallOptions) -> Result<(), Failure> {
    client::call(Client::connect(address).await?, options).await
}
