//! What a shim asks of the kernel and Node does not offer. No state, no thread: plain calls whose
//! errors are the system's.
//!
//! - [`children`]: ended children, seen before they are reaped, so that nobody reaps another's.
//! - [`console`]: terminals that an OCI runtime hands over through a socket.

pub mod children;
pub mod console;
