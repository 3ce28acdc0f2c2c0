//! Properties of the detour: with and without it, ttrpc and its callers see the same messages, and so do peers.

use super::super::apart::APART;
use super::super::detached::{REQUEST_PAYLOAD, RESPONSE_PAYLOAD};
use super::super::testing::{bytes, frame, pair, read, receive, receive_in_pieces, write};
use super::super::{Pipe, Role, Wire, WireInit, Worklist};
use super::*;
use crate::random::Random;
use std::sync::Arc;
use ttrpc::proto::{MESSAGE_TYPE_REQUEST, MESSAGE_TYPE_RESPONSE};

fn assert_empty(wire: &Wire) {
    let detached = &wire.lock().rules.detached;
    let left = (detached.leaving.len(), detached.arriving.len(), detached.arrived());
    assert_eq!(left, (0, 0, 0));
    assert!(detached.awaited.is_empty());
}

/// A unary call whose request ttrpc has written.
fn called<'a>(wire: &'a Wire, pipe: &mut Pipe) -> UnaryCall<'a> {
    let mut request = Request::new();
    let call = wire.unary_call(&mut request);
    write(wire, pipe, &frame(MESSAGE_TYPE_REQUEST, call.id, request.encode().unwrap()));
    call
}

/// What a call takes when it got a response without a payload.
fn taken(call: UnaryCall) -> Option<Vec<u8>> {
    let mut response = Response::new();
    call.end(&mut response);
    Some(response.payload).filter(|payload| !payload.is_empty())
}

/// Whether the rules let a body through as it is.
fn passes(role: Role, body: &[u8]) -> bool {
    match role {
        Role::Client => {
            super::super::envelope::response(body).is_ok_and(|found| !found.is_misread(false))
        }
        Role::Server => super::super::envelope::request(body).is_ok(),
    }
}

#[test]
fn any_request_that_arrives_decodes_to_what_it_decodes_to_without_the_detour() {
    let mut random = Random(0x1234_5678_9abc_def1);
    let (wire, mut pipe) = pair(Role::Server);
    let mut detached = 0;
    for index in 0..4000 {
        let body = if index % 2 == 0 {
            random.request().encode().unwrap()
        } else {
            random.body(REQUEST_PAYLOAD)
        };
        if !passes(Role::Server, &body) {
            continue;
        }
        let id = 2 * index + 1;
        let piece = random.piece();
        receive_in_pieces(&wire, &bytes(&frame(MESSAGE_TYPE_REQUEST, id, body.clone())), piece);
        let got = read(&mut pipe).unwrap();
        assert_eq!((got.header.stream_id, got.header.length as usize), (id, got.payload.len()));
        let mut request = Request::decode(&got.payload).map_err(|error| error.to_string());
        let whole = wire.take_payload(id);
        detached += usize::from(whole.is_some());
        if let (Some(whole), Ok(request)) = (whole, &mut request) {
            assert!(request.payload.is_empty());
            request.payload = whole;
        }
        assert_eq!(request, Request::decode(&body).map_err(|error| error.to_string()));
        assert_empty(&wire);
    }
    assert!(detached > 500, "{detached}");
}

#[test]
fn any_response_that_arrives_decodes_to_what_it_decodes_to_without_the_detour() {
    let mut random = Random(0x9876_5432_1234_5671);
    let (wire, mut pipe) = pair(Role::Client);
    let mut detached = 0;
    for index in 0..4000 {
        let body = if index % 2 == 0 {
            random.response().encode().unwrap()
        } else {
            random.body(RESPONSE_PAYLOAD)
        };
        let call = called(&wire, &mut pipe);
        let id = call.id;
        if !passes(Role::Client, &body) {
            continue;
        }
        let piece = random.piece();
        receive_in_pieces(&wire, &bytes(&frame(MESSAGE_TYPE_RESPONSE, id, body.clone())), piece);
        let got = read(&mut pipe).unwrap();
        let mut response = Response::decode(&got.payload).map_err(|error| error.to_string());
        detached += usize::from(got.payload.len() < body.len());
        match &mut response {
            Ok(response) => call.end(response),
            Err(_) => drop(call),
        }
        assert_eq!(response, Response::decode(&body).map_err(|error| error.to_string()));
        assert_empty(&wire);
    }
    assert!(detached > 500, "{detached}");
}

