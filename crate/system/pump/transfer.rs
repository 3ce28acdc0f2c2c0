//! One direction of one stream: bytes go from a source to a destination.

use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat, open};
use rustix::io::{Errno, ioctl_fionread, read, write};
use rustix::pipe::{SpliceFlags, splice};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

/// Bytes that one read can take, and so the most that a transfer holds while its destination is full. A pipe has as much
/// room by default.
pub(super) const SCRATCH: usize = 64 << 10;

/// A splice that moves less than this gives way to reads, whose bytes share the pages of the destination.
const WORTH_A_SPLICE: usize = 16 << 10;

/// Bytes that a transfer moves before others have their turn.
const SHARE: usize = 1 << 20;

/// Bytes on their way, and the descriptors between which they move. Both are non-blocking.
///
/// Reads and writes move what is little: in a pipe they share a page, while a splice hands on each write of the source
/// as a page of its own, so that sixteen lines would fill a fifo whose reader is away. Splices move what is much.
#[derive(Debug)]
pub(super) struct Transfer {
    source: OwnedFd,
    destination: OwnedFd,
    /// What was read and not written, from `written` on.
    pending: Vec<u8>,
    written: usize,
    /// The source had a whole buffer full at the last read.
    much: bool,
    /// Ends as soon as nothing is left to read.
    finishing: bool,
    /// Why bytes were dropped: the destination failed to take them.
    dropped: Option<i32>,
    /// [`Self::new_loss`] has told of it.
    told: bool,
    /// The destination is a file on a disk, which may work again after it has failed.
    is_kept: bool,
    /// The destination is a fifo that is open for reading too, so nobody else need have it open.
    may_have_no_reader: bool,
}

/// What a transfer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// More bytes, or the end.
    Source,
    /// Room.
    Destination,
    /// Its next turn: it has had its share.
    Turn,
    /// It has ended, with the number of an error, or 0 if all that was read has been written.
    Ended(i32),
}

impl Transfer {
    /// A transfer between two descriptors, which become non-blocking.
    pub(super) fn new(source: OwnedFd, destination: OwnedFd) -> io::Result<Self> {
        for end in [&source, &destination] {
            fcntl_setfl(end, fcntl_getfl(end)? | OFlags::NONBLOCK)?;
        }
        let may_have_no_reader = is_fifo_for_both(&destination)?;
        let is_kept = kind_of(&destination)? == FileType::RegularFile;
        Ok(Self {
            source,
            destination,
            pending: Vec::new(),
            written: 0,
            much: false,
            finishing: false,
            dropped: None,
            told: false,
            is_kept,
            may_have_no_reader,
        })
    }

    pub(super) fn source(&self) -> RawFd {
        self.source.as_raw_fd()
    }

    pub(super) fn destination(&self) -> RawFd {
        self.destination.as_raw_fd()
    }

    /// From now on it ends as soon as nothing is left to read, whether or not somebody could still write.
    pub(super) fn finish(&mut self) {
        self.finishing = true;
    }

    /// Whether bytes from the source are still unread, and would be lost with the destination's last descriptor.
    pub(super) fn has_unread(&self) -> bool {
        !self.pending.is_empty()
            || self.may_have_no_reader
                && ioctl_fionread(&self.destination).is_ok_and(|count| count > 0)
    }

    /// Why bytes were dropped for the first time, once.
    pub(super) fn new_loss(&mut self) -> Option<i32> {
        if self.told {
            return None;
        }
        self.told = self.dropped.is_some();
        self.dropped
    }

    /// Ends it. What is left is the writing end of a fifo that nobody else reads, so that whoever opens it late does not wait
    /// for a writer without end, and gets what is unread; `is_read` says when somebody has.
    pub(super) fn into_unread_fifo(self) -> Option<OwnedFd> {
        if !self.may_have_no_reader {
            return None;
        }
        let path = format!("/proc/self/fd/{}", self.destination());
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let writer = open(path, flags, Mode::empty()).ok()?;
        // It reads, too.
        drop(self);
        (!is_read(&writer)).then_some(writer)
    }

    /// Moves bytes until it has to wait. `scratch` has [`SCRATCH`] bytes, which any transfer of the thread may use.
    pub(super) fn step(&mut self, scratch: &mut [u8]) -> Step {
        let mut share = SHARE;
        loop {
            if !self.pending.is_empty() {
                match write(&self.destination, &self.pending[self.written..]) {
                    Ok(count) => self.written += count,
                    Err(error) => match self.failed(error) {
                        Some(step) => return step,
                        None => self.written = self.pending.len(),
                    },
                }
                if self.written == self.pending.len() {
                    (self.pending, self.written) = (Vec::new(), 0);
                }
                continue;
            }
            if share == 0 {
                return Step::Turn;
            }
            if self.much {
                let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
                match splice(&self.source, None, &self.destination, None, share, flags) {
                    // Less is there, or less than there was room for: a read finds out which.
                    Ok(count) => {
                        self.much = count >= WORTH_A_SPLICE;
                        share = share.saturating_sub(count);
                    }
                    // Not between pipes, or one is empty or full.
                    Err(_) => self.much = false,
                }
                continue;
            }
            match read(&self.source, &mut *scratch) {
                Ok(0) => return self.ended(),
                Ok(count) => {
                    self.much = count == scratch.len();
                    share = share.saturating_sub(count);
                    self.pass_on(&scratch[..count]);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.finishing => return self.ended(),
                Err(Errno::AGAIN) => return Step::Source,
                // The last process that had the terminal open has closed it, and all that was written to it has been
                // read. Unlike a hang-up that epoll reports, it never comes before the last bytes.
                Err(Errno::IO) => return self.ended(),
                Err(error) => return Step::Ended(error.raw_os_error()),
            }
        }
    }

    /// Writes what it can, and keeps the rest.
    fn pass_on(&mut self, bytes: &[u8]) {
        // A failure shows at the next write again.
        let count = write(&self.destination, bytes).unwrap_or(0);
        self.pending = bytes[count..].to_vec();
    }

    /// What a failed write means. None: the bytes are lost, and the next may fare better.
    fn failed(&mut self, error: Errno) -> Option<Step> {
        match error {
            Errno::AGAIN => Some(Step::Destination),
            // Nobody reads and nobody ever will.
            Errno::PIPE | Errno::IO if !self.is_kept => Some(Step::Ended(error.raw_os_error())),
            Errno::INTR => Some(Step::Turn),
            // A disk is full, or fails. The process that writes must neither wait for it nor die of it.
            _ => {
                self.dropped = Some(error.raw_os_error());
                None
            }
        }
    }

    fn ended(&self) -> Step {
        Step::Ended(self.dropped.unwrap_or(0))
    }
}

/// Whether anybody has a fifo open for reading, of which this is a writing end.
pub(super) fn is_read(writer: &OwnedFd) -> bool {
    let mut polled = libc::pollfd { fd: writer.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one descriptor, which its owner keeps open.
    let count = unsafe { libc::poll(&raw mut polled, 1, 0) };
    // If it cannot be told, nobody waits for it.
    count < 0 || polled.revents & libc::POLLERR == 0
}

fn is_fifo_for_both(descriptor: &OwnedFd) -> io::Result<bool> {
    let is_fifo = kind_of(descriptor)? == FileType::Fifo;
    Ok(is_fifo && fcntl_getfl(descriptor)? & OFlags::RWMODE == OFlags::RDWR)
}

fn kind_of(descriptor: &OwnedFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(fstat(descriptor)?.st_mode))
}
