//! A thread that turns an engine in place of the JavaScript thread.
//!
//! The JavaScript thread puts work into a queue and takes events from another. Each side wakes the other only
//! if it sleeps, and once for everything that gathered meanwhile. Work is done in the order in which it was
//! queued. The thread never waits for JavaScript, so JavaScript may wait for it.
//!
//! While the thread sleeps and there is little to do, the JavaScript thread does the work in its place; see [`drive`]. Then it
//! has the engine's lock, for which it never waits, and which it gives back before JavaScript runs.

mod drive;
mod parking;
mod poller;
mod supervision;
#[cfg(test)]
mod tests;
mod thread;
mod turned;
mod wake_delay;

use crate::engine::{Engine, PendingEvents};
use crate::limits::THREAD_QUEUE_LIMIT;
use crate::records::Malformed;
use crate::sync::lock;
use crate::transport::SparePayloads;
pub use drive::Drive;
use parking::Parking;
use poller::Poller;
use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use thread::Common;
use turned::Turned;

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

impl IoThread {
    /// Starts the thread. It calls `tell` when there are events, or when the process need no longer be kept
    /// alive, and not again before [`IoThread::acknowledge`] is called.
    pub fn start(engine: Engine, tell: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let (events, spare) = (engine.events(), engine.spare_payloads());
        let poller = Poller::new()?;
        let parking = Parking::new(poller.epoll())?;
        let common = Arc::new(Common::new(Turned::new(engine, poller), parking, tell));
        let (events_of_thread, common_of_thread) = (events.clone(), common.clone());
        let thread = std::thread::Builder::new()
            .name("ttrpc".to_owned())
            .spawn(move || common_of_thread.run(&events_of_thread))?;
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
        self.common.sleeps()
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
        self.common.parking.unpark();
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