#[test]
fn any_request_and_any_reply_leave_as_the_bytes_that_ttrpc_would_write() {
    let mut random = Random(0x1111_2222_3333_4445);
    let (client, mut to_server) = pair(Role::Client);
    let (server, mut to_client) = pair(Role::Server);
    let mut detached = 0;
    for _ in 0..2000 {
        let mut request = random.request();
        let whole = request.encode().unwrap();
        let call = client.unary_call(&mut request);
        let message = frame(MESSAGE_TYPE_REQUEST, call.id, request.encode().unwrap());
        detached += usize::from(message.payload.len() < whole.len());
        let expected = bytes(&frame(MESSAGE_TYPE_REQUEST, call.id, whole));
        assert!(write(&client, &mut to_server, &message) == expected, "{request:?}");
        let id = call.id;
        drop(call);

        let mut response = random.response();
        let whole = response.encode().unwrap();
        server.detach_reply(id, &mut response);
        let message = frame(MESSAGE_TYPE_RESPONSE, id, response.encode().unwrap());
        detached += usize::from(message.payload.len() < whole.len());
        let expected = bytes(&frame(MESSAGE_TYPE_RESPONSE, id, whole));
        assert!(write(&server, &mut to_client, &message) == expected, "{response:?}");
        assert_empty(&client);
        assert_empty(&server);
    }
    assert!(detached > 500, "{detached}");
}

#[test]
fn a_message_above_the_limit_is_left_to_ttrpc_which_refuses_it() {
    let (client, _pipe) = pair(Role::Client);
    let envelope = 5;
    for (length, is_detached) in [(MESSAGE_LIMIT - envelope, true), (MESSAGE_LIMIT, false)] {
        let mut request = Request { payload: vec![1; length], ..Default::default() };
        let call = client.unary_call(&mut request);
        assert_eq!(request.payload.len() < length, is_detached, "{length}");
        drop(call);
        assert_empty(&client);
    }
}

fn reply_of(byte: u8) -> Vec<u8> {
    Response { payload: vec![byte; DETACHED], ..Default::default() }.encode().unwrap()
}

#[test]
fn only_the_first_response_to_a_call_under_way_has_its_payload_kept() {
    let (wire, mut pipe) = pair(Role::Client);
    let first = called(&wire, &mut pipe);
    let given_up = called(&wire, &mut pipe);
    wire.stream_call();
    let last = called(&wire, &mut pipe);
    assert_eq!((first.id, given_up.id, last.id), (1, 3, 7));
    drop(given_up);
    let arrive = |id, byte| bytes(&frame(MESSAGE_TYPE_RESPONSE, id, reply_of(byte)));
    // A call that was given up, ids that nobody uses or a stream has, and a second answer.
    let frames = [
        (3, 1, false),
        (9, 2, false),
        (5, 3, false),
        (1, 4, true),
        (1, 5, false),
        (7, 6, true),
        (7, 7, false),
    ];
    for (id, byte, is_kept) in frames {
        receive(&wire, &arrive(id, byte));
        let got = read(&mut pipe).unwrap();
        assert_eq!(got.payload.len() < DETACHED, is_kept, "{id} {byte}");
    }
    assert_eq!(taken(first), Some(vec![4; DETACHED]));
    assert_eq!(taken(last), Some(vec![6; DETACHED]));
    assert_empty(&wire);
}

/// Otherwise, the reply's payload would become that of an answer which the call has already had.
#[test]
fn a_response_without_a_payload_keeps_none_of_a_second_one() {
    let (wire, mut pipe) = pair(Role::Client);
    let call = called(&wire, &mut pipe);
    let empty = frame(MESSAGE_TYPE_RESPONSE, 1, Vec::new());
    let second = frame(MESSAGE_TYPE_RESPONSE, 1, reply_of(9));
    receive(&wire, &[bytes(&empty), bytes(&second)].concat());
    while read(&mut pipe).is_some() {}
    assert_eq!(taken(call), None);
    assert_empty(&wire);
}

#[test]
fn a_large_request_that_is_cut_off_anywhere_is_known_to_be() {
    let pair_of =
        |value: &str| ttrpc::proto::KeyValue { value: value.to_owned(), ..Default::default() };
    let payload = vec![1; super::super::apart::APART];
    let metadata = vec![pair_of("behind the payload")];
    let request = Request { service: "a.B".to_owned(), payload, metadata, ..Default::default() };
    let whole = bytes(&frame(MESSAGE_TYPE_REQUEST, 1, request.encode().unwrap()));
    let ends = (0..60).chain(whole.len() - 60..=whole.len());
    for end in ends.chain((60..whole.len() - 60).step_by(1111)) {
        // Everything comes at once, or the payload is read into memory of its own.
        for first in [end, end.min(50)] {
            let (wire, _pipe) = pair(Role::Server);
            receive(&wire, &whole[..first]);
            receive(&wire, &whole[first..end]);
            let is_cut_off = wire.lock().rx.mid_frame();
            assert_eq!(is_cut_off, 0 < end && end < whole.len(), "{first} {end}");
        }
    }
}

