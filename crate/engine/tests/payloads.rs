//! Large payloads of unary calls go around ttrpc. Each must reach the call or the request that it belongs to, and no
//! other, whatever becomes of the calls.

use super::peer::{frame, records};
use super::{connected, frames, listening_with, route, with_flags};
use crate::engine::{Engine, Method, Services};
use crate::records::{
    FLAG_CANCELLABLE, FLAG_SERVER_STREAM, FLAG_WHOLE, RECORD_HEADER, event, op, record,
};
use crate::socket::wait;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use ttrpc::proto::{
    Codec as _, MESSAGE_TYPE_DATA, MESSAGE_TYPE_REQUEST, MESSAGE_TYPE_RESPONSE, Request, Response,
};

/// The bytes of a payload that belongs to the call `call`.
fn payload(call: u32, length: usize) -> Vec<u8> {
    let mut payload = call.to_le_bytes().to_vec();
    payload.resize(length.max(4), call as u8);
    payload
}

fn command(operation: u8, connection: u32, call: u32, length: usize) -> Vec<u8> {
    let body = [&[0; 12][..], &payload(call, length)].concat();
    record(operation, connection, call, &body)
}

fn response(id: u32, payload: Vec<u8>) -> Vec<u8> {
    frame(
        MESSAGE_TYPE_RESPONSE,
        0,
        id,
        &Response { payload, ..Default::default() }.encode().unwrap(),
    )
}

/// The events that wait, as (operation, slot, payload, generation).
fn events(engine: &Engine) -> Vec<(u8, u32, Vec<u8>, [u8; 4])> {
    let mut buffer = vec![0; 6 << 20];
    let mut all = Vec::new();
    loop {
        let filled = engine.events().fill(&mut buffer);
        for record in records(&buffer[..filled.size]) {
            let slot = u32::from_le_bytes(record[12..16].try_into().unwrap());
            let payload = if record[5] & FLAG_WHOLE != 0 {
                engine.events().take_whole().unwrap()
            } else {
                record[RECORD_HEADER..].to_vec()
            };
            all.push((record[4], slot, payload, record[16..20].try_into().unwrap()));
        }
        if !filled.more {
            return all;
        }
    }
}

/// The peer writes, and the engine reads until it has everything.
fn deliver(engine: &mut Engine, connection: u32, peer: &UnixStream, bytes: &[u8]) {
    let mut writer = peer.try_clone().unwrap();
    let bytes = bytes.to_vec();
    let thread = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
    let fd = engine.connections[&connection].stream.fd();
    while !thread.is_finished() || wait(fd, false, 0).unwrap() {
        engine.ready(connection, true, false);
    }
    thread.join().unwrap();
}

#[test]
fn each_call_gets_its_own_reply_whatever_becomes_of_the_calls_around_it() {
    let (mut engine, connection, mut peer) = connected();
    engine.submit(&route()).unwrap();
    let mut next_call = 1;
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |limit: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 16) as usize % limit
    };
    for _ in 0..60 {
        // Calls of all sizes, and streams, whose ids come from the same counter. Some are given up in the same tick,
        // others when the peer has them.
        let mut batch = Vec::new();
        let (mut kept, mut streams) = (Vec::new(), Vec::new());
        let mut cancelled = Vec::new();
        for _ in 0..12 {
            let call = next_call;
            next_call += 1;
            if below(5) == 0 {
                let open = command(op::OPEN, connection, call, 10);
                batch.extend(with_flags(open, FLAG_SERVER_STREAM));
                streams.push(call);
                continue;
            }
            let length = [10, 4090, 5000, 9000, 20_000][below(5)];
            let made = command(op::CALL, connection, call, length);
            batch.extend(with_flags(made, FLAG_CANCELLABLE));
            match below(6) {
                0 => batch.extend(record(op::CANCEL, connection, call, &[])),
                1 => cancelled.push(call),
                _ => kept.push(call),
            }
        }
        engine.submit(&batch).unwrap();
        let mut replies = Vec::new();
        for (id, body) in frames(&mut peer) {
            let request = Request::decode(body).unwrap();
            let call = u32::from_le_bytes(request.payload[..4].try_into().unwrap());
            assert_eq!(request.payload, payload(call, request.payload.len()));
            assert_eq!((&*request.service, &*request.method), ("s", "m"));
            let length = [0, 100, 5000, 9000, 70_000][below(5)];
            replies.push((call, length, id));
        }
        for call in &cancelled {
            engine.submit(&record(op::CANCEL, connection, *call, &[])).unwrap();
        }
        // Answers in any order, some twice, and some to ids that nobody has used.
        for at in (1..replies.len()).rev() {
            replies.swap(at, below(at + 1));
        }
        let mut bytes = Vec::new();
        for &(call, length, id) in &replies {
            let body = if length == 0 { Vec::new() } else { payload(call, length) };
            bytes.extend(response(id, body));
            if below(3) == 0 {
                bytes.extend(response(id, payload(u32::MAX, 6000)));
            }
            if below(8) == 0 {
                bytes.extend(response(id + 100_001, payload(u32::MAX, 6000)));
            }
        }
        deliver(&mut engine, connection, &peer, &bytes);
        let mut answered = Vec::new();
        for (operation, call, got, _) in events(&engine) {
            if operation == event::RESPONSE {
                let (_, length, _) = replies.iter().find(|reply| reply.0 == call).unwrap();
                let expected = if *length == 0 { Vec::new() } else { payload(call, *length) };
                assert!(got == expected, "{call}: {} of {length} bytes", got.len());
                answered.push(call);
            }
        }
        answered.sort_unstable();
        assert_eq!(answered, kept);
    }
    assert!(engine.connections[&connection].wire.detaches_nothing());
}

