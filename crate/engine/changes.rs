//! Which descriptors are to be watched, for whoever watches them.

use super::Engine;
use super::connection::Interest;
use crate::protocol::close_reason::CloseReason;
use crate::socket::{Stream, file};
use std::io;
use std::os::fd::RawFd;

/// What the watcher of the descriptors must do.
pub enum Change {
    /// Watch a descriptor for `interest`, which may be nothing.
    Watch {
        /// The connection or listener whose descriptor it is, for [`Engine::ready`].
        id: u32,
        /// The descriptor.
        fd: RawFd,
        /// What to watch for.
        interest: Interest,
    },
    /// Stop watching, and only then drop the descriptor: its number may be reused at once.
    Forget {
        /// The connection or listener.
        id: u32,
        /// The descriptor.
        descriptor: Descriptor,
    },
}

/// A descriptor to close.
pub enum Descriptor {
    /// A connection's.
    Stream(Stream),
    /// A listener's.
    Listener(crate::socket::Listener),
}

impl Descriptor {
    /// Its number.
    pub fn fd(&self) -> RawFd {
        match self {
            Self::Stream(stream) => stream.fd(),
            Self::Listener(listener) => listener.fd(),
        }
    }
}

impl Engine {
    /// Passes the changes since the last call to `carry_out`. A connection or listener whose descriptor
    /// cannot be watched ends, and the file that such a listener has made goes with it; the last one is returned, with the
    /// reason.
    pub fn apply_changes(
        &mut self,
        mut carry_out: impl FnMut(Change) -> io::Result<()>,
    ) -> Option<(u32, io::Error)> {
        let mut failed = None;
        let mut files = Vec::new();
        while !self.changes.is_empty() {
            for change in std::mem::take(&mut self.changes) {
                let (Change::Watch { id, .. } | Change::Forget { id, .. }) = change;
                if let Err(error) = carry_out(change) {
                    files.extend(self.file_of_listener(id));
                    self.cannot_watch(id, &error);
                    failed = Some((id, error));
                }
            }
        }
        for file in files {
            // By now nobody listens on it. What cannot be removed stays for whoever listens there next.
            let _ = file::remove_stale(&file);
        }
        failed
    }

    /// A descriptor cannot be watched: its connection or listener ends.
    fn cannot_watch(&mut self, id: u32, error: &io::Error) {
        if let Some(conn) = self.connections.get_mut(&id) {
            conn.wire.close(CloseReason::failed("poll", error));
            self.turn(|_| {});
        } else {
            self.close_listener(id);
        }
    }
}
