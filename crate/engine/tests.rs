//! Tests of the engine without Node: a peer in plain Rust at the other end of a socket, and poll(2) as the
//! event loop.

mod lateness;
mod looks;
mod payloads;
mod peer;
mod request_looks;
mod traffic;

use super::connection::{Connection, Endpoint};
use super::server::connection_server::ConnectionServer;
use super::{Change, Engine, Excess, ListenOptions, Services};
use crate::records::{
    FLAG_SERVER_STREAM, FLAG_WHOLE, RECORD_HEADER, StreamKind, event, op, record,
};
use crate::socket::{Address, wait};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};

fn with_flags(mut record: Vec<u8>, flags: u8) -> Vec<u8> {
    record[5] = flags;
    record
}

fn route() -> Vec<u8> {
    record(op::ROUTE, 0, 0, b"\x01\0\0\0s\x01\0\0\0m")
}

fn connected() -> (Engine, u32, UnixStream) {
    let name = format!("\0ttrpc-engine-{}-{:?}", std::process::id(), std::thread::current().id());
    let listener = {
        use std::os::linux::net::SocketAddrExt as _;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name[1..]).unwrap();
        UnixListener::bind_addr(&address).unwrap()
    };
    let mut engine = Engine::new(u32::MAX).unwrap();
    let connection = engine.connect(&Address::Unix(name.into_bytes())).unwrap();
    let (peer, _) = listener.accept().unwrap();
    (engine, connection, peer)
}

/// The frames that can be read now, as (stream id, body).
fn frames(peer: &mut UnixStream) -> Vec<(u32, Vec<u8>)> {
    let mut frames = Vec::new();
    while wait(peer.as_raw_fd(), false, 0).unwrap() {
        let mut header = [0; 10];
        peer.read_exact(&mut header).unwrap();
        let mut body = vec![0; u32::from_be_bytes(header[..4].try_into().unwrap()) as usize];
        peer.read_exact(&mut body).unwrap();
        frames.push((u32::from_be_bytes(header[4..8].try_into().unwrap()), body));
    }
    frames
}

/// tokio makes a task yield after 128 operations. A turn that ended there would leave the rest of a burst
/// unhandled until something else happens on this thread, which may be never.
#[test]
fn one_turn_hands_over_all_messages_of_a_burst() {
    let (mut engine, connection, mut peer) = connected();
    let open = record(op::OPEN, connection, 1, &[0; 12]);
    engine.submit(&[route(), with_flags(open, FLAG_SERVER_STREAM)].concat()).unwrap();
    engine.events().fill(&mut [0; 1024]);
    let (id, _) = frames(&mut peer)[0];
    let mut data = vec![0, 0, 0, 1];
    data.extend(id.to_be_bytes());
    data.extend([3, 0, b'x']);
    peer.write_all(&data.repeat(1000)).unwrap();
    engine.ready(connection, true, false);
    let mut events = vec![0; 1 << 20];
    let size = engine.events().fill(&mut events).size;
    assert_eq!(size, 1000 * (RECORD_HEADER + 1));

    // The peer ends the stream, and the messages that JavaScript holds count until they are taken.
    peer.write_all(&[&[0; 4], &id.to_be_bytes()[..], &[3, 5]].concat()).unwrap();
    engine.ready(connection, true, false);
    assert!(engine.events().fill(&mut events).size > 0);
    assert_eq!((events[4], engine.shared.streams.lock().unwrap().len()), (event::END, 1));
    assert_eq!(engine.connections[&connection].wire.unread(), 1000 * (1 + 64));
    let taken = [1000u32.to_le_bytes(), 1000u32.to_le_bytes()].concat();
    engine.submit(&record(op::TAKEN, 0, 1, &taken)).unwrap();
    assert!(engine.shared.streams.lock().unwrap().is_empty());
    assert_eq!(engine.connections[&connection].wire.unread(), 0);
}

#[test]
fn a_stream_that_carried_nothing_leaves_nothing_behind() {
    let (mut engine, connection, mut peer) = connected();
    let open = record(op::OPEN, connection, 1, &[0; 12]);
    engine.submit(&[route(), with_flags(open, FLAG_SERVER_STREAM)].concat()).unwrap();
    let (id, _) = frames(&mut peer)[0];
    peer.write_all(&[&[0; 4], &id.to_be_bytes()[..], &[3, 5]].concat()).unwrap();
    engine.ready(connection, true, false);
    assert!(engine.shared.streams.lock().unwrap().is_empty());
}

