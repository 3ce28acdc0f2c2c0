//! Node's side of the engine, and the only home of napi and libuv types.
//!
//! - [`port`]: the class that JavaScript makes one of per environment.
//! - [`environment`]: turns the engine when libuv says so and hands the events over.
//! - [`system`]: the kernel's calls for shims.
//! - [`watcher`]: one `uv_poll` handle per descriptor, and the timer.
//! - [`uv`]: the few functions of libuv that are used.
//! - [`values`]: what crosses besides the batches.

mod environment;
pub mod port;
pub mod system;
mod uv;
pub mod values;
mod watcher;
