//! Looks for answers before the event loop sleeps.

use super::uv::{Handle, Loop, Uv};
use super::uv_handle::{CountsHandles, UvHandle, owner};
use crate::system::poll::{Found, look_for_input};
use napi::sys;
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::{Rc, Weak};
use std::time::Instant;

/// A driver that looks for answers.
pub(super) trait Looks: 'static {
    /// Looks. Returns whether to look again in the next turn of the event loop, which then must not sleep.
    fn look(self: &Rc<Self>) -> bool;
}

/// See the module's documentation.
pub(super) struct Looker<T: Looks> {
    uv: &'static Uv,
    event_loop: Loop,
    driver: Weak<T>,
    /// Calls the driver before the event loop sleeps.
    prepare: RefCell<Option<UvHandle<Self>>>,
    /// Keeps the event loop awake while answers are looked for.
    idle: RefCell<Option<UvHandle<Self>>>,
    open_handles: Cell<usize>,
    cleanup: Cell<sys::napi_async_cleanup_hook_handle>,
    /// Itself, during the teardown: the driver may be gone, and something must live until the last handle is freed.
    ending: Cell<Option<Rc<Self>>>,
}

impl<T: Looks> Looker<T> {
    /// Looks on behalf of `driver`, whose environment is the current one.
    pub(super) fn new(
        uv: &'static Uv,
        event_loop: Loop,
        env: sys::napi_env,
        driver: Weak<T>,
    ) -> std::io::Result<Rc<Self>> {
        let looker = Rc::new(Self {
            uv,
            event_loop,
            driver,
            prepare: RefCell::new(None),
            idle: RefCell::new(None),
            open_handles: Cell::new(0),
            cleanup: Cell::new(ptr::null_mut()),
            ending: Cell::new(None),
        });
        let prepare = UvHandle::prepare(uv, event_loop, &looker)?;
        *looker.prepare.borrow_mut() = Some(prepare);
        let idle = UvHandle::idle(uv, event_loop, &looker)?;
        *looker.idle.borrow_mut() = Some(idle);
        let mut hook = ptr::null_mut();
        let data = Rc::into_raw(looker.clone()).cast_mut().cast::<c_void>();
        // SAFETY: `env` is the current environment; `torn_down` takes `data` back, once.
        unsafe { sys::napi_add_async_cleanup_hook(env, Some(torn_down::<T>), data, &raw mut hook) };
        looker.cleanup.set(hook);
        Ok(looker)
    }

    /// Has the driver look before the event loop sleeps, and again for as long as it wants to.
    pub(super) fn start(&self) {
        if let Some(prepare) = self.prepare.borrow().as_ref() {
            prepare.start_preparing(on_prepare::<T>);
        }
    }

    /// Asks until `until` whether one of the descriptors can be read. Whatever else the event loop waits for ends its sleep,
    /// and so this.
    pub(super) fn find(&self, fds: impl Iterator<Item = RawFd>, until: Instant) -> Found {
        let others = self.event_loop.descriptor(self.uv);
        let sleeps = self.event_loop.would_sleep(self.uv);
        let wakes = sleeps.and_then(|most| Instant::now().checked_add(most));
        let most = wakes.map_or(until, |wakes| wakes.min(until));
        let found = look_for_input(fds, Some(others), most);
        // The event loop reads its clock before it calls back, and would sleep too long.
        self.event_loop.update_time(self.uv);
        found
    }

    fn prepare(&self) {
        self.keep_awake(false);
        let again = self.driver.upgrade().is_some_and(|driver| driver.look());
        self.keep_awake(again);
        if !again && let Some(prepare) = self.prepare.borrow().as_ref() {
            prepare.stop_preparing();
        }
    }

    fn keep_awake(&self, awake: bool) {
        if let Some(idle) = self.idle.borrow().as_ref() {
            if awake { idle.start_idling(on_idle) } else { idle.stop_idling() }
        }
    }

    fn tear_down(self: &Rc<Self>) {
        self.ending.set(Some(self.clone()));
        for handle in [&self.prepare, &self.idle] {
            if let Some(handle) = handle.borrow_mut().take() {
                handle.close(self);
            }
        }
    }
}

impl<T: Looks> CountsHandles for Looker<T> {
    fn handle_closing(&self) {
        self.open_handles.set(self.open_handles.get() + 1);
    }

    /// Once all handles are freed, lets Node close the event loop.
    fn handle_closed(&self) {
        self.open_handles.set(self.open_handles.get() - 1);
        if self.open_handles.get() > 0 {
            return;
        }
        let hook = self.cleanup.replace(ptr::null_mut());
        if !hook.is_null() {
            // SAFETY: the hook was given by Node and, being replaced by null, is removed once.
            unsafe { sys::napi_remove_async_cleanup_hook(hook) };
        }
        // The caller has a reference of its own.
        drop(self.ending.take());
    }
}

/// A panic must not unwind into libuv.
fn guarded(work: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(work));
}

unsafe extern "C" fn on_prepare<T: Looks>(handle: Handle) {
    guarded(|| {
        // SAFETY: libuv calls back for a handle of a `UvHandle<Looker<T>>`.
        let Some((looker, _)) = (unsafe { owner::<Looker<T>>(handle) }) else { return };
        looker.prepare();
    });
}

/// The event loop is awake, which is all.
unsafe extern "C" fn on_idle(_: Handle) {}

unsafe extern "C" fn torn_down<T: Looks>(
    _: sys::napi_async_cleanup_hook_handle,
    data: *mut c_void,
) {
    guarded(|| {
        // SAFETY: `data` is the reference count that `Looker::new` gave away, and Node calls this once.
        let looker = unsafe { Rc::from_raw(data.cast::<Looker<T>>()) };
        looker.tear_down();
    });
}
