//! Non-blocking stream sockets of every address family, and the files of unix sockets: [`mod@file`].

mod address;
mod descriptor_claim;
pub mod file;
mod hybrid;
pub mod identity;
mod listener;
mod lock;
mod peer;
mod stream;
mod unix_diag;

pub use address::Address;
pub use descriptor_claim::is_claimed;
pub use listener::Listener;
pub use peer::{Credentials, Ends};
pub use stream::{Progress, Stream};

use socket2::{Domain, Socket, Type};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Waits until `fd` can be read (or, with `write`, written), or until `timeout` milliseconds have passed (-1:
/// forever). Returns whether it is ready.
pub fn wait(fd: RawFd, write: bool, timeout: i32) -> io::Result<bool> {
    let events = libc::POLLIN | if write { libc::POLLOUT } else { 0 };
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: `poll` is one valid pollfd.
    match unsafe { libc::poll(&raw mut poll, 1, timeout) } {
        -1 => {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted { Ok(false) } else { Err(error) }
        }
        ready => Ok(ready > 0),
    }
}

/// A pair of connected descriptors.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    Ok((ours.into(), theirs.into()))
}

/// Takes ownership of a descriptor that JavaScript hands over by number.
pub fn own(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_SETFD takes no pointer; on a number that is not open it fails with EBADF.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and the caller gives it up, as the API's documentation says.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The system's error number; that of its kind for an error made here; 0 if there is none.
pub fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(match error.kind() {
        io::ErrorKind::TimedOut => libc::ETIMEDOUT,
        io::ErrorKind::ConnectionRefused => libc::ECONNREFUSED,
        _ => 0,
    })
}
