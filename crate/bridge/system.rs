//! The kernel's calls for shims. Each returns what the system returned, or its error number below 0,
//! which TypeScript makes an error of.

use crate::system::{children, console};
use napi_derive::napi;
use std::io;
use std::os::fd::{IntoRawFd as _, OwnedFd};
use std::path::PathBuf;

/// Makes orphaned descendants children of this process.
#[napi]
pub fn become_subreaper() -> i32 {
    answer(children::become_subreaper().map(|()| 0))
}

/// The pid of a child that has ended and was not reaped, which stays as it is; 0 if there is none.
#[napi]
pub fn peek_child() -> i32 {
    answer(children::peek().map(|pid| pid.unwrap_or(0) as i32))
}

/// Reaps a child that has ended: its exit code, or 128 and the signal that ended it.
#[napi]
pub fn reap_child(pid: u32) -> i32 {
    answer(children::reap(pid).map(|status| status as i32))
}

/// Listens at a path for the terminal of a container. A descriptor, which the caller owns.
#[napi]
pub fn listen_console(path: String) -> i32 {
    answer(console::listen(&PathBuf::from(path)).map(OwnedFd::into_raw_fd))
}

/// The terminal that was sent to such a socket. A descriptor, which the caller owns.
#[napi]
pub fn receive_console(listener: i32) -> i32 {
    answer(console::receive(listener).map(OwnedFd::into_raw_fd))
}

/// Sets the size of a terminal, in characters.
#[napi]
pub fn resize_console(terminal: i32, width: u16, height: u16) -> i32 {
    answer(console::resize(terminal, width, height).map(|()| 0))
}

fn answer(result: io::Result<i32>) -> i32 {
    result.unwrap_or_else(|error| {
        -error.raw_os_error().unwrap_or(match error.kind() {
            io::ErrorKind::WouldBlock => libc::EAGAIN,
            io::ErrorKind::InvalidData => libc::EBADMSG,
            _ => libc::EINVAL,
        })
    })
}
