//! Tests of the thread without Node: a peer in plain Rust at the other end of a socket.

mod driving;

use super::{IoThread, Unusable};
use crate::engine::Engine;
use crate::records::{Malformed, event, op, record};
use crate::socket::Address;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

fn started() -> (IoThread, mpsc::Receiver<()>) {
    let (sender, told) = mpsc::channel();
    let io_thread =
        IoThread::start(Engine::new(u32::MAX).unwrap(), move || sender.send(()).unwrap()).unwrap();
    (io_thread, told)
}

fn connected(io_thread: &IoThread, name: &str) -> (u32, UnixStream) {
    use std::os::linux::net::SocketAddrExt as _;
    let name = format!("ttrpc-io_thread-{name}-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let name = Address::Unix(format!("\0{name}").into_bytes());
    let (connection, failed) = io_thread.with(move |engine| engine.connect(&name)).unwrap();
    assert!(failed.is_none());
    (connection.unwrap(), listener.accept().unwrap().0)
}

/// Waits to be told, and returns the operations of the events.
fn next_events(io_thread: &IoThread, told: &mpsc::Receiver<()>) -> Vec<u8> {
    told.recv_timeout(SOON).unwrap();
    io_thread.acknowledge();
    let mut bytes = vec![0; 1 << 20];
    let size = io_thread.events().fill(&mut bytes).size;
    operations(&bytes[..size])
}

fn operations(mut rest: &[u8]) -> Vec<u8> {
    let mut operations = Vec::new();
    while let Some(length) = rest.first_chunk() {
        operations.push(rest[4]);
        rest = &rest[u32::from_le_bytes(*length) as usize..];
    }
    operations
}

#[test]
fn a_call_goes_out_and_its_reply_comes_back() {
    let (io_thread, told) = started();
    let (connection, mut peer) = connected(&io_thread, "call");
    assert_eq!(next_events(&io_thread, &told), [event::CONNECTED]);
    let route = record(op::ROUTE, 0, 0, b"\x01\0\0\0s\x01\0\0\0m");
    io_thread.submit(&route).unwrap();
    io_thread.submit(&record(op::CALL, connection, 7, &[0; 12])).unwrap();
    assert!(io_thread.holds());
    let mut header = [0; 10];
    peer.read_exact(&mut header).unwrap();
    let mut body = vec![0; u32::from_be_bytes(header[..4].try_into().unwrap()) as usize];
    peer.read_exact(&mut body).unwrap();
    assert!(io_thread.holds());
    // An empty response to stream 1.
    peer.write_all(&[0, 0, 0, 0, 0, 0, 0, 1, 2, 0]).unwrap();
    let mut seen = Vec::new();
    while !seen.contains(&event::RESPONSE) {
        seen.extend(next_events(&io_thread, &told));
    }
    while io_thread.holds() {
        next_events(&io_thread, &told);
    }
}

#[test]
fn who_left_work_is_told_when_nothing_holds_any_more() {
    let (io_thread, told) = started();
    // To cancel an unknown call makes no event.
    io_thread.submit(&record(op::CANCEL, 0, 1, &[])).unwrap();
    assert!(next_events(&io_thread, &told).is_empty());
    assert!(!io_thread.holds());
}

#[test]
fn a_panic_answers_what_panicked_and_the_thread_goes_on() {
    let (io_thread, _told) = started();
    let outcome = io_thread.with(|_| -> u32 { panic!("on purpose") });
    assert!(matches!(outcome, Err(Unusable::Panicked(text)) if text == "on purpose"));
    assert!(matches!(io_thread.with(|_| 1), Ok((1, None))));
}

#[test]
fn a_malformed_batch_is_told_with_a_later_one() {
    let (io_thread, _told) = started();
    io_thread.submit(&[1, 2, 3]).unwrap();
    io_thread.with(|_| ()).unwrap();
    assert_eq!(io_thread.submit(&[]), Err(Malformed("a record is shorter than its header")));
    assert_eq!(io_thread.submit(&[]), Ok(()));
}

/// Normally only a batch wakes the thread, and a lender of more than the limit waits before there is one.
#[test]
fn payloads_beyond_what_may_wait_wake_the_thread_that_takes_them() {
    let (io_thread, _told) = started();
    let (sender, done) = mpsc::channel();
    let lender = std::thread::spawn(move || {
        for _ in 0..130 {
            io_thread.lend(&vec![0; 1 << 20]);
        }
        sender.send(()).unwrap();
    });
    assert_eq!(done.recv_timeout(SOON), Ok(()));
    lender.join().unwrap();
}

#[test]
fn the_thread_ends_with_its_owner() {
    let (io_thread, told) = started();
    let (_, mut peer) = connected(&io_thread, "end");
    drop(io_thread);
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
    assert!(told.try_iter().count() <= 1);
    // The sender is dropped with the thread.
    assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Disconnected));
}
