//! The events service of containerd-shim-protos 0.12, served and called with its generated code: the
//! yardstick for the Node sink and publisher, and a peer for their tests.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use clap::Args;
use containerd_shim_protos as protos;
use protobuf::{
    Message as _, MessageField,
    well_known_types::{any::Any, timestamp::Timestamp},
};
use protos::{
    api::{Empty, ForwardRequest},
    events::task::TaskExit,
    shim::event::Envelope,
    shim_async::{Client, Events, EventsClient, create_events},
    ttrpc::{self, Code, r#async::TtrpcContext, get_status},
};
use serde_json::json;
use tokio::sync::Notify;

use crate::{Failure, address, lifecycle::Stop, output};

const EXIT: &str = "containerd.events.TaskExit";

/// Arguments of `events`.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// `unix:///path`, `unix://@abstract` or `tcp://ip:port`.
    #[arg(long)]
    address: String,
    /// End, with status 0, when stdin ends.
    #[arg(long)]
    exit_on_stdin_eof: bool,
    /// Print one JSON line once this many events have come; a multiple of 1 000.
    #[arg(long)]
    count: u32,
}

/// Serves Events, and reports how fast `count` events came and whether their statuses were 0, 1, 2, ….
pub(crate) async fn serve(arguments: Serve) -> Result<(), Failure> {
    let stop = Stop::watch(arguments.exit_on_stdin_eof)?;
    address::clear(&arguments.address)?;
    let sink = Arc::new(Sink::default());
    let mut server = ttrpc::r#async::Server::new()
        .bind(&arguments.address)?
        .register_service(create_events(sink.clone()));
    server.start().await?;
    let report = async {
        loop {
            let arrived = sink.arrived.notified();
            let Tally { count, times, .. } = *sink.lock();
            if let Some(times) = times.filter(|_| count >= arguments.count) {
                return times;
            }
            arrived.await;
        }
    };
    let watch = async {
        let (first, last) = report.await;
        let ordered = sink.lock().ordered;
        output::line(json!({
            "events": arguments.count,
            "seconds": (last - first).as_secs_f64(),
            "ordered": ordered,
        }))?;
        std::future::pending::<std::io::Result<()>>().await
    };
    tokio::select! {
        failed = watch => Ok(failed?),
        stopped = stop.ready_until_stopped() => Ok(stopped?),
    }
}

/// What came.
#[derive(Clone, Copy, Debug)]
struct Tally {
    count: u32,
    ordered: bool,
    /// The times of the first and the last event.
    times: Option<(Instant, Instant)>,
}

/// The server of events.
#[derive(Debug)]
struct Sink {
    tally: Mutex<Tally>,
    /// Notified with every 1 000th event.
    arrived: Notify,
}

impl Default for Sink {
    fn default() -> Self {
        let tally = Tally { count: 0, ordered: true, times: None };
        Self { tally: Mutex::new(tally), arrived: Notify::new() }
    }
}

impl Sink {
    fn lock(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[async_trait]
impl Events for Sink {
    async fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        let event = request.envelope.event.as_ref();
        let exit = event
            .filter(|event| event.type_url == EXIT)
            .and_then(|event| TaskExit::parse_from_bytes(&event.value).ok())
            .ok_or_else(|| {
                ttrpc::Error::RpcStatus(get_status(Code::INVALID_ARGUMENT, "no TaskExit"))
            })?;
        let mut tally = self.lock();
        tally.ordered &= exit.exit_status == tally.count;
        tally.count += 1;
        if tally.count == 1 || tally.count.is_multiple_of(1000) {
            let now = Instant::now();
            tally.times = Some((tally.times.map_or(now, |(first, _)| first), now));
            self.arrived.notify_waiters();
        }
        Ok(Empty::new())
    }
}

/// Arguments of `publish`.
#[derive(Args, Debug)]
pub(crate) struct Publish {
    /// `unix:///path`, `unix://@abstract` or `tcp://ip:port`.
    #[arg(long)]
    address: String,
    /// How many events: `TaskExit` with the statuses 0, 1, 2, ….
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// How many are in flight at once.
    #[arg(long, default_value_t = 1)]
    inflight: u32,
    /// The id of the container in all of them.
    #[arg(long, default_value = "container-1")]
    id: String,
    /// The namespace.
    #[arg(long, default_value = "default")]
    namespace: String,
    /// The timeout of each.
    #[arg(long, default_value_t = 5000)]
    timeout_ms: u64,
}

/// Publishes events, and prints one JSON line: how many failed, and the first failure.
pub(crate) async fn publish(arguments: Publish) -> Result<(), Failure> {
    let client = EventsClient::new(Client::connect(&arguments.address).await?);
    let next = Arc::new(AtomicU32::new(0));
    let arguments = Arc::new(arguments);
    let workers: Vec<_> = (0..arguments.inflight)
        .map(|_| tokio::spawn(work(client.clone(), arguments.clone(), next.clone())))
        .collect();
    let mut failures = Vec::new();
    for worker in workers {
        failures.extend(worker.await?);
    }
    Ok(output::line(json!({ "failed": failures.len(), "first": failures.first() }))?)
}

/// One worker: publishes event after event until none is left. Returns the failures.
async fn work(client: EventsClient, arguments: Arc<Publish>, next: Arc<AtomicU32>) -> Vec<String> {
    let mut failures = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= arguments.count {
            return failures;
        }
        let timeout = Duration::from_millis(arguments.timeout_ms);
        let mut context = ttrpc::context::with_duration(timeout);
        context.add("containerd-namespace-ttrpc".to_owned(), arguments.namespace.clone());
        let request = exit(&arguments, number);
        if let Err(error) = client.forward(context, &request).await {
            failures.push(error.to_string());
        }
    }
}

/// The event a shim sends when a process ends.
fn exit(arguments: &Publish, number: u32) -> ForwardRequest {
    let now = now();
    let exit = TaskExit {
        container_id: arguments.id.clone(),
        id: arguments.id.clone(),
        pid: 4242,
        exit_status: number,
        exited_at: MessageField::some(now.clone()),
        ..Default::default()
    };
    let event = Any {
        type_url: EXIT.to_owned(),
        value: exit.write_to_bytes().unwrap_or_default(),
        ..Default::default()
    };
    let envelope = Envelope {
        timestamp: MessageField::some(now),
        namespace: arguments.namespace.clone(),
        topic: protos::topics::TASK_EXIT_EVENT_TOPIC.to_owned(),
        event: MessageField::some(event),
        ..Default::default()
    };
    ForwardRequest { envelope: MessageField::some(envelope), ..Default::default() }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: since.as_secs() as i64,
        nanos: since.subsec_nanos() as i32,
        ..Default::default()
    }
}
