//! The pump of one environment, and how JavaScript hears that a transfer has ended.

use super::buffers::{check, resource_name};
use super::news::News;
use super::system::answer;
use crate::system::pump::{Pump, Transfer};
use napi::bindgen_prelude::{Env, Function, JsValue as _};
use napi::{Error, Result, sys};
use napi_derive::napi;
use std::cell::RefCell;
use std::ffi::c_void;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;

/// A thread that moves bytes between descriptors. See `crate::system::pump`.
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
    /// Starts the thread. `on_ended` is called when transfers have ended, which `take_ended` then returns.
    #[napi(constructor)]
    pub fn new(env: Env, on_ended: Function<'_, (), ()>) -> Result<Self> {
        let env = env.raw();
        let mut news = ptr::null_mut();
        // SAFETY: `env` is the current environment and the function is of this call. Without a native callback, Node
        // calls the function itself.
        unsafe {
            check(sys::napi_create_threadsafe_function(
                env,
                on_ended.value().value,
                ptr::null_mut(),
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
        let pump = pump.map_err(|error| Error::from_reason(error.to_string()))?;
        let inner = Inner { env, news, pump: RefCell::new(Some(pump)) };
        let inner = Rc::new(inner);
        let data = Rc::into_raw(inner.clone()).cast_mut().cast::<c_void>();
        // SAFETY: `env` is the current environment; `data` is given back to `torn_down` once.
        check(unsafe { sys::napi_add_env_cleanup_hook(env, Some(torn_down), data) })?;
        Ok(Self { inner })
    }

    /// Lets bytes flow from one descriptor to another. Takes over both, also if it fails. Returns the transfer's number, or the
    /// system's error number below 0.
    #[napi]
    pub fn start(&self, source: i32, destination: i32) -> i32 {
        // SAFETY: the caller hands them over.
        let (source, destination) =
            unsafe { (OwnedFd::from_raw_fd(source), OwnedFd::from_raw_fd(destination)) };
        answer(Transfer::new(source, destination).and_then(|transfer| {
            let mut pump = self.inner.pump.borrow_mut();
            let pump = pump.as_mut().ok_or(io::ErrorKind::InvalidInput)?;
            Ok(pump.start(transfer).cast_signed())
        }))
    }

    /// Ends a transfer as soon as what its source has now been given has been passed on.
    #[napi]
    pub fn finish(&self, transfer: u32) {
        if let Some(pump) = &*self.inner.pump.borrow() {
            pump.finish(transfer);
        }
    }

    /// Ends a transfer at once. What has not been passed on is lost.
    #[napi]
    pub fn stop(&self, transfer: u32) {
        if let Some(pump) = &*self.inner.pump.borrow() {
            pump.stop(transfer);
        }
    }

    /// Says whether transfers keep the process alive.
    #[napi]
    pub fn hold(&self, hold: bool) {
        // SAFETY: the function is of this environment, whose thread this is.
        unsafe { self.inner.news.hold(self.inner.env, hold) };
    }

    /// The transfers that have ended since the last call, each with the number of an error or 0: pairs, one after the other.
    #[napi]
    pub fn take_ended(&self) -> Vec<i32> {
        let pump = self.inner.pump.borrow();
        let ended = pump.as_ref().map(Pump::take_ended).unwrap_or_default();
        ended.into_iter().flat_map(|end| [end.transfer.cast_signed(), end.errno]).collect()
    }
}

unsafe extern "C" fn torn_down(data: *mut c_void) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `data` is the count that `BindingPump::new` gave away, and Node calls this once.
        let inner = unsafe { Rc::from_raw(data.cast::<Inner>()) };
        // Waits for the thread, which then tells nothing any more.
        let pump = inner.pump.borrow_mut().take();
        drop(pump);
    }));
}
