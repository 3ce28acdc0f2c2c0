//! The descriptors of an engine.

use crate::engine::Interest;
use crate::ids::IdMap;
use crate::system::epoll::Epoll;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

/// Descriptors of an engine, and what each is watched for.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: Arc<Epoll>,
    watched: IdMap<Interest>,
    /// The number of descriptors that keep the process alive.
    held: usize,
}

/// A descriptor that can be read or written. If it is in error, both are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) id: u32,
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Poller {
    /// A poller that watches nothing.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: Arc::new(Epoll::new()?), watched: IdMap::default(), held: 0 })
    }

    /// What can be read once one of the descriptors is ready.
    pub(super) fn epoll(&self) -> Arc<Epoll> {
        self.epoll.clone()
    }

    /// Watches a descriptor for `interest`, in place of its previous interest.
    pub(super) fn watch(&mut self, id: u32, fd: RawFd, interest: Interest) -> io::Result<()> {
        let bit = |wanted: bool, bit: i32| if wanted { bit } else { 0 };
        let events = bit(interest.read, libc::EPOLLIN)
            | bit(interest.read || interest.hangup, libc::EPOLLRDHUP)
            | bit(interest.write, libc::EPOLLOUT);
        let before = self.watched.insert(id, interest);
        // `hold` changes twice per call if calls follow one another, and means nothing to epoll.
        if before.is_none_or(|before| Interest { hold: interest.hold, ..before } != interest) {
            let key = u64::from(id);
            let watched = match before {
                Some(_) => self.epoll.modify(fd, events, key),
                None => self.epoll.add(fd, events, key),
            };
            if let Err(error) = watched {
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
            self.epoll.remove(fd);
        }
    }

    /// Whether any descriptor keeps the process alive.
    pub(super) fn holds(&self) -> bool {
        self.held > 0
    }

    /// The descriptors that are ready now.
    pub(super) fn take_ready(&self, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.epoll.wait(0, |key, events| {
            let failed = events & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
            ready.push(Ready {
                id: key as u32,
                read: failed || events & (libc::EPOLLIN | libc::EPOLLRDHUP) != 0,
                write: failed || events & libc::EPOLLOUT != 0,
            });
        })
    }
}