/// A message counts as untaken only once it is whole. Otherwise, it would keep its own rest from being read.
#[test]
fn a_message_as_large_as_the_limit_arrives() {
    let (mut engine, connection, mut peer) = connected();
    let open = record(op::OPEN, connection, 1, &[0; 12]);
    engine.submit(&[route(), with_flags(open, FLAG_SERVER_STREAM)].concat()).unwrap();
    let (id, _) = frames(&mut peer)[0];
    let size = 4 << 20;
    let writer = std::thread::spawn(move || {
        let header = [&(size as u32).to_be_bytes()[..], &id.to_be_bytes(), &[3, 0]].concat();
        peer.write_all(&header).unwrap();
        peer.write_all(&vec![7; size]).unwrap();
        peer
    });
    let mut events = vec![0; size + 1024];
    engine.events().fill(&mut events);
    while engine.events().is_empty() {
        assert!(engine.connections[&connection].watched.read, "the connection is not read");
        assert!(wait(engine.connections[&connection].stream.fd(), false, -1).unwrap());
        engine.ready(connection, true, false);
    }
    assert_eq!(engine.events().fill(&mut events).size, RECORD_HEADER);
    assert_eq!(events[5] & FLAG_WHOLE, FLAG_WHOLE);
    assert_eq!(engine.events().take_whole(), Some(vec![7; size]));
    drop(writer.join().unwrap());
}

#[test]
fn one_turn_sends_all_calls_of_a_batch_in_order() {
    let (mut engine, connection, mut peer) = connected();
    let mut batch = route();
    for call in 1..=1000 {
        batch.extend(record(op::CALL, connection, call, &[0; 12]));
    }
    engine.submit(&batch).unwrap();
    let ids: Vec<u32> = frames(&mut peer).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, (0..1000).map(|call| 2 * call + 1).collect::<Vec<_>>());
}

#[test]
fn calls_behind_a_full_socket_start_when_the_peer_reads_and_none_is_lost() {
    let (mut engine, connection, mut peer) = connected();
    let mut batch = route();
    let body = vec![0; 12 + 512 * 1024];
    for call in 1..=20 {
        batch.extend(record(op::CALL, connection, call, &body));
    }
    engine.submit(&batch).unwrap();
    let seen: Vec<u32> =
        (0..20).map(|_| frame_turned(&mut engine, connection, &mut peer)).collect();
    assert_eq!(seen, (0..20).map(|call| 2 * call + 1).collect::<Vec<_>>());
}

/// The id of one frame, read in pieces while the engine is turned whenever the socket has room.
fn frame_turned(engine: &mut Engine, connection: u32, peer: &mut UnixStream) -> u32 {
    let mut turned = |into: &mut [u8]| {
        let mut at = 0;
        while at < into.len() {
            at += peer.read(&mut into[at..]).unwrap();
            engine.ready(connection, false, true);
        }
    };
    let mut header = [0; 10];
    turned(&mut header);
    let mut body = vec![0; u32::from_be_bytes(header[..4].try_into().unwrap()) as usize];
    turned(&mut body);
    u32::from_be_bytes(header[4..8].try_into().unwrap())
}

/// ttrpc would start again from id 1, and a server that keeps to the protocol would refuse it.
#[test]
fn a_connection_ends_when_its_stream_ids_are_used_up_but_not_before_its_calls() {
    let (mut engine, connection, mut peer) = connected();
    engine.connections.get_mut(&connection).unwrap().ids_left = 1;
    let call = |call| record(op::CALL, connection, call, &[0; 12]);
    engine.submit(&[route(), call(1), call(2)].concat()).unwrap();
    assert_eq!(frames(&mut peer).len(), 1);
    let mut events = vec![0; 1 << 16];
    let size = engine.events().fill(&mut events).size;
    assert_eq!((events[4], events[12]), (event::CONNECTED, 0));
    assert_eq!((events[RECORD_HEADER + 4], events[RECORD_HEADER + 12]), (event::FAILED, 2));
    assert!(engine.connections.contains_key(&connection) && size > 0);

    peer.write_all(&[0, 0, 0, 0, 0, 0, 0, 1, 2, 0]).unwrap();
    engine.ready(connection, true, false);
    engine.events().fill(&mut events);
    assert_eq!((events[4], events[12]), (event::RESPONSE, 1));
    assert_eq!(events[RECORD_HEADER + 4], event::CLOSED);
    assert!(!engine.connections.contains_key(&connection));
}

