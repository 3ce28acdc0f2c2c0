//! A thread that turns an engine in place of the JavaScript thread.
//!
//! The JavaScript thread puts work into a queue and takes events from another. Each side wakes the other only
//! if it sleeps, and once for everything that gathered meanwhile. Work is done in the order in which it was
//! queued. The thread never waits for JavaScript, so JavaScript may wait for it.

mod poller;
#[cfg(test)]
mod tests;
mod wake_delay;

use crate::engine::{Change, Engine, PendingEvents};
use crate::limits::THREAD_QUEUE_LIMIT;
use crate::records::Malformed;
use crate::sync::lock;
use crate::system::epoll::Waker;
use crate::transport::SparePayloads;
use poller::{Poller, Ready};
use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wake_delay::WakeDelay;

/// Storage for batches beyond this is freed.
const KEEP_CAPACITY: usize = 1 << 20;

/// Why the engine cannot be used.
#[derive(Debug)]
pub enum Unusable {
    /// The environment was torn down, and the engine with it.
    TornDown,
    /// It panicked with this message, which is a bug in this addon or in ttrpc.
    Panicked(String),
}

impl Unusable {
    /// From the payload of a caught panic.
    pub fn panicked(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        Self::Panicked(text.unwrap_or("no message").to_owned())
    }
}

/// The JavaScript thread's handle on the thread and its engine. Both end when it is dropped.
pub struct IoThread {
    common: Arc<Common>,
    events: PendingEvents,
    spare: Arc<SparePayloads>,
    thread: Option<JoinHandle<()>>,
}

/// State that both threads use.
struct Common {
    queue: Mutex<Queue>,
    /// The queue was emptied.
    emptied: Condvar,
    /// The thread sleeps, or is about to, and must be woken.
    asleep: AtomicBool,
    waker: Waker,
    /// JavaScript was told of events, and has not acknowledged it yet.
    told: AtomicBool,
    tell: Box<dyn Fn() + Send + Sync>,
    /// How many pieces of work were queued, and how many of them are done.
    left: AtomicU64,
    done: AtomicU64,
    /// The engine keeps the process alive.
    holds: AtomicBool,
    /// Why the last unreadable batch was malformed, until the next `submit` returns it.
    malformed: Mutex<Option<Malformed>>,
}

#[derive(Default)]
struct Queue {
    work: VecDeque<Work>,
    bytes: usize,
    spare: Vec<u8>,
    stopped: bool,
}

enum Work {
    Batch(Vec<u8>),
    /// The payload of a command in the next batch.
    Lent(Vec<u8>),
    Other(Box<dyn FnOnce(&mut Turned) + Send>),
}

/// The engine and the poller of its descriptors, on the thread that turns it.
struct Turned {
    engine: Engine,
    poller: Poller,
    unwatchable: Option<(u32, io::Error)>,
}

impl IoThread {
    /// Starts the thread. It calls `tell` when there are events, or when the process need no longer be kept
    /// alive, and not again before [`IoThread::acknowledge`] is called.
    pub fn start(engine: Engine, tell: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let (poller, waker) = Poller::new()?;
        let common = Arc::new(Common {
            queue: Mutex::default(),
            emptied: Condvar::new(),
            asleep: AtomicBool::new(false),
            waker,
            told: AtomicBool::new(false),
            tell: Box::new(tell),
            left: AtomicU64::new(0),
            done: AtomicU64::new(0),
            holds: AtomicBool::new(false),
            malformed: Mutex::new(None),
        });
        let (events, spare) = (engine.events(), engine.spare_payloads());
        let turned = Turned { engine, poller, unwatchable: None };
        let (events_of_thread, common_of_thread) = (events.clone(), common.clone());
        let thread = std::thread::Builder::new()
            .name("ttrpc".to_owned())
            .spawn(move || common_of_thread.run(turned, &events_of_thread))?;
        Ok(Self { common, events, spare, thread: Some(thread) })
    }

    /// Queues a batch of commands. Waits while more than 64 MiB are queued.
    ///
    /// An error is that of an earlier batch.
    pub fn submit(&self, batch: &[u8]) -> Result<(), Malformed> {
        let mut queue = self.queue(batch.len());
        // A batch is a sequence of records, so two batches can be joined.
        if let Some(Work::Batch(last)) = queue.work.back_mut() {
            last.extend_from_slice(batch);
        } else {
            let mut bytes = std::mem::take(&mut queue.spare);
            bytes.extend_from_slice(batch);
            queue.work.push_back(Work::Batch(bytes));
        }
        self.wake(queue);
        lock(&self.common.malformed).take().map_or(Ok(()), Err)
    }

