//! What the program does, from its arguments to its exit status.

use super::arguments::{Action, Arguments};
use super::payload::Payload;
use super::{delete, node, start};
use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::io::{self, Write as _};

/// Does what containerd asks for. Returns the exit status.
pub(super) fn run(args: Vec<OsString>) -> i32 {
    open_streams();
    keep_descriptors();
    reset_signals();
    let payload = match Payload::own() {
        Ok(payload) => payload,
        Err(error) => return fail("containerd-shim", &error),
    };
    let arguments = Arguments::parse(args.get(1..).unwrap_or_default());
    let answered = match arguments.action {
        Action::Start => start::answer(&payload, &args, &arguments).and_then(|answer| {
            write(&answer.bytes).inspect_err(|_| answer.abandon())?;
            Ok(true)
        }),
        Action::Delete => match delete::answer(&arguments) {
            Some(bytes) => write(&bytes).map(|()| true),
            None => Ok(false),
        },
        Action::Other => Ok(false),
    };
    match answered {
        Ok(true) => 0,
        Ok(false) => fail(&payload.name, &node::become_node(&payload, &args)),
        Err(reason) => fail(&payload.name, &reason),
    }
}

/// Writes what containerd reads.
fn write(bytes: &[u8]) -> Result<(), String> {
    let mut stdout = io::stdout();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| error.to_string())
}

/// Signals do here what they do in Node, whatever those who started this process have set: children can be waited for, and
/// a server that has gone, or a file that may not grow, is an error of write.
fn reset_signals() {
    let wanted = [
        (libc::SIGCHLD, libc::SIG_DFL),
        (libc::SIGPIPE, libc::SIG_IGN),
        (libc::SIGXFSZ, libc::SIG_IGN),
    ];
    for (signal, disposition) in wanted {
        // SAFETY: no handler is installed, and no other thread runs.
        unsafe { libc::signal(signal, disposition) };
    }
}

/// Opens /dev/null in place of a standard stream that is closed; otherwise the next file would take its number.
fn open_streams() {
    const LAST: libc::c_int = 2;
    loop {
        // SAFETY: the path is a C string; a descriptor above the streams is closed where it was opened.
        unsafe {
            let fd = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
            if fd > LAST {
                libc::close(fd);
            }
            if !(0..=LAST).contains(&fd) {
                return;
            }
        }
    }
}

/// Passes on none of the descriptors that this process was given besides its streams. Whoever started containerd may have
/// left some open. The server would hold them for as long as it runs, and would pass them on to an OCI runtime, where they
/// may be a way out of a container.
fn keep_descriptors() {
    const FIRST: libc::c_int = 3;
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: the call takes integers and touches no memory.
    let marked = unsafe {
        libc::syscall(libc::SYS_close_range, FIRST, libc::c_int::MAX, CLOSE_RANGE_CLOEXEC)
    };
    if marked == 0 {
        return;
    }
    // Before Linux 5.11.
    let Ok(open) = fs::read_dir("/proc/self/fd") else { return };
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    for fd in numbers.filter(|fd| *fd >= FIRST) {
        // SAFETY: the call takes integers and touches no memory. It fails for the descriptor of the folder, which is closed.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

fn fail(name: &str, reason: &dyn Display) -> i32 {
    // There is nobody else to tell.
    let _ = writeln!(io::stderr(), "{name}: {reason}");
    1
}
