//! libuv handles: one `uv_poll` per watched descriptor, one timer, one `uv_check`, one `uv_prepare`, and one `uv_idle`.

use super::teardown::OwnsHandles;
use super::uv::{
    DISCONNECT, Handle, HandleCallback, Kind, Loop, LoopHandleInit, PollCallback, READABLE, Uv,
    WRITABLE,
};
use crate::engine::Interest;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::io;
use std::marker::PhantomData;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};

/// The data of a handle, for its callbacks.
struct Owner<T> {
    of: Weak<T>,
    /// The connection or listener whose descriptor is watched; 0 for the others.
    id: u32,
}

/// A handle of libuv. Its memory lives until libuv reports it closed.
#[derive(Debug)]
pub(super) struct UvHandle<T: OwnsHandles> {
    uv: &'static Uv,
    handle: Handle,
    /// The type of the owner that the handle's data points to.
    of: PhantomData<Weak<T>>,
    /// The events for which a `uv_poll_t` polls now.
    events: Cell<c_int>,
    /// Whether it keeps the process alive while it is active.
    held: Cell<bool>,
}

impl<T: OwnsHandles> UvHandle<T> {
    /// A handle that polls `fd`. It watches nothing yet and does not keep the process alive.
    pub(super) fn poll(
        uv: &'static Uv,
        on: Loop,
        fd: RawFd,
        id: u32,
        of: &Rc<T>,
    ) -> io::Result<Self> {
        let handle = allocate(uv, Kind::Poll)?;
        // SAFETY: `handle` has room for a uv_poll_t and `on` is this thread's loop. libuv sets the
        // descriptor non-blocking, which it is.
        let result = unsafe { (uv.poll_init)(on.0, handle, fd) };
        Self::initialised(uv, handle, result, id, of)
    }

    /// A timer.
    pub(super) fn timer(uv: &'static Uv, on: Loop, of: &Rc<T>) -> io::Result<Self> {
        Self::plain(uv, on, of, Kind::Timer, uv.timer_init)
    }

    /// A check, which is called after the descriptors of each turn of the event loop.
    pub(super) fn check(uv: &'static Uv, on: Loop, of: &Rc<T>) -> io::Result<Self> {
        Self::plain(uv, on, of, Kind::Check, uv.check_init)
    }

    /// A prepare handle, which is called just before the event loop sleeps, or would.
    pub(super) fn prepare(uv: &'static Uv, on: Loop, of: &Rc<T>) -> io::Result<Self> {
        Self::plain(uv, on, of, Kind::Prepare, uv.prepare_init)
    }

    /// An idle handle, which keeps the event loop from sleeping while it runs.
    pub(super) fn idle(uv: &'static Uv, on: Loop, of: &Rc<T>) -> io::Result<Self> {
        Self::plain(uv, on, of, Kind::Idle, uv.idle_init)
    }

    /// A handle of a kind that belongs to no descriptor, made by the kind's own `init`.
    fn plain(
        uv: &'static Uv,
        on: Loop,
        of: &Rc<T>,
        kind: Kind,
        init: LoopHandleInit,
    ) -> io::Result<Self> {
        let handle = allocate(uv, kind)?;
        // SAFETY: `handle` has room for the kind that `init` makes, and `on` is this thread's loop.
        let result = unsafe { init(on.0, handle) };
        Self::initialised(uv, handle, result, 0, of)
    }

    fn initialised(
        uv: &'static Uv,
        handle: Handle,
        result: c_int,
        id: u32,
        of: &Rc<T>,
    ) -> io::Result<Self> {
        if result != 0 {
            // SAFETY: `handle` came from malloc and libuv did not take it.
            unsafe { libc::free(handle) };
            return Err(io::Error::from_raw_os_error(-result));
        }
        let owner = Box::new(Owner { of: Rc::downgrade(of), id });
        // SAFETY: the handle is initialised. The box is taken back in `freed`.
        unsafe {
            (uv.set_data)(handle, Box::into_raw(owner).cast());
            (uv.release)(handle);
        }
        Ok(Self { uv, handle, of: PhantomData, events: Cell::new(0), held: Cell::new(false) })
    }

    /// Watches for `interest`.
    pub(super) fn watch(&self, interest: Interest, callback: PollCallback) -> io::Result<()> {
        let bit = |wanted: bool, bit: c_int| if wanted { bit } else { 0 };
        let events = bit(interest.read, READABLE)
            | bit(interest.hangup, DISCONNECT)
            | bit(interest.write, WRITABLE);
        self.hold(interest.hold);
        // libuv removes the descriptor from epoll and adds it again, three system calls, even if the events
        // stay the same. `hold` changes twice per call if calls follow one another.
        if self.events.get() == events {
            return Ok(());
        }
        // SAFETY: the handle is an initialised uv_poll_t that is not closing.
        let result = unsafe {
            if events == 0 {
                (self.uv.poll_stop)(self.handle)
            } else {
                (self.uv.poll_start)(self.handle, events, callback)
            }
        };
        if result != 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        self.events.set(events);
        Ok(())
    }

