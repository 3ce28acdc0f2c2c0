//! How Node is started with the script of a shim's file. It gets two descriptors: a few lines of JavaScript that
//! run the script, in memory, and the file itself, from which it reads the script and loads the addon. So
//! nothing is unpacked, and a file that is replaced meanwhile does no harm.

use super::payload::Payload;
use crate::system::check;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Resource, Rlimit, getrlimit};
use serde_json::json;
use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The server's end of the pair of sockets through which it answers `start`.
pub const WIRE: RawFd = 3;
const STUB: RawFd = 4;
const PROGRAM: RawFd = 5;
/// Above every descriptor with a meaning.
const HIGH: RawFd = 10;

/// Runs the script's code.
const CODE: &str = include_str!("stub.js");

/// What Node prints of its own would spoil what containerd reads.
const UNSET: &str = "NODE_OPTIONS";
/// Node reads these certificates before it runs anything, which takes as long as the rest of its start. They are
/// put back for the processes that the shim starts.
const LATER: &str = "NODE_EXTRA_CA_CERTS";

/// mimalloc's huge pages make a shim's small heap take 4 MiB. This keeps them from it, but denies them to the process
/// and its children too, so the shim allows them again as soon as it has loaded the addon.
const HUGE_PAGES: &str = "MIMALLOC_ALLOW_THP";

/// The C library has each thread allocate from an arena of its own, which keeps what a burst took. The script removes this
/// variable, which the C library has read by then.
const ARENAS: &str = "MALLOC_ARENA_MAX";

/// A command that runs the script, and what must stay open until it has been started.
#[derive(Debug)]
pub struct Node {
    /// The command. Its arguments are the shim's.
    pub command: Command,
    _stub: OwnedFd,
}

/// Prepares Node. `program` is what the program was called as; `wire` becomes descriptor [`WIRE`].
pub fn node(payload: &Payload, program: &OsString, wire: Option<RawFd>) -> Result<Node, String> {
    let without_huge_pages = env::var_os(HUGE_PAGES).is_none() && huge_pages_allowed();
    let one_arena = env::var_os(ARENAS).is_none();
    let given = json!({
        "smallPages": without_huge_pages,
        "openFiles": open_files(),
        "stub": STUB,
        "file": PROGRAM,
        "path": payload.path.to_string_lossy(),
        "program": program.to_string_lossy(),
        "script": [payload.script.at, payload.script.length],
        "cache": [payload.cache.at, payload.cache.length],
        "environment": env::var(LATER).map_or_else(|_| json!({}), |value| json!({ LATER: value })),
        "unset": if one_arena { json!([ARENAS]) } else { json!([]) },
    });
    let stub = in_memory(&format!("\"use strict\";\nconst given = {given};\n{CODE}"))
        .map_err(|error| format!("Node's first script could not be written: {error}"))?;
    let mut command = Command::new(if payload.node.is_empty() { "node" } else { &payload.node });
    command
        .arg0(process_name(&payload.name))
        .args(&payload.flags)
        // A path that leads to no name in any folder cannot be resolved.
        .args(["--no-warnings", "--preserve-symlinks-main"])
        .arg(format!("/proc/self/fd/{STUB}"))
        .env_remove(UNSET)
        .env_remove(LATER);
    if without_huge_pages {
        command.env(HUGE_PAGES, "0");
    }
    if one_arena {
        command.env(ARENAS, "1");
    }
    let descriptors =
        [(wire, WIRE), (Some(stub.as_raw_fd()), STUB), (Some(payload.file.as_raw_fd()), PROGRAM)];
    // SAFETY: `inherit` makes system calls only, which are allowed between fork and exec.
    unsafe { command.pre_exec(move || inherit(descriptors)) };
    Ok(Node { command, _stub: stub })
}

/// Whether the process may have huge pages. If not, that is for the user to change.
fn huge_pages_allowed() -> bool {
    // SAFETY: this option takes integers and touches no memory.
    unsafe { libc::prctl(libc::PR_GET_THP_DISABLE, 0, 0, 0, 0) == 0 }
}

/// The soft limit of open files, if it is below the hard one, to which Node raises it.
fn open_files() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    current.filter(|current| maximum.is_none_or(|maximum| *current < maximum))
}

/// Makes this process Node, with the same arguments and streams. Returns why it could not.
pub fn become_node(payload: &Payload, args: &[OsString]) -> String {
    let program = args.first().cloned().unwrap_or_default();
    match node(payload, &program, None) {
        Ok(mut node) => {
            let error = node.command.args(args.get(1..).unwrap_or_default()).exec();
            not_started(payload, &error)
        }
        Err(reason) => reason,
    }
}

/// Says why Node could not be started.
pub fn not_started(payload: &Payload, error: &io::Error) -> String {
    if payload.node.is_empty() {
        let path = env::var_os("PATH").unwrap_or_default();
        return format!(
            "node, looked for on PATH={}, did not start: {error}",
            path.to_string_lossy()
        );
    }
    format!("{} did not start: {error}", payload.node)
}

/// What ps shows in place of "node", and what containerd makes of the runtime's name.
fn process_name(runtime: &str) -> String {
    let parts: Vec<&str> = runtime.split('.').collect();
    let last = &parts[parts.len().saturating_sub(2)..];
    format!("containerd-shim-{}", last.join("-"))
}

/// A file without a name.
fn in_memory(text: &str) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(c"shim", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    Ok(file.into())
}

/// Gives descriptors their numbers. First all get numbers out of the way, since each may have another's.
fn inherit(descriptors: [(Option<RawFd>, RawFd); 3]) -> io::Result<()> {
    let mut high = [-1; 3];
    for (place, (from, _)) in high.iter_mut().zip(descriptors) {
        if let Some(from) = from {
            // SAFETY: touches no memory.
            *place = check(unsafe { libc::fcntl(from, libc::F_DUPFD_CLOEXEC, HIGH) })?;
        }
    }
    for (from, (_, to)) in high.into_iter().zip(descriptors) {
        if from >= 0 {
            // SAFETY: touches no memory.
            check(unsafe { libc::dup2(from, to) })?;
        }
    }
    Ok(())
}
