//! Random traffic: peers that stall, catch up and leave, and handlers that take their time. Once all who are left move again,
//! every call has one answer and every stream one end; and when they are gone, nothing counts any more.

use super::peer::{frame, records};
use super::{listening_to, options};
use crate::engine::{Change, Engine, Excess, Interest, ListenOptions, Method, Services};
use crate::random::Random;
use crate::records::{FLAG_SERVED, FLAG_WHOLE, RECORD_HEADER, StreamKind, event, op, record};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use ttrpc::proto::{
    Codec as _, FLAG_NO_DATA, FLAG_REMOTE_CLOSED, FLAG_REMOTE_OPEN, MESSAGE_TYPE_DATA,
    MESSAGE_TYPE_REQUEST, MESSAGE_TYPE_RESPONSE, MessageHeader, Request,
};

/// Rounds in which there is new traffic.
const ROUNDS: usize = 200;
/// Rounds without progress after which nothing more is expected.
const QUIET: usize = 8;

impl Random {
    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    fn size(&mut self) -> usize {
        let limit = [1, 2_000, 2_000, 2_000, 20_000, 20_000, 300_000, 1 << 20][self.below(8)];
        self.below(limit)
    }
}

fn request(method: &str, size: usize) -> Vec<u8> {
    let (service, method) = ("s".to_owned(), method.to_owned());
    let request = Request { service, method, payload: vec![1; size], ..Default::default() };
    request.encode().unwrap()
}

/// What a peer has open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Call,
    Stream,
    /// A stream on which the peer sends no more.
    HalfClosed,
}

#[derive(Default)]
struct Peer {
    /// `None` once it has left.
    socket: Option<UnixStream>,
    unsent: Vec<u8>,
    arrived: Vec<u8>,
    next_id: u32,
    open: BTreeMap<u32, Open>,
    ended: BTreeSet<u32>,
    stalls_reading: bool,
    stalls_writing: bool,
}

impl Peer {
    fn act(&mut self, random: &mut Random, streams: bool) {
        self.stalls_reading ^= random.percent(2);
        self.stalls_writing ^= random.percent(2);
        if random.below(3_000) == 0 {
            self.socket = None;
        }
        if self.unsent.len() > 1 << 20 || random.percent(70) {
            return;
        }
        let open = self.open.iter().find(|(_, open)| **open == Open::Stream).map(|(id, _)| *id);
        match (random.below(if streams { 10 } else { 5 }), open) {
            (0..5, _) => self.begin(0, &request("unary", random.size()), Open::Call),
            (5, _) => {
                self.begin(FLAG_REMOTE_OPEN | FLAG_NO_DATA, &request("both", 0), Open::Stream);
            }
            (6..9, Some(id)) => {
                self.unsent.extend(frame(MESSAGE_TYPE_DATA, 0, id, &vec![2; random.size()]))
            }
            (9, Some(id)) => self.half_close(id),
            _ => {}
        }
    }

    fn begin(&mut self, flags: u8, body: &[u8], open: Open) {
        let id = self.next_id;
        self.next_id += 2;
        self.unsent.extend(frame(MESSAGE_TYPE_REQUEST, flags, id, body));
        self.open.insert(id, open);
    }

    fn half_close(&mut self, id: u32) {
        self.unsent.extend(frame(MESSAGE_TYPE_DATA, FLAG_REMOTE_CLOSED | FLAG_NO_DATA, id, &[]));
        self.open.insert(id, Open::HalfClosed);
    }

    /// Sends no more on streams, and moves from now on.
    fn settle(&mut self) {
        (self.stalls_reading, self.stalls_writing) = (false, false);
        let streams = self.open.iter().filter(|(_, open)| **open == Open::Stream);
        for id in streams.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.half_close(id);
        }
    }

    /// Returns whether bytes moved, at most `most` each way.
    fn flow(&mut self, most: usize) -> bool {
        let moved = self.exchange(most).unwrap_or_else(|_| {
            // The engine closes a peer that stalls for too long while others wait.
            self.socket = None;
            0
        });
        self.read_frames();
        moved > 0
    }

    fn exchange(&mut self, most: usize) -> io::Result<usize> {
        let Some(socket) = &mut self.socket else { return Ok(0) };
        let mut moved = 0;
        if !self.stalls_writing && !self.unsent.is_empty() {
            match socket.write(&self.unsent[..most.min(self.unsent.len())]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => moved = sent?,
            }
            self.unsent.drain(..moved);
        }
        if !self.stalls_reading {
            let mut bytes = vec![0; most];
            match socket.read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                received => {
                    let received = received?;
                    self.arrived.extend(&bytes[..received]);
                    moved += received;
                }
            }
        }
        Ok(moved)
    }

    fn read_frames(&mut self) {
        while let Some(header) = self.arrived.first_chunk::<10>() {
            let header = MessageHeader::from(*header);
            let whole = 10 + header.length as usize;
            if self.arrived.len() < whole {
                return;
            }
            let id = header.stream_id;
            if header.type_ == MESSAGE_TYPE_RESPONSE {
                let first = self.open.remove(&id).is_some();
                assert!(first || self.ended.contains(&id), "a second response to {id}");
                self.ended.insert(id);
            } else if header.flags & FLAG_REMOTE_CLOSED != 0 {
                assert!(self.open.remove(&id).is_some(), "a second end of {id}");
                self.ended.insert(id);
            }
            self.arrived.drain(..whole);
        }
    }

    fn is_done(&self) -> bool {
        self.socket.is_none()
            || self.unsent.is_empty() && self.arrived.is_empty() && self.open.is_empty()
    }
}

