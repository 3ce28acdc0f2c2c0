//! When a connection looks for answers before the thread sleeps.

use super::peer::frame;
use super::{connected, frames, route, with_flags};
use crate::engine::busy_poll::Looks;
use crate::engine::{Engine, Hold};
use crate::limits::{LOOK_CONNECTIONS, RARELY};
use crate::records::{FLAG_CANCELLABLE, FLAG_CLIENT_STREAM, FLAG_SERVER_STREAM, op, record};
use crate::socket::Stream;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use ttrpc::proto::{MESSAGE_TYPE_DATA, MESSAGE_TYPE_RESPONSE};

pub(super) const LONG: Looks = Looks::For(Duration::from_secs(60));

/// The fields of a call without a timeout and metadata.
const FIELDS: [u8; 12] = [0; 12];

fn looking(looks: Looks) -> (Engine, u32, UnixStream) {
    let (mut engine, connection, peer) = connected();
    engine.look(connection, Some(looks));
    engine.submit(&route()).unwrap();
    (engine, connection, peer)
}

/// Makes a call, and returns the id that the peer sees.
fn call(engine: &mut Engine, connection: u32, slot: u32, peer: &mut UnixStream) -> u32 {
    engine.submit(&record(op::CALL, connection, slot, &FIELDS)).unwrap();
    frames(peer)[0].0
}

fn answer(engine: &mut Engine, connection: u32, id: u32, peer: &mut UnixStream) {
    peer.write_all(&frame(MESSAGE_TYPE_RESPONSE, 0, id, &[])).unwrap();
    engine.ready(connection, true, false);
}

fn looks(engine: &Engine) -> bool {
    assert_eq!(engine.looks(), engine.looks_until().is_some());
    engine.looks()
}

/// Connects another peer.
fn another(engine: &mut Engine, looks: Looks) -> (u32, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let connection = engine.adopt(Stream::adopt(ours.into()).unwrap());
    engine.look(connection, Some(looks));
    (connection, theirs)
}

#[test]
fn a_look_lasts_from_a_call_to_its_answer() {
    let (mut engine, connection, mut peer) = looking(LONG);
    assert!(!looks(&engine));
    for slot in 1..4 {
        let id = call(&mut engine, connection, slot, &mut peer);
        assert!(looks(&engine));
        answer(&mut engine, connection, id, &mut peer);
        assert!(!looks(&engine));
    }
}

#[test]
fn a_look_goes_on_after_an_answer_while_others_are_due() {
    let (mut engine, connection, mut peer) = looking(LONG);
    let ids = [1, 2, 3].map(|slot| call(&mut engine, connection, slot, &mut peer));
    for id in &ids[..2] {
        answer(&mut engine, connection, *id, &mut peer);
        assert!(looks(&engine));
    }
    answer(&mut engine, connection, ids[2], &mut peer);
    assert!(!looks(&engine));
}

#[test]
fn a_call_that_was_looked_for_in_vain_is_not_looked_for_again() {
    let (mut engine, connection, mut peer) = looking(LONG);
    let slow = call(&mut engine, connection, 1, &mut peer);
    engine.end_look(false);
    assert!(!looks(&engine));
    let quick = call(&mut engine, connection, 2, &mut peer);
    assert!(looks(&engine), "another call is looked for");
    answer(&mut engine, connection, quick, &mut peer);
    assert!(!looks(&engine), "the first call is looked for again");
    answer(&mut engine, connection, slow, &mut peer);
    let next = call(&mut engine, connection, 3, &mut peer);
    assert!(looks(&engine), "what was slow has ended");
    call(&mut engine, connection, 4, &mut peer);
    answer(&mut engine, connection, next, &mut peer);
    assert!(looks(&engine), "the last call is due");
}

#[test]
fn a_call_is_not_looked_for_before_all_of_it_has_left() {
    let (mut engine, connection, mut peer) = looking(LONG);
    let payload = vec![7; 2 << 20];
    engine.submit(&record(op::CALL, connection, 1, &[&FIELDS[..], &payload].concat())).unwrap();
    assert!(!looks(&engine));
    let mut taken = 0;
    let mut buffer = vec![0; 64 << 10];
    while !looks(&engine) {
        taken += peer.read(&mut buffer).unwrap();
        engine.ready(connection, false, true);
    }
    assert!(taken > 1 << 20, "{taken}");
}

