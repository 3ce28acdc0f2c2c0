use super::{News, Other, Pump, Report};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::sync::mpsc::{Receiver, channel};

pub(super) fn pipe() -> (File, File) {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors, which are owned from here on.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1]))
    }
}

pub(super) fn pump() -> (Pump, Receiver<()>) {
    let (sender, told) = channel();
    let tell = move || {
        let _ = sender.send(());
    };
    (Pump::new(tell).expect("there is room for a thread"), told)
}

pub(super) fn end(pump: &mut Pump, told: &Receiver<()>) -> Report {
    told.recv().expect("the transfer ends");
    pump.take_reports().pop().expect("one has ended")
}

pub(super) fn ended(transfer: u64, errno: i32) -> Report {
    Report { transfer, news: News::Ended(errno) }
}

pub(super) fn start(
    pump: &mut Pump,
    source: impl Into<OwnedFd>,
    destination: impl Into<OwnedFd>,
) -> u64 {
    let number = pump.reserve(destination.into()).expect("there is room");
    pump.start(number, Other::Source(source.into())).expect("both are open");
    number
}

/// Bytes of which no two stretches are alike.
pub(super) fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

#[test]
fn all_bytes_arrive_in_order_and_then_the_end() {
    for (length, size) in
        [(0, 1), (1, 1), (5000, 1), (65_536, 4096), (3_000_000, 700), (9_000_000, 99_999)]
    {
        let (mut pump, told) = pump();
        let ((source, mut writer), (mut reader, destination)) = (pipe(), pipe());
        let number = start(&mut pump, source, destination);
        let sent = bytes(length);
        let expected = sent.clone();
        let writing = std::thread::spawn(move || {
            sent.chunks(size).for_each(|part| writer.write_all(part).expect("it is read"));
        });
        let mut received = Vec::new();
        reader.read_to_end(&mut received).expect("a pipe");
        writing.join().expect("it does not panic");
        assert!(received == expected, "{length} bytes in writes of {size}");
        assert_eq!(end(&mut pump, &told), ended(number, 0));
    }
}

#[test]
fn small_writes_share_the_pages_of_the_destination() {
    let (mut pump, told) = pump();
    let ((source, mut writer), (mut reader, destination)) = (pipe(), pipe());
    start(&mut pump, source, destination);
    // As pages of their own, sixteen would be all that there is room for.
    for _ in 0..2000 {
        writer.write_all(b"x\n").expect("it is read");
        std::thread::yield_now();
    }
    drop(writer);
    end(&mut pump, &told);
    let mut received = String::new();
    reader.read_to_string(&mut received).expect("a pipe");
    assert_eq!(received.len(), 4000);
}

#[test]
fn a_full_destination_holds_the_source_back_and_no_other_transfer() {
    let (mut pump, told) = pump();
    let ((source, mut writer), (reader, destination)) = (pipe(), pipe());
    let held = start(&mut pump, source, destination);
    let writing = std::thread::spawn(move || writer.write_all(&bytes(1 << 20)));
    let ((source, mut other), (mut beside, destination)) = (pipe(), pipe());
    start(&mut pump, source, destination);
    for round in 0..100 {
        other.write_all(&[round]).expect("it is read");
        let mut received = [0];
        beside.read_exact(&mut received).expect("it is written");
        assert_eq!(received, [round]);
    }
    assert!(!writing.is_finished(), "nobody has read what it writes");
    drop(reader);
    assert_eq!(end(&mut pump, &told), ended(held, libc::EPIPE));
    assert!(
        writing.join().expect("it does not panic").is_err(),
        "the source is closed with its transfer"
    );
}

#[test]
fn a_finished_transfer_passes_on_what_is_there_and_waits_for_no_end() {
    let (mut pump, told) = pump();
    let ((source, mut writer), (mut reader, destination)) = (pipe(), pipe());
    let number = start(&mut pump, source, destination);
    writer.write_all(&bytes(60_000)).expect("there is room");
    pump.finish(number);
    let mut received = Vec::new();
    reader.read_to_end(&mut received).expect("a pipe");
    assert!(received == bytes(60_000));
    assert_eq!(end(&mut pump, &told), ended(number, 0));
    drop(writer);
}

#[test]
fn a_stopped_transfer_closes_both_ends_and_is_told() {
    let (mut pump, told) = pump();
    let ((source, mut writer), (mut reader, destination)) = (pipe(), pipe());
    let number = start(&mut pump, source, destination);
    pump.stop(number);
    assert_eq!(end(&mut pump, &told), ended(number, libc::ECANCELED));
    assert_eq!(reader.read(&mut [0]).expect("a pipe"), 0);
    assert!(writer.write(b"x").is_err());
    // Its number names no other, now or later.
    pump.stop(number);
    pump.finish(number);
    assert!(pump.take_reports().is_empty());
}

#[test]
fn a_transfer_into_a_full_disk_drops_bytes_and_says_so_at_once_and_at_its_end() {
    let (mut pump, told) = pump();
    let (source, mut writer) = pipe();
    let full = File::options().write(true).open("/dev/full").expect("there is one");
    let number = start(&mut pump, source, full);
    writer.write_all(&bytes(1 << 20)).expect("nobody is held back");
    let dropped = Report { transfer: number, news: News::Dropped(libc::ENOSPC) };
    assert_eq!(end(&mut pump, &told), dropped);
    drop(writer);
    assert_eq!(end(&mut pump, &told), ended(number, libc::ENOSPC));
}

#[test]
fn the_end_of_a_terminal_comes_after_its_last_byte() {
    let (mut pump, told) = pump();
    for length in [0, 1, 4095, 4096, 10_900, 300_000] {
        let (mut master, mut slave) = (0, 0);
        let (none, size, modes) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
        // SAFETY: the descriptors are locals; no name, size or modes are passed.
        let (master, mut slave) = unsafe {
            assert_eq!(libc::openpty(&raw mut master, &raw mut slave, none, modes, size), 0);
            (OwnedFd::from_raw_fd(master), File::from_raw_fd(slave))
        };
        let (mut reader, destination) = pipe();
        start(&mut pump, master, destination);
        let writing = std::thread::spawn(move || slave.write_all(&vec![b'x'; length]));
        let mut received = Vec::new();
        reader.read_to_end(&mut received).expect("a pipe");
        writing.join().expect("it does not panic").expect("it is read");
        assert_eq!(received.len(), length);
        assert_eq!(end(&mut pump, &told).news, News::Ended(0));
    }
}

#[test]
fn a_pump_that_is_dropped_closes_what_it_had() {
    let (mut pump, _told) = pump();
    let ((source, mut writer), (mut reader, destination)) = (pipe(), pipe());
    start(&mut pump, source, destination);
    drop(pump);
    assert_eq!(reader.read(&mut [0]).expect("a pipe"), 0);
    assert!(writer.write(b"x").is_err());
}

#[test]
fn the_numbers_of_transfers_go_on_where_32_bits_end() {
    let (mut pump, told) = pump();
    for last in [u64::from(i32::MAX.cast_unsigned()), u64::from(u32::MAX)] {
        pump.last = last;
        let ((source, mut writer), (mut reader, destination)) = (pipe(), pipe());
        let number = start(&mut pump, source, destination);
        assert_eq!(number, last + 1);
        writer.write_all(b"late").expect("it is read");
        drop(writer);
        assert_eq!(end(&mut pump, &told), ended(number, 0));
        let mut read = String::new();
        reader.read_to_string(&mut read).expect("it is text");
        assert_eq!(read, "late");
    }
}