    /// Queues the payload of a command in the next batch. Waits as [`IoThread::submit`] does.
    pub fn lend(&self, payload: &[u8]) {
        let payload = self.spare.copy(payload);
        self.queue(payload.len()).work.push_back(Work::Lent(payload));
    }

    /// The queue, with `bytes` more counted in it. Waits until there is room.
    fn queue(&self, bytes: usize) -> MutexGuard<'_, Queue> {
        let mut queue = lock(&self.common.queue);
        while queue.bytes > THREAD_QUEUE_LIMIT {
            // A payload alone does not wake the thread.
            self.common.rouse();
            queue = self.common.emptied.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.bytes += bytes;
        queue
    }

    /// Has the thread run `work` on the engine after everything queued before, and waits for the result. Also
    /// returns the connection or listener that could not be watched as a consequence.
    pub fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> Result<(T, Option<(u32, io::Error)>), Unusable> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let work = move |turned: &mut Turned| {
            let result = catch_unwind(AssertUnwindSafe(|| {
                let result = work(&mut turned.engine);
                turned.apply_changes();
                (result, turned.unwatchable.take())
            }));
            // The receiver waits below, so this does not fail.
            let _ = sender.send(result.map_err(|payload| Unusable::panicked(&*payload)));
        };
        let mut queue = lock(&self.common.queue);
        queue.work.push_back(Work::Other(Box::new(work)));
        self.wake(queue);
        receiver.recv().unwrap_or(Err(Unusable::TornDown))
    }

    /// The pending events.
    pub fn events(&self) -> &PendingEvents {
        &self.events
    }

    /// Must be called after `tell` was, before events are taken.
    pub fn acknowledge(&self) {
        self.common.told.store(false, Ordering::SeqCst);
    }

    /// Whether the thread sleeps. If not, it will see everything that was changed before this call.
    pub fn sleeps(&self) -> bool {
        self.common.asleep.load(Ordering::SeqCst)
    }

    /// JavaScript will take the pending events and call [`IoThread::acknowledge`] without being told.
    pub fn will_acknowledge(&self) {
        self.common.told.store(true, Ordering::SeqCst);
    }

    /// Whether the process must be kept alive: work is queued, the engine asks for it, or events wait.
    pub fn holds(&self) -> bool {
        let common = &self.common;
        // The events are checked last: by then, those of all finished work are there.
        common.done.load(Ordering::SeqCst) != common.left.load(Ordering::SeqCst)
            || common.holds.load(Ordering::SeqCst)
            || !self.events.is_empty()
    }

    /// Events were taken: wakes the thread if connections wait for that.
    pub fn nudge(&self) {
        if self.events.is_crowded() {
            self.common.rouse();
        }
    }

    /// Counts a piece of work in `queue`, and wakes the thread.
    fn wake(&self, queue: MutexGuard<'_, Queue>) {
        self.common.left.fetch_add(1, Ordering::SeqCst);
        drop(queue);
        self.common.rouse();
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        lock(&self.common.queue).stopped = true;
        self.common.waker.wake();
        if let Some(thread) = self.thread.take() {
            // It catches panics itself.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for IoThread {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("IoThread").field("holds", &self.holds()).finish_non_exhaustive()
    }
}

impl Common {
    /// The main loop of the thread.
    fn run(&self, mut turned: Turned, events: &PendingEvents) {
        let mut work = VecDeque::new();
        let mut ready = Vec::new();
        // JavaScript knows that nothing keeps the process alive.
        let mut known_idle = true;
        let mut delay = WakeDelay::default();
        while let Some(left) = self.take(&mut work) {
            known_idle &= work.is_empty();
            for work in work.drain(..) {
                self.carry_out(work, &mut turned);
            }
            turned.turn(Engine::resume);
            let holds = self.publish(&turned, left);
            if self.delays_wake(&mut delay, &turned, events) {
                known_idle &= !holds;
                self.poll(&mut turned, &mut ready, Some(Duration::ZERO));
                continue;
            }
            let news = !events.is_empty() || !(holds || known_idle);
            if news && !self.told.swap(true, Ordering::SeqCst) {
                (self.tell)();
            }
            known_idle = !holds;
            if turned.looks() {
                self.poll(&mut turned, &mut ready, Some(Duration::ZERO));
            } else {
                self.wait(&mut turned, &mut ready, events);
            }
        }
        // Work that was queued before the end is not lost if the sockets take its bytes.
        for work in work.drain(..) {
            self.carry_out(work, &mut turned);
        }
    }

