//! The engine's connection to Node, and the only home of napi and libuv types.
//!
//! - [`port`]: the class that JavaScript instantiates for each driver that it uses.
//! - [`driver`]: what turns a port's engine, one of:
//!   - [`loop_driver`]: turns the engine in libuv's callbacks, and hands the events over.
//!   - [`thread_driver`]: leaves the work to a thread, and hands the events over in Node's callback.
//! - [`buffers`]: the two batch buffers, and the callback that announces events.
//! - [`descriptors`]: whether a descriptor may be taken over.
//! - [`given`]: the payloads that JavaScript has, and how it releases one.
//! - [`handed_out`]: the descriptors that JavaScript has by their numbers.
//! - [`news`]: how a thread of the addon calls JavaScript.
//! - [`own_thread`]: work that may block, and the promise of its result.
//! - [`payloads`]: large payloads, which cross outside of the batches.
//! - [`processes`]: the child processes that libuv waits for.
//! - [`mounts`]: mounts and unmounting, on threads of their own.
//! - [`pump`]: the thread that moves the bytes of processes' streams.
//! - [`system`]: system calls for shims and for socket files.
//! - [`uv_handle`]: libuv handles: one `uv_poll` per descriptor, the timer, the check, and the idle handle.
//! - [`uv`]: the functions of libuv that are used.
//! - [`values`]: the objects that cross besides the buffers.
//!
//! Whatever Node calls catches panics, which would end the process: functions of JavaScript have napi's `catch_unwind`.

mod buffers;
mod descriptors;
mod driver;
pub mod given;
mod handed_out;
mod looker;
mod loop_driver;
pub mod mounts;
mod news;
mod own_thread;
mod payloads;
pub mod port;
mod processes;
pub mod pump;
pub mod system;
mod teardown;
mod thread_driver;
mod uv;
mod uv_handle;
pub mod values;
