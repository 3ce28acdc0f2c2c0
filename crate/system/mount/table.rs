//! The kernel's table of what is mounted in this process's namespace.

use std::fs;
use std::io;

/// The paths that something is mounted at, in the table's order, in which what is mounted on another comes after it. As
/// often as something is mounted there.
pub(super) fn at_or_below(folder: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    Ok(paths(&fs::read("/proc/self/mountinfo")?)
        .filter(|path| is_at_or_below(path, folder))
        .collect())
}

fn is_at_or_below(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// The fifth field of each line.
fn paths(table: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    table
        .split(|&byte| byte == b'\n')
        .filter_map(|line| line.split(|&byte| byte == b' ').nth(4))
        .map(unescaped)
}

/// Spaces and the like are written in octal.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        let code = (byte == b'\\').then(|| behind.get(..3).and_then(octal)).flatten();
        path.push(code.unwrap_or(byte));
        rest = if code.is_some() { behind.get(3..).unwrap_or_default() } else { behind };
    }
    path
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
22 27 0:21 / /proc rw,relatime - proc proc rw\n\
90 27 0:50 / /run/b/rootfs rw - overlay overlay rw\n\
91 90 0:51 / /run/b/rootfs/a\\040b\\134c rw shared:1 - tmpfs tmpfs rw\n\
92 27 0:52 / /run/b/rootfs2 rw - tmpfs tmpfs rw\n";

    #[test]
    fn paths_are_read_as_they_are() {
        let all: Vec<Vec<u8>> = paths(TABLE).collect();
        let expected: [&[u8]; 4] =
            [b"/proc", b"/run/b/rootfs", b"/run/b/rootfs/a b\\c", b"/run/b/rootfs2"];
        assert_eq!(all, expected);
    }

    #[test]
    fn a_folder_with_a_longer_name_is_another() {
        let below = |path: &[u8]| is_at_or_below(path, b"/run/b/rootfs");
        assert!(below(b"/run/b/rootfs") && below(b"/run/b/rootfs/x"));
        assert!(!below(b"/run/b/rootfs2") && !below(b"/run/b"));
    }

    #[test]
    fn a_backslash_without_a_number_is_one() {
        assert_eq!(unescaped(b"a\\09\\"), b"a\\09\\");
    }

    #[test]
    fn the_table_of_this_process_has_its_proc() {
        assert!(!at_or_below(b"/proc").expect("there is a /proc").is_empty());
    }
}
