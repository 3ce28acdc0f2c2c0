//! The client: a measurement for each line of stdin, with its result as a line on stdout.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use containerd_shim_protos::shim_async::EventsClient;
use tokio::sync::Semaphore;
use ttrpc::{
    Request,
    r#async::{Client, ClientStream},
    context::Context,
    proto::Codec as _,
};

use super::{
    SERVICE,
    job::{Job, Work},
    message::{Raw, forward, payload},
    tally::{Clock, Tally},
};
use crate::{Failure, output, stream_message::Message};

/// Measures until stdin ends. Nothing else runs in this process, so waiting for a line may block.
pub(crate) async fn run() -> Result<(), Failure> {
    output::line("ready")?;
    for line in io::stdin().lines() {
        let job = Job::parse(&line?)?;
        let mut clients = Vec::new();
        for _ in 0..job.connections {
            clients.push(Client::connect(&job.address).await?);
        }
        measure(&job, &clients, job.warmup).await?;
        let clock = Clock::start();
        let tally = measure(&job, &clients, job.duration).await?;
        let (taken, cpu) = clock.taken();
        output::line(tally.line(taken, cpu))?;
    }
    Ok(())
}

/// Does the job's work for a while.
async fn measure(job: &Job, clients: &[Client], duration: Duration) -> Result<Tally, Failure> {
    let client = clients.first().ok_or("a job without connections")?;
    Ok(match job.work {
        Work::Unary | Work::Forward => calls(job, clients, Instant::now() + duration).await?,
        Work::Sink => sink(client, job, Instant::now() + duration).await?,
        Work::Source => source(client, job, duration).await?,
        Work::Chat => chat(client, job, Instant::now() + duration).await?,
    })
}

/// One worker for each call in flight; each makes one call at a time.
async fn calls(job: &Job, clients: &[Client], until: Instant) -> Result<Tally, Failure> {
    let bytes = Arc::new(payload(job.size));
    let workers: Vec<_> = (0..job.inflight)
        .map(|index| {
            let client = clients[index % clients.len()].clone();
            match job.work {
                Work::Forward => tokio::spawn(forwards(EventsClient::new(client), until)),
                _ => tokio::spawn(unaries(client, bytes.clone(), until)),
            }
        })
        .collect();
    let mut total = Tally::default();
    for worker in workers {
        total.add(worker.await??);
    }
    Ok(total)
}

/// One worker's calls with bytes.
async fn unaries(client: Client, bytes: Arc<Vec<u8>>, until: Instant) -> ttrpc::Result<Tally> {
    let mut tally = Tally::default();
    let mut begin = Instant::now();
    while begin < until {
        let request = Request { payload: bytes.to_vec(), ..request("Echo") };
        begin = tally.call(begin, client.request(request).await)?;
    }
    Ok(tally)
}

/// One worker's calls with messages.
async fn forwards(client: EventsClient, until: Instant) -> ttrpc::Result<Tally> {
    let mut tally = Tally::default();
    let mut begin = Instant::now();
    while begin < until {
        let event = forward(tally.done);
        begin = tally.call(begin, client.forward(Context::default(), &event).await)?;
    }
    Ok(tally)
}

/// Sends as fast as possible, and then waits for the response.
async fn sink(client: &Client, job: &Job, until: Instant) -> ttrpc::Result<Tally> {
    let inner = client.new_stream(request("Sink"), true, false).await?;
    let (sender, mut receiver) = ClientStream::<Raw, Raw>::new(inner).split();
    let message = Raw(payload(job.size));
    let mut done = 0;
    while Instant::now() < until {
        sender.send(&message).await?;
        done += 1;
    }
    sender.close_send().await?;
    receiver.recv().await?;
    Ok(Tally { done, ..Tally::default() })
}

/// Receives what the server sends for a while.
async fn source(client: &Client, job: &Job, duration: Duration) -> ttrpc::Result<Tally> {
    let wish = Message::sum(duration.as_millis() as i64, job.size as i64);
    let payload = wish.encode().map_err(|error| ttrpc::Error::Others(error.to_string()))?;
    let request = Request { payload, ..request("Source") };
    let inner = client.new_stream(request, false, true).await?;
    let (_sender, mut receiver) = ClientStream::<Raw, Raw>::new(inner).split();
    let mut done = 0;
    loop {
        match receiver.recv().await {
            Ok(_) => done += 1,
            Err(ttrpc::Error::Eof) => return Ok(Tally { done, ..Tally::default() }),
            Err(error) => return Err(error),
        }
    }
}

/// Keeps `inflight` messages in flight, and receives what comes back.
async fn chat(client: &Client, job: &Job, until: Instant) -> ttrpc::Result<Tally> {
    let inner = client.new_stream(request("Chat"), true, true).await?;
    let (sender, mut receiver) = ClientStream::<Raw, Raw>::new(inner).split();
    let window = Semaphore::new(job.inflight);
    let message = Raw(payload(job.size));
    let sending = async {
        while Instant::now() < until {
            // Never closed.
            if let Ok(permit) = window.acquire().await {
                permit.forget();
            }
            sender.send(&message).await?;
        }
        sender.close_send().await
    };
    let receiving = async {
        let mut done = 0;
        loop {
            match receiver.recv().await {
                Ok(_) => {
                    done += 1;
                    window.add_permits(1);
                }
                Err(ttrpc::Error::Eof) => return Ok(Tally { done, ..Tally::default() }),
                Err(error) => return Err(error),
            }
        }
    };
    let ((), tally) = tokio::try_join!(sending, receiving)?;
    Ok(tally)
}

/// A request for a method of the benchmark.
fn request(method: &str) -> Request {
    Request { service: SERVICE.to_owned(), method: method.to_owned(), ..Request::new() }
}
