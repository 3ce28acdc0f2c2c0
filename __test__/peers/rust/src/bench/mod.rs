//! The native side of the benchmark: a server that does nothing it does not have to, and a client
//! that measures what it is told to.

mod client;
mod job;
mod message;
mod server;
mod tally;

pub(crate) use client::run as client;
pub(crate) use server::serve;

/// The service of the benchmark, without generated code.
const SERVICE: &str = "test.Bench";
