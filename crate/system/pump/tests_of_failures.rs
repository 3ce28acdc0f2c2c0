//! What becomes of transfers when their thread fails, and when there are too many.

use super::mover::Command;
use super::tests::{bytes, end, ended, pipe, pump, start};
use super::{FILES_AT_ONCE, Other, Pump, Report};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::sync::mpsc::Receiver;

/// Has the thread of the pump fail by `fail`, and returns how the transfer ended that was under way.
fn after_failure(fail: impl FnOnce(&Pump)) -> (Pump, Receiver<()>, Report, u64) {
    let (mut pump, told) = pump();
    let ((source, mut writer), (mut reader, destination)) = (pipe(), pipe());
    let number = start(&mut pump, source, destination);
    writer.write_all(b"x").expect("it is read");
    reader.read_exact(&mut [0]).expect("it is written");
    fail(&pump);
    let report = end(&mut pump, &told);
    // A transfer that needs epoll may end before its thread does.
    while pump.shared.order(Command::Finish(u64::MAX)).is_ok() {
        std::thread::yield_now();
    }
    assert_eq!(reader.read(&mut [0]).expect("a pipe"), 0, "both ends are closed");
    assert!(writer.write(b"x").is_err(), "both ends are closed");
    (pump, told, report, number)
}

fn refuses(pump: &mut Pump, told: &Receiver<()>, errno: i32) {
    let ((source, mut writer), (mut reader, destination)) = (pipe(), pipe());
    let number = pump.reserve(destination.into()).expect("there is room");
    let error = pump.start(number, Other::Source(source.into())).expect_err("no thread moves it");
    assert_eq!(error.raw_os_error(), Some(errno));
    assert_eq!(reader.read(&mut [0]).expect("a pipe"), 0, "both ends are closed");
    assert!(writer.write(b"x").is_err(), "both ends are closed");
    // Neither does harm.
    pump.finish(number);
    pump.stop(number);
    assert!(told.try_recv().is_err(), "what never started does not end");
}

#[test]
fn a_thread_that_panics_ends_its_transfers_and_those_that_come_later_are_refused() {
    let (mut pump, told, report, number) =
        after_failure(|pump| pump.shared.order(Command::Panic).expect("it runs"));
    assert_eq!(report, ended(number, libc::EIO));
    refuses(&mut pump, &told, libc::EIO);
}

#[test]
fn a_thread_whose_epoll_fails_ends_its_transfers_and_those_that_come_later_are_refused() {
    let (mut pump, told, report, number) = after_failure(|pump| {
        let null = File::open("/dev/null").expect("there is one");
        // SAFETY: a plain call; the descriptor of the epoll instance stays owned, and is another's now.
        let replaced = unsafe { libc::dup2(null.as_raw_fd(), pump.shared.epoll().descriptor()) };
        assert!(replaced >= 0);
        pump.finish(u64::MAX);
    });
    assert_eq!(report, ended(number, libc::EINVAL));
    refuses(&mut pump, &told, libc::EINVAL);
}

#[test]
fn transfers_that_were_asked_for_before_their_thread_failed_end_too() {
    let (mut pump, told) = pump();
    let mut kept = Vec::new();
    let mut numbers = Vec::new();
    // Whichever of them the thread has taken by then.
    for round in 0..20 {
        let ((source, writer), (reader, destination)) = (pipe(), pipe());
        kept.push((writer, reader));
        let number = pump.reserve(destination.into()).expect("there is room");
        if round == 10 {
            pump.shared.order(Command::Panic).expect("it runs");
        }
        if pump.start(number, Other::Source(source.into())).is_ok() {
            numbers.push(number);
        }
    }
    let mut reports = Vec::new();
    while reports.len() < numbers.len() {
        told.recv().expect("all end");
        reports.extend(pump.take_reports());
    }
    reports.sort_unstable_by_key(|report| report.transfer);
    let expected = numbers.iter().map(|&transfer| ended(transfer, libc::EIO));
    assert!(reports.into_iter().eq(expected));
}

