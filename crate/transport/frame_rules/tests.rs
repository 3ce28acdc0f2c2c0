//! Tests of the rules, with frames whose bytes arrive one by one.

use super::super::frame_reader::{FrameReader, Gathered};
use super::super::spare_memory::SpareBuffers;
use super::*;

fn frame(stream_id: u32, kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    bytes.extend(stream_id.to_be_bytes());
    bytes.extend([kind, flags]);
    bytes.extend(body);
    bytes
}

/// Judges frames as they arrive; returns what ttrpc gets.
fn passed(rules: &mut FrameRules, bytes: &[u8]) -> Vec<u8> {
    let mut frame_reader = FrameReader::default();
    let mut passed = Vec::new();
    let spare = SpareBuffers::default();
    for byte in bytes {
        frame_reader.received.space(1, &spare)[0] = *byte;
        frame_reader.received.filled(1);
        while frame_reader.advance(|header| rules.plan(header)).unwrap()
            && let Some(Gathered { frame, is_whole: true, .. }) = frame_reader.gathered()
        {
            let (header, body) = frame_reader.whole().unwrap();
            let verdict = rules.judge(header, body);
            frame_reader.pass(if verdict == Verdict::Pass { frame } else { 0 });
        }
        passed.extend(frame_reader.take(frame_reader.readable()));
    }
    passed
}

#[test]
fn ttrpc_gets_nothing_of_a_frame_before_its_last_byte() {
    let bytes = frame(1, MESSAGE_TYPE_RESPONSE, 0, b"\x12\x01a");
    for cut in 0..bytes.len() {
        let passed = passed(&mut FrameRules::new(Role::Client), &bytes[..cut]);
        assert!(passed.is_empty(), "after {cut} bytes");
    }
    assert_eq!(passed(&mut FrameRules::new(Role::Client), &bytes), bytes);
}

#[test]
fn of_what_it_ignores_ttrpc_gets_no_body() {
    let large = [7; 100_000];
    let ignored = frame(1, 9, 0, &large);
    let even = frame(2, MESSAGE_TYPE_REQUEST, 0, &large);
    let next = frame(3, MESSAGE_TYPE_REQUEST, 0, b"");
    let got = passed(&mut FrameRules::new(Role::Server), &[&ignored[..], &even, &next].concat());
    assert_eq!(got, [frame(2, MESSAGE_TYPE_REQUEST, 0, b""), next].concat());
}

#[test]
fn a_request_that_costs_too_much_is_answered_in_place_of_ttrpc() {
    let mut rules = FrameRules::new(Role::Server);
    let costly = frame(1, MESSAGE_TYPE_REQUEST, 0, &[0x2a, 0].repeat(1025));
    let fits = frame(3, MESSAGE_TYPE_REQUEST, 0, &[0x2a, 0].repeat(1024));
    assert_eq!(passed(&mut rules, &[&costly[..], &fits].concat()), fits);
    let reply = rules.own_replies();
    assert_eq!((reply[7], reply[13]), (1, Code::ResourceExhausted as u8));
}

#[test]
fn data_that_answers_a_unary_call_is_refused_and_data_of_a_stream_is_counted() {
    let mut rules = FrameRules::new(Role::Client);
    let state = Arc::new(StreamState::default());
    rules.opening(state.clone());
    let mut sent = frame(1, MESSAGE_TYPE_REQUEST, 0, b"unary");
    sent.extend(frame(3, MESSAGE_TYPE_REQUEST, 2, b"stream"));
    rules.outbound(&mut Scanner::default(), &mut sent);
    assert_eq!(state.stream_id(), Some(3));

    let message = frame(3, MESSAGE_TYPE_DATA, 0, b"y");
    let end = frame(3, MESSAGE_TYPE_DATA, 5, b"");
    let answers = [
        frame(1, MESSAGE_TYPE_DATA, 0, b"x"),
        message.clone(),
        end.clone(),
        frame(3, MESSAGE_TYPE_DATA, 0, b"late"),
    ];
    let refused = |id| frame(id, TYPE_REFUSED, 0, b"");
    assert_eq!(
        passed(&mut rules, &answers.concat()),
        [refused(1), message, end, refused(3)].concat()
    );
    // Two messages, of one byte and of none: the third frame was refused.
    assert_eq!(state.unread(), 1 + 2 * 64);
}

#[test]
fn messages_count_that_came_before_the_handler_of_their_stream_began() {
    let mut rules = FrameRules::new(Role::Server);
    let open = frame(1, MESSAGE_TYPE_REQUEST, 6, b"");
    let message = frame(1, MESSAGE_TYPE_DATA, 0, b"early");
    passed(&mut rules, &[open, message].concat());
    let state = Arc::new(StreamState::default());
    rules.opened(1, state.clone());
    assert_eq!(state.unread(), 5 + 64);
}

#[test]
fn an_unknown_status_code_of_a_stream_becomes_unknown() {
    for (code, expected) in
        [(vec![99], vec![2]), (vec![0xc8, 1], vec![0x82, 0]), (vec![5], vec![5])]
    {
        let mut rules = FrameRules::new(Role::Client);
        rules.opened(3, Arc::default());
        let body = [&[0x0a, (1 + code.len()) as u8, 0x08], &code[..]].concat();
        let got = passed(&mut rules, &frame(3, MESSAGE_TYPE_RESPONSE, 0, &body));
        assert_eq!(got[13..], expected);
    }
}

#[test]
fn bytes_of_another_protocol_are_told_by_the_first_one() {
    let mut rules = FrameRules::new(Role::Server);
    let mut start = *b"GET / HTTP";
    assert_eq!(rules.plan(&mut start), Err(NotTtrpc(start)));
}

#[test]
fn a_request_with_a_used_id_is_answered_in_place_of_ttrpc() {
    let mut rules = FrameRules::new(Role::Server);
    let frames = [3, 3, 1, 1, 5].map(|id| frame(id, MESSAGE_TYPE_REQUEST, 0, b""));
    let got = passed(&mut rules, &frames.concat());
    assert_eq!(got, [&frames[0][..], &frames[2], &frames[4]].concat());
    let replies = rules.own_replies();
    let half = replies.len() / 2;
    assert_eq!((replies[7], replies[half + 7]), (3, 1));
    assert!(rules.own_replies().is_empty());
}

fn invalid_argument(message: &str) -> Vec<u8> {
    use ttrpc::proto::{Codec, Response, ResponseInit};
    Response::init_status(ttrpc::get_status(ttrpc::Code::INVALID_ARGUMENT, message))
        .encode()
        .unwrap()
}

#[test]
fn an_unknown_service_and_an_oversized_message_get_the_codes_of_go() {
    let unknown = invalid_argument("a.B service does not exist");
    let oversized =
        invalid_argument("message length 4194305 exceed maximum message size of 4194304");
    for (body, code) in [(unknown, 12), (oversized, 8)] {
        let mut rules = FrameRules::new(Role::Server);
        let mut sent = frame(1, MESSAGE_TYPE_RESPONSE, 0, &body);
        rules.outbound(&mut Scanner::default(), &mut sent);
        assert_eq!(sent[10 + STATUS_CODE_AT], code);
    }
}

#[test]
fn a_handlers_own_status_with_the_same_text_goes_out_as_it_is() {
    let body = invalid_argument("a.B service does not exist");
    let mut rules = FrameRules::new(Role::Server);
    rules.exempt(7);
    let mut sent = frame(7, MESSAGE_TYPE_RESPONSE, 0, &body);
    rules.outbound(&mut Scanner::default(), &mut sent);
    assert_eq!(sent[10 + STATUS_CODE_AT], 3);
}
