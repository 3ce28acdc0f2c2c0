//! What the I/O thread waits for: its engine's descriptors, a timeout, and a wake-up from another thread.

use crate::engine::Interest;
use crate::ids::IdMap;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

/// The id of the eventfd. An engine's ids start at 1.
const WAKE: u64 = 0;

/// Descriptors that one wait reports; the rest come with the next.
const BATCH: usize = 64;

/// An epoll instance and the eventfd that ends a wait.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
    watched: IdMap<Interest>,
    /// The number of descriptors that keep the process alive.
    held: usize,
}

/// Ends a wait of a [`Poller`], from any thread.
#[derive(Debug)]
pub(super) struct Waker(OwnedFd);

/// A descriptor that can be read or written. If it is in error, both are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) id: u32,
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Poller {
    /// A poller that watches nothing, and the waker that ends its waits.
    pub(super) fn new() -> io::Result<(Self, Waker)> {
        // SAFETY: plain calls; each returns a new descriptor or -1.
        let (epoll, wake) = unsafe {
            (
                owned(libc::epoll_create1(libc::EPOLL_CLOEXEC))?,
                owned(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?,
            )
        };
        let poller = Self { epoll, watched: IdMap::default(), held: 0 };
        // Edge-triggered, so nobody has to read the count.
        let events = (libc::EPOLLIN | libc::EPOLLET) as u32;
        poller.control(libc::EPOLL_CTL_ADD, wake.as_raw_fd(), events, WAKE)?;
        Ok((poller, Waker(wake)))
    }

    /// Watches a descriptor for `interest`, in place of its previous interest.
    pub(super) fn watch(&mut self, id: u32, fd: RawFd, interest: Interest) -> io::Result<()> {
        let bit = |wanted: bool, bit: i32| if wanted { bit as u32 } else { 0 };
        let events = bit(interest.read, libc::EPOLLIN)
            | bit(interest.read || interest.hangup, libc::EPOLLRDHUP)
            | bit(interest.write, libc::EPOLLOUT);
        let before = self.watched.insert(id, interest);
        // `hold` changes twice per call if calls follow one another, and means nothing to epoll.
        if before.is_none_or(|before| Interest { hold: interest.hold, ..before } != interest) {
            let known = before.is_some();
            let operation = if known { libc::EPOLL_CTL_MOD } else { libc::EPOLL_CTL_ADD };
            if let Err(error) = self.control(operation, fd, events, u64::from(id)) {
                self.watched.remove(&id);
                self.held -= usize::from(before.is_some_and(|before| before.hold));
                return Err(error);
            }
        }
        self.held += usize::from(interest.hold);
        self.held -= usize::from(before.is_some_and(|before| before.hold));
        Ok(())
    }

    /// Stops watching a descriptor, which is about to be closed.
    pub(super) fn forget(&mut self, id: u32, fd: RawFd) {
        if let Some(interest) = self.watched.remove(&id) {
            self.held -= usize::from(interest.hold);
            // This only fails for a descriptor that is not watched.
            let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, u64::from(id));
        }
    }

    /// Whether any descriptor keeps the process alive.
    pub(super) fn holds(&self) -> bool {
        self.held > 0
    }

    /// Waits until a descriptor is ready, the waker is used, or `timeout` passed.
    pub(super) fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
        let timeout = timeout.map_or(-1, |timeout| {
            i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
        });
        // SAFETY: `events` has room for as many as are asked for.
        let count = unsafe {
            libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), BATCH as i32, timeout)
        };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        };
        for event in &events[..count] {
            let (id, events) = (event.u64, event.events as i32);
            if id == WAKE {
                continue;
            }
            let failed = events & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
            ready.push(Ready {
                id: id as u32,
                read: failed || events & (libc::EPOLLIN | libc::EPOLLRDHUP) != 0,
                write: failed || events & libc::EPOLLOUT != 0,
            });
        }
        Ok(())
    }

    fn control(&self, operation: i32, fd: RawFd, events: u32, id: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: id };
        // SAFETY: `event` is valid for the call; a wrong descriptor is an error.
        match unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &raw mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Waker {
    /// Ends the current wait, or the next one.
    pub(super) fn wake(&self) {
        let one = 1u64;
        // SAFETY: eight valid bytes. It fails only if the count is full, and then a wake-up is pending.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }
}

/// # Safety
///
/// `fd` must be a descriptor that nobody else owns, or -1 with `errno` set.
unsafe fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
