//! A thread that turns an engine, for a JavaScript thread that would rather not.
//!
//! The JavaScript thread leaves work in a queue and takes events out of another; each side wakes the
//! other only if it sleeps, and once for all that gathered meanwhile. Work is done in the order in which it was
//! left. The thread never waits for JavaScript, so JavaScript may wait for it.

mod poller;
#[cfg(test)]
mod tests;
mod wake_delay;

use crate::engine::{Change, Engine, PendingEvents};
use crate::limits::THREAD_QUEUE_LIMIT;
use crate::records::Malformed;
use crate::sync::lock;
use poller::{Poller, Ready, Waker};
use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wake_delay::WakeDelay;

/// Storage for batches larger than this is given back.
const KEEP_CAPACITY: usize = 1 << 20;

/// Why the engine did not do what was asked.
#[derive(Debug)]
pub enum Unusable {
    /// It is gone.
    TornDown,
    /// It panicked, with this message: a bug of ours or of ttrpc.
    Panicked(String),
}

impl Unusable {
    /// Of what [`catch_unwind`] caught.
    pub fn panicked(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        Self::Panicked(text.unwrap_or("no message").to_owned())
    }
}

/// The JavaScript side's hold on the thread and its engine. Both end when it is dropped.
pub struct IoThread {
    common: Arc<Common>,
    events: PendingEvents,
    thread: Option<JoinHandle<()>>,
}

/// What both sides use.
struct Common {
    queue: Mutex<Queue>,
    /// The queue was emptied.
    emptied: Condvar,
    /// The thread waits, or is about to, and must be woken.
    asleep: AtomicBool,
    waker: Waker,
    /// The other side was told that there is something for it, and has not looked yet.
    told: AtomicBool,
    tell: Box<dyn Fn() + Send + Sync>,
    /// How often work was left, and up to which of it all is done.
    left: AtomicU64,
    done: AtomicU64,
    /// What is done keeps the process alive.
    holds: AtomicBool,
    /// A batch that could not be read, since this was last asked for.
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
    /// The payload of a command of the next batch.
    Lent(Vec<u8>),
    Other(Box<dyn FnOnce(&mut Turned) + Send>),
}

/// The engine and what watches its descriptors, on the thread that turns it.
struct Turned {
    engine: Engine,
    poller: Poller,
    unwatchable: Option<(u32, io::Error)>,
}

impl IoThread {
    /// Starts the thread. `tell` is called on it when there are events, or when the process need no
    /// longer be kept alive, and not again before [`IoThread::acknowledge`] was called.
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
        let events = engine.events();
        let turned = Turned { engine, poller, unwatchable: None };
        let (events_of_thread, common_of_thread) = (events.clone(), common.clone());
        let thread = std::thread::Builder::new()
            .name("ttrpc".to_owned())
            .spawn(move || common_of_thread.run(turned, &events_of_thread))?;
        Ok(Self { common, events, thread: Some(thread) })
    }

    /// Leaves a batch of commands. Waits while more than 64 MiB of them are queued.
    ///
    /// The error is of an earlier batch.
    pub fn submit(&self, batch: &[u8]) -> Result<(), Malformed> {
        let mut queue = self.queue(batch.len());
        // Records follow each other, so two batches are as good as one.
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

    /// Leaves the payload of a command of the next batch; waits as [`IoThread::submit`] does.
    pub fn lend(&self, payload: Vec<u8>) {
        self.queue(payload.len()).work.push_back(Work::Lent(payload));
    }

    /// The queue, with room for so many bytes more.
    fn queue(&self, bytes: usize) -> MutexGuard<'_, Queue> {
        let mut queue = lock(&self.common.queue);
        while queue.bytes > THREAD_QUEUE_LIMIT {
            // What was lent alone has woken nobody.
            self.common.rouse();
            queue = self.common.emptied.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.bytes += bytes;
        queue
    }

    /// Has the thread run `work` on the engine behind all that was left before, and waits for it.
    /// Also returns what could not be watched in consequence.
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
            // Nobody else holds the receiver, and it waits.
            let _ = sender.send(result.map_err(|payload| Unusable::panicked(&*payload)));
        };
        let mut queue = lock(&self.common.queue);
        queue.work.push_back(Work::Other(Box::new(work)));
        self.wake(queue);
        receiver.recv().unwrap_or(Err(Unusable::TornDown))
    }

    /// The events that wait.
    pub fn events(&self) -> &PendingEvents {
        &self.events
    }

    /// To be called when told, before events are taken.
    pub fn acknowledge(&self) {
        self.common.told.store(false, Ordering::SeqCst);
    }

    /// Whether the thread sleeps. If not, it will see what was changed before this was asked.
    pub fn sleeps(&self) -> bool {
        self.common.asleep.load(Ordering::SeqCst)
    }

    /// Events wait that will be taken by a later [`IoThread::acknowledge`], for which nobody needs to be told.
    pub fn will_acknowledge(&self) {
        self.common.told.store(true, Ordering::SeqCst);
    }

    /// Whether the process must be kept alive: work is left, or what was done asks for it, or is to be
    /// told.
    pub fn holds(&self) -> bool {
        let common = &self.common;
        // The events come last: those of what is done are there by now.
        common.done.load(Ordering::SeqCst) != common.left.load(Ordering::SeqCst)
            || common.holds.load(Ordering::SeqCst)
            || !self.events.is_empty()
    }

    /// Events were taken: connections that wait for that go on.
    pub fn nudge(&self) {
        if self.events.is_crowded() {
            self.common.rouse();
        }
    }

    /// Work was left in `queue`.
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
            // It catches its panics.
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
    /// What the thread does.
    fn run(&self, mut turned: Turned, events: &PendingEvents) {
        let mut work = VecDeque::new();
        let mut ready = Vec::new();
        // The other side knows that nothing keeps the process alive.
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
            self.wait(&mut turned, &mut ready, events);
        }
        // What was left before the end is not lost if the sockets take it.
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

    /// Takes all work that was left. Returns how often that was, or None if this is the end.
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

    /// Lets the other side see how far this one is. Returns whether the process is to be kept alive.
    fn publish(&self, turned: &Turned, left: u64) -> bool {
        let holds = turned.poller.holds() || turned.engine.timer_holds();
        self.holds.store(holds, Ordering::SeqCst);
        self.done.store(left, Ordering::SeqCst);
        holds
    }

    /// Whether to look for more events before the other side is told of those that wait.
    fn delays_wake(&self, delay: &mut WakeDelay, turned: &Turned, events: &PendingEvents) -> bool {
        if events.is_empty() || self.told.load(Ordering::SeqCst) {
            delay.stop();
            return false;
        }
        delay.goes_on(Instant::now(), events.count(), || turned.engine.in_flight())
    }

    /// Waits for work, descriptors and deadlines, and deals with the last two.
    fn wait(&self, turned: &mut Turned, ready: &mut Vec<Ready>, events: &PendingEvents) {
        self.asleep.store(true, Ordering::SeqCst);
        // Both may have changed before the other side could see that this one sleeps.
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
        // epoll fails only through a bug here; the pause keeps that from using a whole core.
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
    /// A panic must not end the thread. The engine's own state is consistent between its steps, and
    /// ttrpc's tasks have their own catch in tokio; what a panic leaves undone is lost with its call.
    fn turn(&mut self, work: impl FnOnce(&mut Engine)) {
        let _ = catch_unwind(AssertUnwindSafe(|| {
            work(&mut self.engine);
            self.apply_changes();
        }));
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
