//! Mounts and what is mounted, by the kernel's calls, with the meaning that containerd gives to a mount's fields.
//!
//! These calls may block for as long as a filesystem does not answer: they are made on threads of their own.
//!
//! - [`attach`]: makes mounts.
//! - [`options`]: takes a mount's options apart.
//! - [`place`]: finds where a mount goes, inside its root filesystem.
//! - [`overlay`]: what overlays need: options that fit a page, and layers with mapped ids.
//! - [`ids`]: mounts with mapped ids.
//! - [`loop_device`]: a file as a disk.
//! - [`helper`]: filesystems that a program of their own mounts.
//! - [`detach`]: unmounts what is at a folder and below it.
//! - [`table`]: reads what is mounted.

mod apart;
mod attach;
mod detach;
mod helper;
mod ids;
mod loop_device;
mod options;
mod overlay;
mod place;
mod table;

pub use attach::mount_all;
pub use detach::{Patience, unmount_all};
pub use overlay::check_ids;

use rustix::io::Errno;
use std::fmt::Debug;
use std::io;

/// A mount to make, as in containerd's `types.Mount`.
#[derive(Clone, Debug, Default)]
pub struct Mount {
    /// The filesystem, or `bind`.
    pub kind: String,
    /// What to mount.
    pub source: String,
    /// Where, inside the root filesystem. Empty for the root itself.
    pub target: String,
    /// Options in the form of fstab.
    pub options: Vec<String>,
}

/// Why something could not be done.
#[derive(Debug)]
pub struct Failure {
    /// The system's error.
    pub errno: Errno,
    /// What went wrong, in words.
    pub reason: String,
}

impl Failure {
    pub(super) fn new(errno: Errno, reason: impl Into<String>) -> Self {
        Self { errno, reason: reason.into() }
    }

    /// Nothing was tried, because the system did not start a thread for it.
    pub fn without_thread(error: &io::Error) -> Self {
        Self::from(Errno::from_io_error(error).unwrap_or(Errno::AGAIN)).while_doing("no thread")
    }

    /// A failure at something with a name.
    fn about(errno: Errno, what: &str, name: impl Debug) -> Self {
        Self::new(errno, format!("{what} {name:?}: {}", words(errno)))
    }

    /// The same, said with what was tried.
    fn while_doing(self, what: &str) -> Self {
        Self::new(self.errno, format!("{what}: {}", self.reason))
    }
}

/// For what needs no more words than the system's.
impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::new(errno, words(errno))
    }
}

/// What the system says of an error, without its number.
fn words(errno: Errno) -> String {
    let text = io::Error::from(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
