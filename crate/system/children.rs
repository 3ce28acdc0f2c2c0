//! Children that have ended. To look at one and to reap it are two calls, so that a child whose end
//! somebody else waits for (libuv, for those that Node started) can be left alone.

use std::io;

/// Makes orphaned descendants children of this process, as a shim needs it: an OCI runtime ends and
/// leaves the container's processes behind.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: this option takes one integer and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// A child that has ended and was not reaped, if there is one; it stays as it is. The order is the
/// kernel's and does not change: as long as the same one is there, it is given again.
pub fn peek() -> io::Result<Option<u32>> {
    // SAFETY: all zeros is a siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is a local that the kernel may write.
    match check(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) }) {
        // SAFETY: waitid filled in what it tells of a child, or left the zeros.
        Ok(_) => Ok(u32::try_from(unsafe { info.si_pid() }).ok().filter(|pid| *pid != 0)),
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reaps one child that has ended. Its status as a shell tells it: the exit code, or 128 and the
/// signal. `WouldBlock` if it has not ended.
pub fn reap(pid: u32) -> io::Result<u32> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    if pid == 0 {
        // Would mean "any of the process group".
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut status = 0;
    // SAFETY: `status` is a local that the kernel may write.
    if check(unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) })? == 0 {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    Ok(if libc::WIFSIGNALED(status) {
        128 + libc::WTERMSIG(status) as u32
    } else {
        libc::WEXITSTATUS(status) as u32
    })
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};
    use std::sync::Mutex;

    /// Children belong to the process, and tests share it.
    static ALONE: Mutex<()> = Mutex::new(());

    fn spawn(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).spawn().expect("there is a sh")
    }

    fn peek_until_there() -> u32 {
        loop {
            if let Some(pid) = peek().expect("waitid works") {
                return pid;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "reaped by what is tested")]
    fn a_child_is_seen_until_it_is_reaped_and_tells_its_code() {
        let _alone = ALONE.lock();
        let child = spawn("exit 7");
        assert_eq!(peek_until_there(), child.id());
        assert_eq!(peek().expect("waitid works"), Some(child.id()));
        assert_eq!(reap(child.id()).expect("it has ended"), 7);
        assert_eq!(peek().expect("waitid works"), None);
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "reaped by what is tested")]
    fn a_signal_is_told_as_a_shell_does() {
        let _alone = ALONE.lock();
        let child = spawn("kill -KILL $$");
        assert_eq!(peek_until_there(), child.id());
        assert_eq!(reap(child.id()).expect("it has ended"), 137);
    }

    #[test]
    fn a_child_that_runs_is_not_waited_for() {
        let _alone = ALONE.lock();
        let mut child = spawn("exec sleep 100");
        assert_eq!(reap(child.id()).expect_err("it runs").kind(), io::ErrorKind::WouldBlock);
        child.kill().expect("it is ours");
        child.wait().expect("it was not reaped");
    }

    #[test]
    fn what_is_no_child_is_an_error() {
        assert_eq!(reap(1).expect_err("nobody's").raw_os_error(), Some(libc::ECHILD));
        assert_eq!(reap(0).expect_err("no process").kind(), io::ErrorKind::InvalidInput);
    }
}
