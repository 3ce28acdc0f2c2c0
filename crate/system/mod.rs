//! What a shim asks of the kernel and Node does not offer. No state: plain calls whose
//! errors are the system's.
//!
//! - [`children`]: ended children, seen before they are reaped, so that nobody reaps another's.
//! - [`console`]: terminals that an OCI runtime hands over through a socket.
//! - [`mount`]: mounts, inside a root filesystem, and unmounting.

pub mod children;
pub mod console;
pub mod mount;
