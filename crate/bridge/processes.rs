//! The processes for which libuv waits. It keeps a handle for each, from before `uv_spawn` returns until it
//! has reaped the process.

use super::uv::{Handle, find};
use napi::{Env, Error, Result, sys};
use std::ffi::{c_int, c_void};
use std::mem::transmute;
use std::ptr;

/// `uv_process_t`'s number in `uv_handle_type`, which has been stable since libuv 1.0.
const PROCESS: c_int = 10;

type Walk =
    unsafe extern "C" fn(*mut c_void, unsafe extern "C" fn(Handle, *mut c_void), *mut c_void);
type Ask = unsafe extern "C" fn(Handle) -> c_int;

/// The functions to call with each handle, and the pids found.
struct Walked {
    kind: Ask,
    is_active: Ask,
    pid: Ask,
    pids: Vec<u32>,
}

/// The pids of the processes for which the event loop of the current environment waits.
pub(super) fn of_loop(env: &Env) -> Result<Vec<u32>> {
    let function = |name: &'static str| {
        find(name).ok_or_else(|| Error::from_reason(format!("this runtime has no {name}")))
    };
    // SAFETY: the symbols are libuv's functions of these names, whose signatures are part of its stable
    // ABI; all the types are one pointer wide.
    let (walk, mut walked) = unsafe {
        (
            transmute::<*mut c_void, Walk>(function("uv_walk")?),
            Walked {
                kind: transmute::<*mut c_void, Ask>(function("uv_handle_get_type")?),
                is_active: transmute::<*mut c_void, Ask>(function("uv_is_active")?),
                pid: transmute::<*mut c_void, Ask>(function("uv_process_get_pid")?),
                pids: Vec::new(),
            },
        )
    };
    let mut event_loop = ptr::null_mut();
    // SAFETY: the environment is the current one, the out-pointer is a local, and `note` takes the pointer
    // that it is passed here. A walk runs no JavaScript and changes no handle.
    unsafe {
        if sys::napi_get_uv_event_loop(env.raw(), &raw mut event_loop) != sys::Status::napi_ok {
            return Err(Error::from_reason("this environment has no event loop"));
        }
        walk(event_loop.cast(), note, (&raw mut walked).cast());
    }
    Ok(walked.pids)
}

/// Notes the pid of a handle for a process that has not been reaped.
unsafe extern "C" fn note(handle: Handle, walked: *mut c_void) {
    // SAFETY: libuv calls this during `of_loop`, with one of its handles and the pointer that `of_loop`
    // passed.
    unsafe {
        let Some(walked) = walked.cast::<Walked>().as_mut() else { return };
        // The handle of a reaped process keeps the pid until it is closed, but is not active.
        if (walked.kind)(handle) == PROCESS && (walked.is_active)(handle) != 0 {
            walked.pids.extend(u32::try_from((walked.pid)(handle)));
        }
    }
}
