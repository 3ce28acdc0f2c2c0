//! System calls that a shim needs and Node does not offer. Errors are the system's. Only the [`pump`] has
//! threads, and only it and [`overwritten`] have state.
//!
//! - [`children`]: children that have ended, which are seen before they are reaped, so that nobody reaps
//!   another's.
//! - [`console`]: terminals that an OCI runtime sends over a socket.
//! - [`epoll`]: the kernel's way to wait for many descriptors.
//! - [`fork`]: what children set for themselves before they run their program.
//! - [`memory`]: memory that the kernel may have back.
//! - [`mount`]: mounts, inside a root filesystem, and unmounting.
//! - [`overwritten`]: what happens to a shim whose file is overwritten.
//! - [`pipe`]: pipes between a shim and a process.
//! - [`poll`]: looks at descriptors without sleeping.
//! - [`pump`]: moves bytes between a process's pipes or terminal and containerd's fifos.
//! - [`stream`]: opens these.
//! - [`users`]: whether an id is this process's own.

pub mod children;
pub mod console;
pub mod digest;
pub mod epoll;
pub mod fork;
pub mod memory;
pub mod mount;
pub mod overwritten;
pub mod pipe;
pub mod poll;
pub mod pump;
pub mod stream;
pub mod users;

use std::io;

/// The result of a system call that returns -1 when it fails.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