/// A request that a handler has.
#[derive(Default)]
struct Handled {
    is_stream: bool,
    has_ended: bool,
    /// Messages, and their bytes, that the handler has not taken.
    untaken: (u32, u32),
    /// Bytes that were sent and have not left.
    ahead: usize,
}

/// What JavaScript does.
#[derive(Default)]
struct Handlers {
    requests: BTreeMap<[u32; 2], Handled>,
    aborted: Vec<[u32; 2]>,
}

fn command(operation: u8, [slot, generation]: [u32; 2], body: &[u8]) -> Vec<u8> {
    let mut record = record(operation, 0, slot, body);
    record[5] = if operation == op::SEND || operation == op::TAKEN { FLAG_SERVED } else { 0 };
    record[16..20].copy_from_slice(&generation.to_le_bytes());
    record
}

impl Handlers {
    /// Takes one batch of events. Returns whether there was one.
    fn take(&mut self, engine: &Engine, buffer: &mut [u8]) -> bool {
        let filled = engine.events().fill(buffer);
        for record in records(&buffer[..filled.size]) {
            let word = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().unwrap());
            let name = [word(12), word(16)];
            let whole = record[5] & FLAG_WHOLE != 0;
            let whole = whole.then(|| engine.events().take_whole().unwrap().len());
            let size = whole.unwrap_or(record.len() - RECORD_HEADER);
            if record[4] == event::REQUEST {
                let is_stream = record[5] & !FLAG_WHOLE != 0;
                self.requests.insert(name, Handled { is_stream, ..Handled::default() });
                continue;
            }
            let Some(handled) = self.requests.get_mut(&name) else { continue };
            match record[4] {
                event::MESSAGE => {
                    handled.untaken.0 += 1;
                    handled.untaken.1 += size as u32;
                }
                event::END => handled.has_ended = true,
                event::SENT => handled.ahead -= word(24) as usize,
                event::ABORTED => {
                    self.requests.remove(&name);
                    self.aborted.push(name);
                }
                _ => {}
            }
        }
        filled.size > 0
    }

    /// The commands of some handlers, or with `settling` of all that can end.
    fn work(&mut self, random: &mut Random, settling: bool) -> Vec<u8> {
        let mut batch = Vec::new();
        for name in self.aborted.drain(..) {
            batch.extend(command(op::LET_GO, name, &[]));
        }
        self.requests.retain(|name, handled| {
            if batch.len() > 2 << 20 {
                return true;
            }
            if handled.untaken.0 > 0 && (settling || random.percent(20)) {
                let (messages, bytes) = std::mem::take(&mut handled.untaken);
                let body = [messages.to_le_bytes(), bytes.to_le_bytes()].concat();
                batch.extend(command(op::TAKEN, *name, &body));
            }
            if handled.is_stream && !settling && handled.ahead < 512 << 10 && random.percent(20) {
                let size = random.size();
                handled.ahead += size;
                batch.extend(command(op::SEND, *name, &vec![3; size]));
            }
            let may_end = !handled.is_stream || handled.has_ended && handled.untaken.0 == 0;
            if !may_end || !settling && random.percent(85) {
                return true;
            }
            let payload = if handled.is_stream { 0 } else { random.size() };
            let status = u32::from(random.percent(10)) * 5;
            let body = [&status.to_le_bytes()[..], &[0; 8], &vec![4; payload]].concat();
            batch.extend(command(op::REPLY, *name, &body));
            false
        });
        batch
    }
}

