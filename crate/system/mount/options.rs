//! A mount's options in the form of fstab, taken apart as containerd does.

use super::Failure;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::param::page_size;
use std::ffi::CString;

/// The flags that belong to a mount, not to its filesystem. A bind takes them only when it is mounted anew.
const PER_MOUNT: MountFlags = MountFlags::RDONLY
    .union(MountFlags::NOSUID)
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC)
    .union(ACCESS_TIMES);

/// The flags that say when access times are kept. Given one, the kernel sets all.
pub(super) const ACCESS_TIMES: MountFlags = MountFlags::NOATIME
    .union(MountFlags::NODIRATIME)
    .union(MountFlags::RELATIME)
    .union(MountFlags::STRICTATIME);

/// Names and what they set.
const SET: &[(&str, MountFlags)] = &[
    ("bind", MountFlags::BIND),
    ("defaults", MountFlags::empty()),
    ("dirsync", MountFlags::DIRSYNC),
    ("mand", MountFlags::PERMIT_MANDATORY_FILE_LOCKING),
    ("noatime", MountFlags::NOATIME),
    ("nodev", MountFlags::NODEV),
    ("nodiratime", MountFlags::NODIRATIME),
    ("noexec", MountFlags::NOEXEC),
    ("nosuid", MountFlags::NOSUID),
    ("rbind", MountFlags::BIND.union(MountFlags::REC)),
    ("relatime", MountFlags::RELATIME),
    ("ro", MountFlags::RDONLY),
    ("strictatime", MountFlags::STRICTATIME),
    ("sync", MountFlags::SYNCHRONOUS),
];

/// Names and what they take back.
const CLEAR: &[(&str, MountFlags)] = &[
    ("async", MountFlags::SYNCHRONOUS),
    ("atime", MountFlags::NOATIME),
    ("dev", MountFlags::NODEV),
    ("diratime", MountFlags::NODIRATIME),
    ("exec", MountFlags::NOEXEC),
    ("nomand", MountFlags::PERMIT_MANDATORY_FILE_LOCKING),
    ("norelatime", MountFlags::RELATIME),
    ("nostrictatime", MountFlags::STRICTATIME),
    ("rw", MountFlags::RDONLY),
    ("suid", MountFlags::NOSUID),
];

/// Names and how events travel between copies of the mount.
const PROPAGATION: &[(&str, MountPropagationFlags)] = &[
    ("private", MountPropagationFlags::PRIVATE),
    ("rprivate", MountPropagationFlags::PRIVATE.union(MountPropagationFlags::REC)),
    ("rshared", MountPropagationFlags::SHARED.union(MountPropagationFlags::REC)),
    ("rslave", MountPropagationFlags::DOWNSTREAM.union(MountPropagationFlags::REC)),
    ("runbindable", MountPropagationFlags::UNBINDABLE.union(MountPropagationFlags::REC)),
    ("shared", MountPropagationFlags::SHARED),
    ("slave", MountPropagationFlags::DOWNSTREAM),
    ("unbindable", MountPropagationFlags::UNBINDABLE),
];

/// The options of one mount.
#[derive(Debug)]
pub(super) struct Options {
    /// What is set, without propagation.
    pub(super) flags: MountFlags,
    /// What was taken back by name.
    pub(super) cleared: MountFlags,
    /// Whether what is mounted there already is to be changed.
    pub(super) remount: bool,
    /// The kernel sets one at a time, and only on a mount that there is.
    pub(super) propagation: Vec<MountPropagationFlags>,
    /// Whether the source is a file that a loop device makes a disk of.
    pub(super) on_loop: bool,
    /// The mappings of user and group ids.
    pub(super) ids: Option<(String, String)>,
    /// What is the filesystem's to understand.
    pub(super) data: Vec<String>,
}