    /// Wakes the thread if it sleeps.
    fn rouse(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    /// Takes all queued work. Returns how many pieces were ever queued, or `None` if the thread must end.
    fn take(&self, work: &mut VecDeque<Work>) -> Option<u64> {
        let mut queue = lock(&self.queue);
        std::mem::swap(&mut queue.work, work);
        queue.bytes = 0;
        self.emptied.notify_all();
        (!queue.stopped).then(|| self.left.load(Ordering::SeqCst))
    }

    fn carry_out(&self, work: Work, turned: &mut Turned) {
        match work {
            Work::Batch(mut batch) => {
                turned.turn(|engine| {
                    if let Err(malformed) = engine.submit(&batch) {
                        *lock(&self.malformed) = Some(malformed);
                    }
                });
                batch.clear();
                batch.shrink_to(KEEP_CAPACITY);
                lock(&self.queue).spare = batch;
            }
            Work::Lent(payload) => turned.engine.lend(payload),
            Work::Other(work) => work(turned),
        }
    }

    /// Publishes what is done. Returns whether the process must be kept alive.
    fn publish(&self, turned: &Turned, left: u64) -> bool {
        let holds = turned.poller.holds() || turned.engine.timer_holds();
        self.holds.store(holds, Ordering::SeqCst);
        self.done.store(left, Ordering::SeqCst);
        holds
    }

    /// Whether to look for more events before JavaScript is told of those that wait.
    fn delays_wake(&self, delay: &mut WakeDelay, turned: &Turned, events: &PendingEvents) -> bool {
        if events.is_empty() || self.told.load(Ordering::SeqCst) {
            delay.stop();
            return false;
        }
        delay.should_wait(Instant::now(), events.count(), || turned.engine.in_flight())
    }

    /// Waits for work, descriptors and deadlines, and handles the last two.
    fn wait(&self, turned: &mut Turned, ready: &mut Vec<Ready>, events: &PendingEvents) {
        self.asleep.store(true, Ordering::SeqCst);
        // Work or events may have come before the other thread could see that this one sleeps.
        let untold = !self.told.load(Ordering::SeqCst) && !events.is_empty();
        let timeout = {
            let queue = lock(&self.queue);
            let busy =
                untold || queue.stopped || !queue.work.is_empty() || turned.engine.has_room();
            if busy { Some(Duration::ZERO) } else { turned.engine.next_deadline() }
        };
        self.poll(turned, ready, timeout);
    }

    fn poll(&self, turned: &mut Turned, ready: &mut Vec<Ready>, timeout: Option<Duration>) {
        // epoll fails only through a bug here; the pause keeps it from using a whole core.
        if turned.poller.wait(timeout, ready).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.asleep.store(false, Ordering::SeqCst);
        for Ready { id, read, write } in ready.drain(..) {
            turned.turn(|engine| engine.ready(id, read, write));
        }
        if turned.engine.next_deadline().is_some_and(|after| after.is_zero()) {
            turned.turn(Engine::expire);
        }
    }
}

impl Turned {
    /// Catches panics, which must not end the thread. The engine's state is consistent between its steps, and
    /// tokio catches panics of ttrpc's tasks. What a panic leaves undone is lost with its call.
    fn turn(&mut self, work: impl FnOnce(&mut Engine)) {
        let _ = catch_unwind(AssertUnwindSafe(|| {
            work(&mut self.engine);
            self.apply_changes();
        }));
    }

    /// Whether to look for answers before sleeping.
    fn looks(&mut self) -> bool {
        let Some(until) = self.engine.looks_until() else { return false };
        if Instant::now() < until {
            return true;
        }
        self.engine.end_look(false);
        false
    }

    fn apply_changes(&mut self) {
        let poller = &mut self.poller;
        let failed = self.engine.apply_changes(|change| match change {
            Change::Watch { id, fd, interest } => poller.watch(id, fd, interest),
            Change::Forget { id, descriptor } => {
                poller.forget(id, descriptor.fd());
                Ok(())
            }
        });
        self.unwatchable = failed.or(self.unwatchable.take());
    }
}
