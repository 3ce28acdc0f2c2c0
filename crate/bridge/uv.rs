//! The functions of libuv that the bridge uses.
//!
//! They are looked up in the running process when an environment starts, and not bound by the linker. So a
//! runtime that does not export them gets an error that says so; with an unresolved symbol, the addon would
//! fail to load with an error of the linker.

use std::ffi::{CStr, c_int, c_void};
use std::os::fd::RawFd;
use std::sync::OnceLock;
use std::time::Duration;

/// A `uv_loop_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Loop(pub(super) *mut c_void);

impl Loop {
    /// Has it read the clock again. Must be called on the loop's own thread.
    pub(super) fn update_time(self, uv: &Uv) {
        // SAFETY: the loop lives as long as its environment, to whose thread this type is confined.
        unsafe { (uv.update_time)(self.0) };
    }

    /// The descriptor that can be read once one that the loop watches is ready. Must be called on the loop's own thread.
    pub(super) fn descriptor(self, uv: &Uv) -> RawFd {
        // SAFETY: as in `update_time`.
        unsafe { (uv.backend_fd)(self.0) }
    }

    /// How long it would sleep now unless a descriptor becomes ready; `None` means for ever. Must be called on the loop's
    /// own thread, and not by an idle handle: while those are called back, libuv does not count the ones that are left.
    pub(super) fn would_sleep(self, uv: &Uv) -> Option<Duration> {
        // SAFETY: as in `update_time`.
        let milliseconds = unsafe { (uv.backend_timeout)(self.0) };
        u64::try_from(milliseconds).ok().map(Duration::from_millis)
    }
}

/// Any handle of libuv.
pub(super) type Handle = *mut c_void;

pub(super) type PollCallback = unsafe extern "C" fn(Handle, status: c_int, events: c_int);
pub(super) type HandleCallback = unsafe extern "C" fn(Handle);
pub(super) type LoopHandleInit = unsafe extern "C" fn(*mut c_void, Handle) -> c_int;
pub(super) type WalkCallback = unsafe extern "C" fn(Handle, argument: *mut c_void);

/// Event bits of `uv_poll`.
pub(super) const READABLE: c_int = 1;
pub(super) const WRITABLE: c_int = 2;
pub(super) const DISCONNECT: c_int = 4;

/// `uv_handle_type`, whose numbers have been stable since libuv 1.0.
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
pub(super) enum Kind {
    Check = 2,
    Idle = 6,
    Poll = 8,
    Prepare = 9,
    Process = 10,
    Timer = 13,
}

macro_rules! functions {
    ($($field:ident: $signature:ty = $symbol:literal;)*) => {
        /// libuv's entry points.
        #[derive(Debug, Clone, Copy)]
        pub(super) struct Uv {
            $(pub(super) $field: $signature,)*
        }

        impl Uv {
            /// The entry points, looked up at the first call. The error names the first that is missing.
            pub(super) fn get() -> Result<&'static Self, &'static str> {
                static FOUND: OnceLock<Result<Uv, &'static str>> = OnceLock::new();
                FOUND.get_or_init(Self::find).as_ref().map_err(|missing| *missing)
            }

            fn find() -> Result<Self, &'static str> {
                Ok(Self {
                    $($field: {
                        let symbol = find($symbol).ok_or(concat!($symbol))?;
                        // SAFETY: the symbol is libuv's function of this name, whose signature is
                        // part of libuv's stable ABI; both types are one pointer wide.
                        unsafe { std::mem::transmute::<*mut c_void, $signature>(symbol) }
                    },)*
                })
            }
        }
    };
}

functions! {
    handle_size: unsafe extern "C" fn(c_int) -> usize = "uv_handle_size";
    set_data: unsafe extern "C" fn(Handle, *mut c_void) = "uv_handle_set_data";
    get_data: unsafe extern "C" fn(Handle) -> *mut c_void = "uv_handle_get_data";
    kind: unsafe extern "C" fn(Handle) -> c_int = "uv_handle_get_type";
    is_active: unsafe extern "C" fn(Handle) -> c_int = "uv_is_active";
    close: unsafe extern "C" fn(Handle, HandleCallback) = "uv_close";
    hold: unsafe extern "C" fn(Handle) = "uv_ref";
    release: unsafe extern "C" fn(Handle) = "uv_unref";
    walk: unsafe extern "C" fn(*mut c_void, WalkCallback, *mut c_void) = "uv_walk";
    update_time: unsafe extern "C" fn(*mut c_void) = "uv_update_time";
    backend_fd: unsafe extern "C" fn(*const c_void) -> c_int = "uv_backend_fd";
    backend_timeout: unsafe extern "C" fn(*const c_void) -> c_int = "uv_backend_timeout";
    check_init: LoopHandleInit = "uv_check_init";
    check_start: unsafe extern "C" fn(Handle, HandleCallback) -> c_int = "uv_check_start";
    check_stop: unsafe extern "C" fn(Handle) -> c_int = "uv_check_stop";
    idle_init: LoopHandleInit = "uv_idle_init";
    idle_start: unsafe extern "C" fn(Handle, HandleCallback) -> c_int = "uv_idle_start";
    idle_stop: unsafe extern "C" fn(Handle) -> c_int = "uv_idle_stop";
    poll_init: unsafe extern "C" fn(*mut c_void, Handle, c_int) -> c_int = "uv_poll_init";
    poll_start: unsafe extern "C" fn(Handle, c_int, PollCallback) -> c_int = "uv_poll_start";
    poll_stop: unsafe extern "C" fn(Handle) -> c_int = "uv_poll_stop";
    prepare_init: LoopHandleInit = "uv_prepare_init";
    prepare_start: unsafe extern "C" fn(Handle, HandleCallback) -> c_int = "uv_prepare_start";
    prepare_stop: unsafe extern "C" fn(Handle) -> c_int = "uv_prepare_stop";
    process_pid: unsafe extern "C" fn(Handle) -> c_int = "uv_process_get_pid";
    timer_init: LoopHandleInit = "uv_timer_init";
    timer_start: unsafe extern "C" fn(Handle, HandleCallback, u64, u64) -> c_int = "uv_timer_start";
}

fn find(symbol: &str) -> Option<*mut c_void> {
    let mut name = [0u8; 32];
    name[..symbol.len()].copy_from_slice(symbol.as_bytes());
    let name = CStr::from_bytes_until_nul(&name).ok()?;
    // SAFETY: `name` is a C string; RTLD_DEFAULT only searches the loaded objects.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}