#[test]
fn a_files_thread_fails_alone() {
    let (mut pump, told) = pump();
    let (source, _writer) = pipe();
    let file = File::options().append(true).create(true).open(path("alone")).expect("writable");
    let failing = start(&mut pump, source, file);
    pump.apart[&failing].order(Command::Panic).expect("it runs");
    assert_eq!(end(&mut pump, &told), ended(failing, libc::EIO));
    let ((source, mut writer), (mut reader, destination)) = (pipe(), pipe());
    start(&mut pump, source, destination);
    writer.write_all(b"x").expect("it is read");
    reader.read_exact(&mut [0]).expect("it is written");
    std::fs::remove_file(path("alone")).expect("it was made");
}

#[test]
fn a_file_gets_every_byte_and_a_thread_that_ends_with_it() {
    let (mut pump, told) = pump();
    let (source, mut writer) = pipe();
    let file = File::create(path("file")).expect("writable");
    let number = start(&mut pump, source, file);
    writer.write_all(&bytes(3_000_000)).expect("it is read");
    drop(writer);
    assert_eq!(end(&mut pump, &told), ended(number, 0));
    assert!(std::fs::read(path("file")).expect("it was made") == bytes(3_000_000));
    // A file is a source too.
    let (mut reader, destination) = pipe();
    let source = File::open(path("file")).expect("it was made");
    let number = pump.reserve(source.into()).expect("there is room");
    pump.start(number, Other::Destination(destination.into())).expect("both are open");
    let mut received = Vec::new();
    reader.read_to_end(&mut received).expect("a pipe");
    assert!(received == bytes(3_000_000));
    assert_eq!(end(&mut pump, &told), ended(number, 0));
    std::fs::remove_file(path("file")).expect("it was made");
}

#[test]
fn one_file_too_many_is_refused_until_another_has_ended() {
    let (mut pump, _told) = pump();
    let file = || File::create(path("many")).expect("writable").into();
    let numbers: Vec<u64> =
        (0..FILES_AT_ONCE).map(|_| pump.reserve(file()).expect("there is room")).collect();
    let refused = pump.reserve(file()).expect_err("there is none");
    assert_eq!(refused.raw_os_error(), Some(libc::EAGAIN));
    // Others have room.
    let ((source, mut writer), (mut reader, destination)) = (pipe(), pipe());
    start(&mut pump, source, destination);
    writer.write_all(b"x").expect("it is read");
    reader.read_exact(&mut [0]).expect("it is written");
    pump.stop(numbers[0]);
    while pump.reserve(file()).is_err() {
        std::thread::yield_now();
    }
    std::fs::remove_file(path("many")).expect("it was made");
}

fn path(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("pump-{}-{name}", std::process::id()))
}

/// Has this thread, and those that it starts, live under a filter that knows nothing of a system call.
fn without(call: libc::c_long, errno: i32) {
    let instruction = |code: u32, jump_if_not, k| libc::sock_filter {
        code: code.try_into().expect("it is small"),
        jt: 0,
        jf: jump_if_not,
        k,
    };
    let mut filter = [
        // The number of the call comes first.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, call as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program is a local with its length, which the kernel copies.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program), 0);
    }
}

#[test]
fn files_and_devices_are_told_apart_though_a_filter_knows_nothing_of_statx() {
    let path = std::env::temp_dir().join(format!("filtered-{}", std::process::id()));
    let file = File::create(&path).expect("the folder is writable");
    let null = File::open("/dev/null").expect("there is one");
    let filtered = std::thread::spawn(move || {
        without(libc::SYS_statx, libc::EPERM);
        let (pump, _told) = pump();
        [file, null].map(|one| pump.may_block(&one.into()).expect("it is told"))
    });
    assert_eq!(filtered.join().expect("it does not panic"), [true, false]);
    std::fs::remove_file(path).expect("it is ours");
}
