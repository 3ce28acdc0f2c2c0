//! Properties of the detour of stream messages: with and without it, their readers and their peers see the same.

use super::super::apart::APART;
use super::super::detached::{DETACHED, STUB};
use super::super::stream_state::StreamState;
use super::super::testing::{
    Bytes, bytes, frame, pair, read, receive, receive_in_pieces, sent, write,
};
use super::super::{Pipe, Role, Wire, WireInit, Worklist};
use crate::ids::{IdMap, IdSet};
use crate::limits::{MESSAGE_COST, SLACK_LIMIT};
use crate::protocol::status::MESSAGE_LIMIT;
use crate::random::Random;
use futures::FutureExt as _;
use std::collections::VecDeque;
use std::sync::Arc;
use ttrpc::proto::{
    Codec as _, FLAG_NO_DATA, FLAG_REMOTE_CLOSED, FLAG_REMOTE_OPEN, GenMessage, MESSAGE_TYPE_DATA,
    MESSAGE_TYPE_REQUEST, MESSAGE_TYPE_RESPONSE, Request, Response,
};

fn message(id: u32, body: Vec<u8>, flags: u8) -> GenMessage {
    let mut message = frame(MESSAGE_TYPE_DATA, id, body);
    message.header.flags = flags;
    message
}

/// A stream of the client, whose request was written.
fn called(wire: &Wire, pipe: &mut Pipe) -> (u32, Arc<StreamState>) {
    let id = wire.stream_call();
    let state = wire.new_stream();
    wire.opening_stream(&state);
    let mut request = frame(MESSAGE_TYPE_REQUEST, id, Request::new().encode().unwrap());
    request.header.flags = FLAG_REMOTE_OPEN | FLAG_NO_DATA;
    write(wire, pipe, &request);
    (id, state)
}

/// A stream that this side serves, whose handler has begun.
fn served(wire: &Wire, pipe: &mut Pipe, id: u32) -> Arc<StreamState> {
    let mut request = frame(MESSAGE_TYPE_REQUEST, id, Request::new().encode().unwrap());
    request.header.flags = FLAG_REMOTE_OPEN | FLAG_NO_DATA;
    receive(wire, &bytes(&request));
    read(pipe).unwrap();
    let state = wire.new_stream();
    wire.opened_stream(id, &state, false);
    state
}

/// What the readers of the streams get.
fn taken(pipe: &mut Pipe, streams: &[(u32, Arc<StreamState>)]) -> Vec<(u32, Vec<u8>)> {
    let mut taken = Vec::new();
    while let Some(got) = read(pipe) {
        assert_eq!(got.header.length as usize, got.payload.len());
        let id = got.header.stream_id;
        let (_, state) = streams.iter().find(|stream| stream.0 == id).unwrap();
        taken.push((id, state.whole(got.payload)));
    }
    taken
}

#[test]
fn any_messages_arrive_whole_and_in_order_however_their_bytes_come() {
    let mut random = Random(0x2222_3333_4444_5557);
    for role in [Role::Client, Role::Server] {
        let (wire, mut pipe) = pair(role);
        let streams: Vec<_> = match role {
            Role::Client => (0..3).map(|_| called(&wire, &mut pipe)).collect(),
            Role::Server => [1, 3, 5].map(|id| (id, served(&wire, &mut pipe, id))).into(),
        };
        for _ in 0..150 {
            let mut sent = Vec::new();
            let mut arriving = Vec::new();
            for _ in 0..=random.below(6) {
                let id = streams[random.below(3)].0;
                let length = if random.below(3) == 0 { random.below(3) } else { random.length() };
                let body = random.bytes(length);
                let flags = [0, FLAG_NO_DATA][random.below(2)];
                arriving.extend(bytes(&message(id, body.clone(), flags)));
                sent.push((id, body));
            }
            receive_in_pieces(&wire, &arriving, random.piece());
            let mut got = taken(&mut pipe, &streams);
            // ttrpc reads one frame, and by that lets the next one pass.
            while got.len() < sent.len() {
                receive(&wire, &[]);
                got.extend(taken(&mut pipe, &streams));
            }
            assert!(got == sent);
            for (_, state) in &streams {
                state.ended();
            }
        }
    }
}

