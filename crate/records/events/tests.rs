use super::*;

fn id(slot: u32) -> CallId {
    CallId { slot, generation: 3 }
}

#[test]
fn a_queue_that_is_never_empty_does_not_grow() {
    let mut events = Events::default();
    let mut buffer = vec![0; RECORD_LIMIT];
    let write = |events: &mut Events| {
        events.outcome(1, id(7), Outcome::Reply(vec![7; 4000]));
    };
    (0..100).for_each(|_| write(&mut events));
    for _ in 0..1000 {
        let before = events.count();
        let filled = events.fill(&mut buffer);
        assert!(filled.more);
        while events.count() < before + filled.size / (4000 + RECORD_HEADER) {
            write(&mut events);
        }
    }
    assert!(events.records.capacity() <= 4 * KEEP_CAPACITY, "{}", events.records.capacity());
}

#[test]
fn few_payloads_cross_at_once_beside_their_records() {
    let mut events = Events::default();
    for call in 0..10 {
        events.outcome(1, id(call), Outcome::Reply(vec![7; 1 << 20]));
    }
    let mut buffer = vec![0; RECORD_LIMIT];
    for expected in [4, 4, 2] {
        assert_eq!(events.fill(&mut buffer).size, expected * RECORD_HEADER);
        for _ in 0..expected {
            assert_eq!(events.take_whole().map(|payload| payload.len()), Some(1 << 20));
        }
    }
    assert!(events.is_empty() && events.take_whole().is_none());
}

#[test]
fn only_whole_records_are_handed_over_and_none_is_lost() {
    let mut events = Events::default();
    for call in 0..10 {
        events.outcome(1, id(call), Outcome::Reply(vec![7; call as usize]));
    }
    let total = events.records.len();
    let mut seen = Vec::new();
    while !events.is_empty() {
        let mut buffer = [0; 60];
        let Filled { size, more } = events.fill(&mut buffer);
        assert_eq!(more, !events.is_empty());
        assert!(size > 0);
        seen.extend_from_slice(&buffer[..size]);
    }
    assert_eq!(seen.len(), total);
    let mut at = 0;
    for call in 0..10u32 {
        let length = u32::from_le_bytes(seen[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!(u32::from_le_bytes(seen[at + 12..at + 16].try_into().unwrap()), call);
        assert_eq!(length, RECORD_HEADER + call as usize);
        at += length;
    }
}
