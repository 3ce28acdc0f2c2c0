//! The lock that decides who may make or remove a socket file.

use super::identity::Identity;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The right to make or remove the socket file at one path, until it is dropped.
///
/// It is a kernel lock on an empty file beside the socket, `.NAME.ttrpc-lock`, which exists only while the
/// lock is held. The kernel releases the lock when its holder dies; the next holder reuses the file. A socket
/// cannot be locked itself, and anybody who can read its folder could lock the folder.
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

/// How long to wait for the lock. It is held for microseconds, unless its holder is stopped or hostile.
const PATIENCE: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(2);

impl Lock {
    /// Waits for the lock on a socket's path. `EBUSY` means that it was held for too long.
    pub(super) fn take(socket: &Path) -> io::Result<Self> {
        let path = path_for(socket)?;
        let until = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(&path)?;
            match file.try_lock() {
                // The previous holder may have removed the file, and then this lock means nothing.
                Ok(()) if is_at(&file, &path)? => return Ok(Self { file, path }),
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    // This file system has no locks, so nobody holds one.
                    remove(&file, &path);
                    return Err(error);
                }
            }
            if Instant::now() >= until {
                return Err(io::Error::from_raw_os_error(libc::EBUSY));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        remove(&self.file, &self.path);
    }
}

/// The path of the lock file for a socket's path.
fn path_for(socket: &Path) -> io::Result<PathBuf> {
    let mut name = OsString::from(".");
    name.push(socket.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    name.push(".ttrpc-lock");
    Ok(socket.with_file_name(name))
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    match Identity::of(path) {
        Ok(now) => Ok(now == Identity::from(&file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a lock file. A file with content is not one.
fn remove(file: &File, path: &Path) {
    if file.metadata().is_ok_and(|file| file.is_file() && file.len() == 0) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    fn socket(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("lock-{}-{name}", std::process::id()))
    }

    #[test]
    fn one_at_a_time_has_it_and_its_file_goes_with_it() {
        let socket = socket("alone");
        let inside = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let _lock = Lock::take(&socket).expect("it comes");
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(!path_for(&socket).expect("it has a name").exists());
    }

    #[test]
    fn one_that_is_never_let_go_is_an_error() {
        let socket = socket("held");
        let lock = Lock::take(&socket).expect("it is free");
        let error = Lock::take(&socket).err().expect("it is held");
        assert_eq!(error.raw_os_error(), Some(libc::EBUSY));
        drop(lock);
        drop(Lock::take(&socket).expect("it is free"));
    }

    #[test]
    fn the_file_of_a_holder_that_died_is_the_next_ones_and_a_file_with_something_in_it_stays() {
        let socket = socket("left");
        let path = path_for(&socket).expect("it has a name");
        fs::write(&path, "").expect("the folder is writable");
        drop(Lock::take(&socket).expect("nobody has it"));
        assert!(!path.exists());
        fs::write(&path, "precious").expect("the folder is writable");
        drop(Lock::take(&socket).expect("nobody has it"));
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "precious");
        fs::remove_file(path).expect("it is ours");
    }
}
