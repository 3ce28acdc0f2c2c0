//! Where a mount goes: a place inside a root filesystem, found so that nothing in it leads outside.
//!
//! A path is walked one name at a time by descriptors, and links are followed here, not by the kernel: a link's absolute
//! path starts at the root filesystem, and `..` goes back the way that led in, never above the root. What is
//! renamed or replaced meanwhile changes which place inside is found, and nothing else. This needs
//! no openat2, so it is the same on every kernel.

use super::Failure;
use rustix::fs::{Mode, OFlags, open, openat, readlinkat};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// As many links as the kernel follows in one path.
const MOST_LINKS: usize = 40;

/// As many folders as lie one in another. Each takes a descriptor while a path is walked.
const DEEPEST: usize = 255;

/// Descriptors that name a file without opening it, and do not follow a link.
pub(super) const NAMED: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A place to mount at.
#[derive(Debug)]
pub(super) enum Place {
    /// The root filesystem's own folder, by its path, which is the caller's and not the image's.
    Root(PathBuf),
    /// A name in a folder inside.
    Inside {
        /// The folder.
        parent: OwnedFd,
        /// The name, which is no link.
        name: OsString,
    },
}

impl Place {
    /// Finds a target inside a root filesystem.
    pub(super) fn find(root: &Path, target: &str) -> Result<Self, Failure> {
        let top = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Failure::about(errno, "the root filesystem's folder", root))?;
        let inside = |errno| Failure::about(errno, "the target", Path::new(target));
        let mut way: Vec<(OwnedFd, OsString)> = Vec::new();
        let mut left = reversed(target.as_bytes());
        let mut links = 0;
        while let Some(name) = left.pop() {
            match name.as_bytes() {
                b"" | b"." => continue,
                b".." => {
                    way.pop();
                    continue;
                }
                _ => {}
            }
            let here = way.last().map_or(&top, |(folder, _)| folder);
            let next = openat(here, &name, NAMED, Mode::empty()).map_err(inside)?;
            let Some(path) = link_of(&next).map_err(inside)? else {
                if way.len() == DEEPEST {
                    return Err(inside(Errno::NAMETOOLONG));
                }
                way.push((next, name));
                continue;
            };
            links += 1;
            if links > MOST_LINKS {
                return Err(inside(Errno::LOOP));
            }
            if path.first() == Some(&b'/') {
                way.clear();
            }
            left.extend(reversed(&path));
        }
        let Some((_, name)) = way.pop() else { return Ok(Self::Root(root.to_owned())) };
        let parent = way.pop().map_or(top, |(folder, _)| folder);
        Ok(Self::Inside { parent, name })
    }

    /// What is there now: the root of the topmost mount, if there are any.
    pub(super) fn open(&self) -> rustix::io::Result<OwnedFd> {
        match self {
            Self::Root(path) => {
                open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            }
            Self::Inside { parent, name } => {
                let there = openat(parent, name, NAMED, Mode::empty())?;
                // It was none when it was found.
                if link_of(&there)?.is_some() { Err(Errno::LOOP) } else { Ok(there) }
            }
        }
    }

    /// Unmounts the topmost mount there.
    pub(super) fn unmount(&self, flags: UnmountFlags) -> rustix::io::Result<()> {
        match self {
            Self::Root(path) => unmount(path, flags),
            // A descriptor of the mount itself would keep it busy.
            Self::Inside { parent, name } => unmount(named(parent, name), flags | NO_LINK),
        }
    }
}

/// Does not follow a link that is the last name of a path.
pub(super) const NO_LINK: UnmountFlags = UnmountFlags::NOFOLLOW;

/// The path of what a descriptor is for, which leads there whatever has been renamed.
pub(super) fn path_of(file: &OwnedFd) -> CString {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    CString::new(path).unwrap_or_default()
}

/// The path of a name in a folder.
pub(super) fn named(folder: &OwnedFd, name: &OsStr) -> PathBuf {
    Path::new(&format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name)
}

/// Where a link leads, or nothing if it is none. Asks for nothing that a dead filesystem would have to answer.
fn link_of(file: &OwnedFd) -> rustix::io::Result<Option<Vec<u8>>> {
    match readlinkat(file, "", Vec::new()) {
        Ok(path) => Ok(Some(path.into_bytes())),
        // The descriptor is not for a link.
        Err(Errno::NOENT | Errno::INVAL) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The names of a path, the last one first.
fn reversed(path: &[u8]) -> Vec<OsString> {
    path.split(|&byte| byte == b'/').rev().map(|name| OsStr::from_bytes(name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A folder with a root filesystem in it, which goes with this.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("place-{}-{name}", std::process::id()));
            fs::create_dir_all(folder.join("root/etc/deep")).expect("there is room");
            fs::create_dir_all(folder.join("outside")).expect("there is room");
            Self(folder)
        }

        fn root(&self) -> PathBuf {
            self.0.join("root")
        }

        /// Where a target is found.
        fn found(&self, target: &str) -> Result<PathBuf, Failure> {
            let place = Place::find(&self.root(), target)?.open().expect("it is there");
            let path = path_of(&place);
            Ok(fs::read_link(path.to_str().expect("it is text")).expect("there is a /proc"))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn nothing_leads_above_the_root() {
        let folder = Folder::new("above");
        let root = folder.root();
        for target in ["", "/", ".", "..", "../../..", "/etc/../..", "etc/deep/../../../.."] {
            assert_eq!(folder.found(target).expect("it is there"), root, "{target}");
        }
        assert_eq!(folder.found("../etc/deep/..").expect("it is there"), root.join("etc"));
    }

    #[test]
    fn links_stay_inside() {
        let folder = Folder::new("links");
        let root = folder.root();
        symlink("/etc", root.join("absolute")).expect("there is room");
        symlink("../../../../etc/deep", root.join("etc/relative")).expect("there is room");
        symlink("absolute/relative", root.join("twice")).expect("there is room");
        symlink(folder.0.join("outside"), root.join("out")).expect("there is room");
        assert_eq!(folder.found("absolute").expect("it is there"), root.join("etc"));
        assert_eq!(folder.found("twice").expect("it is there"), root.join("etc/deep"));
        let failure = folder.found("out").expect_err("it leads nowhere inside");
        assert_eq!(failure.errno, Errno::NOENT);
        assert!(failure.reason.contains("\"out\""), "{}", failure.reason);
    }

    #[test]
    fn a_circle_of_links_ends() {
        let folder = Folder::new("circle");
        symlink("circle", folder.root().join("circle")).expect("there is room");
        let failure = folder.found("circle").expect_err("it does not end");
        assert_eq!(failure.errno, Errno::LOOP);
    }

    #[test]
    fn a_link_that_comes_later_is_not_followed() {
        let folder = Folder::new("later");
        let root = folder.root();
        let place = Place::find(&root, "etc/deep").expect("it is there");
        fs::rename(root.join("etc/deep"), root.join("etc/away")).expect("it can be renamed");
        symlink(folder.0.join("outside"), root.join("etc/deep")).expect("there is room");
        assert_eq!(place.open().expect_err("it is a link now"), Errno::LOOP);
    }
}
