//! JavaScript's thread drives the engine, and the I/O thread takes over.

use super::super::{Drive, IoThread};
use super::{SOON, connected, next_events, operations, started};
use crate::engine::{Engine, Looks};
use crate::records::{event, op, record};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Barrier, mpsc};
use std::time::{Duration, Instant};

/// An empty response to the first call.
const RESPONSE: [u8; 10] = [0, 0, 0, 0, 0, 0, 0, 1, 2, 0];

/// A thread with a connection whose answers are looked for, and the connection's peer.
fn looking(name: &str) -> (IoThread, mpsc::Receiver<()>, u32, UnixStream) {
    looking_for(name, Duration::from_secs(60))
}

/// The same, with a look of that length.
fn looking_for(name: &str, time: Duration) -> (IoThread, mpsc::Receiver<()>, u32, UnixStream) {
    let (io_thread, told) = started();
    let (connection, peer) = connected(&io_thread, name);
    assert_eq!(next_events(&io_thread, &told), [event::CONNECTED]);
    let looks = Some(Looks::For(time));
    io_thread.with(move |engine| engine.look(connection, looks)).unwrap();
    io_thread.submit(&record(op::ROUTE, 0, 0, b"\x01\0\0\0s\x01\0\0\0m")).unwrap();
    wait_for_sleep(&io_thread);
    // That nothing keeps the process alive is told once.
    told.recv_timeout(SOON).unwrap();
    io_thread.acknowledge();
    (io_thread, told, connection, peer)
}

/// Waits until the I/O thread has nothing to do.
fn wait_for_sleep(io_thread: &IoThread) {
    let start = Instant::now();
    let common = &io_thread.common;
    let has_work = || common.left.load(Ordering::SeqCst) != common.done.load(Ordering::SeqCst);
    while has_work() || !io_thread.sleeps() || common.try_turn().is_none() {
        assert!(start.elapsed() < SOON);
        std::thread::yield_now();
    }
}

/// Makes a call on this thread, and returns whether that drives the engine.
fn call(io_thread: &IoThread, connection: u32, slot: u32, nanoseconds: f64) -> bool {
    let body = [&nanoseconds.to_le_bytes()[..], &[0; 4]].concat();
    io_thread.submit_here(&record(op::CALL, connection, slot, &body), true).unwrap()
}

/// What is to be done, once the I/O thread does not turn the engine.
fn drive(io_thread: &IoThread) -> Drive {
    loop {
        match io_thread.drive() {
            Drive::AskAgain => std::thread::yield_now(),
            decided => return decided,
        }
    }
}

/// The operations of the events that are there.
fn taken(io_thread: &IoThread) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    let size = io_thread.events().fill(&mut bytes).size;
    operations(&bytes[..size])
}

#[test]
fn while_the_io_thread_sleeps_a_call_has_left_when_it_was_made() {
    let (io_thread, _told, connection, mut peer) = looking("here");
    assert!(call(&io_thread, connection, 1, 0.0));
    peer.set_nonblocking(true).unwrap();
    peer.read_exact(&mut [0; 10]).unwrap();
    assert!(io_thread.holds());
}

#[test]
fn who_drives_finds_the_answers_and_is_not_told_of_them() {
    let (io_thread, told, connection, mut peer) = looking("found");
    io_thread.common.try_turn().unwrap().check_after = SOON;
    assert!(call(&io_thread, connection, 1, 0.0));
    // It was woken, to supervise.
    wait_for_sleep(&io_thread);
    assert!(matches!(drive(&io_thread), Drive::LookUntil(_)));
    peer.write_all(&RESPONSE).unwrap();
    io_thread.take_answers();
    assert_eq!(taken(&io_thread), [event::RESPONSE]);
    assert!(!io_thread.holds());
    assert_eq!(drive(&io_thread), Drive::Sleep);
    assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Empty));
}

