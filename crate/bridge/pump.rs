//! The pump of one environment, and how JavaScript hears of its transfers.

use super::buffers::{check, resource_name};
use super::handed_out::take_back;
use super::news::News;
use super::system::answer;
use crate::system::pump::{News as Happened, Other, Pump};
use napi::bindgen_prelude::{Env, Function, JsValue as _};
use napi::{Error, Result, sys};
use napi_derive::napi;
use std::cell::RefCell;
use std::ffi::c_void;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;
use std::time::Duration;

/// Threads that move bytes between descriptors. See `crate::system::pump`.
#[napi]
pub struct BindingPump {
    inner: Rc<Inner>,
}

struct Inner {
    env: sys::napi_env,
    news: News,
    /// Gone once the environment is torn down.
    pump: RefCell<Option<Pump>>,
}

#[napi]
impl BindingPump {
    /// Starts the thread. `on_reports` is called when there is something for `take_reports` to return. Async hooks see it
    /// as the resource, so it may have a `hasRef`.
    #[napi(constructor, catch_unwind)]
    pub fn new(env: Env, on_reports: Function<'_, (), ()>) -> Result<Self> {
        let env = env.raw();
        let mut news = ptr::null_mut();
        // SAFETY: `env` is the current environment and the function is of this call. Without a native callback, Node
        // calls the function itself.
        unsafe {
            check(sys::napi_create_threadsafe_function(
                env,
                on_reports.value().value,
                on_reports.value().value,
                resource_name(env)?,
                0,
                1,
                ptr::null_mut(),
                None,
                ptr::null_mut(),
                None,
                &raw mut news,
            ))?;
            // Until `hold` is called.
            check(sys::napi_unref_threadsafe_function(env, news))?;
        }
        let news = News(news);
        let pump = Pump::new(move || news.tell());
        let pump = pump.map_err(|error| {
            // SAFETY: it was made above, and no thread has it.
            unsafe { news.release() };
            Error::from_reason(error.to_string())
        })?;
        let inner = Inner { env, news, pump: RefCell::new(Some(pump)) };
        let inner = Rc::new(inner);
        let data = Rc::into_raw(inner.clone()).cast_mut().cast::<c_void>();
        // SAFETY: `env` is the current environment; `data` is given back to `torn_down` once.
        check(unsafe { sys::napi_add_env_cleanup_hook(env, Some(torn_down), data) })?;
        Ok(Self { inner })
    }

    /// Takes over one end of a transfer, and makes sure that there is a thread for it. Returns the transfer's number, or the
    /// system's error number below 0: EAGAIN if too many files are written or read at once.
    #[napi(catch_unwind)]
    pub fn reserve(&self, end: i32) -> i64 {
        let end = take_back(end);
        self.with(|pump| pump.reserve(end).map(u64::cast_signed))
    }

    /// Lets bytes flow between the end that was reserved and another, which it takes over, also if it fails. Returns 0, or
    /// the system's error number below 0.
    #[napi(catch_unwind)]
    pub fn start(&self, transfer: i64, other: i32, other_is_source: bool) -> i32 {
        let other = take_back(other);
        let other = if other_is_source { Other::Source(other) } else { Other::Destination(other) };
        self.with(|pump| pump.start(transfer.cast_unsigned(), other).map(|()| 0))
    }

    /// Ends a transfer as soon as what its source has now been given has been passed on.
    #[napi(catch_unwind)]
    pub fn finish(&self, transfer: i64) {
        if let Some(pump) = &*self.inner.pump.borrow() {
            pump.finish(transfer.cast_unsigned());
        }
    }

    /// Reports once the bytes that are in the source now have been passed on, and read if they went to a fifo, or when the
    /// time is up.
    #[napi(catch_unwind)]
    pub fn flush(&self, transfer: i64, milliseconds: u32) {
        if let Some(pump) = &*self.inner.pump.borrow() {
            pump.flush(transfer.cast_unsigned(), Duration::from_millis(milliseconds.into()));
        }
    }

    /// Ends a transfer at once, or gives up one that was not started. What has not been passed on is lost.
    #[napi(catch_unwind)]
    pub fn stop(&self, transfer: i64) {
        if let Some(pump) = &mut *self.inner.pump.borrow_mut() {
            pump.stop(transfer.cast_unsigned());
        }
    }

    /// Says whether transfers keep the process alive.
    #[napi(catch_unwind)]
    pub fn hold(&self, hold: bool) {
        // SAFETY: the function is of this environment, whose thread this is.
        unsafe { self.inner.news.hold(self.inner.env, hold) };
    }

    /// What has happened to transfers since the last call, as pairs, one after the other: the number of a transfer; then -1
    /// if it has been flushed, -2 and below if bytes were dropped, for the error that is as far below -1; 0 if it has ended
    /// well, or the number of the error that ended it.
    #[napi(catch_unwind)]
    pub fn take_reports(&self) -> Vec<i64> {
        let mut pump = self.inner.pump.borrow_mut();
        let reports = pump.as_mut().map(Pump::take_reports).unwrap_or_default();
        let pairs = reports.into_iter().flat_map(|report| {
            let happened = match report.news {
                Happened::Flushed => -1,
                Happened::Dropped(errno) => -1 - errno,
                Happened::Ended(errno) => errno,
            };
            [report.transfer.cast_signed(), happened.into()]
        });
        pairs.collect()
    }

    fn with<T: From<i32>>(&self, work: impl FnOnce(&mut Pump) -> io::Result<T>) -> T {
        let mut pump = self.inner.pump.borrow_mut();
        answer(pump.as_mut().ok_or(io::ErrorKind::InvalidInput.into()).and_then(work))
    }
}

unsafe extern "C" fn torn_down(data: *mut c_void) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `data` is the count that `BindingPump::new` gave away, and Node calls this once.
        let inner = unsafe { Rc::from_raw(data.cast::<Inner>()) };
        // None of its threads tells anything from then on.
        let pump = inner.pump.borrow_mut().take();
        drop(pump);
        // SAFETY: the environment is ending.
        unsafe { inner.news.release() };
    }));
}
