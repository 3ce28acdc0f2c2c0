//! `containerd.task.v3.Task` and `containerd.services.events.ttrpc.v1.Events`, as
//! containerd-shim-protos 0.12 generates them over ttrpc 0.10.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use containerd_shim_protos as protos;
use protobuf::{Message as _, MessageField, well_known_types::any::Any};
use protos::{
    api::{Empty, ForwardRequest},
    events::task::TaskStart,
    shim::event::Envelope,
    shim_async::{Client, Events, EventsClient, create_events},
    ttrpc::{self, r#async::TtrpcContext},
};

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
const VERSION: &str = "peer-v3";

/// Serves Task and Events until it is stopped.
pub(crate) async fn serve(address: &str, stop: Stop) -> Result<(), Failure> {
    let history = History::default();
    let events = recorder::record(create_events(Arc::new(EventsPeer)), &history);
    server::serve(address, stop, history, events).await
}

/// Calls the server at `address`: Task's methods, or Forward of Events when it is asked for.
pub(crate) async fn call(address: &str, options: &CallOptions) -> Result<(), Failure> {
    let client = Client::connect(address).await?;
    if options.only.as_deref() == Some("Forward") {
        let request = forward(&options.id);
        let answer = EventsClient::new(client).forward(client::context(options), &request).await;
        return client::report("Forward", &request, answer);
    }
    client::call(client, options).await
}

/// The Events server. It has nothing to do: the recorder in front of it keeps the request.
struct EventsPeer;

#[async_trait]
impl Events for EventsPeer {
    async fn forward(&self, _: &TtrpcContext, _: ForwardRequest) -> ttrpc::Result<Empty> {
        Ok(Empty::new())
    }
}

/// The event that a shim sends to containerd when a container starts.
fn forward(id: &str) -> ForwardRequest {
    let started = TaskStart { container_id: id.to_owned(), pid: 7, ..Default::default() };
    let event = Any {
        type_url: "containerd.events.TaskStart".to_owned(),
        value: started.write_to_bytes().unwrap_or_default(),
        ..Default::default()
    };
    let envelope = Envelope {
        timestamp: MessageField::some(answers::timestamp(Duration::new(1_700_000_003, 5))),
        namespace: "namespace-1".to_owned(),
        topic: protos::topics::TASK_START_EVENT_TOPIC.to_owned(),
        event: MessageField::some(event),
        ..Default::default()
    };
    ForwardRequest { envelope: MessageField::some(envelope), ..Default::default() }
}
