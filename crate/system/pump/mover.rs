//! A thread that moves the bytes of transfers.

use super::reports::Reports;
use super::transfer::{SCRATCH, Step, Transfer, is_read};
use crate::sync::lock;
use crate::system::epoll::{Epoll, Waker};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Enough for some calls; the buffer is on the heap.
const STACK: usize = 256 << 10;

/// How long the destination of an ended transfer stays open while a reader has not read everything: a fifo that nobody has
/// open loses its bytes. Nobody waits for this, unlike for a flush, whose time is the caller's because it delays the report
/// of an exit; so the two times are apart.
const LINGER: Duration = Duration::from_millis(if cfg!(test) { 2_000 } else { 250 });

/// How long a fifo that nobody has open then has a writer, and how many do. Nobody waits for this either. A client opens
/// fifos on threads of its own, which may have had no turn before a short process ended: without a writer, each such open
/// would wait without end, and the client with it.
const AWAIT_READER: Duration = Duration::from_secs(10);
const AWAITED: usize = 128;

pub(super) enum Command {
    Start(u64, Transfer),
    Finish(u64),
    /// Reports when nothing is left to read and readers have read everything, or when the time is up.
    Flush(u64, Duration),
    Stop(u64),
    /// Closes a descriptor of which there will be no transfer.
    Close(OwnedFd),
    Quit,
    #[cfg(test)]
    Panic,
}

/// The thread, to which commands can be given.
pub(super) struct Mover {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    commands: Mutex<Commands>,
    waker: Waker,
    reports: Arc<Reports>,
    epoll: Epoll,
    /// Set before commands are taken and cleared before the thread waits for events.
    busy: AtomicBool,
}

struct Commands {
    given: Vec<Command>,
    /// Why the thread takes no more: the number of an error.
    closed: Option<i32>,
}