fn options(services: Services) -> ListenOptions {
    ListenOptions {
        services,
        require_same_user: false,
        max_connections: 100,
        max_concurrent_calls: 100,
        max_queued_bytes: 1 << 20,
        excess: Excess::Refused,
        looks: None,
    }
}

/// An engine that listens, its listener, and a function that connects to it.
fn listening() -> (Engine, u32, impl Fn() -> UnixStream) {
    listening_with(Services::new())
}

/// The same, with services.
fn listening_with(services: Services) -> (Engine, u32, impl Fn() -> UnixStream) {
    listening_to(options(services))
}

/// The same, with options.
fn listening_to(options: ListenOptions) -> (Engine, u32, impl Fn() -> UnixStream) {
    use std::os::linux::net::SocketAddrExt as _;
    let thread = std::thread::current().id();
    let name = format!("\0ttrpc-engine-listens-{}-{thread:?}", std::process::id());
    let mut engine = Engine::new(u32::MAX).unwrap();
    let listener = engine.listen(&Address::Unix(name.clone().into_bytes()), None, options).unwrap();
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name[1..]).unwrap();
    (engine, listener, move || UnixStream::connect_addr(&address).unwrap())
}

/// Applies the engine's changes. Sets `watched` to whether the listener is watched, and returns the
/// connections that are.
fn watched_for(engine: &mut Engine, listener: u32, watched: &mut bool) -> Vec<u32> {
    let mut connections = Vec::new();
    engine.apply_changes(|change| {
        match change {
            Change::Watch { id, interest, .. } if id == listener => *watched = interest.read,
            Change::Watch { id, .. } => connections.push(id),
            Change::Forget { .. } => {}
        }
        Ok(())
    });
    connections
}

/// Otherwise, those that are left could soon keep none.
#[test]
fn the_unused_memory_of_a_connection_that_ended_does_not_count() {
    let (mut engine, listener, connect) = listening_with(Services::default());
    for _ in 0..3 {
        let mut peer = connect();
        engine.ready(listener, true, false);
        let connection = *engine.connections.keys().next().unwrap();
        // The front of a large message.
        peer.write_all(&[&[0, 0x20, 0, 0, 0, 0, 0, 1, 3, 0][..], &[7; 100]].concat()).unwrap();
        engine.ready(connection, true, false);
        assert!(engine.shared.worklist.slack() > 0);
        drop(peer);
        engine.ready(connection, true, false);
        assert!(engine.connections.is_empty());
    }
    assert_eq!(engine.shared.worklist.slack(), 0);
}

/// On the I/O thread, an engine accepts while JavaScript is busy, and the events of each connection stay when
/// the connection is gone.
#[test]
fn connections_that_come_and_go_are_not_accepted_while_too_many_wait_to_be_told_of() {
    let (mut engine, listener, connect) = listening();
    let mut events = vec![0; 1 << 20];
    let mut watched = false;
    let mut told = 0;
    for _ in 0..3 {
        for _ in 0..5000 {
            watched_for(&mut engine, listener, &mut watched);
            if !watched {
                break;
            }
            drop(connect());
            engine.ready(listener, true, false);
            for connection in watched_for(&mut engine, listener, &mut watched) {
                engine.ready(connection, true, false);
            }
        }
        let waiting = engine.events().fill(&mut events);
        told += waiting.size;
        // The events of one connection take less than 128 bytes.
        assert!(!waiting.more && waiting.size < 1024 * 128, "{}", waiting.size);
        engine.resume();
        watched_for(&mut engine, listener, &mut watched);
        assert!(watched, "the listener does not resume");
    }
    assert!(told > 3000 * 2 * RECORD_HEADER && engine.connections.is_empty());
}