#[test]
fn a_look_that_finds_an_answer_makes_up_for_one_in_vain() {
    let (mut engine, connection, mut peer) = looking(Looks::WhileTheyPay);
    for slot in 0..10 {
        for (slot, may_look, pays) in
            [(3 * slot, true, false), (3 * slot + 1, false, false), (3 * slot + 2, true, true)]
        {
            let id = call(&mut engine, connection, slot + 1, &mut peer);
            assert_eq!(looks(&engine), may_look, "call {slot}");
            if may_look && !pays {
                engine.end_look(false);
            }
            answer(&mut engine, connection, id, &mut peer);
        }
    }
}

#[test]
fn a_call_that_was_given_up_is_not_looked_for() {
    let (mut engine, connection, _peer) = looking(LONG);
    let cancellable = with_flags(record(op::CALL, connection, 1, &FIELDS), FLAG_CANCELLABLE);
    engine.submit(&cancellable).unwrap();
    assert!(looks(&engine));
    engine.submit(&with_flags(record(op::CANCEL, connection, 1, &[]), 0)).unwrap();
    assert!(!looks(&engine));
}

#[test]
fn each_message_of_a_stream_is_looked_for_until_something_comes() {
    let (mut engine, connection, mut peer) = looking(LONG);
    let open = record(op::OPEN, connection, 1, &FIELDS);
    engine.submit(&with_flags(open, FLAG_SERVER_STREAM | FLAG_CLIENT_STREAM)).unwrap();
    let id = frames(&mut peer)[0].0;
    assert!(looks(&engine));
    engine.end_look(false);
    for _ in 0..3 {
        engine.submit(&record(op::SEND, connection, 1, b"x")).unwrap();
        assert!(looks(&engine));
        peer.write_all(&frame(MESSAGE_TYPE_DATA, 0, id, &[])).unwrap();
        engine.ready(connection, true, false);
        assert!(!looks(&engine), "a stream may be silent for long");
    }
}

#[test]
fn what_the_program_does_not_wait_for_begins_no_look() {
    let (mut engine, connection, mut peer) = looking(LONG);
    engine.hold(connection, Hold::Always);
    peer.write_all(&frame(MESSAGE_TYPE_RESPONSE, 0, 1, &[])).unwrap();
    engine.ready(connection, true, false);
    assert!(!looks(&engine));
}

#[test]
fn looks_in_vain_become_rare_and_one_that_finds_an_answer_makes_them_common() {
    let (mut engine, connection, mut peer) = looking(Looks::WhileTheyPay);
    let mut made = Vec::new();
    for slot in 1..=10 * RARELY {
        let id = call(&mut engine, connection, slot, &mut peer);
        if looks(&engine) {
            made.push(slot);
            engine.end_look(false);
        }
        answer(&mut engine, connection, id, &mut peer);
    }
    assert!(made.len() < 20, "{made:?}");

    let mut found = 0;
    for slot in 1..=2 * RARELY {
        let id = call(&mut engine, connection, 10 * RARELY + slot, &mut peer);
        found += u32::from(looks(&engine));
        answer(&mut engine, connection, id, &mut peer);
    }
    assert!(found > RARELY, "{found}");
}

#[test]
fn a_look_that_others_interrupt_is_not_made_again_for_long() {
    let (mut engine, connection, mut peer) = looking(Looks::WhileTheyPay);
    let id = call(&mut engine, connection, 1, &mut peer);
    engine.end_look(true);
    answer(&mut engine, connection, id, &mut peer);
    let made = (2..=RARELY + 1).filter(|slot| {
        let id = call(&mut engine, connection, *slot, &mut peer);
        let made = looks(&engine);
        answer(&mut engine, connection, id, &mut peer);
        made
    });
    assert_eq!(made.collect::<Vec<_>>(), [RARELY + 1]);
}

#[test]
fn few_connections_are_looked_at_unless_the_program_asks_for_more() {
    for (kind, expected) in [(Looks::WhileTheyPay, LOOK_CONNECTIONS), (LONG, 2 * LOOK_CONNECTIONS)]
    {
        let mut engine = Engine::new(u32::MAX).unwrap();
        engine.submit(&route()).unwrap();
        let peers: Vec<_> = (1..=2 * LOOK_CONNECTIONS as u32)
            .map(|slot| {
                let (connection, peer) = another(&mut engine, kind);
                engine.submit(&record(op::CALL, connection, slot, &FIELDS)).unwrap();
                peer
            })
            .collect();
        assert_eq!(engine.looked_at().count(), expected);
        drop(peers);
    }
}

