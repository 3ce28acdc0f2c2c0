//! Filesystems in user space whose own program mounts them: `fuse.NAME` and `fuse3.NAME`, as containerd has it.
//!
//! The program gets a path, which it may follow anywhere. So it mounts the root filesystem itself, whose path is not the image's.

use super::place::Place;
use super::{Failure, Mount};
use rustix::io::Errno;
use std::process::{Command, Stdio};

/// A program that mounts, and the name of the filesystem for it.
#[derive(Debug, PartialEq)]
pub(super) struct Helper<'a> {
    program: &'static str,
    filesystem: &'a str,
}

/// The program for a type of mount, if it has one.
pub(super) fn of(kind: &str) -> Option<Helper<'_>> {
    let (prefix, filesystem) = kind.split_once('.')?;
    let program = match prefix {
        "fuse" => "mount.fuse",
        "fuse3" => "mount.fuse3",
        _ => return None,
    };
    Some(Helper { program, filesystem })
}

impl Helper<'_> {
    /// Has the program mount. It is a child of this thread, which waits for it.
    pub(super) fn mount(&self, wanted: &Mount, place: &Place) -> Result<(), Failure> {
        let program = self.program;
        let Place::Root(path) = place else {
            let reason = format!("{program} mounts the root filesystem itself, and nothing inside");
            return Err(Failure::new(Errno::OPNOTSUPP, reason));
        };
        let mut command = Command::new(program);
        command.arg(&wanted.source).arg(path);
        for option in &wanted.options {
            command.arg("-o").arg(option);
        }
        command.arg("-t").arg(self.filesystem).stdin(Stdio::null()).stdout(Stdio::null());
        let output = command.stderr(Stdio::piped()).output().map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Failure::about(errno, "the program", program)
        })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let reason = format!("{program} ended with {}: {}", output.status, said.trim());
        Err(Failure::new(Errno::IO, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fuse_has_programs() {
        let helper = of("fuse3.fuse-overlayfs").expect("it has");
        assert_eq!(helper, Helper { program: "mount.fuse3", filesystem: "fuse-overlayfs" });
        assert_eq!(of("fuse.sshfs").expect("it has").program, "mount.fuse");
        for kind in ["fuse", "overlay", "fuseblk", "ext4.fuse", ""] {
            assert_eq!(of(kind), None);
        }
    }
}