/// One of a limited number of threads, until it is dropped.
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    /// Fails with `EAGAIN` if `limit` places have been taken.
    pub(super) fn take(taken: &Arc<AtomicUsize>, limit: usize) -> io::Result<Self> {
        let more = |count| (count < limit).then_some(count + 1);
        match taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more) {
            Ok(_) => Ok(Self(taken.clone())),
            Err(_) => Err(io::Error::from_raw_os_error(libc::EAGAIN)),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Mover {
    /// A thread for any number of transfers, none of which may block. Dropping it waits for its end.
    pub(super) fn for_many(reports: Arc<Reports>) -> io::Result<Self> {
        let mut mover = Self::new(reports)?;
        let shared = mover.shared.clone();
        mover.thread = Some(spawn("stdio", move || run(&shared, false))?);
        Ok(mover)
    }

    /// A thread for one transfer, with which it ends. The transfer may block, so nobody ever waits for the thread.
    pub(super) fn for_one(reports: Arc<Reports>, place: Place) -> io::Result<Self> {
        let mover = Self::new(reports)?;
        let shared = mover.shared.clone();
        spawn("stdio-file", move || {
            let _place = place;
            run(&shared, true);
        })?;
        Ok(mover)
    }

    fn new(reports: Arc<Reports>) -> io::Result<Self> {
        let (epoll, waker) = Epoll::with_waker()?;
        let commands = Mutex::new(Commands { given: Vec::new(), closed: None });
        let busy = AtomicBool::new(false);
        Ok(Self {
            shared: Arc::new(Shared { commands, waker, reports, epoll, busy }),
            thread: None,
        })
    }

    /// Gives a command. Fails with the reason if the thread has ended; it has ended all its transfers then.
    pub(super) fn order(&self, command: Command) -> io::Result<()> {
        let mut commands = lock(&self.shared.commands);
        if let Some(errno) = commands.closed {
            return Err(io::Error::from_raw_os_error(errno));
        }
        commands.given.push(command);
        drop(commands);
        self.shared.waker.wake();
        Ok(())
    }

    /// Whether the thread moves bytes at this moment, and so may be blocked. If it is not, it takes every command that
    /// has been given before it moves any.
    pub(super) fn is_busy(&self) -> bool {
        self.shared.busy.load(Ordering::SeqCst)
    }

    /// What the thread waits with.
    pub(super) fn epoll(&self) -> &Epoll {
        &self.shared.epoll
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        // Refused by a thread that has ended.
        let _ = self.order(Command::Quit);
        if let Some(thread) = self.thread.take() {
            // It catches its panics.
            let _ = thread.join();
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(work)
}

/// Moves bytes until it is told to quit, or, with one transfer, until that has ended.
fn run(shared: &Shared, alone: bool) {
    let (left, ready, flushes, unread, taken) = Default::default();
    let mut transfers = Transfers { shared, transfers: left, ready, flushes, unread, taken };
    // A panic would be a bug of ours, and epoll fails for wrong arguments alone. Nobody may wait forever for a
    // transfer that no thread moves.
    let errno = match catch_unwind(AssertUnwindSafe(|| transfers.run(alone))) {
        Ok(Ok(())) => libc::ECANCELED,
        Ok(Err(error)) => error.raw_os_error().unwrap_or(libc::EIO),
        Err(_) => libc::EIO,
    };
    let given = {
        let mut commands = lock(&shared.commands);
        commands.closed = Some(errno);
        std::mem::take(&mut commands.given)
    };
    for command in std::mem::take(&mut transfers.taken).into_iter().chain(given) {
        if let Command::Start(number, transfer) = command {
            drop(transfer);
            shared.reports.end(number, errno);
        }
    }
    let left: Vec<u64> = transfers.transfers.keys().copied().collect();
    left.into_iter().for_each(|transfer| transfers.end(transfer, errno));
}

/// The transfers of the thread, and which descriptor each waits for.
struct Transfers<'mover> {
    shared: &'mover Shared,
    transfers: HashMap<u64, (Transfer, Waiting)>,
    /// Those that need no event of epoll for their next step.
    ready: Vec<u64>,
    /// Those whose readers are waited for.
    flushes: HashMap<u64, Flush>,
    /// Fifos of ended transfers that wait for a reader, the oldest first.
    unread: VecDeque<(OwnedFd, Flush)>,
    /// Commands that were taken and not carried out. Here, a panic does not lose them.
    taken: VecDeque<Command>,
}

/// A wait until readers have read everything. No event says so, so the thread polls.
struct Flush {
    since: Instant,
    until: Instant,
    /// Set once the transfer has ended: with what.
    ended: Option<i32>,
}

impl Flush {
    fn new(time: Duration) -> Self {
        let since = Instant::now();
        Self { since, until: since + time, ended: None }
    }

    /// Milliseconds until the next look: more the longer it takes.
    fn pause(&self, now: Instant) -> i32 {
        let waited = now.saturating_duration_since(self.since).as_millis();
        (waited / 4).clamp(1, 16) as i32
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// For no event: it has had its share, or files are always ready.
    No,
    For(RawFd, i32),
}

impl Transfers<'_> {
    fn run(&mut self, alone: bool) -> io::Result<()> {
        let mut scratch = vec![0; SCRATCH];
        let mut due = Vec::new();
        loop {
            let timeout = if self.ready.is_empty() { self.next_look() } else { 0 };
            due.append(&mut self.ready);
            self.shared.epoll.wait(timeout, |key, _| due.push(key))?;
            self.shared.busy.store(true, Ordering::SeqCst);
            self.taken.extend(std::mem::take(&mut lock(&self.shared.commands).given));
            let told = !self.taken.is_empty();
            while let Some(command) = self.taken.pop_front() {
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
                    Command::Flush(number, time) => self.flush(number, time),
                    Command::Stop(number) => self.end(number, libc::ECANCELED),
                    Command::Close(descriptor) => drop(descriptor),
                    Command::Quit => return Ok(()),
                    #[cfg(test)]
                    Command::Panic => panic!("as a bug would"),
                }
            }
            due.sort_unstable();
            due.dedup();
            let stepped = !due.is_empty();
            for number in due.drain(..) {
                self.step(number, &mut scratch);
            }
            self.look(&mut scratch);
            self.shared.busy.store(false, Ordering::SeqCst);
            if alone && (told || stepped) && self.transfers.is_empty() {
                return Ok(());
            }
        }
    }

    fn step(&mut self, number: u64, scratch: &mut [u8]) {
        if self.flushes.get(&number).is_some_and(|flush| flush.ended.is_some()) {
            return;
        }
        let Some((transfer, waiting)) = self.transfers.get_mut(&number) else { return };
        let step = transfer.step(scratch);
        if let Some(errno) = transfer.new_loss() {
            self.shared.reports.dropped(number, errno);
        }
        let wanted = match step {
            Step::Source => Waiting::For(transfer.source(), libc::EPOLLIN),
            Step::Destination => Waiting::For(transfer.destination(), libc::EPOLLOUT),
            Step::Turn => Waiting::No,
            Step::Ended(errno) => return self.end_once_read(number, errno),
        };
        let epoll = &self.shared.epoll;
        if let Waiting::For(fd, _) = *waiting
            && *waiting != wanted
        {
            // A hang-up of the descriptor that it does not wait for would be reported without end.
            epoll.remove(fd);
        }
        if let Waiting::For(fd, events) = wanted
            && *waiting != wanted
            && let Err(error) = epoll.add(fd, events, number)
        {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            return self.end(number, errno);
        }
        *waiting = wanted;
        if wanted == Waiting::No {
            self.ready.push(number);
        }
    }

    fn flush(&mut self, number: u64, time: Duration) {
        if self.transfers.contains_key(&number) {
            self.flushes.entry(number).or_insert_with(|| Flush::new(time));
        } else {
            self.shared.reports.flushed(number);
        }
    }

    /// Ends a transfer, but first gives a reader that has not read everything some time.
    fn end_once_read(&mut self, number: u64, errno: i32) {
        let Some((transfer, waiting)) = self.transfers.get_mut(&number) else { return };
        if !transfer.has_unread() {
            return self.end(number, errno);
        }
        if let Waiting::For(fd, _) = std::mem::replace(waiting, Waiting::No) {
            self.shared.epoll.remove(fd);
        }
        self.flushes.insert(number, Flush { ended: Some(errno), ..Flush::new(LINGER) });
    }

    /// Milliseconds until it must look after readers, or -1.
    fn next_look(&self) -> i32 {
        let now = Instant::now();
        let waits = self.flushes.values().chain(self.unread.iter().map(|(_, wait)| wait));
        waits.map(|wait| wait.pause(now)).min().unwrap_or(-1)
    }

    /// Checks whether readers have come or have read everything, or their time is up.
    fn look(&mut self, scratch: &mut [u8]) {
        if !self.unread.is_empty() {
            let now = Instant::now();
            self.unread.retain(|(writer, wait)| now < wait.until && !is_read(writer));
        }
        let waited_for: Vec<u64> = self.flushes.keys().copied().collect();
        for number in waited_for {
            self.step(number, scratch);
            let Some(flush) = self.flushes.get(&number) else { continue };
            let ready = self.ready.contains(&number);
            let unread =
                self.transfers.get(&number).is_some_and(|(transfer, _)| transfer.has_unread());
            if (ready || unread) && Instant::now() < flush.until {
                continue;
            }
            match flush.ended {
                Some(errno) => self.end(number, errno),
                None => {
                    self.flushes.remove(&number);
                    self.shared.reports.flushed(number);
                }
            }
        }
    }

    fn end(&mut self, number: u64, errno: i32) {
        self.flushes.remove(&number);
        if let Some((transfer, waiting)) = self.transfers.remove(&number) {
            if let Waiting::For(fd, _) = waiting {
                self.shared.epoll.remove(fd);
            }
            // Closed before anybody hears of the end.
            if let Some(writer) = transfer.into_unread_fifo() {
                if self.unread.len() == AWAITED {
                    self.unread.pop_front();
                }
                self.unread.push_back((writer, Flush::new(AWAIT_READER)));
            }
            self.shared.reports.end(number, errno);
        }
    }
}
