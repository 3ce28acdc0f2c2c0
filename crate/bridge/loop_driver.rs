//! An engine that the event loop of a JavaScript environment turns, and its libuv handles.
//!
//! The engine is borrowed while it is turned, and never while JavaScript runs, which may call into the port
//! at any time.

use super::buffers::Buffers;
use super::looker::{Looker, LooksForAnswers};
use super::teardown::{OwnsHandles, Teardown};
use super::uv::{DISCONNECT, Handle, Loop, READABLE, Uv, WRITABLE};
use super::uv_handle::{UvHandle, guarded, owner};
use crate::engine::{Change, Engine, PendingEvents};
use crate::ids::IdMap;
use crate::io_thread::Unusable;
use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// See the module's documentation.
pub(super) struct LoopDriver {
    uv: &'static Uv,
    event_loop: Loop,
    /// `None` once the environment is torn down.
    engine: RefCell<Option<Engine>>,
    events: PendingEvents,
    buffers: Buffers,
    handles: RefCell<IdMap<UvHandle<LoopDriver>>>,
    timer: RefCell<Option<UvHandle<LoopDriver>>>,
    /// Hands over the events of all descriptors of one turn of the event loop.
    check: RefCell<Option<UvHandle<LoopDriver>>>,
    /// Looks for answers before the event loop sleeps.
    looker: OnceCell<Rc<Looker<LoopDriver>>>,
    /// When the timer fires. If that is earlier than needed, it is set again.
    timer_at: Cell<Option<Instant>>,
    /// Whether the timer keeps the process alive.
    timer_holds: Cell<bool>,
    /// The last connection or listener that could not be watched, until it is asked for.
    unwatchable: Cell<Option<(u32, std::io::Error)>>,
    teardown: Teardown<LoopDriver>,
}

impl LoopDriver {
    /// Has the event loop of the current environment turn `engine`.
    pub(super) fn new(
        uv: &'static Uv,
        event_loop: Loop,
        buffers: Buffers,
        engine: Engine,
    ) -> std::io::Result<Rc<Self>> {
        let loop_driver = Rc::new(Self {
            uv,
            event_loop,
            events: engine.events(),
            engine: RefCell::new(Some(engine)),
            buffers,
            handles: RefCell::default(),
            timer: RefCell::new(None),
            check: RefCell::new(None),
            looker: OnceCell::new(),
            timer_at: Cell::new(None),
            timer_holds: Cell::new(false),
            unwatchable: Cell::new(None),
            teardown: Teardown::default(),
        });
        let timer = UvHandle::timer(uv, event_loop, &loop_driver)?;
        *loop_driver.timer.borrow_mut() = Some(timer);
        let check = UvHandle::check(uv, event_loop, &loop_driver)?;
        *loop_driver.check.borrow_mut() = Some(check);
        let env = loop_driver.buffers.env();
        Teardown::with_environment(&loop_driver, env);
        let looker = Looker::new(uv, event_loop, env, Rc::downgrade(&loop_driver))?;
        let _ = loop_driver.looker.set(looker);
        Ok(loop_driver)
    }

    /// Runs `work` on the engine, then applies its changes to the handles. Events stay pending.
    pub(super) fn with<T>(
        self: &Rc<Self>,
        work: impl FnOnce(&mut Engine) -> T,
    ) -> Result<T, Unusable> {
        let result = {
            let mut engine = self.engine.borrow_mut();
            let engine = engine.as_mut().ok_or(Unusable::TornDown)?;
            catch_unwind(AssertUnwindSafe(|| work(engine)))
                .map_err(|payload| Unusable::panicked(&*payload))?
        };
        let follow = || {
            self.apply_changes();
            self.set_timer();
            self.look_soon();
        };
        catch_unwind(AssertUnwindSafe(follow)).map_err(|payload| Unusable::panicked(&*payload))?;
        Ok(result)
    }

    /// The buffers of this port.
    pub(super) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// Whether the process is kept alive.
    pub(super) fn holds(&self) -> bool {
        self.timer_holds.get() || self.handles.borrow().values().any(UvHandle::holds)
    }

    /// The pending events.
    pub(super) fn events(&self) -> &PendingEvents {
        &self.events
    }

    /// The last connection or listener that could not be watched since the last call, and why.
    pub(super) fn take_unwatchable(&self) -> Option<(u32, std::io::Error)> {
        self.unwatchable.take()
    }

    fn apply_changes(self: &Rc<Self>) {
        let mut engine = self.engine.borrow_mut();
        let Some(engine) = engine.as_mut() else { return };
        if let Some(failed) = engine.apply_changes(|change| self.apply(change)) {
            self.unwatchable.set(Some(failed));
        }
    }

    fn apply(self: &Rc<Self>, change: Change) -> std::io::Result<()> {
        let mut handles = self.handles.borrow_mut();
        match change {
            Change::Watch { id, fd, interest } => match handles.get(&id) {
                Some(handle) => handle.watch(interest, on_ready),
                None => {
                    let handle = UvHandle::poll(self.uv, self.event_loop, fd, id, self)?;
                    let watched = handle.watch(interest, on_ready);
                    handles.insert(id, handle);
                    watched
                }
            },
            Change::Forget { id, descriptor } => {
                if let Some(handle) = handles.remove(&id) {
                    handle.close(self);
                }
                drop(descriptor);
                Ok(())
            }
        }
    }

