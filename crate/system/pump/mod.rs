//! Threads that move bytes between descriptors: from the pipes and terminals of a container's processes to containerd's
//! fifos, log files and logging programs, and from fifos to processes.
//!
//! No byte passes through JavaScript, so a busy event loop stops no stream. A transfer whose destination is full waits for
//! room and reads no more, so backpressure is the kernel's; it holds at most 64 KiB meanwhile. The threads sleep while
//! nothing moves.
//!
//! One thread moves the bytes of all transfers that never block. A file blocks while its disk does not answer, so a
//! transfer to or from one has a thread of its own: [`FILES_AT_ONCE`] at a time.

mod mover;
mod reports;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_failures;
#[cfg(test)]
mod tests_of_fifos;
mod transfer;

use mover::{Command, Mover, Place};
use reports::Reports;
use rustix::fs::{AtFlags, FileType, StatxFlags, fstat, major, statx};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use transfer::Transfer;

/// Transfers to or from files that can be under way at once. One more is refused with `EAGAIN`. A transfer that was
/// stopped counts until its disk has answered.
pub const FILES_AT_ONCE: usize = 512;

/// The major number of devices that never block, such as /dev/null.
const MEMORY_DEVICES: u32 = 1;

/// The threads and their transfers. All end when it is dropped.
pub struct Pump {
    reports: Arc<Reports>,
    shared: Mover,
    apart: HashMap<u64, Mover>,
    files: Arc<AtomicUsize>,
    /// The ends of transfers that have not been started.
    reserved: HashMap<u64, OwnedFd>,
    /// The last number that was given. Programs that live for years give more than 32 bits hold.
    last: u64,
}

/// What there is to say of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The number that [`Pump::reserve`] gave it.
    pub transfer: u64,
    /// What has happened to it.
    pub news: News,
}

/// What can happen to a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// What [`Pump::flush`] waits for.
    Flushed,
    /// The destination has failed to take bytes, for the first time: the number of the error.
    Dropped(i32),
    /// It has ended. 0 if all that was read has been written, or the number of the error: of the source or destination,
    /// of the thread if that failed, or `ECANCELED` if it was stopped.
    Ended(i32),
}

/// The other end of a transfer of which one has been reserved.
#[derive(Debug)]
pub enum Other {
    /// Where the bytes come from.
    Source(OwnedFd),
    /// Where they go.
    Destination(OwnedFd),
}

impl Pump {
    /// Starts the thread of transfers that never block. A thread calls `tell` when transfers have ended that
    /// [`Pump::take_reports`] returns.
    pub fn new(tell: impl Fn() + Send + 'static) -> io::Result<Self> {
        let reports = Arc::new(Reports::new(Box::new(tell)));
        let shared = Mover::for_many(reports.clone())?;
        let (apart, files, reserved) = Default::default();
        Ok(Self { reports, shared, apart, files, reserved, last: 0 })
    }

    /// Takes over one end of a transfer, and makes sure that there is a thread for it. Returns its number, which no
    /// other has. Fails with `EAGAIN` if there are as many transfers of files as there may be.
    pub fn reserve(&mut self, end: OwnedFd) -> io::Result<u64> {
        self.last += 1;
        self.thread_for(self.last, &end)?;
        self.reserved.insert(self.last, end);
        Ok(self.last)
    }

    /// Lets bytes flow between the end that was reserved and another, which it takes over, also if it fails.
    pub fn start(&mut self, number: u64, other: Other) -> io::Result<()> {
        let end = self.reserved.remove(&number).ok_or(io::ErrorKind::InvalidInput)?;
        let result = self.connect(number, end, other);
        if result.is_err() {
            self.apart.remove(&number);
        }
        result
    }

    fn connect(&mut self, number: u64, end: OwnedFd, other: Other) -> io::Result<()> {
        let (Other::Source(descriptor) | Other::Destination(descriptor)) = &other;
        if !self.apart.contains_key(&number) {
            self.thread_for(number, descriptor)?;
        }
        let transfer = match other {
            Other::Source(source) => Transfer::new(source, end),
            Other::Destination(destination) => Transfer::new(end, destination),
        }?;
        self.reports.expect(number);
        let started = self.mover(number).order(Command::Start(number, transfer));
        if started.is_err() {
            self.reports.forget(number);
        }
        started
    }

