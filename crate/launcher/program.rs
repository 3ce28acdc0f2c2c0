//! What the program does, from its arguments to its exit status.

use super::arguments::{Action, Arguments};
use super::payload::Payload;
use super::{delete, node, start};
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write as _};

/// Does what containerd asks for. Returns the exit status.
pub(super) fn run(args: Vec<OsString>) -> i32 {
    open_streams();
    // A server that has gone is an error of write.
    // SAFETY: no handler is installed, and no other thread runs.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let payload = match Payload::own() {
        Ok(payload) => payload,
        Err(error) => return fail("containerd-shim", &error),
    };
    let arguments = Arguments::parse(args.get(1..).unwrap_or_default());
    let answer = match arguments.action {
        Action::Start => start::answer(&payload, &args, &arguments).map(Some),
        Action::Delete => Ok(delete::answer(&arguments)),
        Action::Other => Ok(None),
    };
    match answer {
        Ok(Some(bytes)) => match io::stdout().write_all(&bytes).and_then(|()| io::stdout().flush())
        {
            Ok(()) => 0,
            Err(error) => fail(&payload.name, &error),
        },
        Ok(None) => fail(&payload.name, &node::become_node(&payload, &args)),
        Err(reason) => fail(&payload.name, &reason),
    }
}

/// Opens /dev/null in place of a standard stream that is closed; otherwise the next file would take its number.
fn open_streams() {
    const LAST: libc::c_int = 2;
    loop {
        // SAFETY: the path is a C string; a descriptor above the streams is closed by who opened it.
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

fn fail(name: &str, reason: &dyn Display) -> i32 {
    // There is nobody else to tell.
    let _ = writeln!(io::stderr(), "{name}: {reason}");
    1
}
