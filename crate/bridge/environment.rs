//! One JavaScript environment: its engine, its libuv handles, the two batch buffers and the callback.
//!
//! The engine is borrowed while it is turned and never while JavaScript runs, which may call back into
//! the port at any time.

use super::uv::{DISCONNECT, Handle, Loop, READABLE, Uv, WRITABLE};
use super::watcher::{Watcher, owner};
use crate::engine::{Change, Engine};
use crate::ids::IdMap;
use napi::sys;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// See the module's documentation.
pub(super) struct Environment {
    env: sys::napi_env,
    uv: &'static Uv,
    event_loop: Loop,
    /// Gone once the environment is torn down.
    engine: RefCell<Option<Engine>>,
    watchers: RefCell<IdMap<Watcher>>,
    timer: RefCell<Option<Watcher>>,
    /// When the timer fires. It may be earlier than needed: then it is set again.
    timer_at: Cell<Option<Instant>>,
    /// Whether the timer keeps the process alive.
    timer_holds: Cell<bool>,
    outbound: JsBuffer,
    inbound: JsBuffer,
    deliver: sys::napi_ref,
    async_context: sys::napi_async_context,
    /// The descriptor that could not be watched, since this was last asked for.
    unwatchable: Cell<Option<(u32, std::io::Error)>>,
    open_handles: Cell<usize>,
    cleanup: Cell<sys::napi_async_cleanup_hook_handle>,
}

/// Memory of an ArrayBuffer that a reference keeps alive and that JavaScript never detaches.
#[derive(Debug, Clone, Copy)]
pub(super) struct JsBuffer {
    pub(super) start: *mut u8,
    pub(super) size: usize,
}

/// What [`Environment::new`] needs of JavaScript, all of it kept alive by references.
pub(super) struct Parts {
    pub(super) env: sys::napi_env,
    pub(super) uv: &'static Uv,
    pub(super) event_loop: Loop,
    pub(super) outbound: JsBuffer,
    pub(super) inbound: JsBuffer,
    pub(super) deliver: sys::napi_ref,
    pub(super) async_context: sys::napi_async_context,
}

/// Why the engine did not do what was asked.
#[derive(Debug)]
pub(super) enum Unusable {
    /// The environment has been torn down.
    TornDown,
    /// It panicked, with this message: a bug of ours or of ttrpc, which must not unwind into Node.
    Panicked(String),
}

impl Environment {
    pub(super) fn new(parts: Parts, engine: Engine) -> std::io::Result<Rc<Self>> {
        let Parts { env, uv, event_loop, outbound, inbound, deliver, async_context } = parts;
        let environment = Rc::new(Self {
            env,
            uv,
            event_loop,
            engine: RefCell::new(Some(engine)),
            watchers: RefCell::default(),
            timer: RefCell::new(None),
            timer_at: Cell::new(None),
            timer_holds: Cell::new(false),
            outbound,
            inbound,
            deliver,
            async_context,
            unwatchable: Cell::new(None),
            open_handles: Cell::new(0),
            cleanup: Cell::new(ptr::null_mut()),
        });
        let timer = Watcher::timer(uv, event_loop, &environment)?;
        *environment.timer.borrow_mut() = Some(timer);
        let mut handle = ptr::null_mut();
        let data = Rc::into_raw(environment.clone()).cast_mut().cast::<c_void>();
        // SAFETY: `env` is the current environment; `data` is given back to `torn_down` once.
        unsafe { sys::napi_add_async_cleanup_hook(env, Some(torn_down), data, &raw mut handle) };
        environment.cleanup.set(handle);
        Ok(environment)
    }

    /// Runs `work` on the engine, then does what it asks of the watchers. Events are left waiting.
    pub(super) fn with<T>(
        self: &Rc<Self>,
        work: impl FnOnce(&mut Engine) -> T,
    ) -> Result<T, Unusable> {
        let result = {
            let mut engine = self.engine.borrow_mut();
            let engine = engine.as_mut().ok_or(Unusable::TornDown)?;
            catch_unwind(AssertUnwindSafe(|| work(engine))).map_err(panicked)?
        };
        let follow = || {
            self.apply_changes();
            self.set_timer();
        };
        catch_unwind(AssertUnwindSafe(follow)).map_err(panicked)?;
        Ok(result)
    }

    /// The first `length` bytes of the outbound buffer, for `read`.
    pub(super) fn with_batch<T>(
        self: &Rc<Self>,
        length: usize,
        read: impl FnOnce(&mut Engine, &[u8]) -> T,
    ) -> Result<T, Unusable> {
        let length = length.min(self.outbound.size);
        // SAFETY: a reference keeps the buffer alive, and JavaScript, its only writer, is waiting for
        // this call to return.
        let batch = unsafe { std::slice::from_raw_parts(self.outbound.start, length) };
        self.with(|engine| read(engine, batch))
    }

    /// Moves events that wait into the inbound buffer; returns the bytes written.
    pub(super) fn take_events(&self) -> usize {
        self.fill_inbound(|engine, buffer| engine.fill_events(buffer))
    }

    /// Lets `fill` write into the inbound buffer.
    pub(super) fn fill_inbound(&self, fill: impl FnOnce(&mut Engine, &mut [u8]) -> usize) -> usize {
        let mut engine = self.engine.borrow_mut();
        let Some(engine) = engine.as_mut() else { return 0 };
        // SAFETY: a reference keeps the buffer alive. JavaScript reads it only between this call's
        // return and its next call into the port, and not after that.
        let buffer =
            unsafe { std::slice::from_raw_parts_mut(self.inbound.start, self.inbound.size) };
        fill(engine, buffer)
    }

