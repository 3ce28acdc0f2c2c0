//! Work on a thread that shares less with the process.

use super::Failure;
use rustix::io::Errno;
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::thread;

/// What a thread has of its own. It keeps it, and so it ends with the work.
#[derive(Clone, Copy, Debug)]
pub(super) enum Own {
    /// The working directory.
    Folder,
    /// That, and what is mounted: nothing that is mounted there is ever seen elsewhere.
    Mounts,
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
