//! Looks for answers before the event loop sleeps.

use super::teardown::{OwnsHandles, Teardown};
use super::uv::{Handle, Loop, Uv};
use super::uv_handle::{UvHandle, guarded, owner};
use crate::system::poll::{Found, look_for_input};
use napi::sys;
use std::cell::RefCell;
use std::os::fd::RawFd;
use std::rc::{Rc, Weak};
use std::time::Instant;

/// A driver that looks for answers.
pub(super) trait LooksForAnswers: 'static {
    /// Looks. Returns whether to look again in the next turn of the event loop, which then must not sleep.
    fn look(self: &Rc<Self>) -> bool;
}

/// See the module's documentation.
pub(super) struct Looker<T: LooksForAnswers> {
    uv: &'static Uv,
    event_loop: Loop,
    driver: Weak<T>,
    /// Calls the driver before the event loop sleeps.
    prepare: RefCell<Option<UvHandle<Self>>>,
    /// Keeps the event loop awake while answers are looked for.
    idle: RefCell<Option<UvHandle<Self>>>,
    teardown: Teardown<Self>,
}

impl<T: LooksForAnswers> Looker<T> {
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
            teardown: Teardown::default(),
        });
        let prepare = UvHandle::prepare(uv, event_loop, &looker)?;
        *looker.prepare.borrow_mut() = Some(prepare);
        let idle = UvHandle::idle(uv, event_loop, &looker)?;
        *looker.idle.borrow_mut() = Some(idle);
        Teardown::with_environment(&looker, env);
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
}

impl<T: LooksForAnswers> OwnsHandles for Looker<T> {
    fn teardown(&self) -> &Teardown<Self> {
        &self.teardown
    }

    fn close_handles(self: &Rc<Self>) {
        for handle in [&self.prepare, &self.idle] {
            if let Some(handle) = handle.borrow_mut().take() {
                handle.close(self);
            }
        }
    }
}

unsafe extern "C" fn on_prepare<T: LooksForAnswers>(handle: Handle) {
    guarded(|| {
        // SAFETY: libuv calls back for a handle of a `UvHandle<Looker<T>>`.
        let Some((looker, _)) = (unsafe { owner::<Looker<T>>(handle) }) else { return };
        looker.prepare();
    });
}

/// The event loop is awake, which is all.
unsafe extern "C" fn on_idle(_: Handle) {}
