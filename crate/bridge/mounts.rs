//! Mounts and unmounting. These calls may block while a filesystem does not answer or a mount is busy, so each has a
//! thread of its own. On libuv's few threads, they would hold up all file operations.

use crate::system::mount::{self, Failure, Mount, Patience};
use napi::bindgen_prelude::{Env, Object};
use napi::{Error, JsDeferred, Result};
use napi_derive::napi;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Enough for paths and tables, which are on the heap.
const STACK: usize = 256 << 10;

/// A mount to make.
#[napi(object)]
pub struct BindingMount {
    /// The filesystem, or `bind`.
    pub kind: String,
    /// What to mount.
    pub source: String,
    /// Where, inside the root filesystem.
    pub target: String,
    /// Options in the form of fstab.
    pub options: Vec<String>,
}

/// The result of mounting or unmounting.
#[napi(object)]
pub struct BindingMounted {
    /// The system's error number below 0, or 0.
    pub errno: i32,
    /// What went wrong, in words.
    pub text: String,
    /// Which of the mounts failed.
    pub index: u32,
}

impl BindingMounted {
    fn of(result: std::result::Result<(), (usize, Failure)>) -> Self {
        match result {
            Ok(()) => Self { errno: 0, text: String::new(), index: 0 },
            Err((index, Failure { errno, reason })) => Self {
                errno: -errno.raw_os_error(),
                text: reason,
                index: u32::try_from(index).unwrap_or(u32::MAX),
            },
        }
    }
}

/// Makes all mounts inside a root filesystem, or none.
#[napi(ts_return_type = "Promise<BindingMounted>")]
pub fn mount_all(env: &Env, mounts: Vec<BindingMount>, rootfs: String) -> Result<Object<'_>> {
    let mounts: Vec<Mount> = mounts
        .into_iter()
        .map(|BindingMount { kind, source, target, options }| Mount {
            kind,
            source,
            target,
            options,
        })
        .collect();
    on_own_thread(env, move || BindingMounted::of(mount::mount_all(&mounts, Path::new(&rootfs))))
}

/// Unmounts what is mounted at a folder and below it. Busy mounts are tried again for `busyMs`, and then taken out of
/// sight if `detach` is set.
#[napi(ts_return_type = "Promise<BindingMounted>")]
pub fn unmount_all(env: &Env, folder: String, busy_ms: u32, detach: bool) -> Result<Object<'_>> {
    let patience = Patience { busy: Duration::from_millis(busy_ms.into()), detach };
    on_own_thread(env, move || {
        let result = mount::unmount_all(Path::new(&folder), patience);
        BindingMounted::of(result.map_err(|failure| (0, failure)))
    })
}

/// Checks whether the kernel maps the ids of files in a folder.
#[napi(ts_return_type = "Promise<BindingMounted>")]
pub fn check_mapped_ids(env: &Env, folder: String) -> Result<Object<'_>> {
    on_own_thread(env, move || {
        let result = mount::check_ids(Path::new(&folder));
        BindingMounted::of(result.map_err(|failure| (0, failure)))
    })
}

type Deferred = JsDeferred<BindingMounted, Box<dyn FnOnce(Env) -> Result<BindingMounted> + Send>>;

/// Runs work on a thread of its own and promises its result. If the environment ends first, the work continues and its
/// result is dropped.
fn on_own_thread(
    env: &Env,
    work: impl FnOnce() -> BindingMounted + Send + 'static,
) -> Result<Object<'_>> {
    // The thread comes first: a promise without one would never be kept, and the process would wait for it.
    let (give, taken) = mpsc::channel::<Deferred>();
    thread::Builder::new()
        .name("mount".into())
        .stack_size(STACK)
        .spawn(move || {
            let Ok(deferred) = taken.recv() else { return };
            // A panic must not end the process.
            match catch_unwind(AssertUnwindSafe(work)) {
                Ok(value) => deferred.resolve(Box::new(|_| Ok(value))),
                Err(_) => deferred.reject(Error::from_reason("a thread that mounts panicked")),
            }
        })
        .map_err(|error: io::Error| {
            Error::from_reason(format!("no thread to mount on: {error}"))
        })?;
    let (deferred, promise) = env.create_deferred()?;
    let _ = give.send(deferred);
    Ok(promise)
}
