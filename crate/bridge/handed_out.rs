//! Descriptors that JavaScript has by their numbers, and that must not outlive its environment: a worker may be terminated
//! anywhere, and a pipe that stays open never ends for its reader.
//!
//! A number may be another descriptor's as soon as it is closed. So every one that was handed out comes back before it is
//! closed or has another owner: no code of JavaScript closes one by itself.

use napi::bindgen_prelude::Env;
use napi::sys;
use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::c_void;
use std::io;
use std::os::fd::{FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd};
use std::ptr;

thread_local! {
    /// Those of this thread's environment; `None` as long as there is nothing to be done when it ends.
    static HANDED_OUT: RefCell<Option<HashSet<RawFd>>> = const { RefCell::new(None) };
}

/// Hands a descriptor to JavaScript. Fails if the environment is ending.
pub(super) fn hand_out(env: &Env, descriptor: OwnedFd) -> io::Result<RawFd> {
    HANDED_OUT.with_borrow_mut(|handed_out| {
        if handed_out.is_none() {
            // SAFETY: `env` is the current environment. The hook takes no data, and is added once for a thread's
            // environment.
            let status =
                unsafe { sys::napi_add_env_cleanup_hook(env.raw(), Some(ended), ptr::null_mut()) };
            if status != sys::Status::napi_ok {
                return Err(io::ErrorKind::Other.into());
            }
        }
        let fd = descriptor.into_raw_fd();
        handed_out.get_or_insert_default().insert(fd);
        Ok(fd)
    })
}

/// Notes that a descriptor has another owner from now on. JavaScript may have it from elsewhere, too.
pub(super) fn give_up(fd: RawFd) {
    HANDED_OUT.with_borrow_mut(|handed_out| {
        if let Some(handed_out) = handed_out {
            handed_out.remove(&fd);
        }
    });
}

/// Takes a descriptor back that was handed out.
pub(super) fn take_back(fd: RawFd) -> OwnedFd {
    give_up(fd);
    // SAFETY: JavaScript owned it, and gives it up.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

unsafe extern "C" fn ended(_: *mut c_void) {
    for fd in HANDED_OUT.take().unwrap_or_default() {
        // SAFETY: nobody else owns it, and no JavaScript is left that could use it.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
}
