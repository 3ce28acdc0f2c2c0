//! Work that may block, on a thread of its own. On libuv's few threads, it would hold up all file operations.

use napi::bindgen_prelude::{Env, Object, ToNapiValue};
use napi::{Error, JsDeferred, Result};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

/// Enough for paths and tables, which are on the heap.
const STACK: usize = 256 << 10;

type Deferred<T> = JsDeferred<T, Box<dyn FnOnce(Env) -> Result<T> + Send>>;

/// Runs work, whose name is for people, and promises what `shown` makes of its result. If the system allows no further
/// thread, the result is what `failed` makes of its error. If the environment ends first, the work continues and its
/// result is dropped.
pub(super) fn on_own_thread<'env, R, T>(
    env: &'env Env,
    name: &str,
    work: impl FnOnce() -> R + Send + 'static,
    failed: fn(io::Error) -> R,
    shown: fn(&Env, R) -> T,
) -> Result<Object<'env>>
where
    R: Send + 'static,
    T: ToNapiValue + 'static,
{
    let panicked = format!("a thread to {name} panicked");
    let (give, taken) = mpsc::channel::<Deferred<T>>();
    let started = thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(move || {
        let Ok(deferred) = taken.recv() else { return };
        // A panic must not end the process.
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => deferred.resolve(Box::new(move |env| Ok(shown(&env, result)))),
            Err(_) => deferred.reject(Error::from_reason(panicked)),
        }
    });
    let (deferred, promise) = env.create_deferred()?;
    match started {
        Ok(_) => drop(give.send(deferred)),
        Err(error) => deferred.resolve(Box::new(move |env| Ok(shown(&env, failed(error))))),
    }
    Ok(promise)
}
