//! Pipes between a shim and a container's process, and other descriptors that Node cannot make.

use super::check;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::fchown;

/// Creates a pipe, and returns its reading and its writing end.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((reader.into(), writer.into()))
}

/// Gives an end to a user and group, so that a process of theirs can open it again through /proc/self/fd. Those that are all
/// ones stay as they are.
pub fn give(end: &OwnedFd, uid: u32, gid: u32) -> io::Result<()> {
    if (uid, gid) == (u32::MAX, u32::MAX) {
        return Ok(());
    }
    fchown(end, Some(uid), Some(gid))
}

/// Creates a counter on which the kernel can announce events.
pub fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: a plain call; the descriptor that it returns is new.
    unsafe {
        let fd = check(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// How many bytes are in a pipe.
pub fn unread(end: RawFd) -> io::Result<libc::c_int> {
    let mut count = 0;
    // SAFETY: FIONREAD writes one int.
    check(unsafe { libc::ioctl(end, libc::FIONREAD, &raw mut count) })?;
    Ok(count)
}

/// A second descriptor of the same open file.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: a plain call; the descriptor that it returns is new.
    unsafe {
        let copy = check(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3))?;
        Ok(OwnedFd::from_raw_fd(copy))
    }
}
