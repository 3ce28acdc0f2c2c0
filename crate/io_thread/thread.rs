//! The I/O thread: what it does in a round, and when it is parked.

use super::parking::Parking;
use super::supervision::Supervision;
use super::turned::Turned;
use super::wake_delay::WakeDelay;
use super::{KEEP_CAPACITY, Queue, Work};
use crate::engine::{Engine, PendingEvents};
use crate::limits::THREAD_QUEUE_LIMIT;
use crate::records::Malformed;
use crate::sync::lock;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

/// State that both threads use.
pub(super) struct Common {
    pub(super) queue: Mutex<Queue>,
    /// The queue was emptied.
    pub(super) emptied: Condvar,
    /// The I/O thread has it unless it is parked.
    turned: Mutex<Turned>,
    pub(super) parking: Parking,
    /// The thread is parked, or is about to, and must be woken.
    asleep: AtomicBool,
    /// JavaScript was told of events, and has not acknowledged it yet.
    pub(super) told: AtomicBool,
    pub(super) tell: Box<dyn Fn() + Send + Sync>,
    /// How many pieces of work were queued, and how many of them are done.
    pub(super) left: AtomicU64,
    pub(super) done: AtomicU64,
    /// The engine keeps the process alive.
    pub(super) holds: AtomicBool,
    /// Why the last unreadable batch was malformed, until the next `submit` returns it.
    pub(super) malformed: Mutex<Option<Malformed>>,
}

impl Common {
    pub(super) fn new(
        turned: Turned,
        parking: Parking,
        tell: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            queue: Mutex::default(),
            emptied: Condvar::new(),
            turned: Mutex::new(turned),
            parking,
            asleep: AtomicBool::new(false),
            told: AtomicBool::new(false),
            tell: Box::new(tell),
            left: AtomicU64::new(0),
            done: AtomicU64::new(0),
            holds: AtomicBool::new(false),
            malformed: Mutex::new(None),
        }
    }

    /// The main loop of the thread.
    pub(super) fn run(&self, events: &PendingEvents) {
        let mut work = VecDeque::new();
        let mut delay = WakeDelay::default();
        let mut supervision = Supervision::default();
        let mut turned = lock(&self.turned);
        while let Some(left) = self.take(&mut work) {
            if !work.is_empty() {
                turned.known_idle = false;
                self.heed(&mut turned);
            }
            for work in work.drain(..) {
                self.carry_out(work, &mut turned);
            }
            turned.turn(Engine::resume);
            let holds = self.publish(&turned);
            self.done.store(left, Ordering::SeqCst);
            let (tells, timeout) = if self.delays_wake(&mut delay, &turned, events) {
                turned.known_idle &= !holds;
                (false, Some(Duration::ZERO))
            } else {
                let tells = self.must_tell(&mut turned, events);
                (tells, self.sleep_time(&mut turned, &mut supervision, events))
            };
            turned = self.park(turned, tells, timeout);
        }
        // Work that was queued before the end is not lost if the sockets take its bytes.
        for work in work.drain(..) {
            self.carry_out(work, &mut turned);
        }
    }

    /// Wakes the thread if it sleeps.
    pub(super) fn rouse(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.parking.unpark();
        }
    }

    /// Whether the thread sleeps. If not, it will see everything that was changed before this call.
    pub(super) fn sleeps(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
    }

    /// What is turned, unless another thread turns it.
    pub(super) fn try_turn(&self) -> Option<MutexGuard<'_, Turned>> {
        match self.turned.try_lock() {
            Ok(turned) => Some(turned),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Takes all queued work. Returns how many pieces were ever queued, or `None` if the thread must end.
    fn take(&self, work: &mut VecDeque<Work>) -> Option<u64> {
        let mut queue = lock(&self.queue);
        std::mem::swap(&mut queue.work, work);
        // To notify is a system call, even if nobody waits.
        if std::mem::take(&mut queue.bytes) > THREAD_QUEUE_LIMIT {
            self.emptied.notify_all();
        }
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

    /// Publishes whether the process must be kept alive, which it returns.
    pub(super) fn publish(&self, turned: &Turned) -> bool {
        let holds = turned.holds();
        self.holds.store(holds, Ordering::SeqCst);
        holds
    }

    /// Whether there is something that JavaScript does not know. If so, the caller must tell it.
    pub(super) fn must_tell(&self, turned: &mut Turned, events: &PendingEvents) -> bool {
        let holds = turned.holds();
        let news = !events.is_empty() || !(holds || turned.known_idle);
        turned.known_idle = !holds;
        news && !self.told.swap(true, Ordering::SeqCst)
    }

    /// Whether to look for more events before JavaScript is told of those that wait.
    fn delays_wake(&self, delay: &mut WakeDelay, turned: &Turned, events: &PendingEvents) -> bool {
        if events.is_empty() || self.told.load(Ordering::SeqCst) {
            delay.stop();
            return false;
        }
        delay.should_wait(Instant::now(), events.count(), || turned.engine.in_flight())
    }

    /// How long to sleep.
    fn sleep_time(
        &self,
        turned: &mut Turned,
        supervision: &mut Supervision,
        events: &PendingEvents,
    ) -> Option<Duration> {
        let now = Instant::now();
        if supervision.finds_idle(turned, now) {
            self.heed(turned);
        }
        if !turned.driven && turned.looks(now) {
            return Some(Duration::ZERO);
        }
        self.asleep.store(true, Ordering::SeqCst);
        // Work or events may have come before the other thread could see that this one sleeps.
        let untold = !self.told.load(Ordering::SeqCst) && !events.is_empty();
        let queue = lock(&self.queue);
        let busy = untold || queue.stopped || !queue.work.is_empty() || turned.engine.has_room();
        let timeout = match turned.engine.next_deadline() {
            _ if busy => Some(Duration::ZERO),
            deadline => [deadline, supervision.next(now)].into_iter().flatten().min(),
        };
        turned.wakes_at = timeout.and_then(|timeout| now.checked_add(timeout));
        timeout
    }

    /// Waits for work, descriptors and deadlines, and handles the last two. If it `tells` JavaScript, it does so without the
    /// lock: the thread that this wakes may run in place of this one, and is to find the engine free.
    fn park<'a>(
        &'a self,
        turned: MutexGuard<'a, Turned>,
        tells: bool,
        timeout: Option<Duration>,
    ) -> MutexGuard<'a, Turned> {
        drop(turned);
        if tells {
            (self.tell)();
        }
        let parked = self.parking.park(timeout);
        self.asleep.store(false, Ordering::SeqCst);
        let mut turned = lock(&self.turned);
        let polled = match parked {
            Ok(true) if !turned.driven => turned.poll(),
            parked => parked.map(drop),
        };
        // epoll fails only through a bug here; the pause keeps it from using a whole core.
        if polled.is_err() {
            drop(turned);
            std::thread::sleep(Duration::from_millis(5));
            turned = lock(&self.turned);
        }
        if turned.engine.next_deadline().is_some_and(|after| after.is_zero()) {
            turned.turn(Engine::expire);
        }
        turned
    }

    /// Has the thread heed the descriptors, which JavaScript's thread no longer looks at.
    pub(super) fn heed(&self, turned: &mut Turned) {
        if std::mem::take(&mut turned.driven) {
            self.parking.heed_descriptors(true);
        }
    }
}