#[test]
fn a_deadline_that_passes_before_the_reply_leaves_no_payload_behind() {
    let (mut engine, connection, mut peer) = connected();
    let mut call = command(op::CALL, connection, 1, 9000);
    call[RECORD_HEADER..RECORD_HEADER + 8].copy_from_slice(&1e6f64.to_le_bytes());
    engine.submit(&[route(), call].concat()).unwrap();
    let id = frames(&mut peer)[0].0;
    std::thread::sleep(std::time::Duration::from_millis(5));
    // The reply is read in the turn in which the deadline is noticed, before or after it.
    deliver(&mut engine, connection, &peer, &response(id, payload(7, 9000)));
    engine.expire();
    deliver(&mut engine, connection, &peer, &response(id, payload(8, 9000)));
    let outcomes: Vec<_> = events(&engine).into_iter().filter(|event| event.1 == 1).collect();
    assert_eq!(outcomes.len(), 1);
    assert!(outcomes[0].0 == event::FAILED || outcomes[0].2 == payload(7, 9000));
    assert!(engine.connections[&connection].wire.detaches_nothing());
}

#[test]
fn each_request_and_each_reply_has_its_own_payload_and_refused_ones_leave_none_behind() {
    let method = |name: &str, kind| Method { name: name.to_owned(), route: 1, kind };
    let stream = crate::records::StreamKind { client: false, server: true };
    let methods = vec![method("m", None), method("stream", Some(stream))];
    let services = Services::from([("s".to_owned(), methods)]);
    let (mut engine, listener, connect) = listening_with(services);
    let mut peer = connect();
    engine.ready(listener, true, false);
    let connection = *engine.connections.keys().next().unwrap();
    let request = |service: &str, method: &str, id: u32, length: usize| {
        let (service, method) = (service.to_owned(), method.to_owned());
        let payload = payload(id, length);
        let request = Request { service, method, payload, ..Default::default() };
        frame(MESSAGE_TYPE_REQUEST, 0, id, &request.encode().unwrap())
    };
    let mut id = 1;
    for length in [20, 4096, 5000, 9000, 20_000] {
        let ids: Vec<u32> = (0..5).map(|at| id + 2 * at).collect();
        id += 10;
        let bytes = [
            request("s", "m", ids[0], length),
            request("unknown", "m", ids[1], length),
            // The same id once more, and a message on it: ttrpc or the rules answer these themselves.
            request("s", "m", ids[0], length),
            frame(MESSAGE_TYPE_DATA, 0, ids[0], b"no stream"),
            request("s", "unknown", ids[2], length),
            request("s", "stream", ids[3], length),
            request("s", "m", ids[4], length),
        ];
        deliver(&mut engine, connection, &peer, &bytes.concat());
        let events = events(&engine);
        // The record of a small request has its deadline and metadata before the payload. The stream's has no payload.
        let requests: Vec<_> = events
            .iter()
            .filter(|event| event.0 == event::REQUEST && event.2.len() >= length)
            .collect();
        let bodies: Vec<_> =
            requests.iter().map(|event| event.2[event.2.len() - length..].to_vec()).collect();
        let messages: Vec<_> = events.iter().filter(|event| event.0 == event::MESSAGE).collect();
        assert_eq!(messages.len(), 1);
        assert!(messages[0].2 == payload(ids[3], length));
        assert!(bodies == [payload(ids[0], length), payload(ids[4], length)]);
        // The answers of ttrpc's own, without a payload.
        for (_, body) in frames(&mut peer) {
            assert!(Response::decode(body).unwrap().payload.is_empty());
        }
        for (event, body) in requests.iter().zip(&bodies) {
            let called = u32::from_le_bytes(body[..4].try_into().unwrap());
            let reply = [&[0; 12][..], &payload(called, length + 1)].concat();
            let mut reply = record(op::REPLY, connection, event.1, &reply);
            reply[16..20].copy_from_slice(&event.3);
            engine.submit(&reply).unwrap();
        }
        let replies = frames(&mut peer);
        assert_eq!(replies.len(), 2);
        for (id, body) in replies {
            assert_eq!(Response::decode(body).unwrap().payload, payload(id, length + 1));
        }
        assert!(engine.connections[&connection].wire.detaches_nothing());
    }
}
