//! Children of this thread that have ended. They are listed and reaped by separate calls, so that a child
//! whose end somebody else waits for (libuv, for those that Node started) can be left alone.
//!
//! The kernel assigns a child to the thread that started it, and orphans to the main thread. So on the main
//! thread, `__WNOTHREAD` leaves out the children that other threads of the process have started.

use super::check;
use std::fs;
use std::io;

/// Makes orphaned descendants children of this process. A shim needs this because an OCI runtime ends and
/// leaves the container's processes behind.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: this option takes one integer and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// Allows huge pages to this process and to the children that it will start. What is mapped stays as it is.
pub fn allow_huge_pages() -> io::Result<()> {
    // SAFETY: this option takes integers and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 0, 0, 0, 0) }).map(drop)
}

/// Whose child a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// A child of this thread, which started it or adopted it.
    ThisThread,
    /// A child of another thread of this process, which started it.
    OtherThread,
    /// No child of this process.
    Other,
}

/// Whose child `pid` is, whether it still runs or has ended and was not reaped.
pub fn parent_of(pid: u32) -> io::Result<Parent> {
    Ok(if look(libc::P_PID, pid, libc::__WNOTHREAD)?.is_some() {
        Parent::ThisThread
    } else if look(libc::P_PID, pid, 0)?.is_some() {
        Parent::OtherThread
    } else {
        Parent::Other
    })
}

/// This thread's children that have ended and were not reaped. They stay as they are.
pub fn ended() -> io::Result<Vec<u32>> {
    // In most cases there is none, and this one call suffices.
    if look(libc::P_ALL, 0, libc::__WNOTHREAD)?.is_none_or(|first| first == 0) {
        return Ok(Vec::new());
    }
    let mut ended = Vec::new();
    for pid in candidates()? {
        if look(libc::P_PID, pid, libc::__WNOTHREAD)? == Some(pid) {
            ended.push(pid);
        }
    }
    Ok(ended)
}

/// Pids that include those of this thread's children.
fn candidates() -> io::Result<Vec<u32>> {
    match fs::read_to_string("/proc/thread-self/children") {
        Ok(list) => Ok(list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()),
        // A kernel without CONFIG_PROC_CHILDREN has no such list, so all pids are candidates.
        Err(error) if error.kind() == io::ErrorKind::NotFound => all(),
        Err(error) => Err(error),
    }
}

fn all() -> io::Result<Vec<u32>> {
    let names =
        fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}

/// The pid of one of these children that has ended, or 0 if none has. `None` if there are no such children.
fn look(kind: libc::idtype_t, id: u32, options: libc::c_int) -> io::Result<Option<u32>> {
    // SAFETY: all zeros is a siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = options | libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is a local that the kernel may write.
    match check(unsafe { libc::waitid(kind, id, &raw mut info, options) }) {
        // SAFETY: waitid filled in the fields for a child, or left the zeros.
        Ok(_) => Ok(Some(u32::try_from(unsafe { info.si_pid() }).unwrap_or(0))),
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reaps one ended child of this thread, and returns its status as a shell reports it: the exit code, or
/// 128 plus the signal number. Fails with `WouldBlock` if the child still runs.
pub fn reap(pid: u32) -> io::Result<u32> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    if pid == 0 {
        // 0 would mean any child of the process group.
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut status = 0;
    let options = libc::WNOHANG | libc::__WNOTHREAD;
    // SAFETY: `status` is a local that the kernel may write.
    if check(unsafe { libc::waitpid(pid, &raw mut status, options) })? == 0 {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    Ok(if libc::WIFSIGNALED(status) {
        128 + libc::WTERMSIG(status) as u32
    } else {
        libc::WEXITSTATUS(status) as u32
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};
    use std::sync::mpsc;
    use std::thread;

    fn spawn(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).spawn().expect("there is a sh")
    }

    fn until_ended(pid: u32) {
        while !ended().expect("waitid works").contains(&pid) {
            std::thread::yield_now();
        }
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "reaped by what is tested")]
    fn a_child_is_seen_until_it_is_reaped_and_tells_its_code() {
        let child = spawn("exit 7");
        until_ended(child.id());
        assert_eq!(ended().expect("waitid works"), [child.id()]);
        assert_eq!(reap(child.id()).expect("it has ended"), 7);
        assert!(ended().expect("waitid works").is_empty());
        assert_eq!(parent_of(child.id()).expect("waitid works"), Parent::Other);
    }

    #[test]
    fn one_that_is_left_hides_no_other() {
        let (first, second) = (spawn("exit 1"), spawn("exit 2"));
        until_ended(first.id());
        until_ended(second.id());
        assert_eq!(reap(second.id()).expect("it has ended"), 2);
        assert_eq!(ended().expect("waitid works"), [first.id()]);
        assert_eq!(reap(first.id()).expect("it has ended"), 1);
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "reaped by what is tested")]
    fn a_signal_is_told_as_a_shell_does() {
        let child = spawn("kill -KILL $$");
        until_ended(child.id());
        assert_eq!(reap(child.id()).expect("it has ended"), 137);
    }

    #[test]
    fn a_child_that_runs_is_not_waited_for() {
        let mut child = spawn("exec sleep 100");
        assert_eq!(reap(child.id()).expect_err("it runs").kind(), io::ErrorKind::WouldBlock);
        assert_eq!(parent_of(child.id()).expect("waitid works"), Parent::ThisThread);
        child.kill().expect("it is ours");
        child.wait().expect("it was not reaped");
    }

    #[test]
    fn what_another_thread_started_is_left_to_it() {
        let (started, child) = mpsc::channel();
        let (go_on, over) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut child = spawn("exit 3");
            until_ended(child.id());
            started.send(child.id()).expect("the test waits");
            over.recv().expect("the test goes on");
            child.wait().expect("it was not reaped").code()
        });
        let pid = child.recv().expect("it is started");
        assert!(ended().expect("waitid works").is_empty());
        assert_eq!(parent_of(pid).expect("waitid works"), Parent::OtherThread);
        assert_eq!(reap(pid).expect_err("not ours").raw_os_error(), Some(libc::ECHILD));
        go_on.send(()).expect("it waits");
        assert_eq!(thread.join().expect("it does not panic"), Some(3));
    }

    #[test]
    fn all_pids_stand_in_for_a_list_that_the_kernel_does_not_keep() {
        let mut child = spawn("exec sleep 100");
        assert!(all().expect("there is a /proc").contains(&child.id()));
        child.kill().expect("it is ours");
        child.wait().expect("it was not reaped");
    }

    #[test]
    fn what_is_no_child_is_an_error() {
        assert_eq!(reap(1).expect_err("nobody's").raw_os_error(), Some(libc::ECHILD));
        assert_eq!(reap(0).expect_err("no process").kind(), io::ErrorKind::InvalidInput);
        assert_eq!(parent_of(1).expect("waitid works"), Parent::Other);
    }
}
