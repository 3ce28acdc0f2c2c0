//! What overlays need besides the call that mounts: options that fit a page, and layers with mapped ids.
//!
//! The kernel takes a page of options, and the paths of fifty layers fill it. What they have in common is then left out: the
//! call is made from that folder, by a thread with a working directory of its own.
//!
//! An overlay cannot map ids itself, but it can lie on layers that do. Those are mounted where nobody else sees it, in
//! the mount namespace of one thread, and are gone with it. The overlay is made there too, and copied from there: so
//! nothing is left behind, even if the process is killed.

use super::apart::{Own, SCRATCH, apart, private_scratch};
use super::ids::Depth;
use super::options::{Options, joined};
use super::place::path_of;
use super::{Failure, ids, words};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{MountFlags, OpenTreeFlags, mount, open_tree};
use rustix::process::fchdir;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

const LOWER: &str = "lowerdir=";

/// Options whose layers are named from a folder.
#[derive(Debug, PartialEq)]
pub(super) struct Compact {
    /// The folder.
    pub(super) folder: String,
    /// The options.
    pub(super) data: Vec<String>,
}

/// Names the layers from the folder that all of them are in; nothing if there is none, or only `/`.
pub(super) fn compact(data: &[String]) -> Option<Compact> {
    let at = data.iter().position(|option| option.starts_with(LOWER))?;
    let option = data.get(at)?;
    // One text may hold several options.
    let end = unescaped(option, ',').next().unwrap_or(option.len());
    let (lower, others) = option.split_at(end);
    let layers: Vec<&str> = split(lower.strip_prefix(LOWER)?).collect();
    let mut common: &str = layers.first()?.rsplit_once('/')?.0;
    for layer in &layers {
        // An empty name is no layer, but a mark of the kernel's for those that come next.
        let (folder, name) = layer.rsplit_once('/')?;
        if name.is_empty() {
            return None;
        }
        while !is_in(folder, common) {
            common = common.rsplit_once('/')?.0;
        }
    }
    if !common.starts_with('/') || common.trim_matches('/').is_empty() {
        return None;
    }
    let names: Option<Vec<&str>> = layers
        .iter()
        .map(|layer| layer.get(common.len()..).map(|rest| rest.trim_start_matches('/')))
        .collect();
    let mut data = data.to_owned();
    *data.get_mut(at)? = format!("{LOWER}{}{others}", names?.join(":"));
    Some(Compact { folder: without_escapes(common), data })
}

/// Whether a folder is another or is in it.
fn is_in(folder: &str, other: &str) -> bool {
    folder.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The layers of an option, whose paths may hold colons behind a backslash.
fn split(layers: &str) -> impl Iterator<Item = &str> {
    let ends = unescaped(layers, ':').chain([layers.len()]);
    let mut start = 0;
    ends.map(move |end| {
        let layer = layers.get(start..end).unwrap_or_default();
        start = end + 1;
        layer
    })
}

/// Where a character is that has no backslash before it.
fn unescaped(text: &str, wanted: char) -> impl Iterator<Item = usize> {
    let mut escaped = false;
    text.char_indices().filter_map(move |(at, character)| {
        let plain = !escaped;
        escaped = plain && character == '\\';
        (plain && character == wanted).then_some(at)
    })
}

fn without_escapes(path: &str) -> String {
    let mut escaped = false;
    path.chars()
        .filter(|&character| {
            escaped = character == '\\' && !escaped;
            !escaped
        })
        .collect()
}

/// Mounts an overlay whose options are named from a folder.
pub(super) fn mount_from(
    folder: &str,
    source: &str,
    target: &OwnedFd,
    flags: MountFlags,
    data: &CString,
) -> Result<(), Failure> {
    apart(Own::Folder, || {
        enter(&folder_of_layers(folder)?)?;
        mount(source, path_of(target), "overlay", flags, data.as_c_str()).map_err(Failure::from)
    })
}

fn folder_of_layers(path: impl AsRef<Path>) -> Result<OwnedFd, Failure> {
    let path = path.as_ref();
    open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Failure::about(errno, "the folder of the layers", path))
}

fn enter(folder: &OwnedFd) -> Result<(), Failure> {
    fchdir(folder).map_err(|errno| Failure::from(errno).while_doing("the folder of the layers"))
}

/// Makes an overlay on layers with mapped ids, not mounted anywhere yet.
pub(super) fn with_ids(
    source: &str,
    options: &Options,
    namespace: &OwnedFd,
) -> Result<OwnedFd, Failure> {
    let Compact { folder, data } = compact(&options.data).ok_or_else(|| {
        let reason = "the layers of an overlay with mapped ids must be in one folder, other than /";
        Failure::new(Errno::INVAL, reason)
    })?;
    let data = joined(&data)?;
    let layers = ids::mapped(&folder_of_layers(&folder)?, namespace, Depth::All)?;
    overlaid(&layers, source, options.flags, &data, false)
}

