//! The result of a measurement.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// The results of one worker, or of all.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// The nanoseconds of every call.
    pub(crate) latencies: Vec<u64>,
    /// Calls, or messages.
    pub(crate) done: usize,
    /// Calls that the server refused.
    pub(crate) failed: usize,
}

impl Tally {
    /// Counts a call that began at `begin` and returns the time, at which the next one begins. Servers may refuse a
    /// call, because the client takes its id before it queues it, so under load ids leave out of order.
    pub(crate) fn call<T>(
        &mut self,
        begin: Instant,
        outcome: ttrpc::Result<T>,
    ) -> ttrpc::Result<Instant> {
        let now = Instant::now();
        match outcome {
            Ok(_) => {
                self.latencies.push((now - begin).as_nanos().try_into().unwrap_or(u64::MAX));
                self.done += 1;
            }
            Err(ttrpc::Error::RpcStatus(_)) => self.failed += 1,
            Err(error) => return Err(error),
        }
        Ok(now)
    }

    /// Adds the results of another.
    pub(crate) fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.done += other.done;
        self.failed += other.failed;
    }

    /// The line of JSON, as in bench/job.ts.
    pub(crate) fn line(mut self, taken: Duration, cpu: Duration) -> Value {
        self.latencies.sort_unstable();
        json!({
            "perSecond": self.done as f64 / taken.as_secs_f64(),
            "p50Us": percentile(&self.latencies, 50),
            "p99Us": percentile(&self.latencies, 99),
            "cpuUs": cpu.as_secs_f64() * 1e6 / self.done.max(1) as f64,
            "failed": self.failed,
        })
    }
}

/// Wall time and the CPU time of this thread.
pub(crate) struct Clock {
    /// When it started.
    begin: Instant,
    /// The thread's CPU time then.
    cpu: Duration,
}

impl Clock {
    /// Starts.
    pub(crate) fn start() -> Self {
        Self { cpu: thread_cpu(), begin: Instant::now() }
    }

    /// The times since the start.
    pub(crate) fn taken(&self) -> (Duration, Duration) {
        (self.begin.elapsed(), thread_cpu().saturating_sub(self.cpu))
    }
}

/// The CPU time of this thread, as the kernel accounts it.
fn thread_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

/// A percentile of sorted nanoseconds, by nearest rank, in microseconds.
fn percentile(sorted: &[u64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    rank.checked_sub(1).and_then(|index| sorted.get(index)).map(|&nanos| nanos as f64 / 1000.0)
}
