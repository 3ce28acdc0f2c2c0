//! An engine that is turned too late, because its thread was busy or stopped.

use super::{connected, frames, route, with_flags};
use crate::engine::Engine;
use crate::records::{FLAG_SERVER_STREAM, event, op, record};
use std::io::Write as _;
use std::time::Duration;

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
        peer.write_all(&[&[0; 4], &id.to_be_bytes()[..], &[2, 0]].concat()).unwrap();
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
        peer.write_all(&[&[0; 4], &id.to_be_bytes()[..], &[3, 5]].concat()).unwrap();
        std::thread::sleep(TIMEOUT);
        first(&mut engine);
        engine.expire();
        engine.events().fill(&mut events);
        assert_eq!((events[4], events[12]), (event::END, 1));
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
