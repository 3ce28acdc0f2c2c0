//! Node's side of the engine, and the only home of napi and libuv types.
//!
//! - [`port`]: the class that JavaScript makes of each driver that it uses.
//! - [`driver`]: what a port works on, one of:
//!   - [`on_loop`]: turns the engine when libuv says so and hands the events over.
//!   - [`on_thread`]: leaves work to a thread and hands the events over when Node says so.
//! - [`buffers`]: the two buffers that cross, and the callback.
//! - [`payloads`]: large ones, which cross by themselves.
//! - [`processes`]: what libuv waits for.
//! - [`mounts`]: mounts and unmounting, on threads of their own.
//! - [`system`]: the kernel's calls for shims and for socket files.
//! - [`handles`]: one `uv_poll` handle per descriptor, the timer, and the check.
//! - [`uv`]: the few functions of libuv that are used.
//! - [`values`]: what crosses besides the buffers.

mod buffers;
mod descriptors;
mod driver;
mod handles;
pub mod mounts;
mod on_loop;
mod on_thread;
mod payloads;
pub mod port;
mod processes;
pub mod system;
mod uv;
pub mod values;
