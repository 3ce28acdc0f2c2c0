//! Tests of the rules, with frames whose bytes arrive one by one.

use super::super::backpressure::replace;
use super::super::frame_reader::{FrameReader, Gathered, Verdict};
use super::super::spare_memory::SpareBuffers;
use super::super::testing::{self, pair, write};
use super::*;
use crate::protocol::close_reason::CloseReason;
use ttrpc::proto::{FLAG_NO_DATA, Response};

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
            let read = match rules.judge(header, body, None) {
                Verdict::Pass | Verdict::Detach(..) => frame,
                Verdict::Replace(response) => replace(header, body, &response),
                Verdict::Refuse => 0,
            };
            frame_reader.pass(read);
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

/// What ttrpc gets of a response to the stream 3, and of one to the unary call 1.
fn read_as(body: &[u8]) -> [Response; 2] {
    [3, 1].map(|id| {
        let mut rules = FrameRules::new(Role::Client);
        rules.opened(3, Arc::default());
        let got = passed(&mut rules, &frame(id, MESSAGE_TYPE_RESPONSE, 0, body));
        Response::decode(&got[10..]).unwrap()
    })
}

#[test]
fn an_unknown_status_code_of_a_stream_becomes_unknown_wherever_it_is() {
    let bodies: [(&[u8], i32); 8] = [
        (b"\x0a\x02\x08\x63", 99),
        (b"\x0a\x03\x08\xc8\x01", 200),
        // Behind the text, a payload, an unknown field, a known code, and with longer tags.
        (b"\x0a\x05\x12\x01a\x08\x63", 99),
        (b"\x12\x01a\x0a\x02\x08\x63", 99),
        (b"\x48\x01\x0a\x02\x08\x63", 99),
        (b"\x0a\x04\x08\x05\x08\x63", 99),
        (b"\x8a\x00\x02\x08\x63", 99),
        (b"\x0a\x03\x88\x00\x63", 99),
    ];
    for (body, code) in bodies {
        let codes = read_as(body).map(|response| response.status.code.value());
        assert_eq!(codes, [2, code], "{body:x?}");
    }
    let known = read_as(b"\x0a\x02\x08\x05").map(|response| response.status.code.value());
    assert_eq!(known, [5, 5]);
}

#[test]
fn the_parts_of_a_status_are_one_status() {
    for response in read_as(b"\x0a\x05\x08\x05\x12\x01a\x12\x01p\x0a\x03\x12\x01b\x0a\x02\x1a\x00")
    {
        let status = response.status.unwrap();
        assert_eq!((status.code.value(), &status.message[..]), (5, "b"));
        assert_eq!((status.details.len(), &response.payload[..]), (1, &b"p"[..]));
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

/// Where the code is in an encoded response that has a status and nothing else.
fn code_at(body: &[u8]) -> usize {
    if body.len() < 0x80 + 2 { 3 } else { 4 }
}

fn invalid_argument(message: &str) -> Vec<u8> {
    use ttrpc::proto::ResponseInit;
    Response::init_status(ttrpc::get_status(ttrpc::Code::INVALID_ARGUMENT, message))
        .encode()
        .unwrap()
}

#[test]
fn an_unknown_service_and_an_oversized_message_get_the_codes_of_go() {
    let unknown = invalid_argument("a.B service does not exist");
    let long = invalid_argument(&format!("{} service does not exist", "a".repeat(1000)));
    let oversized =
        invalid_argument("message length 4194305 exceed maximum message size of 4194304");
    for (body, code) in [(unknown, 12), (long, 12), (oversized, 8)] {
        let mut rules = FrameRules::new(Role::Server);
        let mut sent = frame(1, MESSAGE_TYPE_RESPONSE, 0, &body);
        rules.outbound(&mut Scanner::default(), &mut sent);
        assert_eq!(sent[10 + code_at(&body)], code);
    }
}

#[test]
fn a_handlers_own_status_with_the_same_text_goes_out_as_it_is() {
    let body = invalid_argument("a.B service does not exist");
    let mut rules = FrameRules::new(Role::Server);
    rules.exempt(7);
    let mut sent = frame(7, MESSAGE_TYPE_RESPONSE, 0, &body);
    rules.outbound(&mut Scanner::default(), &mut sent);
    assert_eq!(sent[10 + code_at(&body)], 3);
}

#[test]
fn ttrpc_knows_a_stream_until_its_answer_is_written_and_no_longer_than_its_connection() {
    let (wire, mut pipe) = pair(Role::Server);
    let receivers: [Arc<()>; 4] = Default::default();
    for (id, receiver) in (1..).step_by(2).zip(&receivers) {
        wire.answering(id, Box::new(receiver.clone()));
    }
    let kept = || receivers.each_ref().map(|receiver| Arc::strong_count(receiver) == 2);

    let message = testing::frame(MESSAGE_TYPE_DATA, 1, b"message".to_vec());
    write(&wire, &mut pipe, &message);
    assert_eq!(kept(), [true; 4]);
    let response = testing::frame(MESSAGE_TYPE_RESPONSE, 1, Vec::new());
    write(&wire, &mut pipe, &response);
    let mut end = testing::frame(MESSAGE_TYPE_DATA, 5, Vec::new());
    end.header.set_flags(FLAG_REMOTE_CLOSED | FLAG_NO_DATA);
    write(&wire, &mut pipe, &end);
    assert_eq!(kept(), [false, true, false, true]);

    wire.close(CloseReason::local());
    wire.answering(9, Box::new(receivers[0].clone()));
    assert_eq!(kept(), [false; 4]);
}
