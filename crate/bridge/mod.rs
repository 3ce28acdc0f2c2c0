//! Node's side of the engine, and the only home of napi and libuv types.
//!
//! - [`port`]: the class that JavaScript makes of each driver that it uses.
//! - [`driven`]: what a port works on, one of:
//!   - [`looped`]: turns the engine when libuv says so and hands the events over.
//!   - [`threaded`]: leaves work to a thread and hands the events over when Node says so.
//! - [`batches`]: the two buffers that cross, and the callback.
//! - [`payloads`]: large ones, which cross by themselves.
//! - [`processes`]: what libuv waits for.
//! - [`system`]: the kernel's calls for shims and for socket files.
//! - [`watcher`]: one `uv_poll` handle per descriptor, the timer, and the check.
//! - [`uv`]: the few functions of libuv that are used.
//! - [`values`]: what crosses besides the batches.

mod batches;
mod descriptors;
mod driven;
mod looped;
mod payloads;
pub mod port;
mod processes;
pub mod system;
mod threaded;
mod uv;
pub mod values;
mod watcher;
