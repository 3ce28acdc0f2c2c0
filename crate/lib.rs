//! The Rust half of `containerd-shim-protos` for Node.js: the real `ttrpc` client and server on a
//! `current_thread` tokio runtime, turned by Node's event loop or by a thread of its own.
//!
//! # Layout
//!
//! - [`bridge`]: the only home of napi and libuv types. A port is JavaScript's handle on one driver.
//! - [`records`]: the format of the two batch buffers that JavaScript and Rust share.
//! - [`engine`]: the runtime of one driver with its connections, listeners and calls. It knows nothing of
//!   Node: batches of commands and "this descriptor is ready" go in, batches of events and "watch this
//!   descriptor" come out.
//! - [`io_thread`]: a thread that turns an engine in place of Node's event loop.
//! - [`transport`]: the in-memory byte stream between a socket and ttrpc. It gathers writes, bounds what
//!   waits, records why a connection closed, and corrects frames that ttrpc would misread.
//! - [`launcher`]: the addon as a program: what containerd runs, with a shim's script behind it.
//! - [`protocol`]: status codes, outcomes and close reasons, which need no connection.
//! - [`socket`]: non-blocking descriptors of every address family.
//! - [`system`]: system calls that a shim needs and Node does not offer.
//! - [`ids`], [`limits`], [`patience`], [`sync`]: names of connections and calls; every bound; what is tried
//!   again; mutexes.

pub mod bridge;
pub mod engine;
pub mod ids;
pub mod io_thread;
#[cfg(not(address_sanitizer))]
pub mod launcher;
pub mod limits;
pub mod patience;
pub mod protocol;
#[cfg(test)]
mod random;
pub mod records;
pub mod socket;
pub mod sync;
pub mod system;
pub mod transport;

/// ttrpc allocates a dozen times per call, and whole message buffers come and go. With the C library's
/// allocator, this takes a third of the addon's time. AddressSanitizer brings an allocator of its own.
#[cfg(not(address_sanitizer))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
