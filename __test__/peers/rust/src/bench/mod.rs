//! The native side of the benchmark: a server that does as little as possible, and a client that
//! measures jobs.

mod client;
mod job;
mod message;
mod server;
mod tally;

pub(crate) use client::run as client;
pub(crate) use server::serve;

/// The service of the benchmark, without generated code.
const SERVICE: &str = "test.Bench";
