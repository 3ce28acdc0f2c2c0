//! The Rust half of `containerd-shim-protos` for Node.js: the real `ttrpc` client and server on a
//! `current_thread` tokio runtime, turned by Node's event loop or by a thread of its own.
//!
//! # Layout
//!
//! - [`bridge`]: the only home of napi and libuv types. A port is one driver's way to JavaScript.
//! - [`records`]: the format of the two batch buffers that JavaScript and Rust share.
//! - [`engine`]: the runtime of one driver with its connections, listeners and calls. It knows
//!   nothing of Node: it takes batches of commands and "this descriptor is ready", and gives back
//!   batches of events and "watch this descriptor".
//! - [`io_thread`]: a thread that turns an engine, in place of Node's event loop.
//! - [`transport`]: the in-memory byte stream between a socket and ttrpc. It gathers writes, bounds
//!   what waits, says once why it closed, and corrects frames that ttrpc would misread.
//! - [`protocol`]: status codes, outcomes and reasons, which need no connection.
//! - [`socket`]: non-blocking descriptors of every address family.
//! - [`system`]: what a shim asks of the kernel and Node does not offer.
//! - [`ids`], [`sync`]: names of connections and calls; mutexes.

pub mod bridge;
pub mod engine;
pub mod ids;
pub mod io_thread;
pub mod limits;
pub mod protocol;
pub mod records;
pub mod socket;
pub mod sync;
pub mod system;
pub mod transport;

/// ttrpc allocates a dozen times a call, and a message's buffers come and go whole; the C library's
/// allocator takes a third of the addon's time for it. AddressSanitizer has one of its own.
#[cfg(not(address_sanitizer))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
