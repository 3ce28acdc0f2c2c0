//! `start`: the server becomes a daemon, gets what containerd wrote, and its answer is passed on. The same
//! exchange as that of `src/shim/start.ts`, which serves programs that Node runs by itself.

use super::arguments::Arguments;
use super::group;
use super::node::{WIRE, node, not_started};
use super::payload::Payload;
use crate::socket::wait;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::env;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

/// Names the descriptor of the wire to the server.
const STARTER_VARIABLE: &str = "CONTAINERD_SHIM_STARTER";
/// containerd's variable by which a shim and its container share the threads of a core with nobody else.
const SCHED_CORE: &str = "SCHED_CORE";
/// The first byte of the server's answer; the rest is what goes to stdout, or why nothing does.
const STARTED: u8 = 0;
const FAILED: u8 = 1;
const INPUT_LIMIT: u64 = 10 << 20;

/// What `start` writes to stdout.
#[derive(Debug)]
pub struct Answer {
    /// The bytes to write.
    pub bytes: Vec<u8>,
    /// The server that was started for it, if the kernel has descriptors of processes.
    server: Option<OwnedFd>,
}

impl Answer {
    /// Nobody takes the answer, so nobody will ever know of the server: ends it.
    pub fn abandon(&self) {
        if let Some(server) = &self.server {
            // This fails if it has ended.
            let _ = pidfd_send_signal(server, Signal::TERM);
        }
    }
}

/// Starts a server, or finds the one of the group.
pub fn answer(
    payload: &Payload,
    args: &[OsString],
    arguments: &Arguments,
) -> Result<Answer, String> {
    let input = read_input()?;
    if let Some(bytes) = group::answer(payload, arguments, &input) {
        return Ok(Answer { bytes, server: None });
    }
    if env::var_os(SCHED_CORE).is_some_and(|value| !value.is_empty()) {
        create_core_domain().map_err(|error| format!("enable sched core support: {error}"))?;
    }
    let wired = |error| format!("there are no sockets to the server: {error}");
    let (mut ours, theirs) = UnixStream::pair().map_err(wired)?;
    let wire = ours.try_clone().map_err(wired)?;
    // First, so that no server is left behind where there is no thread for it.
    let (started, end) = watch(wire)
        .map_err(|error| format!("there is no thread to wait for the server: {error}"))?;
    let server = spawn_server(payload, args, arguments, &theirs)?;
    drop(theirs);
    // It has not been reaped, so the pid is its own.
    let pidfd = i32::try_from(server.id())
        .ok()
        .and_then(Pid::from_raw)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    // The thread waits for it.
    let _ = started.send(server);
    // If the server has gone, how it ended says more than a failed write.
    let _ = ours.write_all(&input);
    let _ = ours.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = ours.read_to_end(&mut answer);
    match answer.split_first() {
        Some((&STARTED, rest)) => Ok(Answer { bytes: rest.to_vec(), server: pidfd }),
        Some((&FAILED, reason)) => Err(String::from_utf8_lossy(reason).into_owned()),
        _ => Err(match end.join() {
            Ok(Ok(status)) => format!("the server ended with {} before it served", shown(status)),
            _ => "the server ended before it served".to_owned(),
        }),
    }
}

fn spawn_server(
    payload: &Payload,
    args: &[OsString],
    arguments: &Arguments,
    wire: &UnixStream,
) -> Result<Child, String> {
    let program = args.first().cloned().unwrap_or_default();
    let mut node = node(payload, &program, Some(wire.as_raw_fd()))?;
    let logged = |error| format!("the log: {error}");
    let log = open_log().map_err(logged)?;
    let bundle = match &arguments.bundle {
        bundle if bundle.is_empty() => env::current_dir()
            .map_err(|error| format!("the working directory, where the bundle is: {error}"))?
            .into(),
        bundle => bundle.clone(),
    };
    let values = [
        ("-namespace", &arguments.namespace),
        ("-id", &arguments.id),
        ("-address", &arguments.address),
        ("-bundle", &bundle),
    ];
    for (flag, value) in values {
        node.command.arg(flag).arg(value);
    }
    if arguments.debug {
        node.command.arg("-debug");
    }
    node.command
        // The bundle will be removed, and a shim may outlive it.
        .current_dir("/")
        .env(STARTER_VARIABLE, WIRE.to_string())
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(logged)?)
        .stderr(log);
    // SAFETY: setsid may be called between fork and exec, and touches no memory.
    unsafe {
        node.command.pre_exec(|| match libc::setsid() {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    node.command.spawn().map_err(|error| not_started(payload, &error))
}

/// Puts this process, and the server that it starts, into a scheduling domain of their own.
fn create_core_domain() -> io::Result<()> {
    const PROCESS_GROUP: libc::c_ulong = 2;
    // SAFETY: this option takes integers and touches no memory.
    match unsafe {
        libc::prctl(libc::PR_SCHED_CORE, libc::PR_SCHED_CORE_CREATE, 0, PROCESS_GROUP, 0)
    } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A thread that waits for the end of the server that it is given, after which nobody waits for its answer. What it has sent
/// can still be read.
fn watch(wire: UnixStream) -> io::Result<(Sender<Child>, JoinHandle<io::Result<ExitStatus>>)> {
    let (started, server) = mpsc::channel::<Child>();
    let end = thread::Builder::new().spawn(move || {
        // None comes if it could not be started.
        let mut server = server.recv().map_err(io::Error::other)?;
        let status = server.wait();
        let _ = wire.shutdown(Shutdown::Both);
        status
    })?;
    Ok((started, end))
}

/// All of stdin: a pipe that containerd closes, /dev/null, or nothing.
fn read_input() -> Result<Vec<u8>, String> {
    let mut input = Vec::new();
    let mut stdin = io::stdin().lock().take(INPUT_LIMIT + 1);
    loop {
        match stdin.read_to_end(&mut input) {
            Ok(_) => break,
            // Whether it blocks was decided by whoever has it, too.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(libc::STDIN_FILENO, false, -1).map_err(|error| format!("stdin: {error}"))?;
            }
            Err(error) => return Err(format!("stdin: {error}")),
        }
    }
    if input.len() as u64 > INPUT_LIMIT {
        return Err(format!("stdin holds more than {INPUT_LIMIT} bytes"));
    }
    Ok(input)
}

/// The pipe to containerd's log, which is opened so that neither opening nor writing ever waits for its reader.
fn open_log() -> io::Result<File> {
    let open = |path: &str| {
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)
    };
    match open("log") {
        Ok(log) if log.metadata()?.file_type().is_fifo() => Ok(log),
        // Without containerd there is none.
        _ => open("/dev/null"),
    }
}

fn shown(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => code.to_string(),
        (None, Some(signal)) => match signal {
            libc::SIGHUP => "SIGHUP".to_owned(),
            libc::SIGINT => "SIGINT".to_owned(),
            libc::SIGILL => "SIGILL".to_owned(),
            libc::SIGABRT => "SIGABRT".to_owned(),
            libc::SIGBUS => "SIGBUS".to_owned(),
            libc::SIGSEGV => "SIGSEGV".to_owned(),
            libc::SIGKILL => "SIGKILL".to_owned(),
            libc::SIGTERM => "SIGTERM".to_owned(),
            libc::SIGSYS => "SIGSYS".to_owned(),
            other => format!("signal {other}"),
        },
        (None, None) => status.to_string(),
    }
}
