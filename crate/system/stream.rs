//! Opening what containerd names for the streams of a process.

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// A stream that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The caller's.
    pub descriptor: OwnedFd,
    /// Whether it is a fifo.
    pub is_fifo: bool,
}

/// Opens a stream with these flags of open(2). Makes the folders that a file is in if `parents` is set. It may wait as long as a
/// disk does not answer, and with a fifo and flags that ask for it, for the other end.
pub fn open_stream(path: &Path, flags: i32, parents: bool) -> io::Result<Opened> {
    if parents && let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    let flags = OFlags::from_bits_retain(flags.cast_unsigned()) | OFlags::CLOEXEC;
    let descriptor = open(path, flags, Mode::from_raw_mode(0o644))?;
    let is_fifo = FileType::from_raw_mode(fstat(&descriptor)?.st_mode) == FileType::Fifo;
    Ok(Opened { descriptor, is_fifo })
}