#[test]
fn the_last_place_is_kept_by_a_connection_that_makes_another_call() {
    let mut engine = Engine::new(u32::MAX).unwrap();
    engine.submit(&route()).unwrap();
    let peers: Vec<_> =
        (0..LOOK_CONNECTIONS).map(|_| another(&mut engine, Looks::WhileTheyPay)).collect();
    for slot in 1..=3 * LOOK_CONNECTIONS as u32 {
        let (connection, _) = peers[slot as usize % peers.len()];
        // However slow this machine is, the look goes on.
        engine.connections.get_mut(&connection).unwrap().look.as_mut().unwrap().lengthen();
        engine.submit(&record(op::CALL, connection, slot, &FIELDS)).unwrap();
    }
    assert_eq!(engine.looked_at().count(), LOOK_CONNECTIONS);
}

#[test]
fn connections_whose_calls_were_given_up_leave_their_places_to_others() {
    let mut engine = Engine::new(u32::MAX).unwrap();
    engine.submit(&route()).unwrap();
    let mut peers = Vec::new();
    for slot in 1..=2 * LOOK_CONNECTIONS as u32 {
        let (connection, peer) = another(&mut engine, Looks::WhileTheyPay);
        peers.push(peer);
        let call = record(op::CALL, connection, slot, &FIELDS);
        engine.submit(&with_flags(call, FLAG_CANCELLABLE)).unwrap();
        assert!(looks(&engine), "the place of connection {slot}");
        engine.submit(&with_flags(record(op::CANCEL, connection, slot, &[]), 0)).unwrap();
        assert!(!looks(&engine));
    }
}

#[test]
fn messages_that_are_not_answered_do_not_prolong_a_look_unless_the_program_says_how_long() {
    for (kind, prolonged) in [(Looks::WhileTheyPay, false), (LONG, true)] {
        let (mut engine, connection, _peer) = looking(kind);
        engine.connections.get_mut(&connection).unwrap().look.as_mut().unwrap().lengthen();
        let open = record(op::OPEN, connection, 1, &FIELDS);
        engine.submit(&with_flags(open, FLAG_SERVER_STREAM | FLAG_CLIENT_STREAM)).unwrap();
        let until = engine.looks_until().unwrap();
        for _ in 0..3 {
            engine.submit(&record(op::SEND, connection, 1, b"x")).unwrap();
        }
        assert_eq!(engine.looks_until().unwrap() > until, prolonged);
    }
}

/// A blocking connection, which looks for 10 ms. A peer that never answers comes with it.
fn blocking() -> (Engine, u32, UnixStream) {
    let mut engine = Engine::new(u32::MAX).unwrap();
    engine.submit(&route()).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let connection = engine.open_blocking(Stream::adopt(ours.into()).unwrap());
    engine.look(connection, Some(Looks::For(Duration::from_millis(10))));
    (engine, connection, theirs)
}

/// How long this thread has had a processor.
fn spent() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn a_blocking_call_that_is_held_costs_one_look() {
    let (mut engine, connection, _peer) = blocking();
    let before = spent();
    let call = engine.start_blocking(&record(op::CALL, connection, 1, &FIELDS)).unwrap();
    for _ in 0..10 {
        assert!(engine.wait_blocking(&call).is_none());
    }
    // With a look in each of them it would be 100 ms.
    let spent = spent() - before;
    assert!(spent < Duration::from_millis(40), "{spent:?}");
}

#[test]
fn a_look_is_part_of_the_wait_of_a_blocking_call() {
    let (mut engine, connection, _peer) = blocking();
    let mut times: Vec<_> = (1..10)
        .map(|slot| {
            let begun = Instant::now();
            let call = engine.start_blocking(&record(op::CALL, connection, slot, &FIELDS)).unwrap();
            assert!(engine.wait_blocking(&call).is_none());
            begun.elapsed()
        })
        .collect();
    times.sort();
    // 20 ms, as without a look. A wait after the look of as long again would make it 30.
    assert!(times[4] < Duration::from_millis(28), "{times:?}");
}
