//! The processes for which libuv waits. It keeps a handle for each, from before `uv_spawn` returns until it
//! has reaped the process.

use super::buffers::check;
use super::uv::{Handle, Kind, Uv};
use napi::{Env, Error, Result, sys};
use std::ffi::{c_int, c_void};
use std::ptr;

/// What is found on a walk through the handles of an event loop.
struct Walked {
    uv: &'static Uv,
    pids: Vec<u32>,
}

/// The pids of the processes for which the event loop of the current environment waits.
pub(super) fn of_loop(env: &Env) -> Result<Vec<u32>> {
    let uv =
        Uv::get().map_err(|symbol| Error::from_reason(format!("this runtime has no {symbol}")))?;
    let mut walked = Walked { uv, pids: Vec::new() };
    let mut event_loop = ptr::null_mut();
    // SAFETY: the environment is the current one, the out-pointer is a local, and `note` takes the pointer
    // that it is passed here. A walk runs no JavaScript and changes no handle.
    unsafe {
        check(sys::napi_get_uv_event_loop(env.raw(), &raw mut event_loop))?;
        (uv.walk)(event_loop.cast(), note, (&raw mut walked).cast());
    }
    Ok(walked.pids)
}

/// Notes the pid of a handle for a process that has not been reaped.
unsafe extern "C" fn note(handle: Handle, walked: *mut c_void) {
    // SAFETY: libuv calls this during `of_loop`, with one of its handles and the pointer that `of_loop`
    // passed.
    unsafe {
        let Some(Walked { uv, pids }) = walked.cast::<Walked>().as_mut() else { return };
        // The handle of a reaped process keeps the pid until it is closed, but is not active.
        if (uv.kind)(handle) == Kind::Process as c_int && (uv.is_active)(handle) != 0 {
            pids.extend(u32::try_from((uv.process_pid)(handle)));
        }
    }
}
