//! The client's jobs: one JSON line each, as in bench/job.ts.

use std::time::Duration;

use serde_json::Value;

use crate::Failure;

/// The work to repeat.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// Calls with bytes.
    Unary,
    /// Calls of `Forward` with a message that is encoded each time.
    Forward,
    /// A stream to the server.
    Sink,
    /// A stream from the server.
    Source,
    /// A stream both ways, each message sent back.
    Chat,
}

/// One measurement.
#[derive(Debug)]
pub(crate) struct Job {
    /// What to do.
    pub(crate) work: Work,
    /// Where the server is.
    pub(crate) address: String,
    /// The bytes of a payload.
    pub(crate) size: usize,
    /// Calls, or messages of a chat, in flight, over all connections.
    pub(crate) inflight: usize,
    /// How many connections.
    pub(crate) connections: usize,
    /// How long to run first without measuring.
    pub(crate) warmup: Duration,
    /// How long to measure.
    pub(crate) duration: Duration,
}

impl Job {
    /// Reads a line.
    pub(crate) fn parse(line: &str) -> Result<Self, Failure> {
        let value: Value = serde_json::from_str(line)?;
        let number =
            |key: &str| value[key].as_u64().ok_or_else(|| format!("a job without {key}: {line}"));
        let work = match value["work"].as_str() {
            Some("unary") => Work::Unary,
            Some("forward") => Work::Forward,
            Some("sink") => Work::Sink,
            Some("source") => Work::Source,
            Some("chat") => Work::Chat,
            _ => return Err(format!("a job without work: {line}").into()),
        };
        Ok(Self {
            work,
            address: value["address"].as_str().unwrap_or_default().to_owned(),
            size: number("size")? as usize,
            inflight: number("inflight")? as usize,
            connections: number("connections")? as usize,
            warmup: Duration::from_millis(number("warmupMs")?),
            duration: Duration::from_millis(number("durationMs")?),
        })
    }
}