/// ttrpc's handler has not begun, but the messages came with the request.
#[test]
fn messages_that_come_with_the_request_are_there_when_its_handler_begins() {
    let (wire, mut pipe) = pair(Role::Server);
    let mut request = frame(MESSAGE_TYPE_REQUEST, 1, Request::new().encode().unwrap());
    request.header.flags = FLAG_REMOTE_OPEN | FLAG_NO_DATA;
    let bodies = [vec![1; DETACHED], vec![2], vec![3; 10], vec![4; 3 * APART], vec![5]];
    let mut arriving = bytes(&request);
    for body in &bodies {
        arriving.extend(bytes(&message(1, body.clone(), 0)));
    }
    receive(&wire, &arriving);
    read(&mut pipe).unwrap();
    let stubs: Vec<_> = bodies.iter().map(|_| read(&mut pipe).unwrap().payload).collect();
    let state = wire.new_stream();
    wire.opened_stream(1, &state, false);
    let whole: Vec<_> = stubs.into_iter().map(|stub| state.whole(stub)).collect();
    assert_eq!(whole, bodies);
}

#[test]
fn a_payload_of_a_response_that_looks_like_a_stub_is_no_message() {
    let (wire, mut pipe) = pair(Role::Client);
    let (id, state) = called(&wire, &mut pipe);
    let response = Response { payload: vec![9], ..Default::default() };
    let last = frame(MESSAGE_TYPE_RESPONSE, id, response.encode().unwrap());
    let large = vec![7; 2 * APART];
    receive(&wire, &[bytes(&message(id, large.clone(), 0)), bytes(&last)].concat());
    assert_eq!(state.whole(read(&mut pipe).unwrap().payload), large);
    let response = Response::decode(read(&mut pipe).unwrap().payload).unwrap();
    assert_eq!(state.whole(response.payload), [9]);
}

/// ttrpc reports it, so it has to see it.
#[test]
fn a_closing_message_with_a_body_is_left_to_ttrpc() {
    let (wire, mut pipe) = pair(Role::Client);
    let (id, _state) = called(&wire, &mut pipe);
    let closing = message(id, vec![1; 2 * APART], FLAG_REMOTE_CLOSED | FLAG_NO_DATA);
    receive_in_pieces(&wire, &bytes(&closing), 1000);
    assert!(read(&mut pipe).unwrap() == closing);
}

#[test]
fn any_messages_leave_as_the_bytes_that_ttrpc_would_write() {
    let mut random = Random(0x5555_6666_7777_8889);
    let (wire, mut pipe) = pair(Role::Client);
    let streams = [called(&wire, &mut pipe), called(&wire, &mut pipe)];
    let mut detached = 0;
    for _ in 0..300 {
        let mut expected = Vec::new();
        let mut written = Vec::new();
        for _ in 0..=random.below(4) {
            let id = streams[random.below(2)].0;
            let large = random.below(2) * (APART - 2);
            let length = if large > 0 { large + random.below(4) } else { random.length() };
            let mut body = random.bytes(length);
            expected.extend(bytes(&message(id, body.clone(), 0)));
            let leaving = wire.detach_message(id, &mut body);
            detached += usize::from(leaving.is_some());
            written.extend(write(&wire, &mut pipe, &message(id, body, 0)));
        }
        assert!(written == expected);
    }
    assert!(detached > 100, "{detached}");
    assert!(wire.lock().rules.detached.messages.is_empty());
    assert!(wire.lock().rules.detached.abandoned.is_empty());
}

/// A writer that stops anywhere goes on where it stopped.
#[test]
fn a_socket_that_takes_a_few_bytes_at_a_time_gets_the_same_bytes() {
    let mut random = Random(0x7777_6666_7777_8889);
    let (wire, mut pipe) = pair(Role::Client);
    let (id, _state) = called(&wire, &mut pipe);
    let (mut expected, mut got) = (Vec::new(), Vec::new());
    for _ in 0..400 {
        let length = random.length();
        let mut body = random.bytes(length);
        let whole = bytes(&message(id, body.clone(), 0));
        let _leaving = wire.detach_message(id, &mut body);
        message(id, body, 0).write_to(&mut pipe).now_or_never().unwrap().unwrap();
        expected.extend(whole);
        let mut room = random.below(60_000);
        wire.send(|parts| {
            let before = got.len();
            for part in parts {
                let taken = part.len().min(room);
                got.extend_from_slice(&part[..taken]);
                room -= taken;
            }
            match got.len() - before {
                0 => Err(std::io::ErrorKind::WouldBlock.into()),
                count => Ok(count),
            }
        })
        .unwrap();
        wire.snapshot();
        assert_eq!(wire.unsent(), expected.len() - got.len());
    }
    got.extend(sent(&wire));
    assert!(got == expected);
}

