//! `delete` of a container that its shim has already cleaned up after. containerd runs it whenever the connection
//! to a shim ends, so after every container, and waits for it.

use super::arguments::Arguments;
use super::group::listens;
use crate::system::users::is_own_user;
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The file in a bundle that says how its container ended. The shim writes it once nothing of the container is
/// left (`src/shim/deleted.ts`).
const FILE: &str = "shim-deleted";
const LIMIT: u64 = 4096;

/// What the shim has left as answer; nothing if there is anything to do.
pub fn answer(arguments: &Arguments) -> Option<Vec<u8>> {
    let bundle =
        if arguments.bundle.is_empty() { Path::new(".") } else { Path::new(&arguments.bundle) };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(bundle.join(FILE))
        .ok()?;
    let facts = file.metadata().ok()?;
    if !facts.is_file() || facts.len() > LIMIT || !is_own_user(facts.uid()) {
        return None;
    }
    let mut answer = Vec::new();
    file.take(LIMIT).read_to_end(&mut answer).ok()?;
    (!left_socket(bundle)).then_some(answer)
}

/// Whether the bundle names a socket on which nobody listens any more: that of a shim that was killed.
fn left_socket(bundle: &Path) -> bool {
    let address = fs::read_to_string(bundle.join("address")).ok().or_else(|| {
        let text = fs::read(bundle.join("bootstrap.json")).ok()?;
        let value: Value = serde_json::from_slice(&text).ok()?;
        Some(value["address"].as_str()?.to_owned())
    });
    let Some(path) = address.as_deref().and_then(|address| address.strip_prefix("unix://")) else {
        return false;
    };
    Path::new(path).exists() && !listens(path)
}