#[test]
fn a_request_that_ttrpc_answers_itself_keeps_no_payload() {
    let (wire, mut pipe) = pair(Role::Server);
    let request = Request { payload: vec![1; DETACHED], ..Default::default() };
    receive(&wire, &bytes(&frame(MESSAGE_TYPE_REQUEST, 1, request.encode().unwrap())));
    assert_eq!(read(&mut pipe).unwrap().payload.len(), 0);
    assert_eq!(wire.lock().rules.detached.arrived(), DETACHED);
    let answer = frame(MESSAGE_TYPE_RESPONSE, 1, vec![0x0a, 2, 0x08, 12]);
    assert_eq!(write(&wire, &mut pipe, &answer), bytes(&answer));
    assert_empty(&wire);
}

/// The peer sends a message on the id of a unary request, and ttrpc says that there is no such stream.
#[test]
fn an_answer_of_ttrpcs_own_gets_no_payload_of_a_reply_with_the_same_id() {
    let (wire, mut pipe) = pair(Role::Server);
    let mut reply = Response { payload: vec![1; DETACHED], ..Default::default() };
    let whole = reply.encode().unwrap();
    wire.detach_reply(1, &mut reply);
    for body in [&b"\x0a\x03\x08\x03\x12"[..], b"\x0a\x05\x08\x03\x12\x01\0", b"\x0a\x00"] {
        let own = frame(MESSAGE_TYPE_RESPONSE, 1, body.to_vec());
        assert_eq!(write(&wire, &mut pipe, &own), bytes(&own));
    }
    let message = frame(MESSAGE_TYPE_RESPONSE, 1, reply.encode().unwrap());
    let expected = bytes(&frame(MESSAGE_TYPE_RESPONSE, 1, whole));
    assert!(write(&wire, &mut pipe, &message) == expected);
    assert_empty(&wire);
}

#[test]
fn a_kept_payload_counts_until_it_is_taken() {
    use crate::transport::budget::{Budget, Excess, ListenerLimits};
    let worklist = Arc::<Worklist>::default();
    let limits = ListenerLimits { calls: 10, bytes: 64 << 20, excess: Excess::Refused };
    let budget = Some(Budget::new(limits, worklist.clone()));
    let (wire, mut pipe) =
        Wire::pair(Role::Server, WireInit { id: 1, worklist, budget, blocking: false });
    let size = 1 << 20;
    let request = Request { payload: vec![1; size], ..Default::default() };
    receive(&wire, &bytes(&frame(MESSAGE_TYPE_REQUEST, 1, request.encode().unwrap())));
    assert!(wire.frames.held() >= size, "{}", wire.frames.held());
    read(&mut pipe).unwrap();
    wire.snapshot();
    assert_eq!(wire.frames.held(), size);
    assert_eq!(wire.take_payload(1).map(|payload| payload.len()), Some(size));
    wire.snapshot();
    assert_eq!(wire.frames.held(), 0);
}

/// The peer answers before it is asked, and the call that gets this id is made meanwhile.
#[test]
fn a_response_to_a_call_that_is_made_while_it_arrives_takes_no_byte_of_the_next() {
    let (wire, mut pipe) = pair(Role::Client);
    let payload = vec![7; 400_000];
    let response = |payload| Response { payload, ..Default::default() }.encode().unwrap();
    let first = bytes(&frame(MESSAGE_TYPE_RESPONSE, 1, response(payload.clone())));
    let next = frame(MESSAGE_TYPE_RESPONSE, 3, response(vec![9; 200_000]));
    let (early, late) = first.split_at(300_000);
    receive(&wire, early);
    let call = called(&wire, &mut pipe);
    receive(&wire, &late[..1]);
    receive(&wire, &[&late[1..], &bytes(&next)].concat());
    read(&mut pipe).unwrap();
    assert!(taken(call).is_some_and(|taken| taken == payload));
    assert!(read(&mut pipe).unwrap() == next);
}

/// ttrpc gets another response in the place of one with two statuses, and the payload with it.
#[test]
fn a_large_response_with_two_statuses_keeps_its_payload() {
    let response = Response { payload: vec![5; 3 * APART], ..Default::default() };
    let body = [&[0x0a, 2, 0x08, 0, 0x0a, 0][..], &response.encode().unwrap()].concat();
    for piece in [usize::MAX, 1000] {
        let (wire, mut pipe) = pair(Role::Client);
        let call = called(&wire, &mut pipe);
        let arriving = bytes(&frame(MESSAGE_TYPE_RESPONSE, 1, body.clone()));
        receive_in_pieces(&wire, &arriving, piece);
        let mut got = Response::decode(read(&mut pipe).unwrap().payload).unwrap();
        call.end(&mut got);
        assert!(got.payload == response.payload, "{piece}");
        assert_empty(&wire);
    }
}