/// Takes options apart.
pub(super) fn parse(options: &[String]) -> Result<Options, Failure> {
    let mut parsed = Options {
        flags: MountFlags::empty(),
        cleared: MountFlags::empty(),
        remount: false,
        propagation: Vec::new(),
        on_loop: false,
        ids: None,
        data: Vec::new(),
    };
    let (mut users, mut groups) = (None, None);
    for option in options {
        let named = option.as_str();
        if let Some(flag) = find(SET, named) {
            parsed.flags |= flag;
            parsed.cleared -= flag;
        } else if let Some(flag) = find(CLEAR, named) {
            parsed.flags -= flag;
            parsed.cleared |= flag;
        } else if let Some(kind) = find(PROPAGATION, named) {
            parsed.propagation.push(kind);
        } else if named == "remount" {
            parsed.remount = true;
        } else if named == "loop" {
            parsed.on_loop = true;
        } else if let Some(mapping) = named.strip_prefix("uidmap=") {
            users = Some(mapping.to_owned());
        } else if let Some(mapping) = named.strip_prefix("gidmap=") {
            groups = Some(mapping.to_owned());
        } else if named.starts_with("X-containerd.") {
            let reason = format!("the option {named:?} is for containerd's mount manager alone");
            return Err(Failure::new(Errno::INVAL, reason));
        } else {
            parsed.data.push(option.clone());
        }
    }
    parsed.ids = match (users, groups) {
        (Some(users), Some(groups)) => Some((users, groups)),
        (None, None) => None,
        _ => {
            let reason = "ids are mapped only with both options, uidmap and gidmap";
            return Err(Failure::new(Errno::INVAL, reason));
        }
    };
    Ok(parsed)
}

impl Options {
    /// Whether this is a bind with flags, which the call that makes it does not look at.
    pub(super) fn is_flagged_bind(&self) -> bool {
        self.flags.contains(MountFlags::BIND) && self.flags.intersects(PER_MOUNT)
    }
}

/// Options as the kernel takes them. It cuts what does not fit a page, in silence.
pub(super) fn joined(data: &[String]) -> Result<CString, Failure> {
    let text = data.join(",");
    if text.len() >= page_size() {
        let most = page_size() - 1;
        let reason = format!("the options have {} bytes, and the kernel takes {most}", text.len());
        return Err(Failure::new(Errno::TOOBIG, reason));
    }
    CString::new(text).map_err(|_| Failure::new(Errno::INVAL, "the options hold a NUL"))
}

fn find<Flag: Copy>(table: &[(&str, Flag)], name: &str) -> Option<Flag> {
    table.iter().find(|(other, _)| *other == name).map(|(_, flag)| *flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &[&str]) -> Options {
        let options: Vec<String> = options.iter().map(|&option| option.into()).collect();
        parse(&options).expect("they are valid")
    }

    fn refused(options: &[&str]) -> String {
        let options: Vec<String> = options.iter().map(|&option| option.into()).collect();
        parse(&options).expect_err("they are not valid").reason
    }

    #[test]
    fn a_later_option_takes_an_earlier_one_back() {
        assert_eq!(parsed(&["ro", "rw"]).flags, MountFlags::empty());
        assert_eq!(parsed(&["ro", "rw"]).cleared, MountFlags::RDONLY);
        assert_eq!(parsed(&["rw", "ro"]).flags, MountFlags::RDONLY);
        assert_eq!(parsed(&["rw", "ro"]).cleared, MountFlags::empty());
    }

    #[test]
    fn what_is_no_flag_is_data_in_its_order() {
        let Options { flags, data, on_loop, .. } =
            parsed(&["size=1m", "nosuid", "loop", "lowerdir=/a:/b", "defaults", "mode=700"]);
        assert_eq!(flags, MountFlags::NOSUID);
        assert!(on_loop);
        assert_eq!(data, ["size=1m", "lowerdir=/a:/b", "mode=700"]);
    }

    #[test]
    fn propagation_is_kept_apart() {
        let Options { flags, propagation, .. } = parsed(&["rbind", "rprivate", "shared"]);
        assert_eq!(flags, MountFlags::BIND | MountFlags::REC);
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        assert_eq!(propagation, [private, MountPropagationFlags::SHARED]);
    }

    #[test]
    fn ids_are_mapped_both_or_not_at_all() {
        let ids = parsed(&["uidmap=0:100:1", "gidmap=0:200:1"]).ids;
        assert_eq!(ids, Some(("0:100:1".into(), "0:200:1".into())));
        assert!(refused(&["uidmap=0:100:1"]).contains("gidmap"));
        assert!(refused(&["gidmap=0:100:1"]).contains("uidmap"));
    }

    #[test]
    fn an_option_of_the_mount_manager_is_refused() {
        assert!(refused(&["X-containerd.mkfs.size=1"]).contains("X-containerd.mkfs.size=1"));
    }
}