#[test]
fn a_connection_has_no_server_before_its_first_frame_is_whole() {
    let (mut engine, listener, connect) = listening();
    let is_served = |engine: &Engine| {
        let served = |conn: &Connection| {
            matches!(
                conn.endpoint,
                Endpoint::Server { server: ConnectionServer::Running { .. }, .. }
            )
        };
        engine.connections.values().filter(|conn| served(conn)).count()
    };
    let mut watched = false;
    for frame in [&[0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0][..], &[0, 0, 0, 0, 0, 0, 0, 2, 1, 0]] {
        let mut peer = connect();
        engine.ready(listener, true, false);
        watched_for(&mut engine, listener, &mut watched);
        let connection = *engine.connections.keys().next().unwrap();
        for (index, byte) in frame.iter().enumerate() {
            assert_eq!(is_served(&engine), 0, "at byte {index}");
            peer.write_all(&[*byte]).unwrap();
            engine.ready(connection, true, false);
        }
        assert_eq!(is_served(&engine), 1);
        assert_eq!(frames(&mut peer).len(), 1);
        drop(peer);
        engine.ready(connection, true, false);
        assert!(engine.connections.is_empty());
    }
}

#[test]
fn a_call_that_waited_is_in_no_list_any_more_however_its_waiting_ended() {
    let (mut engine, connection, mut peer) = connected();
    let body = vec![0; 12 + (1 << 20)];
    let call = |call| record(op::CALL, connection, call, &body);
    let cancel = |call| record(op::CANCEL, connection, call, &[]);
    let waiting = |engine: &Engine| {
        let conn = &engine.connections[&connection];
        let places = engine.shared.waiting.lock().unwrap().len();
        (places, conn.waiting.places(|_| true).count(), conn.waiting.bytes() >> 20)
    };
    engine.submit(&route()).unwrap();
    (1..=10).for_each(|id| engine.submit(&call(id)).unwrap());
    let (places, calls, mib) = waiting(&engine);
    assert!(places > 4 && places == calls && places == mib, "{places}, {calls}, {mib}");
    // A call that nobody made, and two that wait.
    engine.submit(&[cancel(999), cancel(9), cancel(10)].concat()).unwrap();
    assert_eq!(waiting(&engine), (places - 2, places - 2, places - 2));
    frame_turned(&mut engine, connection, &mut peer);
    frame_turned(&mut engine, connection, &mut peer);
    let (left, calls, mib) = waiting(&engine);
    assert!(left < places - 2 && left == calls && left == mib, "{left}, {calls}, {mib}");
    engine.close(connection);
    assert!(engine.shared.waiting.lock().unwrap().is_empty());
}

/// An open stream counts as a request. If it could be held back, it would wait for its own messages.
#[test]
fn no_listener_holds_streams_back() {
    let mut engine = Engine::new(u32::MAX).unwrap();
    let address = Address::Tcp(([127, 0, 0, 1], 0).into());
    for (kind, refused) in [(None, false), (Some(StreamKind { client: true, server: false }), true)]
    {
        let options = ListenOptions { excess: Excess::HeldBack, ..options(peer::one_method(kind)) };
        assert_eq!(engine.listen(&address, None, options).is_err(), refused);
    }
}

#[test]
fn a_listener_that_cannot_be_watched_takes_with_it_the_file_that_it_made_and_no_other() {
    let refuse = |change| match change {
        Change::Watch { .. } => Err(std::io::Error::from_raw_os_error(libc::ENOSPC)),
        Change::Forget { .. } => Ok(()),
    };
    let path = std::env::temp_dir().join(format!("unwatchable-{}", std::process::id()));
    let mut engine = Engine::new(u32::MAX).unwrap();
    let address = Address::Unix(path.as_os_str().as_encoded_bytes().to_vec());
    let made = engine.listen(&address, None, options(Services::new())).unwrap();
    let (failed, error) = engine.apply_changes(refuse).unwrap();
    assert_eq!((failed, error.raw_os_error()), (made, Some(libc::ENOSPC)));
    assert!(!path.exists());

    let given = UnixListener::bind(&path).unwrap().into();
    engine.listen_on(given, false, options(Services::new())).unwrap();
    engine.apply_changes(refuse).unwrap();
    std::fs::remove_file(path).unwrap();
}
