//! The kernel's epoll, and an eventfd that ends its waits.

use super::check;
use super::pipe::eventfd;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

/// Descriptors that one wait reports; the rest come with the next.
const BATCH: usize = 64;

/// The key of the eventfd. Watched descriptors have others.
const WAKE: u64 = u64::MAX;

/// Watches descriptors, each under a key of the caller's.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

/// Ends a wait of an [`Epoll`], from any thread.
#[derive(Debug)]
pub struct Waker(OwnedFd);

impl Epoll {
    /// An epoll instance that watches nothing.
    pub fn new() -> io::Result<Self> {
        // SAFETY: a plain call; the descriptor that it returns is new.
        unsafe {
            let fd = check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?;
            Ok(Self(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// An epoll instance that watches nothing, and what ends its waits.
    pub fn with_waker() -> io::Result<(Self, Waker)> {
        let epoll = Self::new()?;
        let wake = eventfd()?;
        // Edge-triggered, so nobody has to read the count.
        epoll.add(wake.as_raw_fd(), libc::EPOLLIN | libc::EPOLLET, WAKE)?;
        Ok((epoll, Waker(wake)))
    }

    /// Watches a descriptor for `events`. Fails with `PermissionDenied` for files and the like, which are always ready.
    pub fn add(&self, fd: RawFd, events: i32, key: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, events, key)
    }

    /// Watches a descriptor for other events than before.
    pub fn modify(&self, fd: RawFd, events: i32, key: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, events, key)
    }

    /// Stops watching a descriptor.
    pub fn remove(&self, fd: RawFd) {
        // It can only fail for a descriptor that is not watched.
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
    }

    /// Waits until a descriptor is ready or the waker is used, at most `timeout` milliseconds, or forever if it is -1.
    /// Calls `ready` with the key and the events of each descriptor that is ready, broken or hung up.
    pub fn wait(&self, timeout: i32, mut ready: impl FnMut(u64, i32)) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
        let room = BATCH as i32;
        // SAFETY: `events` has room for as many as are asked for.
        let count =
            unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), room, timeout) };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        };
        for event in &events[..count] {
            let (key, events) = (event.u64, event.events as i32);
            if key != WAKE {
                ready(key, events);
            }
        }
        Ok(())
    }

    /// The descriptor, which can be read once a watched one is ready.
    pub fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    fn control(&self, operation: i32, fd: RawFd, events: i32, key: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events as u32, u64: key };
        // SAFETY: `event` is valid for the call; a wrong descriptor is an error.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd, &raw mut event) })
            .map(drop)
    }
}

impl Waker {
    /// Ends the current wait, or the next one.
    pub fn wake(&self) {
        let one = 1u64;
        // SAFETY: eight valid bytes. It fails only when the count is full, and then a wake-up is pending.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }
}