    /// Ends a transfer as soon as what its source has now been given has been passed on.
    pub fn finish(&self, transfer: u64) {
        // A thread that has ended has ended the transfer.
        let _ = self.mover(transfer).order(Command::Finish(transfer));
    }

    /// Reports once the bytes that are in the source now have been passed on, and read if they went to a fifo that is open for
    /// reading too, or when the time is up. A transfer that ends meanwhile reports only its end.
    pub fn flush(&self, transfer: u64, time: Duration) {
        let _ = self.mover(transfer).order(Command::Flush(transfer, time));
    }

    /// Ends a transfer at once, or gives up one that was not started. What has not been passed on is lost. If a disk
    /// does not answer, the descriptors are closed when it does, but the end is reported now.
    pub fn stop(&mut self, transfer: u64) {
        if let Some(end) = self.reserved.remove(&transfer) {
            return self.close(transfer, end);
        }
        let mover = self.mover(transfer);
        let _ = mover.order(Command::Stop(transfer));
        if self.apart.contains_key(&transfer) && mover.is_busy() {
            self.reports.end(transfer, libc::ECANCELED);
        }
    }

    /// What has happened since this was last asked. The descriptors of a transfer that has ended are closed, but for those
    /// of a file that was stopped while its disk did not answer.
    pub fn take_reports(&mut self) -> Vec<Report> {
        let reports = self.reports.take();
        for report in &reports {
            if let News::Ended(_) = report.news {
                self.apart.remove(&report.transfer);
            }
        }
        reports
    }

    /// Closes an end of which there will be no transfer: a file's in its thread, because that may block.
    fn close(&mut self, number: u64, end: OwnedFd) {
        if let Some(mover) = self.apart.remove(&number) {
            let _ = mover.order(Command::Close(end));
        }
    }

    fn mover(&self, number: u64) -> &Mover {
        self.apart.get(&number).unwrap_or(&self.shared)
    }

    /// Gives a transfer a thread of its own if one of its descriptors can block.
    fn thread_for(&mut self, number: u64, descriptor: &OwnedFd) -> io::Result<()> {
        if self.may_block(descriptor)? {
            let place = Place::take(&self.files, FILES_AT_ONCE)?;
            self.apart.insert(number, Mover::for_one(self.reports.clone(), place)?);
        }
        Ok(())
    }

    /// Whether reads and writes can block whatever the descriptor's flags say. Asks no disk.
    fn may_block(&self, descriptor: &OwnedFd) -> io::Result<bool> {
        let (kind, major) = kind_of(descriptor)?;
        match kind {
            FileType::RegularFile | FileType::BlockDevice | FileType::Directory => Ok(true),
            FileType::CharacterDevice if major == MEMORY_DEVICES => Ok(false),
            _ => {
                let epoll = self.shared.epoll();
                let refused = epoll.add(descriptor.as_raw_fd(), 0, 0);
                epoll.remove(descriptor.as_raw_fd());
                Ok(refused.is_err_and(|error| error.raw_os_error() == Some(libc::EPERM)))
            }
        }
    }
}

/// The type of the file that a descriptor is for, and a device's major number. Asks no disk, unless a filter of system
/// calls knows nothing of statx(2), as old filters of containers do.
fn kind_of(descriptor: &OwnedFd) -> io::Result<(FileType, u32)> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    match statx(descriptor, "", flags, StatxFlags::TYPE) {
        Ok(status) => Ok((FileType::from_raw_mode(status.stx_mode.into()), status.stx_rdev_major)),
        Err(Errno::NOSYS | Errno::PERM) => {
            let status = fstat(descriptor)?;
            Ok((FileType::from_raw_mode(status.st_mode), major(status.st_rdev)))
        }
        Err(error) => Err(error.into()),
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        // Threads whose disk does not answer live on, but what they would call does not.
        self.reports.silence();
        for (number, end) in std::mem::take(&mut self.reserved) {
            self.close(number, end);
        }
    }
}

impl std::fmt::Debug for Pump {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pump").field("last", &self.last).finish_non_exhaustive()
    }
}
