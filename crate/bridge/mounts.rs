//! Mounts and unmounting. These calls may block while a filesystem does not answer or a mount is busy, so each has a
//! thread of its own.

use super::own_thread::on_own_thread;
use crate::system::mount::{self, Failure, Mount, Patience};
use napi::Result;
use napi::bindgen_prelude::{Env, Object};
use napi_derive::napi;
use std::path::Path;
use std::time::Duration;

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
#[napi(catch_unwind, ts_return_type = "Promise<BindingMounted>")]
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
    let work = move || mount::mount_all(&mounts, Path::new(&rootfs));
    let failed = |error| Err((0, Failure::without_thread(&error)));
    on_own_thread(env, "mount", work, failed, |_, result| BindingMounted::of(result))
}

/// Unmounts what is mounted at a folder and below it. Busy mounts are tried again for `busyMs`, and then taken out of
/// sight if `detach` is set.
#[napi(catch_unwind, ts_return_type = "Promise<BindingMounted>")]
pub fn unmount_all(env: &Env, folder: String, busy_ms: u32, detach: bool) -> Result<Object<'_>> {
    let patience = Patience { busy: Duration::from_millis(busy_ms.into()), detach };
    let work = move || mount::unmount_all(Path::new(&folder), patience);
    let failed = |error| Err(Failure::without_thread(&error));
    on_own_thread(env, "unmount", work, failed, |_, result| {
        BindingMounted::of(result.map_err(|failure| (0, failure)))
    })
}

/// Checks whether the kernel maps the ids of files in a folder.
#[napi(catch_unwind, ts_return_type = "Promise<BindingMounted>")]
pub fn check_mapped_ids(env: &Env, folder: String) -> Result<Object<'_>> {
    on_own_thread(
        env,
        "map ids",
        move || mount::check_ids(Path::new(&folder)),
        |error| Err(Failure::without_thread(&error)),
        |_, result| BindingMounted::of(result.map_err(|failure| (0, failure))),
    )
}
