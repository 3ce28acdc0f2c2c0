//! A thread that moves bytes between descriptors: from the pipes and terminals of a container's processes to
//! containerd's fifos, log files and logging programs, and from fifos to processes.
//!
//! No byte passes through JavaScript, so a busy event loop stops no stream. A transfer whose destination is full waits for
//! room and reads no more, so backpressure is the kernel's; it holds at most 64 KiB meanwhile. The thread sleeps while
//! nothing moves.

#[cfg(test)]
mod tests;
mod transfer;

use super::epoll::{Epoll, Waker};
use crate::sync::lock;
use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
pub use transfer::Transfer;
use transfer::{SCRATCH, Step};

/// The thread and its transfers. Both end when it is dropped.
pub struct Pump {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    last: u32,
}

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The number that [`Pump::start`] gave it.
    pub transfer: u32,
    /// 0 if all that was read has been written, or the number of the error: of the source or destination, or
    /// `ECANCELED` if it was stopped.
    pub errno: i32,
}

struct Shared {
    commands: Mutex<Vec<Command>>,
    waker: Waker,
    ended: Mutex<Vec<Ended>>,
    tell: Box<dyn Fn() + Send + Sync>,
}

enum Command {
    Start(u32, Transfer),
    Finish(u32),
    Stop(u32),
    Quit,
}

impl Pump {
    /// Starts the thread. It calls `tell` when transfers have ended that [`Pump::take_ended`] returns.
    pub fn new(tell: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let (epoll, waker) = Epoll::new()?;
        let shared = Arc::new(Shared {
            commands: Mutex::default(),
            waker,
            ended: Mutex::default(),
            tell: Box::new(tell),
        });
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("stdio".to_owned())
            .stack_size(256 << 10)
            .spawn(move || run(&of_thread, &epoll))?;
        Ok(Self { shared, thread: Some(thread), last: 0 })
    }

    /// Lets bytes flow. Returns the transfer's number, which no other has.
    pub fn start(&mut self, transfer: Transfer) -> u32 {
        self.last += 1;
        self.order(Command::Start(self.last, transfer));
        self.last
    }

    /// Ends a transfer as soon as what its source has now been given has been passed on.
    pub fn finish(&self, transfer: u32) {
        self.order(Command::Finish(transfer));
    }

    /// Ends a transfer at once. What has not been passed on is lost.
    pub fn stop(&self, transfer: u32) {
        self.order(Command::Stop(transfer));
    }

    /// The transfers that have ended since this was last asked, each of which is told once. Their descriptors are closed.
    pub fn take_ended(&self) -> Vec<Ended> {
        std::mem::take(&mut lock(&self.shared.ended))
    }

    fn order(&self, command: Command) {
        lock(&self.shared.commands).push(command);
        self.shared.waker.wake();
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.order(Command::Quit);
        if let Some(thread) = self.thread.take() {
            // It catches its panics.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Pump {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pump").field("last", &self.last).finish_non_exhaustive()
    }
}

/// The transfers of the thread, and which descriptor each waits for.
struct Transfers<'pump> {
    shared: &'pump Shared,
    epoll: &'pump Epoll,
    transfers: HashMap<u32, (Transfer, Waiting)>,
    /// Those that need no event of epoll for their next step.
    ready: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// For no event: it has had its share, or files are always ready.
    No,
    For(RawFd, i32),
}

/// Moves bytes until it is told to quit.
fn run(shared: &Shared, epoll: &Epoll) {
    let mut transfers = Transfers { shared, epoll, transfers: HashMap::new(), ready: Vec::new() };
    // A panic would be a bug of ours. Nobody may wait forever for a transfer that no thread moves.
    if catch_unwind(AssertUnwindSafe(|| transfers.run())).is_err() {
        let left: Vec<u32> = transfers.transfers.keys().copied().collect();
        left.into_iter().for_each(|transfer| transfers.end(transfer, libc::EIO));
    }
}

impl Transfers<'_> {
    fn run(&mut self) {
        let mut scratch = vec![0; SCRATCH];
        let mut due = Vec::new();
        loop {
            let timeout = if self.ready.is_empty() { -1 } else { 0 };
            due.append(&mut self.ready);
            if self.epoll.wait(timeout, |key, _| due.push(key as u32)).is_err() {
                // It fails for wrong arguments alone.
                return;
            }
            let commands = std::mem::take(&mut *lock(&self.shared.commands));
            for command in commands {
                match command {
                    Command::Start(number, transfer) => {
                        self.transfers.insert(number, (transfer, Waiting::No));
                        due.push(number);
                    }
                    Command::Finish(number) => {
                        if let Some((transfer, _)) = self.transfers.get_mut(&number) {
                            transfer.finish();
                            due.push(number);
                        }
                    }
                    Command::Stop(number) => self.end(number, libc::ECANCELED),
                    Command::Quit => return,
                }
            }
            due.sort_unstable();
            due.dedup();
            for number in due.drain(..) {
                self.step(number, &mut scratch);
            }
        }
    }

    fn step(&mut self, number: u32, scratch: &mut [u8]) {
        let Some((transfer, waiting)) = self.transfers.get_mut(&number) else { return };
        let wanted = match transfer.step(scratch) {
            Step::Source => Waiting::For(transfer.source(), libc::EPOLLIN),
            Step::Destination => Waiting::For(transfer.destination(), libc::EPOLLOUT),
            Step::Turn => Waiting::No,
            Step::Ended(errno) => return self.end(number, errno),
        };
        if let Waiting::For(fd, _) = *waiting
            && *waiting != wanted
        {
            // A hang-up of the descriptor that it does not wait for would be reported without end.
            self.epoll.remove(fd);
        }
        if let Waiting::For(fd, events) = wanted
            && *waiting != wanted
            && let Err(error) = self.epoll.add(fd, events, u64::from(number))
        {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            return self.end(number, errno);
        }
        *waiting = wanted;
        if wanted == Waiting::No {
            self.ready.push(number);
        }
    }

    fn end(&mut self, number: u32, errno: i32) {
        if let Some((transfer, waiting)) = self.transfers.remove(&number) {
            if let Waiting::For(fd, _) = waiting {
                self.epoll.remove(fd);
            }
            // Closed before anybody hears of the end.
            drop(transfer);
            lock(&self.shared.ended).push(Ended { transfer: number, errno });
            (self.shared.tell)();
        }
    }
}
