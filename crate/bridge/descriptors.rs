//! Whether a descriptor that JavaScript hands over by number may be taken over.

use super::uv::{Handle, Kind, Loop, Uv};
use crate::socket::is_claimed;
use napi::sys;
use std::ffi::c_int;
use std::io;
use std::os::fd::RawFd;
use std::ptr;

/// Refuses a descriptor that an engine of this process owns, or that the event loop of `env` watches: two
/// owners would both use it, and close it twice. The error is EEXIST; the descriptor stays as it is. If the runtime is not
/// Node, as `in_node` says, its event loop cannot be asked: Bun ends the process.
pub(super) fn check_free(env: sys::napi_env, in_node: bool, fd: RawFd) -> io::Result<()> {
    if is_claimed(fd) || in_node && is_watched(env, fd) {
        return Err(io::Error::from_raw_os_error(libc::EEXIST));
    }
    Ok(())
}

/// Whether the event loop of `env` watches `fd`: libuv refuses a second handle for it.
fn is_watched(env: sys::napi_env, fd: RawFd) -> bool {
    let Ok(uv) = Uv::get() else { return false };
    let mut event_loop = ptr::null_mut();
    // SAFETY: `env` is the current environment; the out-pointer is a local.
    let status = unsafe { sys::napi_get_uv_event_loop(env, &raw mut event_loop) };
    if status != sys::Status::napi_ok {
        return false;
    }
    let on = Loop(event_loop.cast());
    // SAFETY: libuv says how large its handle is, and malloc takes any size; the result is checked.
    let handle = unsafe { libc::malloc((uv.handle_size)(Kind::Poll as c_int)) };
    if handle.is_null() {
        return false;
    }
    // SAFETY: `handle` has room for a uv_poll_t and `on` is this thread's loop. A handle that libuv took is
    // freed once libuv reports it closed; one that it refused is freed at once.
    unsafe {
        let result = (uv.poll_init)(on.0, handle, fd);
        if result == 0 {
            (uv.close)(handle, freed);
        } else {
            libc::free(handle);
        }
        result == -libc::EEXIST
    }
}

unsafe extern "C" fn freed(handle: Handle) {
    // SAFETY: `is_watched` allocated it, and libuv calls this once, when it no longer uses it.
    unsafe { libc::free(handle) };
}
