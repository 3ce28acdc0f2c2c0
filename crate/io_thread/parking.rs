//! Where the I/O thread waits.

use crate::system::epoll::{Epoll, Waker};
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Parking {
    epoll: Epoll,
    waker: Waker,
    /// The descriptors of a poller, as one that can be read once one of them is ready.
    watched: Arc<Epoll>,
}

impl Parking {
    /// A place to wait for the descriptors that `watched` watches.
    pub(super) fn new(watched: Arc<Epoll>) -> io::Result<Self> {
        let (epoll, waker) = Epoll::with_waker()?;
        epoll.add(watched.descriptor(), libc::EPOLLIN, 0)?;
        Ok(Self { epoll, waker, watched })
    }

    /// Waits until [`Parking::unpark`] is called, a descriptor is ready, or `timeout` has passed. Returns whether a
    /// descriptor is ready.
    pub(super) fn park(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.map_or(-1, |timeout| {
            i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
        });
        let mut is_ready = false;
        self.epoll.wait(timeout, |_, _| is_ready = true)?;
        Ok(is_ready)
    }

    /// Ends the wait, or the next one.
    pub(super) fn unpark(&self) {
        self.waker.wake();
    }

    /// Says whether a descriptor that is ready ends the wait.
    pub(super) fn heed_descriptors(&self, heed: bool) {
        let events = if heed { libc::EPOLLIN } else { 0 };
        // It can only fail for a descriptor that is not watched.
        let _ = self.epoll.modify(self.watched.descriptor(), events, 0);
    }

    /// A descriptor that can be read once one of the poller's is ready.
    pub(super) fn descriptor(&self) -> RawFd {
        self.watched.descriptor()
    }
}
