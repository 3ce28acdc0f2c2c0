//! What becomes of output that a fifo's reader has not taken yet.

use super::tests::{end, ended, pipe, pump, start};
use super::{News, Report};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// A fifo, opened for both as a shim opens it.
fn fifo(name: &str) -> (PathBuf, File) {
    let path = std::env::temp_dir().join(format!("shim-protos-fifo-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
    assert!(made.success());
    let both = File::options().read(true).write(true).open(&path).expect("it is there");
    (path, both)
}

#[test]
fn a_reader_that_opens_a_fifo_after_the_end_still_gets_all() {
    let (mut pump, told) = pump();
    let (path, both) = fifo("late");
    let (source, mut writer) = pipe();
    let number = start(&mut pump, source, both);
    writer.write_all(b"the last words").expect("it is read");
    drop(writer);
    // The transfer has read the end by then, in all likelihood.
    std::thread::sleep(Duration::from_millis(50));
    let mut received = String::new();
    File::open(&path).expect("it is there").read_to_string(&mut received).expect("a fifo");
    assert_eq!(received, "the last words");
    assert_eq!(end(&mut pump, &told), ended(number, 0));
    std::fs::remove_file(path).expect("it is there");
}

#[test]
fn a_fifo_that_nobody_reads_holds_up_the_end_of_its_transfer_but_for_a_moment() {
    let (mut pump, told) = pump();
    let (path, both) = fifo("nobody");
    let (source, mut writer) = pipe();
    let number = start(&mut pump, source, both);
    writer.write_all(b"x").expect("it is read");
    drop(writer);
    assert_eq!(end(&mut pump, &told), ended(number, 0));
    std::fs::remove_file(path).expect("it is there");
}

#[test]
fn a_reader_that_opens_a_fifo_after_its_transfer_has_ended_finds_a_writer_and_the_end() {
    let (mut pump, told) = pump();
    let (path, both) = fifo("later");
    let (source, writer) = pipe();
    let number = start(&mut pump, source, both);
    drop(writer);
    assert_eq!(end(&mut pump, &told), ended(number, 0));
    let (opened, read) = std::sync::mpsc::channel();
    let late = path.clone();
    std::thread::spawn(move || {
        let mut received = String::new();
        File::open(late).expect("it is there").read_to_string(&mut received).expect("a fifo");
        opened.send(received)
    });
    assert_eq!(read.recv_timeout(LONG).as_deref(), Ok(""));
    std::fs::remove_file(path).expect("it is there");
}

#[test]
fn a_flush_waits_for_the_reader_of_a_fifo_and_for_no_end() {
    let (mut pump, told) = pump();
    let (path, both) = fifo("flush");
    let mut reader = File::options().read(true).write(true).open(&path).expect("it is there");
    let (source, mut writer) = pipe();
    let number = start(&mut pump, source, both);
    writer.write_all(b"words").expect("it is read");
    pump.flush(number, LONG);
    assert!(told.recv_timeout(Duration::from_millis(100)).is_err(), "nobody has read");
    reader.read_exact(&mut [0; 5]).expect("a fifo");
    let flushed = Report { transfer: number, news: News::Flushed };
    assert_eq!(end(&mut pump, &told), flushed);
    // Its time may pass too, and there may be nothing to wait for.
    writer.write_all(b"words").expect("it is read");
    pump.flush(number, Duration::from_millis(5));
    assert_eq!(end(&mut pump, &told), flushed);
    reader.read_exact(&mut [0; 5]).expect("a fifo");
    pump.flush(number, LONG);
    assert_eq!(end(&mut pump, &told), flushed);
    drop(writer);
    assert_eq!(end(&mut pump, &told), ended(number, 0));
    std::fs::remove_file(path).expect("it is there");
}

#[test]
fn a_flush_of_a_transfer_that_ends_meanwhile_reports_its_end_alone() {
    let (mut pump, told) = pump();
    let (path, both) = fifo("ends");
    let (source, mut writer) = pipe();
    let number = start(&mut pump, source, both);
    writer.write_all(b"words").expect("it is read");
    pump.flush(number, LONG);
    pump.stop(number);
    assert_eq!(end(&mut pump, &told), ended(number, libc::ECANCELED));
    pump.flush(number, LONG);
    pump.stop(number);
    assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "its number names no other");
    std::fs::remove_file(path).expect("it is there");
}
