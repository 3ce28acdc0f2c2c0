//! An engine that a thread of its own turns. The thread announces events through a threadsafe function of
//! Node, so this driver does not need libuv.

use super::buffers::{Buffers, check, resource_name};
use super::looker::{Looker, LooksForAnswers};
use super::news::News;
use super::uv::{Loop, Uv};
use crate::engine::Engine;
use crate::io_thread::{Drive, IoThread};
use crate::records::{Filled, Malformed};
use napi::{Error, Result, sys};
use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;
use std::time::Instant;

/// See the module's documentation.
pub(super) struct ThreadDriver {
    /// `None` once the environment is torn down.
    io_thread: RefCell<Option<Rc<IoThread>>>,
    buffers: Buffers,
    news: News,
    /// Looks for answers before the event loop sleeps, in place of the thread. Empty without libuv.
    looker: OnceCell<Rc<Looker<Self>>>,
    /// Whether the process is kept alive.
    holds: Cell<bool>,
    /// JavaScript will fetch events without being told.
    comes: Cell<bool>,
}

impl ThreadDriver {
    /// Starts a thread that turns `engine` from now on.
    pub(super) fn new(
        buffers: Buffers,
        engine: Engine,
        event_loop: Option<(&'static Uv, Loop)>,
    ) -> Result<Rc<Self>> {
        let env = buffers.env();
        let mut thread_driver = Rc::new(Self {
            io_thread: RefCell::new(None),
            buffers,
            news: News(ptr::null_mut()),
            looker: OnceCell::new(),
            holds: Cell::new(true),
            comes: Cell::new(false),
        });
        let mut news = ptr::null_mut();
        // SAFETY: `env` is the current environment, and what is passed is valid for the call. The context is
        // not used before the I/O thread runs.
        unsafe {
            let name = resource_name(env)?;
            check(sys::napi_create_threadsafe_function(
                env,
                ptr::null_mut(),
                thread_driver.buffers.callback(),
                name,
                0,
                1,
                ptr::null_mut(),
                Some(freed),
                Rc::as_ptr(&thread_driver).cast_mut().cast(),
                Some(on_news),
                &raw mut news,
            ))?;
        }
        if let Some(thread_driver) = Rc::get_mut(&mut thread_driver) {
            thread_driver.news = News(news);
        }
        // The context holds a reference count, which `freed` takes back.
        let _ = Rc::into_raw(thread_driver.clone());
        let news = thread_driver.news;
        let io_thread = IoThread::start(engine, move || news.tell()).map_err(|error| {
            // SAFETY: `env` is the current environment, and without a thread nothing is delivered.
            unsafe {
                news.release();
                thread_driver.buffers.let_go();
            }
            Error::from_reason(error.to_string())
        })?;
        *thread_driver.io_thread.borrow_mut() = Some(Rc::new(io_thread));
        thread_driver.hold(false);
        let data = Rc::into_raw(thread_driver.clone()).cast_mut().cast::<c_void>();
        // SAFETY: `env` is the current environment; `torn_down` takes `data` back, once.
        check(unsafe { sys::napi_add_env_cleanup_hook(env, Some(torn_down), data) })?;
        if let Some((uv, event_loop)) = event_loop {
            let looker = Looker::new(uv, event_loop, env, Rc::downgrade(&thread_driver));
            let looker = looker.map_err(|error| Error::from_reason(error.to_string()))?;
            let _ = thread_driver.looker.set(looker);
        }
        Ok(thread_driver)
    }

    /// The I/O thread; `None` once the environment is torn down.
    pub(super) fn thread(&self) -> Option<Rc<IoThread>> {
        self.io_thread.borrow().clone()
    }

    /// The buffers of this port.
    pub(super) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// Has a batch of commands carried out.
    pub(super) fn submit(
        &self,
        io_thread: &IoThread,
        length: usize,
    ) -> std::result::Result<(), Malformed> {
        self.busy();
        let looker = self.looker.get();
        let drives =
            self.buffers.read(length, |batch| io_thread.submit_here(batch, looker.is_some()));
        self.hold(io_thread.holds());
        if drives? && let Some(looker) = looker {
            looker.start();
        }
        Ok(())
    }

    /// Whether the process is kept alive.
    pub(super) fn holds(&self) -> bool {
        self.holds.get()
    }

    /// Keeps the process alive at least until queued work is done. Call it when work was queued.
    pub(super) fn busy(&self) {
        self.hold(true);
    }

    fn hold(&self, hold: bool) {
        if self.holds.replace(hold) == hold {
            return;
        }
        // SAFETY: the function is of this environment, whose thread this is.
        unsafe { self.news.hold(self.buffers.env(), hold) };
    }

    /// Hands over pending events. JavaScript is told of no others until it has fetched more, in a later turn
    /// of the event loop: Node would otherwise call again before it returns to the loop.
    fn look(&self) {
        let Some(io_thread) = self.thread() else { return };
        let mut filled = self.buffers.fill(|buffer| io_thread.events().fill(buffer));
        io_thread.nudge();
        if filled.size == 0 {
            // The events were taken meanwhile, and the I/O thread does not know it yet.
            self.comes.set(true);
            filled = self.take();
            if filled.size == 0 {
                return;
            }
            io_thread.will_acknowledge();
        }
        self.comes.set(true);
        self.buffers.call_back(Filled { more: true, ..filled });
    }

    /// Moves pending events into the inbound buffer, or none if the thread will announce them once more have
    /// gathered.
    pub(super) fn take(&self) -> Filled {
        let Some(io_thread) = self.thread() else { return Filled::default() };
        // If JavaScript was not to come by itself, the announcement is still on its way.
        if self.comes.take() {
            io_thread.acknowledge();
            if !io_thread.sleeps() {
                self.hold(io_thread.holds());
                return Filled::default();
            }
        }
        self.fetch(&io_thread)
    }

    /// Moves pending events into the inbound buffer. JavaScript comes for those that are left without being told.
    fn fetch(&self, io_thread: &IoThread) -> Filled {
        let filled = self.buffers.fill(|buffer| io_thread.events().fill(buffer));
        io_thread.nudge();
        if filled.more {
            self.comes.set(true);
            io_thread.will_acknowledge();
        }
        self.hold(io_thread.holds());
        filled
    }
}

impl LooksForAnswers for ThreadDriver {
    fn look(self: &Rc<Self>) -> bool {
        let (Some(io_thread), Some(looker)) = (self.thread(), self.looker.get()) else {
            return false;
        };
        let until = match io_thread.drive() {
            Drive::LookUntil(until) => until,
            Drive::AskAgain => return true,
            Drive::Sleep => return false,
        };
        let found = looker.find(std::iter::once(io_thread.answers()), until);
        if found.places.is_empty() {
            let in_vain = found.interrupted || Instant::now() >= until;
            return !(in_vain && io_thread.end_drive(found.interrupted));
        }
        io_thread.take_answers();
        let filled = self.fetch(&io_thread);
        if filled.size > 0 {
            self.buffers.call_back(filled);
        }
        true
    }
}

unsafe extern "C" fn on_news(
    env: sys::napi_env,
    _: sys::napi_value,
    context: *mut c_void,
    _: *mut c_void,
) {
    if env.is_null() {
        return;
    }
    // A panic must not unwind into Node.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `context` is the function's own, and `freed` takes it back after the last call.
        unsafe { &*context.cast_const().cast::<ThreadDriver>() }.look();
    }));
}

unsafe extern "C" fn torn_down(data: *mut c_void) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `data` is the reference count that `ThreadDriver::new` gave away, and Node calls this once.
        let thread_driver = unsafe { Rc::from_raw(data.cast::<ThreadDriver>()) };
        // Waits for the thread to end, after which it announces nothing.
        let io_thread = thread_driver.io_thread.borrow_mut().take();
        drop(io_thread);
        // SAFETY: the environment is ending, and without a thread nothing is announced or delivered.
        unsafe {
            thread_driver.news.release();
            thread_driver.buffers.let_go();
        }
    }));
}

unsafe extern "C" fn freed(_: sys::napi_env, _: *mut c_void, context: *mut c_void) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `context` is the reference count that `ThreadDriver::new` gave away; Node calls this once,
        // last of all.
        drop(unsafe { Rc::from_raw(context.cast_const().cast::<ThreadDriver>()) });
    }));
}
