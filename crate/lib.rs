//! The Rust half of `containerd-shim-protos` for Node.js: the real `ttrpc` client and server on a
//! `current_thread` tokio runtime that a JavaScript environment's own event loop turns.
//!
//! # Layout
//!
//! - [`engine`]: one environment's runtime with its connections, listeners and calls. It knows
//!   nothing of Node: it takes batches of commands and "this descriptor is ready", and gives back
//!   batches of events and "watch this descriptor".
//! - [`transport`]: the in-memory byte stream between a socket and ttrpc. It gathers writes, says
//!   once why it closed, and corrects frames that ttrpc would misread.
//! - [`socket`]: non-blocking descriptors of every address family.
//! - [`port`]: the record format of the two batch buffers that JavaScript and Rust share.
//! - [`status`]: what became of a call, and how ttrpc's errors map to it.
//! - [`driver`]: the other way to turn an engine, a thread of its own.
//! - [`system`]: what a shim asks of the kernel and Node does not offer.
//! - [`bridge`]: the only home of napi and libuv types.

pub mod bridge;
pub mod driver;
pub mod engine;
pub mod ids;
pub mod port;
pub mod socket;
pub mod status;
pub mod system;
pub mod transport;

/// ttrpc allocates a dozen times a call, and a message's buffers come and go whole; the C library's
/// allocator takes a third of the addon's time for it. AddressSanitizer has one of its own.
#[cfg(not(address_sanitizer))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