/// Hands readiness to the engine, as an event loop does.
#[derive(Default)]
struct Loop {
    watched: BTreeMap<u32, (RawFd, Interest)>,
}

impl Loop {
    fn apply(&mut self, engine: &mut Engine) {
        engine.apply_changes(|change| {
            match change {
                Change::Watch { id, fd, interest } => drop(self.watched.insert(id, (fd, interest))),
                Change::Forget { id, .. } => drop(self.watched.remove(&id)),
            }
            Ok(())
        });
    }

    /// Returns whether something was ready.
    fn turn(&mut self, engine: &mut Engine) -> bool {
        self.apply(engine);
        let mut was_ready = false;
        for (id, (fd, interest)) in self.watched.clone() {
            let wanted = |wanted: bool, event| if wanted { event } else { 0 };
            let events = wanted(interest.read, libc::POLLIN)
                | wanted(interest.write, libc::POLLOUT)
                | wanted(interest.hangup, libc::POLLRDHUP);
            let mut poll = libc::pollfd { fd, events, revents: 0 };
            // SAFETY: `poll` is one valid pollfd.
            let ready = events != 0 && unsafe { libc::poll(&raw mut poll, 1, 0) } > 0;
            if ready && self.watched.contains_key(&id) {
                let over = poll.revents & (libc::POLLERR | libc::POLLHUP) != 0;
                let readable = over || poll.revents & (libc::POLLIN | libc::POLLRDHUP) != 0;
                engine.ready(id, readable, over || poll.revents & libc::POLLOUT != 0);
                self.apply(engine);
                was_ready = true;
            }
        }
        was_ready
    }
}

fn run(seed: u64, excess: Excess) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    // What is held back has no streams.
    let streams = excess == Excess::Refused;
    let mut methods = vec![Method { name: "unary".into(), route: 0, kind: None }];
    if streams {
        let kind = Some(StreamKind { client: true, server: true });
        methods.push(Method { name: "both".into(), route: 1, kind });
    }
    let (mut engine, listener, connect) = listening_to(ListenOptions {
        max_concurrent_calls: [4, 20, 1000][random.below(3)],
        max_queued_bytes: [100_000, 4 << 20, 64 << 20][random.below(3)],
        excess,
        ..options(Services::from([("s".into(), methods)]))
    });
    let mut peers: Vec<Peer> = Vec::new();
    for _ in 0..=random.below(12) {
        let socket = connect();
        socket.set_nonblocking(true).unwrap();
        peers.push(Peer { socket: Some(socket), next_id: 1, ..Peer::default() });
    }
    let (mut handlers, mut event_loop) = (Handlers::default(), Loop::default());
    let mut buffer = vec![0; 6 << 20];
    let (mut round, mut quiet) = (0, 0);
    while quiet < QUIET {
        round += 1;
        assert!(round < 100_000, "seed {seed}, {excess:?}: it never settles");
        let settling = round > ROUNDS;
        if round == ROUNDS + 1 {
            peers.iter_mut().for_each(Peer::settle);
        }
        let mut moved = false;
        for peer in &mut peers {
            if !settling {
                peer.act(&mut random, streams);
            }
            moved |= peer.flow(if settling { 1 << 20 } else { 1 + random.below(200_000) });
        }
        moved |= event_loop.turn(&mut engine);
        if settling || random.percent(60) {
            moved |= handlers.take(&engine, &mut buffer);
            engine.resume();
            let batch = handlers.work(&mut random, settling);
            moved |= !batch.is_empty();
            engine.submit(&batch).unwrap();
        }
        if engine.next_deadline().is_some_and(|left| left.is_zero()) {
            engine.expire();
        }
        quiet = if moved || !settling { 0 } else { quiet + 1 };
        if quiet > 2 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let stuck = peers.iter().filter(|peer| !peer.is_done()).count();
    assert_eq!(stuck, 0, "seed {seed}, {excess:?}: peers wait");
    drop(peers);
    while event_loop.turn(&mut engine) || handlers.take(&engine, &mut buffer) {
        engine.submit(&handlers.work(&mut random, true)).unwrap();
    }
    assert!(engine.connections.is_empty(), "seed {seed}, {excess:?}: connections are left");
    assert!(engine.listeners[&listener].is_unused(), "seed {seed}, {excess:?}: the budget is used");
}

#[test]
fn every_call_and_stream_ends_and_nothing_counts_afterwards() {
    for seed in 1..=4 {
        run(seed, Excess::Refused);
    }
}

#[test]
fn every_call_that_is_held_back_is_answered() {
    for seed in 1..=4 {
        run(seed, Excess::HeldBack);
    }
}