#[test]
fn who_is_told_finds_the_engine_free() {
    let (told, checked) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (told_there, checked_here) = (told.clone(), checked.clone());
    let tell = move || {
        told_there.wait();
        checked_here.wait();
    };
    let io_thread = IoThread::start(Engine::new(u32::MAX).unwrap(), tell).unwrap();
    // To cancel an unknown call makes no event, but then nothing holds any more.
    io_thread.submit(&record(op::CANCEL, 0, 1, &[])).unwrap();
    told.wait();
    let is_free = io_thread.common.try_turn().is_some();
    checked.wait();
    assert!(is_free);
}

#[test]
fn if_who_drives_does_something_else_the_io_thread_takes_over() {
    let (io_thread, told, connection, mut peer) = looking("busy");
    assert!(call(&io_thread, connection, 1, 0.0));
    peer.write_all(&RESPONSE).unwrap();
    assert_eq!(next_events(&io_thread, &told), [event::RESPONSE]);
    assert_eq!(drive(&io_thread), Drive::Sleep);
}

#[test]
fn a_look_that_lasts_longer_than_a_check_is_made_in_parts() {
    let (io_thread, _told, connection, _peer) = looking("parts");
    io_thread.common.try_turn().unwrap().check_after = SOON;
    assert!(call(&io_thread, connection, 1, 0.0));
    let Drive::LookUntil(until) = drive(&io_thread) else { panic!("it does not look") };
    assert!(until < Instant::now() + SOON);
    wait_for_sleep(&io_thread);
    assert!(!io_thread.end_drive(false));
    assert!(matches!(drive(&io_thread), Drive::LookUntil(_)));
}

#[test]
fn who_has_looked_in_vain_is_told_of_the_answer() {
    let (io_thread, told, connection, mut peer) = looking_for("vain", Duration::ZERO);
    assert!(call(&io_thread, connection, 1, 0.0));
    while !io_thread.end_drive(false) {}
    assert_eq!(drive(&io_thread), Drive::Sleep);
    peer.write_all(&RESPONSE).unwrap();
    assert_eq!(next_events(&io_thread, &told), [event::RESPONSE]);
}

#[test]
fn work_that_is_queued_meanwhile_is_done_and_the_io_thread_heeds_the_answers() {
    let (io_thread, told, connection, mut peer) = looking("queued");
    assert!(call(&io_thread, connection, 1, 0.0));
    io_thread.with(|_| ()).unwrap();
    assert_eq!(drive(&io_thread), Drive::Sleep);
    peer.write_all(&RESPONSE).unwrap();
    assert_eq!(next_events(&io_thread, &told), [event::RESPONSE]);
}

#[test]
fn a_deadline_of_a_call_made_here_passes_in_time() {
    let (io_thread, told, connection, _peer) = looking("deadline");
    let nanoseconds = 50e6;
    call(&io_thread, connection, 1, nanoseconds);
    assert!(!next_events(&io_thread, &told).is_empty());
}

#[test]
fn if_who_made_a_call_must_not_drive_the_io_thread_looks_for_the_answer() {
    let (io_thread, _told, connection, _peer) = looking("elsewhere");
    let call = record(op::CALL, connection, 1, &[0; 12]);
    assert_eq!(io_thread.submit_here(&call, false), Ok(false));
    // It looks for a minute.
    std::thread::sleep(Duration::from_millis(20));
    assert!(!io_thread.sleeps());
}

#[test]
fn with_many_calls_in_flight_they_are_queued() {
    let (io_thread, _told, connection, _peer) = looking("many");
    let driven: Vec<bool> = (0..40).map(|slot| call(&io_thread, connection, slot, 0.0)).collect();
    assert!(driven[0]);
    assert!(driven[32..].iter().all(|driven| !driven), "{driven:?}");
}

#[test]
fn so_they_are_if_one_batch_makes_them() {
    for (name, count, driven) in [("burst", 32, false), ("few", 31, true)] {
        let (io_thread, _told, connection, _peer) = looking(name);
        let calls = (0..count).flat_map(|slot| record(op::CALL, connection, slot, &[0; 12]));
        let batch: Vec<u8> = calls.collect();
        assert_eq!(io_thread.submit_here(&batch, true), Ok(driven), "{count} calls");
    }
}