#[test]
fn a_message_above_the_limit_is_left_to_ttrpc_which_refuses_it() {
    let (wire, _pipe) = pair(Role::Client);
    for (length, is_detached) in [(MESSAGE_LIMIT, true), (MESSAGE_LIMIT + 1, false), (1, false)] {
        let mut body = vec![1; length];
        assert_eq!(wire.detach_message(1, &mut body).is_some(), is_detached, "{length}");
        assert_eq!(body.len() == STUB.len(), is_detached || length == STUB.len());
    }
}

/// ttrpc may have it in its queue when the stream is given up, or may never have got it.
#[test]
fn a_message_of_a_stream_that_was_given_up_is_kept_until_the_turn_is_over() {
    let (wire, mut pipe) = pair(Role::Client);
    let (id, _state) = called(&wire, &mut pipe);
    for is_queued in [true, false] {
        let whole = vec![8; APART];
        let mut body = whole.clone();
        drop(wire.detach_message(id, &mut body));
        assert_eq!(wire.lock().rules.detached.messages.len(), 1);
        if is_queued {
            let expected = bytes(&message(id, whole, 0));
            assert!(write(&wire, &mut pipe, &message(id, body, 0)) == expected);
        }
        wire.turn_over();
        assert!(wire.lock().rules.detached.messages.is_empty());
    }
}

#[test]
fn memory_for_a_message_grows_with_what_has_arrived_of_it() {
    use crate::transport::budget::{Budget, Excess, ListenerLimits};
    let worklist = Arc::<Worklist>::default();
    let limits = ListenerLimits { calls: 10, bytes: 64 << 20, excess: Excess::Refused };
    let budget = Some(Budget::new(limits, worklist.clone()));
    let init = WireInit { id: 1, worklist: worklist.clone(), budget, blocking: false };
    let (wire, mut pipe) = Wire::pair(Role::Server, init);
    let state = served(&wire, &mut pipe, 1);
    // Other connections keep all the unused memory that there may be.
    assert!(worklist.memory.keeps(0, SLACK_LIMIT - wire.lock().slack));
    let whole = bytes(&message(1, vec![6; MESSAGE_LIMIT], 0));
    let (front, rest) = whole.split_at(1000);
    receive(&wire, front);
    assert!(wire.lock().rx.slack() < 1000, "{}", wire.lock().rx.slack());
    for part in rest.chunks(100_000) {
        let arrived = wire.lock().rx.len() + part.len();
        receive(&wire, part);
        assert!(wire.lock().rx.slack() <= arrived.max(1000), "{arrived}");
    }
    assert_eq!(wire.messages.held(), MESSAGE_LIMIT + MESSAGE_COST);
    assert_eq!(state.whole(read(&mut pipe).unwrap().payload).len(), MESSAGE_LIMIT);
    wire.snapshot();
    assert_eq!(wire.frames.held(), 0);
}

/// ttrpc refuses it, because nobody has opened the stream.
#[test]
fn a_message_before_its_streams_request_is_no_message_of_the_stream() {
    let (wire, mut pipe) = pair(Role::Server);
    let stray = bytes(&message(1, vec![1], FLAG_REMOTE_CLOSED));
    let mut request = frame(MESSAGE_TYPE_REQUEST, 1, Request::new().encode().unwrap());
    request.header.flags = FLAG_REMOTE_OPEN | FLAG_NO_DATA;
    let (first, second) = (vec![2], vec![3]);
    let sent = [first.clone(), second.clone()].map(|body| bytes(&message(1, body, 0))).concat();
    let ignored = bytes(&frame(MESSAGE_TYPE_REQUEST, 2, Vec::new()));
    receive(&wire, &[ignored, stray, bytes(&request), sent].concat());
    let [.., got] = [(); 4].map(|()| read(&mut pipe).unwrap());
    let state = wire.new_stream();
    wire.opened_stream(1, &state, false);
    assert_eq!(state.unread(), 1 + MESSAGE_COST);
    assert_eq!(state.whole(got.payload), first);
    assert_eq!(state.whole(read(&mut pipe).unwrap().payload), second);
}

/// The connection resumes, and its socket is read before ttrpc gets to run.
#[test]
fn what_is_kept_of_a_request_that_waited_is_known_when_its_handler_begins() {
    let (wire, mut pipe) = pair(Role::Server);
    wire.worklist.backlog.passed(false, usize::MAX / 2);
    let body = Request { service: "s".repeat(5000), ..Default::default() }.encode().unwrap();
    let request = bytes(&frame(MESSAGE_TYPE_REQUEST, 1, body));
    wire.receive(usize::MAX, &mut Bytes(&request, usize::MAX));
    assert!(read(&mut pipe).is_none() && !wire.may_receive());
    wire.worklist.backlog.clear();
    assert!(wire.resume());
    receive(&wire, &bytes(&message(1, vec![1; 10], 0)));
    read(&mut pipe).unwrap();
    assert!(wire.request(1).1 >= 5000);
}

