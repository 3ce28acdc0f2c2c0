//! Makes mounts, one on the other.

use super::apart::{Own, SCRATCH, apart, private_scratch};
use super::ids::Depth;
use super::loop_device::LoopDevice;
use super::options::{ACCESS_TIMES, Options, joined, parse};
use super::overlay::{Compact, compact, missing, mount_from, with_ids};
use super::place::{Place, path_of};
use super::{Failure, Mount, helper, ids, words};
use rustix::fs::{StatVfsMountFlags, fstatvfs};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_change};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

const OVERLAY: &str = "overlay";

/// The kernel's `MS_REMOUNT`.
const REMOUNT: MountFlags = MountFlags::from_bits_retain(32);

/// Makes all mounts inside a root filesystem, in their order. If one fails, those that were made go again; the error comes
/// with its place in the order.
pub fn mount_all(mounts: &[Mount], root: &Path) -> Result<(), (usize, Failure)> {
    let mut made: Vec<Place> = Vec::new();
    for (index, mount) in mounts.iter().enumerate() {
        match mount_one(mount, root) {
            Ok(place) => made.extend(place),
            Err(failure) => {
                while let Some(place) = made.pop() {
                    undo(&place);
                }
                return Err((index, failure));
            }
        }
    }
    Ok(())
}

/// Makes one mount, in whole or not at all. Returns where, if there is one more than before.
fn mount_one(wanted: &Mount, root: &Path) -> Result<Option<Place>, Failure> {
    let place = Place::find(root, &wanted.target)?;
    let target =
        place.open().map_err(|errno| Failure::about(errno, "the target", &wanted.target))?;
    if let Some(program) = helper::of(&wanted.kind) {
        program.mount(wanted, &place)?;
        return Ok(Some(place));
    }
    let options = parse(&wanted.options)?;
    if options.remount {
        change(wanted, &options, &target)?;
        set_propagation(&options, &target)?;
        return Ok(None);
    }
    let namespace = match &options.ids {
        Some((users, groups)) => Some(ids::user_namespace(users, groups)?),
        None => None,
    };
    match &namespace {
        Some(namespace) => attach_mapped(wanted, &options, namespace, &target),
        None => attach(wanted, &options, &target),
    }
    .map_err(|failure| explained(failure, wanted, &options))?;
    finish(&options, namespace.is_some(), &place).inspect_err(|_| undo(&place))?;
    Ok(Some(place))
}

/// Takes back a mount that nobody has used yet. What a bind has brought along must not go where it came from.
fn undo(place: &Place) {
    if let Ok(top) = place.open() {
        let _ = ids::make_private(&top);
    }
    let _ = place.unmount(UnmountFlags::DETACH);
}

fn attach(wanted: &Mount, options: &Options, target: &OwnedFd) -> Result<(), Failure> {
    let data = joined(&options.data);
    if wanted.kind == OVERLAY
        && data.is_err()
        && let Some(Compact { folder, data }) = compact(&options.data)
    {
        return mount_from(&folder, &wanted.source, target, options.flags, &joined(&data)?);
    }
    call(wanted, options, options.flags, target, &data?)
}

/// Changes a mount that is there.
fn change(wanted: &Mount, options: &Options, target: &OwnedFd) -> Result<(), Failure> {
    if options.flags.contains(MountFlags::BIND) {
        return Ok(mount_again(options, target)?);
    }
    call(wanted, options, options.flags | REMOUNT, target, &joined(&options.data)?)
}

fn call(
    wanted: &Mount,
    options: &Options,
    flags: MountFlags,
    target: &OwnedFd,
    data: &CString,
) -> Result<(), Failure> {
    let mount = |source: &str, data: &CString| {
        // A bind's type and data mean nothing to the kernel.
        mount(source, path_of(target), wanted.kind.as_str(), flags, data.as_c_str())
            .map_err(Failure::from)
    };
    if !options.on_loop {
        return mount(&wanted.source, data);
    }
    let (direct, data): (Vec<String>, Vec<String>) =
        options.data.iter().cloned().partition(|option| option == "direct-io");
    let read_only = flags.contains(MountFlags::RDONLY);
    let device = LoopDevice::of(&wanted.source, read_only, !direct.is_empty())?;
    mount(&device.path, &joined(&data)?)
}

/// Makes a mount with mapped ids, where nobody else sees it without them.
fn attach_mapped(
    wanted: &Mount,
    options: &Options,
    namespace: &OwnedFd,
    target: &OwnedFd,
) -> Result<(), Failure> {
    let tree = if wanted.kind == OVERLAY {
        with_ids(&wanted.source, options, namespace)?
    } else {
        apart(Own::Mounts, || {
            let scratch = Place::Root(SCRATCH.into());
            call(wanted, options, options.flags, &private_scratch()?, &joined(&options.data)?)?;
            let top = scratch.open()?;
            if options.is_flagged_bind() {
                mount_again(options, &top).map_err(of_bind)?;
            }
            ids::mapped(&top, namespace, Depth::All)
        })?
    };
    ids::attach(&tree, target)
}

/// What a call that makes a mount does not do yet.
fn finish(options: &Options, is_mapped: bool, place: &Place) -> Result<(), Failure> {
    if options.is_flagged_bind() && !is_mapped {
        mount_again(options, &place.open()?).map_err(of_bind)?;
    }
    if options.propagation.is_empty() {
        return Ok(());
    }
    set_propagation(options, &place.open()?)
}

fn of_bind(errno: Errno) -> Failure {
    Failure::from(errno).while_doing("the flags of a bind")
}

fn set_propagation(options: &Options, top: &OwnedFd) -> Result<(), Failure> {
    for kind in &options.propagation {
        mount_change(path_of(top), *kind)
            .map_err(|errno| Failure::from(errno).while_doing("the mount's propagation"))?;
    }
    Ok(())
}

/// Sets the flags of a bind, which the call that makes it does not look at. Those of its source stay, unless an option
/// takes them back: an unprivileged process may not take them back.
fn mount_again(options: &Options, top: &OwnedFd) -> rustix::io::Result<()> {
    const KEPT: &[(StatVfsMountFlags, MountFlags)] = &[
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let there = fstatvfs(top)?.f_flag;
    let mut kept: MountFlags =
        KEPT.iter().filter(|(flag, _)| there.contains(*flag)).map(|(_, flag)| *flag).collect();
    kept -= options.cleared;
    if options.flags.intersects(ACCESS_TIMES) {
        kept -= ACCESS_TIMES;
    }
    let flags = options.flags | kept | REMOUNT;
    mount("", path_of(top), "", flags, None)
}

/// A failure of the call that mounts, with what it does not say.
fn explained(failure: Failure, wanted: &Mount, options: &Options) -> Failure {
    if failure.reason != words(failure.errno) {
        return failure;
    }
    let why = match failure.errno {
        Errno::NOENT if wanted.kind == OVERLAY => missing(&options.data),
        Errno::NOENT if options.flags.contains(MountFlags::BIND) => {
            Some(format!("its source {:?} does not exist", wanted.source))
        }
        Errno::NODEV => Some(format!("the kernel has no filesystem {:?}", wanted.kind)),
        Errno::NOTBLK => Some(format!("its source {:?} is not a block device", wanted.source)),
        Errno::INVAL if wanted.kind != OVERLAY && !options.data.is_empty() => {
            Some("the filesystem does not take these options, or there is none".into())
        }
        _ => None,
    };
    match why {
        Some(why) => Failure::new(failure.errno, why),
        None => failure,
    }
}
