//! When a server's connection looks for requests before the thread sleeps.

use super::looks::LONG;
use super::peer::{one_method, records, request};
use super::{frames, listening_to, options, watched_for};
use crate::engine::busy_poll::Looks;
use crate::engine::{Engine, ListenOptions};
use crate::limits::RARELY;
use crate::records::{event, op, record};
use std::io::Write as _;
use std::os::unix::net::UnixStream;

/// A peer that makes requests of an engine.
struct Caller {
    engine: Engine,
    connection: u32,
    socket: UnixStream,
    id: u32,
}

impl Caller {
    fn of_a_server(looks: Option<Looks>) -> Self {
        let (mut engine, listener, connect) =
            listening_to(ListenOptions { looks, ..options(one_method(None)) });
        let socket = connect();
        engine.ready(listener, true, false);
        let connection = watched_for(&mut engine, listener, &mut false)[0];
        Self { engine, connection, socket, id: 1 }
    }

    /// Makes a request. Returns the fields of its event that name it.
    fn request(&mut self) -> [u8; 8] {
        self.socket.write_all(&request(self.id)).unwrap();
        self.id += 2;
        self.engine.ready(self.connection, true, false);
        let mut events = [0; 1024];
        let filled = self.engine.events().fill(&mut events).size;
        let last = records(&events[..filled]).last().unwrap();
        assert_eq!(last[4], event::REQUEST);
        last[12..20].try_into().unwrap()
    }

    fn answer(&mut self, request: [u8; 8]) {
        let mut answer = record(op::REPLY, 0, 0, &[0; 12]);
        answer[12..20].copy_from_slice(&request);
        self.engine.submit(&answer).unwrap();
        assert_eq!(frames(&mut self.socket).len(), 1);
    }

    fn looks(&self) -> bool {
        self.engine.looks()
    }
}

#[test]
fn a_server_looks_from_its_answer_to_the_next_request() {
    let mut caller = Caller::of_a_server(Some(LONG));
    assert!(!caller.looks(), "nobody has called yet");
    for _ in 0..3 {
        let request = caller.request();
        assert!(!caller.looks(), "the request is not answered");
        caller.answer(request);
        assert!(caller.looks());
    }
}

#[test]
fn a_request_that_is_handled_for_long_does_not_keep_a_server_from_looking_for_others() {
    let mut caller = Caller::of_a_server(Some(LONG));
    caller.request();
    caller.engine.end_look(false);
    for _ in 0..3 {
        let request = caller.request();
        caller.answer(request);
        assert!(caller.looks());
        caller.engine.end_look(false);
    }
}

#[test]
fn a_server_that_is_told_not_to_look_does_not() {
    let mut caller = Caller::of_a_server(None);
    for _ in 0..RARELY {
        let request = caller.request();
        caller.answer(request);
        assert!(!caller.looks());
    }
}

#[test]
fn a_server_does_not_look_for_more_of_a_peer_that_calls_a_few_times() {
    let mut caller = Caller::of_a_server(Some(Looks::WhileTheyPay));
    for _ in 0..7 {
        let request = caller.request();
        caller.answer(request);
        assert!(!caller.looks());
    }
    for _ in 0..RARELY {
        let request = caller.request();
        caller.answer(request);
        assert!(caller.looks(), "of a peer that goes on");
    }
}

#[test]
fn a_server_looks_rarely_if_the_next_request_takes_long_to_come() {
    let mut caller = Caller::of_a_server(Some(Looks::WhileTheyPay));
    let mut looks = 0;
    for _ in 0..10 * RARELY {
        let request = caller.request();
        caller.answer(request);
        looks += u32::from(caller.looks());
        caller.engine.end_look(false);
    }
    assert!((10..20).contains(&looks), "{looks}");
}
