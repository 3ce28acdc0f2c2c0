//! Load from the native client, as the yardstick for the Node client and as load on its server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use clap::Args;
use serde_json::json;
use ttrpc::{Request, r#async::Client};

use crate::{Failure, output};

/// Arguments of `blast`.
#[derive(Args, Debug)]
pub(crate) struct Blast {
    /// `unix:///path`, `unix://@abstract` or `tcp://ip:port`.
    #[arg(long)]
    address: String,
    /// The service, by its full name.
    #[arg(long, default_value = "test.Echo")]
    service: String,
    /// The method.
    #[arg(long, default_value = "Echo")]
    method: String,
    /// How many calls to keep in flight on the one connection.
    #[arg(long, default_value_t = 1)]
    inflight: usize,
    /// How many calls to measure.
    #[arg(long, default_value_t = 10_000)]
    calls: usize,
    /// The payload's size in bytes.
    #[arg(long, default_value_t = 0)]
    size: usize,
    /// How many calls to make first, unmeasured.
    #[arg(long, default_value_t = 0)]
    warmup: usize,
}

/// What one worker, or all of them, saw.
#[derive(Debug, Default)]
struct Tally {
    /// Nanoseconds of every call that succeeded.
    latencies: Vec<u64>,
    /// How many calls failed.
    errors: usize,
}

/// Warms up, measures and prints one line of JSON.
pub(crate) async fn run(blast: Blast) -> Result<(), Failure> {
    let client = Client::connect(&blast.address).await?;
    let request = Arc::new(Request {
        service: blast.service,
        method: blast.method,
        payload: vec![b'a'; blast.size],
        ..Default::default()
    });
    measure(&client, &request, blast.inflight, blast.warmup).await?;
    let begin = Instant::now();
    let mut tally = measure(&client, &request, blast.inflight, blast.calls).await?;
    let seconds = begin.elapsed().as_secs_f64();
    tally.latencies.sort_unstable();
    Ok(output::line(json!({
        "callsPerSecond": blast.calls as f64 / seconds,
        "p50Us": percentile(&tally.latencies, 50),
        "p99Us": percentile(&tally.latencies, 99),
        "errors": tally.errors,
    }))?)
}

/// Makes `calls` calls, `inflight` at a time: as many workers, each with one call at a time.
async fn measure(
    client: &Client,
    request: &Arc<Request>,
    inflight: usize,
    calls: usize,
) -> Result<Tally, Failure> {
    let left = Arc::new(AtomicUsize::new(calls));
    let workers: Vec<_> = (0..inflight.clamp(1, calls.max(1)))
        .map(|_| tokio::spawn(work(client.clone(), request.clone(), left.clone())))
        .collect();
    let mut total = Tally { latencies: Vec::with_capacity(calls), errors: 0 };
    for worker in workers {
        let tally = worker.await?;
        total.latencies.extend(tally.latencies);
        total.errors += tally.errors;
    }
    Ok(total)
}

/// One worker: call after call until none is left to take.
async fn work(client: Client, request: Arc<Request>, left: Arc<AtomicUsize>) -> Tally {
    let mut tally = Tally::default();
    while left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    {
        let begin = Instant::now();
        match client.request(Request::clone(&request)).await {
            Ok(_) => {
                let nanoseconds = begin.elapsed().as_nanos();
                tally.latencies.push(nanoseconds.try_into().unwrap_or(u64::MAX));
            }
            Err(_) => tally.errors += 1,
        }
    }
    tally
}

/// A percentile of sorted nanoseconds, by nearest rank, in microseconds; 0 when there are none.
fn percentile(sorted: &[u64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(0.0, |&nanoseconds| nanoseconds as f64 / 1000.0)
}