/// Nobody opened the first stream, or the reader of the second has left.
#[test]
fn messages_that_nobody_takes_are_not_kept() {
    let (wire, mut pipe) = pair(Role::Server);
    receive_in_pieces(&wire, &bytes(&message(7, vec![1; 20 * APART], 0)), 50_000);
    assert_eq!(read(&mut pipe).unwrap().payload, STUB);
    wire.turn_over();
    let never_opened = wire.new_stream();
    wire.opened_stream(7, &never_opened, false);
    assert_eq!((never_opened.whole(STUB.to_vec()), never_opened.unread()), (STUB.to_vec(), 0));
    let left = served(&wire, &mut pipe, 1);
    receive_in_pieces(&wire, &bytes(&message(1, vec![1; 20 * APART], 0)), 50_000);
    wire.forget_stream(&left);
    assert_eq!(left.whole(STUB.to_vec()), STUB);
}

/// Messages before a stream's request or behind its end, closing ones with a body, and those of streams that there are
/// not: none takes the place of another.
#[test]
fn each_stream_gets_its_own_messages_whatever_the_peer_sends() {
    const CLOSES: u8 = FLAG_REMOTE_CLOSED | FLAG_NO_DATA;
    let mut random = Random(0x1212_3434_5656_7879);
    let mut taken_in_all = 0;
    for _ in 0..60 {
        let (wire, mut pipe) = pair(Role::Server);
        let mut streams = IdMap::<Arc<StreamState>>::default();
        let mut expected = IdMap::<VecDeque<Vec<u8>>>::default();
        let (mut requested, mut ended) = (IdSet::default(), IdSet::default());
        for _ in 0..30 {
            let mut arriving = Vec::new();
            for _ in 0..random.below(8) {
                let id = 1 + 2 * random.below(6) as u32;
                if random.below(4) == 0 {
                    let length = random.length();
                    let request = Request { payload: random.bytes(length), ..Default::default() };
                    let mut request = frame(MESSAGE_TYPE_REQUEST, id, request.encode().unwrap());
                    request.header.flags = FLAG_REMOTE_OPEN;
                    arriving.extend(bytes(&request));
                    expected.entry(id).or_default();
                    continue;
                }
                let length = if random.below(2) == 0 { random.below(3) } else { random.length() };
                let body = random.bytes(length);
                let flags = if random.below(6) == 0 { random.below(8) as u8 } else { 0 };
                arriving.extend(bytes(&message(id, body.clone(), flags)));
                if let Some(expected) = expected.get_mut(&id)
                    && !ended.contains(&id)
                {
                    if flags & CLOSES != CLOSES {
                        expected.push_back(body);
                    }
                    if flags & FLAG_REMOTE_CLOSED != 0 {
                        ended.insert(id);
                    }
                }
            }
            receive_in_pieces(&wire, &arriving, random.piece());
            let mut begin = |id| {
                let state = wire.new_stream();
                wire.opened_stream(id, &state, false);
                streams.insert(id, state);
            };
            // A handler begins when ttrpc has read its request, or one frame more.
            let mut next = None;
            let mut stubs = Vec::new();
            while let got = read(&mut pipe)
                && (got.is_some() || next.is_some())
            {
                next.take().into_iter().for_each(&mut begin);
                let Some(GenMessage { header, payload }) = got else { break };
                let id = header.stream_id;
                if header.type_ == MESSAGE_TYPE_DATA {
                    // ttrpc refuses those that come before the request, and fails the stream at a broken one.
                    if requested.contains(&id) && header.flags & CLOSES != CLOSES {
                        stubs.push((id, payload));
                    }
                    continue;
                }
                requested.insert(id);
                if random.below(2) == 0 {
                    begin(id);
                } else {
                    next = Some(id);
                }
            }
            for (id, stub) in stubs {
                let whole = streams[&id].whole(stub);
                assert!(expected.get_mut(&id).unwrap().pop_front() == Some(whole), "{id}");
                taken_in_all += 1;
            }
            wire.turn_over();
            wire.snapshot();
            for state in streams.values() {
                state.ended();
            }
        }
        assert!(expected.values().all(VecDeque::is_empty));
    }
    assert!(taken_in_all > 1000, "{taken_in_all}");
}