    /// Resumes polling after an error, at which libuv stops.
    pub(super) fn resume(&self, callback: PollCallback) {
        if self.events.get() != 0 {
            // SAFETY: the handle is an initialised uv_poll_t that is not closing. Starting it can only
            // fail for one that is.
            unsafe { (self.uv.poll_start)(self.handle, self.events.get(), callback) };
        }
    }

    /// Whether a handle that watches a descriptor keeps the process alive.
    pub(super) fn holds(&self) -> bool {
        self.held.get() && self.events.get() != 0
    }

    /// Sets whether the handle keeps the process alive.
    pub(super) fn hold(&self, hold: bool) {
        self.held.set(hold);
        // SAFETY: the handle is initialised and not closing.
        unsafe { if hold { (self.uv.hold)(self.handle) } else { (self.uv.release)(self.handle) } }
    }

    /// Fires once after `milliseconds`.
    pub(super) fn fire_after(&self, milliseconds: u64, callback: HandleCallback) {
        // SAFETY: the handle is an initialised uv_timer_t that is not closing. Starting it can only
        // fail for a missing callback.
        unsafe { (self.uv.timer_start)(self.handle, callback, milliseconds, 0) };
    }

    /// Calls back after the descriptors of this turn of the event loop, and of the next ones.
    pub(super) fn start_checking(&self, callback: HandleCallback) {
        // SAFETY: the handle is an initialised uv_check_t that is not closing. Starting it can only
        // fail for a missing callback.
        unsafe { (self.uv.check_start)(self.handle, callback) };
    }

    /// Stops calling back.
    pub(super) fn stop_checking(&self) {
        // SAFETY: the handle is an initialised uv_check_t that is not closing.
        unsafe { (self.uv.check_stop)(self.handle) };
    }

    /// Calls back in each turn of the event loop, just before it sleeps.
    pub(super) fn start_preparing(&self, callback: HandleCallback) {
        // SAFETY: the handle is an initialised uv_prepare_t that is not closing. Starting it can only fail for a missing
        // callback.
        unsafe { (self.uv.prepare_start)(self.handle, callback) };
    }

    /// Stops calling back.
    pub(super) fn stop_preparing(&self) {
        // SAFETY: the handle is an initialised uv_prepare_t that is not closing.
        unsafe { (self.uv.prepare_stop)(self.handle) };
    }

    /// Keeps the event loop from sleeping. Calls back in each of its turns.
    pub(super) fn start_idling(&self, callback: HandleCallback) {
        // SAFETY: the handle is an initialised uv_idle_t that is not closing. Starting it can only fail for a missing
        // callback.
        unsafe { (self.uv.idle_start)(self.handle, callback) };
    }

    /// Lets the event loop sleep.
    pub(super) fn stop_idling(&self) {
        // SAFETY: the handle is an initialised uv_idle_t that is not closing.
        unsafe { (self.uv.idle_stop)(self.handle) };
    }

    /// Stops watching at once, and frees the handle in a later turn of the event loop. The descriptor may be
    /// closed as soon as this returns.
    pub(super) fn close(self, of: &T) {
        of.teardown().handle_closing();
        // SAFETY: the handle is initialised and, since `self` is consumed, closed once.
        unsafe { (self.uv.close)(self.handle, freed::<T>) };
    }
}

/// The owner of a handle, unless it is gone, and the id of the connection or listener.
///
/// # Safety
///
/// `handle` must be one of a `UvHandle<T>` that libuv is calling back for.
pub(super) unsafe fn owner<T: OwnsHandles>(handle: Handle) -> Option<(Rc<T>, u32)> {
    let uv = Uv::get().ok()?;
    // SAFETY: `initialised` put a box there, and only `freed`, the last callback, takes it out.
    let owner = unsafe { &*(uv.get_data)(handle).cast::<Owner<T>>() };
    Some((owner.of.upgrade()?, owner.id))
}

/// Catches panics, which must not unwind into libuv. The engine's state is consistent between its steps, and
/// tokio catches panics of ttrpc's tasks. What a panic leaves undone is lost with its call.
pub(super) fn guarded(work: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(work));
}

unsafe extern "C" fn freed<T: OwnsHandles>(handle: Handle) {
    let Ok(uv) = Uv::get() else { return };
    // SAFETY: libuv calls this once, when it no longer uses the handle: the box and the memory that
    // `initialised` and `allocate` made are no longer reachable from elsewhere.
    let owner = unsafe {
        let owner = Box::from_raw((uv.get_data)(handle).cast::<Owner<T>>());
        libc::free(handle);
        owner
    };
    if let Some(of) = owner.of.upgrade() {
        of.teardown().handle_closed();
    }
}

fn allocate(uv: &'static Uv, kind: Kind) -> io::Result<*mut c_void> {
    // SAFETY: plain calls; the result is checked.
    let handle = unsafe { libc::malloc((uv.handle_size)(kind as c_int)) };
    if handle.is_null() { Err(io::ErrorKind::OutOfMemory.into()) } else { Ok(handle) }
}
