//! The thread without Node: a peer in plain Rust at the other end of a socket.

use super::{Driver, Unusable};
use crate::engine::Engine;
use crate::port::{Malformed, event, op, record};
use crate::socket::Address;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

fn started() -> (Driver, mpsc::Receiver<()>) {
    let (sender, told) = mpsc::channel();
    let driver =
        Driver::start(Engine::new(u32::MAX).unwrap(), move || sender.send(()).unwrap()).unwrap();
    (driver, told)
}

fn connected(driver: &Driver, name: &str) -> (u32, UnixStream) {
    use std::os::linux::net::SocketAddrExt as _;
    let name = format!("ttrpc-driver-{name}-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let name = Address::Unix(format!("\0{name}").into_bytes());
    let (connection, failed) = driver.with(move |engine| engine.connect(&name)).unwrap();
    assert!(failed.is_none());
    (connection.unwrap(), listener.accept().unwrap().0)
}

/// Waits to be told, and returns what the events are about.
fn next_events(driver: &Driver, told: &mpsc::Receiver<()>) -> Vec<u8> {
    told.recv_timeout(SOON).unwrap();
    driver.look();
    let mut bytes = vec![0; 1 << 20];
    let size = driver.events().fill(&mut bytes).size;
    let mut rest = &bytes[..size];
    let mut operations = Vec::new();
    while let Some(length) = rest.first_chunk() {
        operations.push(rest[4]);
        rest = &rest[u32::from_le_bytes(*length) as usize..];
    }
    operations
}

#[test]
fn a_call_goes_out_and_its_reply_comes_back() {
    let (driver, told) = started();
    let (connection, mut peer) = connected(&driver, "call");
    assert_eq!(next_events(&driver, &told), [event::CONNECTED]);
    let route = record(op::ROUTE, 0, 0, b"\x01\0\0\0s\x01\0\0\0m");
    driver.submit(&route).unwrap();
    driver.submit(&record(op::CALL, connection, 7, &[0; 12])).unwrap();
    assert!(driver.holds());
    let mut header = [0; 10];
    peer.read_exact(&mut header).unwrap();
    let mut body = vec![0; u32::from_be_bytes(header[..4].try_into().unwrap()) as usize];
    peer.read_exact(&mut body).unwrap();
    assert!(driver.holds());
    // An empty response to stream 1.
    peer.write_all(&[0, 0, 0, 0, 0, 0, 0, 1, 2, 0]).unwrap();
    let mut seen = Vec::new();
    while !seen.contains(&event::RESPONSE) {
        seen.extend(next_events(&driver, &told));
    }
    while driver.holds() {
        next_events(&driver, &told);
    }
}

#[test]
fn who_left_work_is_told_when_nothing_holds_any_more() {
    let (driver, told) = started();
    // A cancel of a call that is not there makes no event.
    driver.submit(&record(op::CANCEL, 0, 1, &[])).unwrap();
    assert_eq!(next_events(&driver, &told), []);
    assert!(!driver.holds());
}

#[test]
fn a_panic_answers_what_panicked_and_the_thread_goes_on() {
    let (driver, _told) = started();
    let outcome = driver.with(|_| -> u32 { panic!("on purpose") });
    assert!(matches!(outcome, Err(Unusable::Panicked(text)) if text == "on purpose"));
    assert!(matches!(driver.with(|_| 1), Ok((1, None))));
}

#[test]
fn a_malformed_batch_is_told_with_a_later_one() {
    let (driver, _told) = started();
    driver.submit(&[1, 2, 3]).unwrap();
    driver.with(|_| ()).unwrap();
    assert_eq!(driver.submit(&[]), Err(Malformed("a record is shorter than its header")));
    assert_eq!(driver.submit(&[]), Ok(()));
}

/// Nothing but a batch woke it, and who lends more than may wait waits before there is one.
#[test]
fn payloads_beyond_what_may_wait_wake_the_thread_that_takes_them() {
    let (driver, _told) = started();
    let (sender, done) = mpsc::channel();
    let lender = std::thread::spawn(move || {
        for _ in 0..130 {
            driver.lend(vec![0; 1 << 20]);
        }
        sender.send(()).unwrap();
    });
    assert_eq!(done.recv_timeout(SOON), Ok(()));
    lender.join().unwrap();
}

#[test]
fn the_thread_ends_with_its_owner() {
    let (driver, told) = started();
    let (_, mut peer) = connected(&driver, "end");
    drop(driver);
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
    assert!(told.try_iter().count() <= 1);
    // Whatever tells is gone with the thread.
    assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Disconnected));
}
