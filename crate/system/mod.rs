//! System calls that a shim needs and Node does not offer. There is no state and no thread, and errors are
//! the system's.
//!
//! - [`children`]: children that have ended, which are seen before they are reaped, so that nobody reaps
//!   another's.
//! - [`console`]: terminals that an OCI runtime sends over a socket.

pub mod children;
pub mod console;
