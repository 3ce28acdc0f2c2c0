//! The threadsafe function by which a thread of the addon calls JavaScript's.

use napi::sys;
use std::ptr;

/// A threadsafe function of Node. It lives until it is released, at the latest when its environment ends.
#[derive(Clone, Copy)]
pub(super) struct News(pub(super) sys::napi_threadsafe_function);

// SAFETY: a threadsafe function may be called from any thread. Whoever calls it has ended before it is released.
unsafe impl Send for News {}
// SAFETY: as above.
unsafe impl Sync for News {}

impl News {
    /// Has the function called on JavaScript's thread.
    pub(super) fn tell(self) {
        // SAFETY: the function lives until the thread that calls this has ended. The queue has no limit, so
        // the call does not fail for lack of room.
        unsafe {
            let mode = sys::ThreadsafeFunctionCallMode::nonblocking;
            sys::napi_call_threadsafe_function(self.0, ptr::null_mut(), mode);
        }
    }

    /// Gives it back. Otherwise it would hold memory, even when its environment has ended, and might keep the process alive.
    ///
    /// # Safety
    ///
    /// Nobody uses it any more, and its environment, which may be ending, is the current one.
    pub(super) unsafe fn release(self) {
        // SAFETY: the caller's promise.
        unsafe {
            let mode = sys::ThreadsafeFunctionReleaseMode::abort;
            sys::napi_release_threadsafe_function(self.0, mode);
        }
    }

    /// Says whether it keeps the process alive.
    ///
    /// # Safety
    ///
    /// `env` is the function's environment, and this is its thread.
    pub(super) unsafe fn hold(self, env: sys::napi_env, hold: bool) {
        // SAFETY: the caller's promise.
        unsafe {
            if hold {
                sys::napi_ref_threadsafe_function(env, self.0);
            } else {
                sys::napi_unref_threadsafe_function(env, self.0);
            }
        }
    }
}
