//! An engine that is turned too late, because its thread was busy or stopped.

use super::peer::{frame, one_method, records, request};
use super::{connected, frames, listening_with, route, watched_for, with_flags};
use crate::engine::Engine;
use crate::limits::UNREAD_TIME;
use crate::protocol::close_reason::CloseKind;
use crate::records::{FLAG_SERVER_STREAM, event, op, record};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use ttrpc::proto::{
    Codec as _, FLAG_NO_DATA, FLAG_REMOTE_CLOSED, MESSAGE_TYPE_DATA, MESSAGE_TYPE_RESPONSE,
    Response,
};

const TIMEOUT: Duration = Duration::from_millis(100);

/// The fields of a call with that timeout, and no metadata.
fn fields() -> Vec<u8> {
    [&(TIMEOUT.as_nanos() as f64).to_le_bytes()[..], &[0; 4]].concat()
}

/// What else can turn an engine first once its thread goes on.
const FIRST: [fn(&mut Engine); 2] = [Engine::expire, |engine| engine.submit(&[]).unwrap()];

#[test]
fn a_reply_that_came_before_the_deadline_counts_however_late_it_is_read() {
    for first in FIRST {
        let (mut engine, connection, mut peer) = connected();
        engine.submit(&[route(), record(op::CALL, connection, 1, &fields())].concat()).unwrap();
        let mut events = [0; 1024];
        engine.events().fill(&mut events);
        let (id, _) = frames(&mut peer)[0];
        peer.write_all(&frame(MESSAGE_TYPE_RESPONSE, 0, id, &[])).unwrap();
        std::thread::sleep(TIMEOUT);
        first(&mut engine);
        engine.expire();
        engine.events().fill(&mut events);
        assert_eq!((events[4], events[12]), (event::RESPONSE, 1));
    }
}

#[test]
fn a_stream_that_ended_before_its_deadline_ended_well_however_late_it_is_read() {
    for first in FIRST {
        let (mut engine, connection, mut peer) = connected();
        let open = with_flags(record(op::OPEN, connection, 1, &fields()), FLAG_SERVER_STREAM);
        engine.submit(&[route(), open].concat()).unwrap();
        let mut events = [0; 1024];
        engine.events().fill(&mut events);
        let (id, _) = frames(&mut peer)[0];
        let last = FLAG_REMOTE_CLOSED | FLAG_NO_DATA;
        peer.write_all(&frame(MESSAGE_TYPE_DATA, last, id, &[])).unwrap();
        std::thread::sleep(TIMEOUT);
        first(&mut engine);
        engine.expire();
        engine.events().fill(&mut events);
        assert_eq!((events[4], events[12]), (event::END, 1));
    }
}

#[test]
fn all_that_a_peer_answered_before_it_left_is_heard_when_a_write_fails_and_how_it_left() {
    // One of the sizes is that of a frame which ends a turn's reading.
    for size in [0, 150 << 10] {
        let (mut engine, connection, mut peer) = connected();
        let call = |slot| record(op::CALL, connection, slot, &[0; 12]);
        engine.submit(&[route(), call(1), call(2), call(3)].concat()).unwrap();
        let mut events = [0; 1 << 16];
        engine.events().fill(&mut events);
        let ids = frames(&mut peer);
        let mut response = Response::new();
        response.payload = vec![7; size];
        for (id, body) in [(ids[0].0, response.encode().unwrap()), (ids[1].0, Vec::new())] {
            peer.write_all(&frame(MESSAGE_TYPE_RESPONSE, 0, id, &body)).unwrap();
        }
        drop(peer);
        engine.submit(&call(4)).unwrap();
        let mut ended = Vec::new();
        while !engine.events().is_empty() {
            let filled = engine.events().fill(&mut events);
            let slot = |event: &[u8]| u32::from_le_bytes(event[12..16].try_into().unwrap());
            ended.extend(records(&events[..filled.size]).map(|event| match event[4] {
                event::CLOSED => (event::CLOSED, event[20].into()),
                kind => (kind, slot(event)),
            }));
        }
        ended.sort_unstable();
        let mut expected = [
            (event::RESPONSE, 1),
            (event::RESPONSE, 2),
            (event::FAILED, 3),
            (event::FAILED, 4),
            (event::CLOSED, CloseKind::Remote as u32),
        ];
        expected.sort_unstable();
        assert_eq!(ended, expected, "{size}");
    }
}

#[test]
fn a_call_without_a_reply_ends_at_its_deadline() {
    let (mut engine, connection, mut peer) = connected();
    engine.submit(&[route(), record(op::CALL, connection, 1, &fields())].concat()).unwrap();
    let mut events = [0; 1024];
    engine.events().fill(&mut events);
    assert_eq!(frames(&mut peer).len(), 1);
    while engine.events().is_empty() {
        std::thread::sleep(engine.next_deadline().expect("a call has one"));
        engine.expire();
    }
    engine.events().fill(&mut events);
    assert_eq!((events[4], events[12]), (event::FAILED, 1));
    assert_eq!(engine.next_deadline(), None);
}

/// An engine with a peer that has not read its replies, for whose room another waits; the first one's connection and socket,
/// and the other's.
fn contended() -> (Engine, u32, UnixStream, UnixStream) {
    let (mut engine, listener, connect) = listening_with(one_method(None));
    let mut watched = false;
    let mut call = |engine: &mut Engine, ids: &[u32]| {
        let mut peer = connect();
        engine.ready(listener, true, false);
        let connections = watched_for(engine, listener, &mut watched);
        for id in ids {
            peer.write_all(&request(*id)).unwrap();
        }
        let connection = connections.into_iter().max().unwrap();
        engine.ready(connection, true, false);
        (connection, peer)
    };
    let (connection, first) = call(&mut engine, &[1, 3, 5]);
    let mut events = [0; 1 << 16];
    let filled = engine.events().fill(&mut events);
    let reply = vec![0; 12 + (3 << 19)];
    for event in records(&events[..filled.size]).filter(|event| event[4] == event::REQUEST) {
        let mut answer = record(op::REPLY, 0, 0, &reply);
        answer[12..20].copy_from_slice(&event[12..20]);
        engine.submit(&answer).unwrap();
    }
    let (_, second) = call(&mut engine, &[1]);
    assert!(engine.next_deadline().is_some(), "nobody waits");
    (engine, connection, first, second)
}

#[test]
fn a_peer_that_read_its_replies_meanwhile_is_not_closed_by_an_engine_that_was_late() {
    let (mut engine, connection, mut peer, _waiting) = contended();
    peer.set_nonblocking(true).unwrap();
    while peer.read(&mut [0; 1 << 16]).is_ok() {}
    std::thread::sleep(UNREAD_TIME + Duration::from_millis(100));
    engine.expire();
    assert!(engine.connections.contains_key(&connection), "it was closed");
    engine.ready(connection, false, true);
    std::thread::sleep(engine.next_deadline().unwrap_or_default());
    engine.expire();
    assert!(engine.connections.contains_key(&connection), "it was closed");
}

#[test]
fn a_peer_that_reads_nothing_is_closed_by_an_engine_that_is_always_late() {
    let (mut engine, connection, _peer, _waiting) = contended();
    for _ in 0..2 {
        std::thread::sleep(UNREAD_TIME / 2 + Duration::from_millis(50));
        engine.ready(connection, false, true);
        engine.expire();
    }
    assert!(!engine.connections.contains_key(&connection), "it is open");
}
