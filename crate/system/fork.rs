//! What children of this process set for themselves between fork and exec, where only system calls and little else are
//! allowed.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The soft limit of open files that children get; 0 stands for that of this process.
static OPEN_FILES: AtomicU64 = AtomicU64::new(0);

/// Has every child that is forked from now on begin with this soft limit of open files. Node raises the limit of its own
/// process as far as it may, and children would inherit that, with what they run: programs that use `select`, or that
/// close every descriptor that they may have, expect the limit that the process was started with.
pub fn limit_open_files_of_children(limit: u64) -> io::Result<()> {
    OPEN_FILES.store(limit, Relaxed);
    ending_with_their_thread().map(drop)
}

/// Has children that this thread forks from now on end with it, by SIGKILL, or no longer. Each thread decides for itself:
/// others may fork at the same time. The kernel clears what is set here at a child's own fork, so what such a child starts
/// lives on.
pub fn end_children_with_this_thread(end: bool) -> io::Result<()> {
    let key = ending_with_their_thread()?;
    // The value is the parent that a child should have.
    let parent = if end { std::process::id() as usize } else { 0 };
    // SAFETY: the key was made, and is never deleted. Its values are numbers, and it has no destructor.
    let errno = unsafe { libc::pthread_setspecific(key, ptr::without_provenance(parent)) };
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

/// What tells a forked child whether to end with its parent. Only the functions of a key may be called between fork and
/// exec: the first use of a `thread_local` may allocate.
static ENDING: OnceLock<Result<libc::pthread_key_t, i32>> = OnceLock::new();

fn ending_with_their_thread() -> io::Result<libc::pthread_key_t> {
    let made = ENDING.get_or_init(|| {
        let mut key = 0;
        // SAFETY: `key` is a local. The handler makes system calls only, which are allowed between fork and exec, and stays
        // loaded: Node unloads no addon.
        let errno = unsafe {
            match libc::pthread_key_create(&raw mut key, None) {
                0 => libc::pthread_atfork(None, None, Some(in_child)),
                errno => errno,
            }
        };
        if errno == 0 { Ok(key) } else { Err(errno) }
    });
    made.map_err(io::Error::from_raw_os_error)
}

extern "C" fn in_child() {
    // A failure leaves the limit as it is.
    match OPEN_FILES.load(Relaxed) {
        0 => (),
        limit => {
            let maximum = getrlimit(Resource::Nofile).maximum;
            let current = Some(maximum.map_or(limit, |maximum| limit.min(maximum)));
            let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
        }
    }
    let Some(Ok(key)) = ENDING.get() else { return };
    // SAFETY: the key was made, and is never deleted.
    let parent = unsafe { libc::pthread_getspecific(*key) }.addr();
    if parent != 0 {
        // SAFETY: system calls that touch no memory. A parent that ended before the first of them sends no signal.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            if libc::getppid() as usize != parent {
                libc::_exit(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command, Stdio};
    use std::thread;
    use std::time::{Duration, Instant};

    /// Rust forks only if something is to be done before exec; otherwise no handler is called.
    fn spawn(script: &str) -> Child {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new("sh");
        // SAFETY: it does nothing.
        unsafe { command.pre_exec(|| Ok(())) };
        command.args(["-c", script]).stdout(Stdio::piped()).spawn().expect("there is a sh")
    }

    fn signal_within(child: &mut Child, time: Duration) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < time {
            if let Some(status) = child.try_wait().expect("it is ours") {
                return status.signal();
            }
            thread::yield_now();
        }
        None
    }

    #[test]
    fn a_child_ends_with_the_thread_that_asked_for_it_and_no_other_does() {
        let (mut ends, mut stays) = thread::spawn(|| {
            end_children_with_this_thread(true).expect("there is a key");
            let ends = spawn("exec sleep 100");
            // Another thread has not asked.
            let stays = thread::spawn(|| spawn("exec sleep 100")).join().expect("it forks");
            (ends, stays)
        })
        .join()
        .expect("it forks");
        assert_eq!(signal_within(&mut ends, Duration::from_secs(10)), Some(libc::SIGKILL));
        assert_eq!(signal_within(&mut stays, Duration::from_millis(50)), None);
        stays.kill().expect("it is ours");
        stays.wait().expect("it was not reaped");
    }

    #[test]
    fn a_thread_that_asks_no_longer_leaves_its_children() {
        let mut child = thread::spawn(|| {
            end_children_with_this_thread(true).expect("there is a key");
            end_children_with_this_thread(false).expect("there is a key");
            spawn("exec sleep 100")
        })
        .join()
        .expect("it forks");
        assert_eq!(signal_within(&mut child, Duration::from_millis(50)), None);
        child.kill().expect("it is ours");
        child.wait().expect("it was not reaped");
    }

    #[test]
    fn a_childs_own_children_stay() {
        let mut child = thread::spawn(|| {
            end_children_with_this_thread(true).expect("there is a key");
            let mut child = spawn("sleep 100 & echo $!; wait");
            let mut pid = [0];
            let mut text = String::new();
            let out = child.stdout.as_mut().expect("it is piped");
            while out.read(&mut pid).expect("it prints") == 1 && pid != *b"\n" {
                text.push(char::from(pid[0]));
            }
            (child, text.parse::<i32>().expect("a pid"))
        })
        .join()
        .expect("it forks");
        assert_eq!(signal_within(&mut child.0, Duration::from_secs(10)), Some(libc::SIGKILL));
        // SAFETY: signals touch no memory.
        assert_eq!(unsafe { libc::kill(child.1, libc::SIGKILL) }, 0);
    }
}