    /// Continues to watch a descriptor in error. It may take several turns to read what is left; the last one
    /// finds the error.
    fn resume(&self, id: u32) {
        if let Some(handle) = self.handles.borrow().get(&id) {
            handle.resume(on_ready);
        }
    }

    /// Hands the events over once the other descriptors of this turn of the event loop have been read, in one
    /// callback for all, or at once if there are many.
    fn deliver_soon(&self) {
        if self.events.is_much() {
            self.buffers.deliver(&self.events);
        } else if !self.events.is_empty()
            && let Some(check) = self.check.borrow().as_ref()
        {
            check.start_checking(on_check);
        }
    }

    /// Looks for answers before the event loop sleeps, if they are due.
    fn look_soon(&self) {
        if self.engine.borrow().as_ref().is_some_and(Engine::looks)
            && let Some(looker) = self.looker.get()
        {
            looker.start();
        }
    }

    fn looks_until(&self) -> Option<Instant> {
        self.engine.borrow().as_ref()?.looks_until()
    }

    fn set_timer(&self) {
        let engine = self.engine.borrow();
        let Some(engine) = engine.as_ref() else { return };
        let holds = engine.timer_holds();
        if self.timer_holds.replace(holds) != holds
            && let Some(timer) = self.timer.borrow().as_ref()
        {
            timer.hold(holds);
        }
        let deadline = engine.next_deadline();
        let Some(after) = deadline else { return };
        let Some(at) = Instant::now().checked_add(after) else { return };
        if self.timer_at.get().is_some_and(|set| set <= at) {
            return;
        }
        if let Some(timer) = self.timer.borrow().as_ref() {
            timer.fire_after(milliseconds(after), on_timer);
            self.timer_at.set(Some(at));
        }
    }
}

impl LooksForAnswers for LoopDriver {
    fn look(self: &Rc<Self>) -> bool {
        let (Some(until), Some(looker)) = (self.looks_until(), self.looker.get()) else {
            return false;
        };
        let (ids, fds): (Vec<_>, Vec<_>) = match self.engine.borrow().as_ref() {
            Some(engine) => engine.looked_at().unzip(),
            None => return false,
        };
        let found = looker.find(fds.into_iter(), until);
        if found.places.is_empty() && (found.interrupted || Instant::now() >= until) {
            let _ = self.with(|engine| engine.end_look(found.interrupted));
            return false;
        }
        for place in found.places {
            let _ = self.with(|engine| engine.ready(ids[place], true, false));
        }
        if !self.events.is_empty() {
            self.buffers.deliver(&self.events);
        }
        self.looks_until().is_some()
    }
}

impl OwnsHandles for LoopDriver {
    fn teardown(&self) -> &Teardown<Self> {
        &self.teardown
    }

    fn close_handles(self: &Rc<Self>) {
        let engine = self.engine.borrow_mut().take();
        for (_, handle) in std::mem::take(&mut *self.handles.borrow_mut()) {
            handle.close(self);
        }
        for other in [&self.timer, &self.check] {
            if let Some(handle) = other.borrow_mut().take() {
                handle.close(self);
            }
        }
        // Dropping the engine closes its descriptors, which nothing watches any more.
        drop(engine);
        // SAFETY: the environment is ending, and handles that are being closed deliver nothing.
        unsafe { self.buffers.let_go() };
    }
}

/// libuv's timers count whole milliseconds.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

unsafe extern "C" fn on_ready(handle: Handle, status: c_int, events: c_int) {
    guarded(|| {
        // SAFETY: libuv calls back for a handle of a `UvHandle<LoopDriver>`.
        let Some((loop_driver, id)) = (unsafe { owner::<LoopDriver>(handle) }) else { return };
        // The next read or write reports the descriptor's error.
        let read = status < 0 || events & (READABLE | DISCONNECT) != 0;
        let write = status < 0 || events & WRITABLE != 0;
        if status < 0 {
            loop_driver.resume(id);
        }
        if loop_driver.with(|engine| engine.ready(id, read, write)).is_ok() {
            loop_driver.deliver_soon();
        }
    });
}

unsafe extern "C" fn on_check(handle: Handle) {
    guarded(|| {
        // SAFETY: libuv calls back for a handle of a `UvHandle<LoopDriver>`.
        let Some((loop_driver, _)) = (unsafe { owner::<LoopDriver>(handle) }) else { return };
        if let Some(check) = loop_driver.check.borrow().as_ref() {
            check.stop_checking();
        }
        loop_driver.buffers.deliver(&loop_driver.events);
    });
}

unsafe extern "C" fn on_timer(handle: Handle) {
    guarded(|| {
        // SAFETY: libuv calls back for a handle of a `UvHandle<LoopDriver>`.
        let Some((loop_driver, _)) = (unsafe { owner::<LoopDriver>(handle) }) else { return };
        loop_driver.timer_at.set(None);
        if loop_driver.with(Engine::expire).is_ok() {
            loop_driver.buffers.deliver(&loop_driver.events);
        }
    });
}
