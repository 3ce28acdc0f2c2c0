//! Mounts with mapped ids: a file that belongs to one id belongs to another when it is seen through the mount.
//!
//! The kernel takes the mapping from a user namespace. One comes into being with a process, which is ended as soon as
//! there is a descriptor of its namespace.

use super::Failure;
use super::place::path_of;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use std::fs;
use std::mem::{MaybeUninit, zeroed};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr;

/// The kernel's `struct mount_attr`.
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// The path of what a descriptor itself is for.
const ITSELF: &str = "";

/// How much of what is mounted is copied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Depth {
    /// With what is mounted below.
    All,
    /// Without that.
    Top,
}

/// A copy of what is mounted at a descriptor, with mapped ids, that is not mounted anywhere yet.
pub(super) fn mapped(top: &OwnedFd, namespace: &OwnedFd, depth: Depth) -> Result<OwnedFd, Failure> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if depth == Depth::All {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = open_tree(top, ITSELF, flags).map_err(|errno| unable(errno, "open_tree"))?;
    let attributes = Attributes {
        set: MOUNT_ATTR_IDMAP,
        clear: 0,
        propagation: u64::from(MountPropagationFlags::PRIVATE.bits()),
        user_namespace: u64::from(namespace.as_raw_fd().cast_unsigned()),
    };
    // SAFETY: the path is a string with its NUL, and the structure lives through the call, which reads it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if result < 0 {
        return Err(unable(last(), "mount_setattr"));
    }
    Ok(tree)
}

/// Mounts a copy on what a descriptor names.
pub(super) fn attach(tree: &OwnedFd, target: &OwnedFd) -> Result<(), Failure> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, ITSELF, target, ITSELF, flags).map_err(|errno| unable(errno, "move_mount"))
}

fn unable(errno: Errno, call: &str) -> Failure {
    let why = match errno {
        Errno::NOSYS => "needs Linux 5.12",
        Errno::INVAL if call == "mount_setattr" => {
            "this filesystem does not map ids on this kernel"
        }
        _ => return Failure::from(errno).while_doing(call),
    };
    Failure::new(errno, format!("{call}: {why}"))
}

/// A user namespace with these mappings, each in the form `container:host:size[,container:host:size…]`.
pub(super) fn user_namespace(users: &str, groups: &str) -> Result<OwnedFd, Failure> {
    let users = lines_of("uidmap", users)?;
    let groups = lines_of("gidmap", groups)?;
    let process = Waiting::start()
        .map_err(|errno| Failure::from(errno).while_doing("a process with a user namespace"))?;
    let write = |file: &str, text: &str| {
        fs::write(process.file(file), text).map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Failure::from(errno).while_doing(&format!("{file} of a user namespace"))
        })
    };
    write("uid_map", &users)?;
    // Without privileges the kernel wants this first. No process will ever set a group there.
    write("setgroups", "deny")?;
    write("gid_map", &groups)?;
    open(process.file("ns/user"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Failure::from(errno).while_doing("a user namespace"))
}

/// A mapping as the kernel reads it: a line for each range.
fn lines_of(option: &str, mapping: &str) -> Result<String, Failure> {
    let lines: Option<String> = mapping.split(',').map(line_of).collect();
    lines.ok_or_else(|| {
        let form = "container:host:size, numbers of 32 bits, with a comma before the next";
        Failure::new(Errno::INVAL, format!("{option}={mapping}: a mapping has the form {form}"))
    })
}

fn line_of(range: &str) -> Option<String> {
    let numbers: Vec<u32> =
        range.split(':').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let [inside, outside, size] = numbers[..] else { return None };
    Some(format!("{inside} {outside} {size}\n"))
}

/// A process that waits in a user namespace of its own. It is this thread's child, and tells nobody when it ends.
struct Waiting {
    pid: libc::pid_t,
}

impl Waiting {
    fn start() -> rustix::io::Result<Self> {
        // SAFETY: the sets are local and are filled in before they are used. The other process only makes calls of the
        // kernel, and ends without returning: it has a copy of memory in which other threads may have
        // been at anything. The descriptors are shared, so it holds none open by itself.
        unsafe {
            let (mut all, mut before) = (zeroed::<libc::sigset_t>(), MaybeUninit::uninit());
            libc::sigfillset(&raw mut all);
            // It must not run this process's handlers.
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, before.as_mut_ptr());
            let parent = libc::syscall(libc::SYS_getpid);
            let flags = libc::CLONE_NEWUSER | libc::CLONE_FILES;
            let no = ptr::null::<libc::c_void>();
            let pid = libc::syscall(libc::SYS_clone, flags as libc::c_long, no, no, no, no);
            if pid == 0 {
                wait_for_the_end(parent);
            }
            let errno = last();
            libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut());
            libc::pid_t::try_from(pid)
                .ok()
                .filter(|&pid| pid > 0)
                .map(|pid| Self { pid })
                .ok_or(errno)
        }
    }

    fn file(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.pid)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // SAFETY: it has not been waited for, so the pid is still its own. `__WALL` is for a child that tells nobody.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            while libc::waitpid(self.pid, ptr::null_mut(), libc::__WALL) < 0
                && last() == Errno::INTR
            {}
        }
    }
}

/// What the process does: nothing, until it or its parent is killed.
unsafe fn wait_for_the_end(parent: libc::c_long) -> ! {
    // SAFETY: these are calls of the kernel, with arguments that they take.
    unsafe {
        libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        // Its pid has not changed with the user namespace, so if this is another, it ended before.
        while libc::syscall(libc::SYS_getppid) == parent {
            libc::syscall(libc::SYS_ppoll, 0, 0, 0, 0, 0);
        }
        loop {
            libc::syscall(libc::SYS_exit_group, 0);
        }
    }
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Makes what a descriptor names private, with all below it: what happens there is not repeated elsewhere.
pub(super) fn make_private(top: &OwnedFd) -> rustix::io::Result<()> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change(path_of(top), flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_a_line_for_each_range() {
        assert_eq!(lines_of("uidmap", "0:100000:65536").expect("it is one"), "0 100000 65536\n");
        let two = lines_of("gidmap", "0:1:2,5:4294967295:7").expect("it is one");
        assert_eq!(two, "0 1 2\n5 4294967295 7\n");
    }

    #[test]
    fn what_is_no_mapping_is_shown() {
        for wrong in ["", "0", "0:1", "0:1:2:3", "0:-1:2", "0:1:4294967296", "0:1:2,", "a:b:c"] {
            let failure = lines_of("uidmap", wrong).expect_err("it is none");
            assert_eq!(failure.errno, Errno::INVAL);
            assert!(failure.reason.contains(&format!("uidmap={wrong}:")), "{}", failure.reason);
        }
    }

    #[test]
    fn a_user_namespace_outlives_the_process_that_made_it() {
        let is_root = fs::metadata("/proc/self")
            .is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        let namespace = user_namespace("0:100000:65536", "0:200000:65536");
        match namespace {
            Ok(namespace) => {
                let path = fs::read_link(format!("/proc/self/fd/{}", namespace.as_raw_fd()));
                let path = path.expect("there is a /proc").to_string_lossy().into_owned();
                assert!(path.starts_with("user:["), "{path}");
            }
            // Others may not map ids that are not theirs.
            Err(failure) => assert!(!is_root, "{}", failure.reason),
        }
    }
}
