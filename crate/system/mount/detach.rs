//! Unmounts whatever is mounted at a folder and below it.
//!
//! The kernel's table says what is there, by paths without links, so it is asked for the folder's real path, and each
//! path is walked without following a link: what has been put into a path meanwhile leads nowhere else.

use super::place::{NO_LINK, named, path_of};
use super::{Failure, table};
use rustix::fs::{Mode, OFlags, open, openat, readlink};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait before a busy mount is tried again: as long as containerd does.
const PAUSE: Duration = Duration::from_millis(50);

/// How often the table is read at most while every reading finds something that can be unmounted.
const MOST_READINGS: usize = 10_000;

/// What a path that the table had leads to when it has been renamed since.
const MOVED: [Errno; 3] = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP];

/// What to do about mounts that are in use.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For how long to try them again.
    pub busy: Duration,
    /// Whether to take them out of sight then; they are gone when nothing uses them any more.
    pub detach: bool,
}

/// Unmounts everything at a folder and below it, the deepest first. A folder that does not exist has nothing.
pub fn unmount_all(folder: &Path, patience: Patience) -> Result<(), Failure> {
    let Some(real) = real_path(folder)? else { return Ok(()) };
    if real == b"/" {
        let reason = format!("the folder {folder:?} is the root of all that is mounted");
        return Err(Failure::new(Errno::INVAL, reason));
    }
    let deadline = Instant::now() + patience.busy;
    let mut flags = UnmountFlags::empty();
    for _ in 0..MOST_READINGS {
        let mounted = table::at_or_below(&real).map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Failure::about(errno, "the table of mounts", "/proc/self/mountinfo")
        })?;
        // What hides under another is reached when that is gone.
        let tried: Vec<Option<Failure>> =
            mounted.iter().rev().map(|path| unmount_at(path, flags).err()).collect();
        if tried.iter().any(Option::is_none) {
            continue;
        }
        let failures: Vec<Failure> = tried.into_iter().flatten().collect();
        let busy = failures.iter().position(|failure| failure.errno == Errno::BUSY);
        let moved = failures.iter().any(|failure| MOVED.contains(&failure.errno));
        if (busy.is_some() || moved) && Instant::now() < deadline {
            thread::sleep(PAUSE);
        } else if busy.is_some() && patience.detach && flags.is_empty() {
            flags = UnmountFlags::DETACH;
        } else {
            // The deepest busy one is the reason why those above it are.
            return failures.into_iter().nth(busy.unwrap_or(0)).map_or(Ok(()), Err);
        }
    }
    let reason = format!("something keeps mounting at {folder:?}");
    Err(Failure::new(Errno::BUSY, reason))
}

/// The path that the kernel knows a folder by, or nothing if it does not exist. Asks for nothing that a dead filesystem
/// would have to answer.
fn real_path(folder: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let about = |errno| Failure::about(errno, "the folder", folder);
    match open(folder, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => Ok(Some(readlink(path_of(&file), Vec::new()).map_err(about)?.into_bytes())),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(about(errno)),
    }
}

/// Unmounts the topmost mount at a path that has no links.
fn unmount_at(path: &[u8], flags: UnmountFlags) -> Result<(), Failure> {
    let path = Path::new(OsStr::from_bytes(path));
    let result = (|| {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::INVAL);
        };
        unmount(named(&without_links(folder)?, name), flags | NO_LINK)
    })();
    result.map_err(|errno| match errno {
        Errno::BUSY => Failure::new(errno, format!("{path:?} is still in use")),
        _ => Failure::about(errno, "the mount at", path),
    })
}

/// Opens a folder, if its path has no links.
fn without_links(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folder = open("/", flags, Mode::empty())?;
    for name in path.iter().skip(1) {
        folder = openat(&folder, name, flags, Mode::empty())?;
    }
    Ok(folder)
}
