//! Work on a thread that shares less with the process.

use super::Failure;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::os::fd::OwnedFd;
use std::thread;

/// What a thread has of its own. It keeps it, and so it ends with the work.
#[derive(Clone, Copy, Debug)]
pub(super) enum Own {
    /// The working directory.
    Folder,
    /// That, and what is mounted: nothing that is mounted there is ever seen elsewhere.
    Mounts,
}

/// Where a thread with mounts of its own makes them: a folder that is there wherever there is a /proc, and in whose way
/// nothing is that a mount is made of.
pub(super) const SCRATCH: &str = "/proc/sys";

/// Opens [`SCRATCH`] in a thread with mounts of its own, so that what is mounted there is not repeated elsewhere.
pub(super) fn private_scratch() -> Result<OwnedFd, Failure> {
    mount_change("/proc", MountPropagationFlags::PRIVATE)
        .and_then(|()| open(SCRATCH, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()))
        .map_err(|errno| Failure::from(errno).while_doing("mounts of its own"))
}

/// Does work on a thread of its own, and waits for it. The descriptors are the process's.
pub(super) fn apart<T: Send>(
    own: Own,
    work: impl FnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    let flags = match own {
        Own::Folder => UnshareFlags::FS,
        Own::Mounts => UnshareFlags::FS | UnshareFlags::NEWNS,
    };
    thread::scope(|scope| {
        let started = thread::Builder::new().name("mount-apart".into()).spawn_scoped(scope, || {
            // SAFETY: the table of descriptors stays shared.
            unsafe { unshare_unsafe(flags) }.map_err(|errno| {
                Failure::from(errno).while_doing("a thread with mounts of its own")
            })?;
            work()
        });
        let thread = started.map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::AGAIN);
            Failure::from(errno).while_doing("a thread of its own")
        })?;
        thread
            .join()
            .unwrap_or_else(|_| Err(Failure::new(Errno::IO, "the mount's thread panicked")))
    })
}