    /// Why a descriptor could not be watched.
    pub(super) fn watch_failure(&self, token: u32) -> Option<std::io::Error> {
        self.unwatchable.take().filter(|(failed, _)| *failed == token).map(|(_, error)| error)
    }

    fn apply_changes(self: &Rc<Self>) {
        loop {
            let changes = match self.engine.borrow_mut().as_mut() {
                Some(engine) if engine.has_changes() => engine.take_changes(),
                _ => return,
            };
            for change in changes {
                self.apply(change);
            }
        }
    }

    fn apply(self: &Rc<Self>, change: Change) {
        match change {
            Change::Watch { token, fd, interest } => {
                let mut watchers = self.watchers.borrow_mut();
                let watched = match watchers.get(&token) {
                    Some(watcher) => watcher.watch(interest, on_ready),
                    None => Watcher::poll(self.uv, self.event_loop, fd, token, self).and_then(
                        |watcher| {
                            let watched = watcher.watch(interest, on_ready);
                            watchers.insert(token, watcher);
                            watched
                        },
                    ),
                };
                drop(watchers);
                if let Err(error) = watched
                    && let Some(engine) = self.engine.borrow_mut().as_mut()
                {
                    engine.cannot_watch(token, &error);
                    self.unwatchable.set(Some((token, error)));
                }
            }
            Change::Forget { token, descriptor } => {
                if let Some(watcher) = self.watchers.borrow_mut().remove(&token) {
                    watcher.close(self);
                }
                drop(descriptor);
            }
        }
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

    /// Hands over all events that wait.
    fn deliver(&self) {
        while self.engine.borrow().as_ref().is_some_and(Engine::has_events) {
            let size = self.take_events();
            if size == 0 {
                return;
            }
            self.call_back(size);
        }
    }

    fn call_back(&self, size: usize) {
        let env = self.env;
        let mut scope = ptr::null_mut();
        // SAFETY: libuv calls back on the thread of `env`, outside of any other callback of it. The
        // reference and the context live as long as the environment. Each result is written before
        // it is read; a call that fails leaves a null, which the next one refuses.
        unsafe {
            if sys::napi_open_handle_scope(env, &raw mut scope) != sys::Status::napi_ok {
                return;
            }
            let (mut function, mut receiver, mut argument, mut result) =
                (ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
            sys::napi_get_reference_value(env, self.deliver, &raw mut function);
            sys::napi_get_global(env, &raw mut receiver);
            sys::napi_create_uint32(env, size as u32, &raw mut argument);
            let status = sys::napi_make_callback(
                env,
                self.async_context,
                receiver,
                function,
                1,
                &raw const argument,
                &raw mut result,
            );
            if status == sys::Status::napi_pending_exception {
                let mut exception = ptr::null_mut();
                sys::napi_get_and_clear_last_exception(env, &raw mut exception);
                sys::napi_fatal_exception(env, exception);
            }
            sys::napi_close_handle_scope(env, scope);
        }
    }

    /// Counts a handle whose memory libuv still uses.
    pub(super) fn handle_closing(&self) {
        self.open_handles.set(self.open_handles.get() + 1);
    }

    /// The memory of a handle was freed.
    pub(super) fn handle_closed(&self) {
        self.open_handles.set(self.open_handles.get() - 1);
        self.finish_teardown();
    }

    fn tear_down(self: &Rc<Self>) {
        let engine = self.engine.borrow_mut().take();
        for (_, watcher) in std::mem::take(&mut *self.watchers.borrow_mut()) {
            watcher.close(self);
        }
        if let Some(timer) = self.timer.borrow_mut().take() {
            timer.close(self);
        }
        // Descriptors close with the engine, so only after nothing watches them.
        drop(engine);
        self.finish_teardown();
    }

    /// Once all handles are freed, Node may close the loop.
    fn finish_teardown(&self) {
        if self.engine.borrow().is_none() && self.open_handles.get() == 0 {
            let hook = self.cleanup.replace(ptr::null_mut());
            if !hook.is_null() {
                // SAFETY: the hook was given by Node and, being replaced by null, is removed once.
                unsafe { sys::napi_remove_async_cleanup_hook(hook) };
            }
        }
    }
}

fn panicked(payload: Box<dyn Any + Send>) -> Unusable {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    Unusable::Panicked(text.unwrap_or("no message").to_owned())
}

/// libuv's timers count whole milliseconds.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// A panic must not unwind into libuv. The engine's own state is consistent between its steps, and
/// ttrpc's tasks have their own catch in tokio; what a panic leaves undone is lost with its call.
fn guarded(work: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(work));
}

unsafe extern "C" fn on_ready(handle: Handle, status: c_int, events: c_int) {
    guarded(|| {
        // SAFETY: libuv calls back for a handle of a `Watcher`.
        let Some((environment, token)) = (unsafe { owner(handle) }) else { return };
        // An error of the descriptor shows at the next read or write of it.
        let read = status < 0 || events & (READABLE | DISCONNECT) != 0;
        let write = status < 0 || events & WRITABLE != 0;
        if environment.with(|engine| engine.ready(token, read, write)).is_ok() {
            environment.deliver();
        }
    });
}

unsafe extern "C" fn on_timer(handle: Handle) {
    guarded(|| {
        // SAFETY: libuv calls back for a handle of a `Watcher`.
        let Some((environment, _)) = (unsafe { owner(handle) }) else { return };
        environment.timer_at.set(None);
        if environment.with(Engine::expire).is_ok() {
            environment.deliver();
        }
    });
}

unsafe extern "C" fn torn_down(_: sys::napi_async_cleanup_hook_handle, data: *mut c_void) {
    guarded(|| {
        // SAFETY: `data` is the count that `Environment::new` gave away, and Node calls this once.
        let environment = unsafe { Rc::from_raw(data.cast::<Environment>()) };
        environment.tear_down();
    });
}
