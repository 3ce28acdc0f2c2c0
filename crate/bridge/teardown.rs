//! The end of an owner of libuv handles, with its environment: Node may close the event loop once libuv has released the last
//! handle, and until then the owner must live.

use napi::sys;
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;

/// An owner of libuv handles.
pub(super) trait OwnsHandles: Sized + 'static {
    /// Its teardown.
    fn teardown(&self) -> &Teardown<Self>;
    /// The environment is ending: closes all handles.
    fn close_handles(self: &Rc<Self>);
}

/// See the module's documentation.
pub(super) struct Teardown<T> {
    /// Handles that are closing.
    closing: Cell<usize>,
    hook: Cell<sys::napi_async_cleanup_hook_handle>,
    /// The owner, once its environment is ending. Nothing else may refer to it then.
    ending: RefCell<Option<Rc<T>>>,
}

impl<T> Default for Teardown<T> {
    fn default() -> Self {
        Self { closing: Cell::new(0), hook: Cell::new(ptr::null_mut()), ending: RefCell::default() }
    }
}

impl<T: OwnsHandles> Teardown<T> {
    /// Has `owner` torn down with the current environment, `env`.
    pub(super) fn with_environment(owner: &Rc<T>, env: sys::napi_env) {
        let mut hook = ptr::null_mut();
        let data = Rc::into_raw(owner.clone()).cast_mut().cast::<c_void>();
        // SAFETY: `env` is the current environment; `torn_down` takes `data` back, once.
        unsafe { sys::napi_add_async_cleanup_hook(env, Some(torn_down::<T>), data, &raw mut hook) };
        owner.teardown().hook.set(hook);
    }

    /// A handle is being closed.
    pub(super) fn handle_closing(&self) {
        self.closing.set(self.closing.get() + 1);
    }

    /// libuv has released a handle.
    pub(super) fn handle_closed(&self) {
        self.closing.set(self.closing.get() - 1);
        self.finish();
    }

    /// Lets Node close the event loop, if the last handle is released.
    fn finish(&self) {
        if self.closing.get() > 0 || self.ending.borrow().is_none() {
            return;
        }
        let hook = self.hook.replace(ptr::null_mut());
        if !hook.is_null() {
            // SAFETY: the hook was given by Node and, being replaced by null, is removed once.
            unsafe { sys::napi_remove_async_cleanup_hook(hook) };
        }
        // The callers have references of their own.
        drop(self.ending.take());
    }
}

unsafe extern "C" fn torn_down<T: OwnsHandles>(
    _: sys::napi_async_cleanup_hook_handle,
    data: *mut c_void,
) {
    // A panic must not unwind into Node.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `data` is the reference count that `with_environment` gave away, and Node calls this once.
        let owner = unsafe { Rc::from_raw(data.cast::<T>()) };
        owner.teardown().ending.replace(Some(owner.clone()));
        owner.close_handles();
        owner.teardown().finish();
    }));
}