/// Makes an overlay from a folder with mapped ids. `scratch` also mounts an empty filesystem at [`SCRATCH`].
fn overlaid(
    layers: &OwnedFd,
    source: &str,
    flags: MountFlags,
    data: &CString,
    scratch: bool,
) -> Result<OwnedFd, Failure> {
    apart(Own::Mounts, || {
        let prepare = |errno| Failure::from(errno).while_doing("mounts of its own");
        ids::attach(layers, &private_scratch()?)?;
        enter(layers)?;
        if scratch {
            mount("tmpfs", SCRATCH, "tmpfs", MountFlags::empty(), None).map_err(prepare)?;
        }
        mount(source, ".", "overlay", flags, data.as_c_str()).map_err(|errno| match errno {
            Errno::INVAL => Failure::new(
                errno,
                format!("{}: layers with mapped ids need Linux 5.19", words(errno)),
            ),
            _ => Failure::from(errno),
        })?;
        // The path leads to what is mounted there last; "." leads below it.
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        open_tree(rustix::fs::CWD, SCRATCH, clone).map_err(prepare)
    })
}

/// Checks whether the kernel maps the ids of files in a folder, by themselves and as layers of an overlay.
pub fn check_ids(folder: &Path) -> Result<(), Failure> {
    let namespace = ids::user_namespace("0:1:1", "0:1:1")?;
    let folder = folder_of_layers(folder)?;
    // What is mounted in the folder may be what cannot.
    let layers = ids::mapped(&folder, &namespace, Depth::Top)?;
    let data = joined(&[format!("{LOWER}.:{SCRATCH}")])?;
    overlaid(&layers, "overlay", MountFlags::RDONLY, &data, true).map(|_| ())
}

/// The first layer or folder of an overlay's options that is not there.
pub(super) fn missing(data: &[String]) -> Option<String> {
    let text = data.join(",");
    let mut start = 0;
    let ends: Vec<usize> = unescaped(&text, ',').chain([text.len()]).collect();
    ends.into_iter().find_map(|end| {
        let option = text.get(start..end).unwrap_or_default();
        start = end + 1;
        let (name, value) = option.split_once('=')?;
        if !["lowerdir", "upperdir", "workdir"].contains(&name) {
            return None;
        }
        split(value)
            .filter(|path| !path.is_empty())
            .map(without_escapes)
            .find(|path| Path::new(path).symlink_metadata().is_err())
            .map(|path| format!("its {name} {path:?} does not exist"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compacted(data: &[&str]) -> Option<(String, Vec<String>)> {
        let data: Vec<String> = data.iter().map(|&option| option.into()).collect();
        compact(&data).map(|Compact { folder, data }| (folder, data))
    }

    fn expected(folder: &str, data: &[&str]) -> Option<(String, Vec<String>)> {
        Some((folder.into(), data.iter().map(|&option| option.into()).collect()))
    }

    #[test]
    fn layers_are_named_from_the_folder_that_all_are_in() {
        assert_eq!(
            compacted(&[
                "workdir=/s/3/work",
                "lowerdir=/s/12/fs:/s/13/fs:/s/2/fs",
                "upperdir=/s/3/fs"
            ]),
            expected("/s", &["workdir=/s/3/work", "lowerdir=12/fs:13/fs:2/fs", "upperdir=/s/3/fs"]),
        );
        // Digits in common are no folder.
        assert_eq!(
            compacted(&["lowerdir=/s/1/fs:/s/1x/fs"]),
            expected("/s", &["lowerdir=1/fs:1x/fs"])
        );
        assert_eq!(compacted(&["lowerdir=/s/1/fs"]), expected("/s/1", &["lowerdir=fs"]));
        assert_eq!(compacted(&["lowerdir=/s/1:/s/1/2"]), expected("/s", &["lowerdir=1:1/2"]));
    }

    #[test]
    fn what_has_no_folder_in_common_stays() {
        assert_eq!(compacted(&["lowerdir=/a/1:/b/1"]), None);
        assert_eq!(compacted(&["lowerdir=/a:/b"]), None);
        assert_eq!(compacted(&["lowerdir=a/1:a/2"]), None);
        assert_eq!(compacted(&["lowerdir=/a/1:/a/2::/a/3"]), None);
        assert_eq!(compacted(&["lowerdir=/a/1/:/a/2/"]), None);
        assert_eq!(compacted(&["upperdir=/a/1"]), None);
        assert_eq!(compacted(&[]), None);
    }

    #[test]
    fn what_is_escaped_is_part_of_a_path() {
        assert_eq!(
            compacted(&[r"lowerdir=/s\:t/1\:2/fs:/s\:t/2\,3/fs,upperdir=/u"]),
            expected("/s:t", &[r"lowerdir=1\:2/fs:2\,3/fs,upperdir=/u"]),
        );
        assert_eq!(without_escapes(r"/a\\b\:c"), r"/a\b:c");
    }

    #[test]
    fn the_folder_that_is_missing_is_named() {
        let options =
            ["ro".into(), "lowerdir=/:/no/such,upperdir=/".into(), "workdir=/none".into()];
        assert_eq!(missing(&options).expect("one is"), r#"its lowerdir "/no/such" does not exist"#);
        assert_eq!(missing(&["lowerdir=/:/proc".into()]), None);
    }
}
