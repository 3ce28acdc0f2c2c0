//! The engine's end of a connection.

use super::backpressure::Block;
use super::budget::{Budget, Kind, Tally};
use super::frame_reader::FrameReader;
use super::frame_rules::FrameRules;
use super::send_buffer::SendBuffer;
use super::stream_state::StreamState;
use super::{Pipe, Role, Worklist};
use crate::protocol::close_reason::{CloseKind, CloseReason};
use crate::protocol::code_corrections;
use crate::sync::lock;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use tokio::sync::Notify;
use ttrpc::proto::{FLAG_NO_DATA, FLAG_REMOTE_CLOSED, MessageHeader, Status};

/// The engine's end of one connection.
#[derive(Debug)]
pub struct Wire {
    pub(super) id: u32,
    pub(super) worklist: Arc<Worklist>,
    pub(super) flow: Mutex<Flow>,
    /// Of the listener that accepted it.
    pub(super) budget: Option<Arc<Budget>>,
    pub(super) frames: Tally,
    pub(super) messages: Arc<Tally>,
    pub(super) replies: Tally,
    /// Bytes of messages that streams of the peer's are about to send.
    pub(super) queued: AtomicUsize,
    /// A blocking caller turns it in place, and nobody takes events meanwhile.
    pub(super) blocking: bool,
    /// Wakes those that wait for the end.
    pub(super) ended: Notify,
    /// Wakes those that wait for the socket to take what was sent, and how many they are.
    pub(super) writable: Notify,
    pub(super) writers: AtomicUsize,
}

#[derive(Debug)]
pub(super) struct Flow {
    pub(super) rules: FrameRules,
    /// Bytes from the peer that ttrpc has not read.
    pub(super) rx: FrameReader,
    /// What nothing is in of the memory of `rx` and `tx`, as it was told.
    pub(super) slack: usize,
    /// Bytes of ttrpc that the socket has not taken.
    pub(super) tx: SendBuffer,
    pub(super) reader: Option<Waker>,
    /// Bytes that count as a message that is not whole.
    pub(super) reserved: usize,
    /// Why the frame at the front is not passed on, or nothing is read.
    pub(super) block: Option<Block>,
    /// The socket had something and was not read for it.
    pub(super) refused: bool,
    pub(super) closed: Option<CloseReason>,
    /// ttrpc dropped its end.
    pub(super) released: bool,
    pub(super) is_marked: bool,
}

/// What a connection is made with.
#[derive(Debug, Clone)]
pub struct WireInit {
    /// What is collected where it is worklist.
    pub id: u32,
    /// What collects.
    pub worklist: Arc<Worklist>,
    /// Of the listener that accepted it; none for one that this side made.
    pub budget: Option<Arc<Budget>>,
    /// A blocking caller turns it in place.
    pub blocking: bool,
}

impl Wire {
    /// A connection's two ends.
    pub fn pair(role: Role, init: WireInit) -> (Arc<Wire>, Pipe) {
        let WireInit { id, worklist, budget, blocking } = init;
        let flow = Flow {
            rules: FrameRules::new(role),
            rx: FrameReader::default(),
            slack: 0,
            tx: SendBuffer::default(),
            reader: None,
            reserved: 0,
            block: None,
            refused: false,
            closed: None,
            released: false,
            is_marked: false,
        };
        let wire = Arc::new(Wire {
            id,
            worklist,
            flow: Mutex::new(flow),
            frames: Tally::new(Kind::Frames, budget.clone()),
            messages: Arc::new(Tally::new(Kind::Messages, budget.clone())),
            replies: Tally::new(Kind::Replies, budget.clone()),
            queued: AtomicUsize::new(0),
            budget,
            blocking,
            ended: Notify::new(),
            writable: Notify::new(),
            writers: AtomicUsize::new(0),
        });
        (wire.clone(), Pipe::new(wire))
    }

    /// Reads from the socket straight into the buffer until it would block, ends, or `budget` bytes
    /// came, or what may lie there. `read` gets free space and answers as `read(2)` does.
    ///
    /// Returns the bytes read. The end of the socket closes the wire with the reason.
    pub fn receive(
        &self,
        budget: usize,
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> usize {
        let mut flow = self.lock();
        let flow = &mut *flow;
        flow.rules.received();
        let mut total = 0;
        let ended = loop {
            // A large frame goes to ttrpc before the next one is begun.
            if flow.rx.readable() > LARGE_FRAME {
                break None;
            }
            let most = flow.rx.missing().max(READ_CHUNK);
            let chunk = self.allowance(flow).min(budget - total).min(most);
            if chunk == 0 {
                break None;
            }
            match read(flow.rx.received.space(chunk, &self.worklist.memory.received)) {
                Ok(0) => break Some(None),
                Ok(count) => {
                    flow.rx.received.filled(count);
                    total += count;
                    self.advance(flow);
                    // A short read is as good as WouldBlock and saves the call that would say so.
                    if count < chunk {
                        break None;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break None,
                Err(error) => break Some(Some(error)),
            }
        };
        flow.rx.received.recycle(&self.worklist.memory.received);
        self.count_frames(flow);
        match ended {
            Some(Some(error)) => flow.close(CloseReason::failed("read", &error)),
            Some(None) => flow.end_of_stream(),
            None => {}
        }
        flow.wake_reader();
        self.mark_flow(flow);
        total
    }

    /// Bytes of the frame that was received last, or is being received.
    pub fn frame(&self) -> usize {
        self.lock().rx.last_frame()
    }

    /// Hands what ttrpc wrote to the socket until all is gone or it would block. `write` answers as
    /// `write(2)` does.
    pub fn send(&self, write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        let mut flow = self.lock();
        let sent = flow.tx.send(&self.worklist.memory.sent, write);
        self.count_replies(&flow);
        sent
    }

    /// Ends the connection behind what was read of it: the peer may have answered before it went. The
    /// first reason stays.
    pub fn fail(&self, closed: CloseReason) {
        let mut flow = self.lock();
        flow.close(closed);
        self.mark_flow(&mut flow);
    }

    /// Closes the connection for ttrpc too: its reads end at once, its writes fail. The first reason
    /// stays.
    pub fn close(&self, closed: CloseReason) {
        let mut flow = self.lock();
        flow.close(closed);
        self.discard(&mut flow);
        self.mark_flow(&mut flow);
    }

    /// Gives up what the socket has not taken.
    pub fn forget_unsent(&self) {
        let mut flow = self.lock();
        flow.tx.clear(&self.worklist.memory.sent);
        self.count_replies(&flow);
    }

    /// Waits for the end of the connection.
    pub async fn ended(&self) -> CloseReason {
        loop {
            let changed = self.ended.notified();
            if let Some(closed) = self.closed() {
                return closed;
            }
            changed.await;
        }
    }

    /// Waits until no more than `limit` bytes wait for the socket, or the connection has ended.
    pub async fn writable(&self, limit: usize) {
        loop {
            let changed = self.writable.notified();
            if self.unsent() <= limit || self.closed().is_some() {
                return;
            }
            {
                let _counted = Writer::new(&self.writers);
                changed.await;
            }
            // There may be room for the next one too.
            self.mark();
        }
    }

    /// Wakes some of those that wait in [`Wire::writable`]. Returns whether there is any. Must be called
    /// inside the runtime.
    pub fn wake_writers(&self) -> bool {
        let few = self.writers.load(Ordering::Relaxed).min(WRITERS_AT_ONCE);
        (0..few).for_each(|_| self.writable.notify_one());
        few > 0
    }

    /// Wakes all that wait in [`Wire::ended`] and [`Wire::writable`]. Must be called inside the runtime.
    pub fn wake(&self) {
        self.ended.notify_waiters();
        self.writable.notify_waiters();
    }

    /// Bytes of streams that arrived and were not taken. A message that is on its way does not count: it
    /// would stop the reading of its own rest.
    pub fn unread(&self) -> usize {
        self.messages.held() - self.lock().reserved
    }

    /// A count for one stream of this connection.
    pub fn new_stream(&self) -> Arc<StreamState> {
        Arc::new(StreamState::new(self.messages.clone()))
    }

    /// The request of the stream that `state` counts was just given to ttrpc.
    pub fn opening_stream(&self, state: &Arc<StreamState>) {
        self.lock().rules.opening(state.clone());
    }

    /// The peer opened the stream that `state` counts, and said in its request whether it sends more.
    pub fn opened_stream(&self, stream_id: u32, state: &Arc<StreamState>, half_closed: bool) {
        if half_closed {
            state.half_close();
        }
        self.lock().rules.opened(stream_id, state.clone());
    }

    /// Tells the peer that the messages of a stream end and are not all. ttrpc has no frame for it, but
    /// a closing frame that carries data breaks the protocol: a server in Rust fails the stream with it,
    /// one in Go answers an error (and its handler sees the end).
    pub fn break_off(&self, state: &StreamState) {
        let Some(stream_id) = state.stream_id() else { return };
        let mut flow = self.lock();
        if flow.closed.is_some() {
            return;
        }
        let mut header = MessageHeader::new_data(stream_id, 1);
        header.set_flags(FLAG_REMOTE_CLOSED | FLAG_NO_DATA);
        self.inject(&mut flow, &[&Vec::from(header)[..], &[0]].concat());
        self.mark_flow(&mut flow);
    }

    /// A stream is over for this side.
    pub fn forget_stream(&self, state: &StreamState) {
        let mut flow = self.lock();
        flow.rules.forget(state);
        self.mark_flow(&mut flow);
    }

    /// The reply to `stream_id` carries a handler's own status, which goes out as it is even if it
    /// looks like one of ttrpc's; see [`FrameRules::exempt`].
    pub fn exempt_own(&self, stream_id: u32, status: &Status) {
        if status.code.value() == ttrpc::Code::INVALID_ARGUMENT as i32
            && code_corrections::code_by_text(status.message.as_bytes()).is_some()
        {
            self.lock().rules.exempt(stream_id);
        }
    }

    /// The bytes of a stream's request: of its payload, and of what is kept besides. To be asked where its
    /// handler begins.
    pub fn request(&self, stream_id: u32) -> (usize, usize) {
        self.lock().rules.request(stream_id)
    }

    /// What is collected where it is worklist.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether a frame, or part of one, is there for ttrpc to read.
    pub fn has_frame(&self) -> bool {
        self.lock().rx.readable() > 0
    }

    /// Marks the connection as worklist, so that the engine looks at it when the turn is over.
    pub fn mark(&self) {
        self.mark_flow(&mut self.lock());
    }

    /// What the engine needs to know after a turn; clears the mark.
    pub fn snapshot(&self) -> Snapshot {
        let mut flow = self.lock();
        flow.is_marked = false;
        self.tidy(&mut flow);
        Snapshot {
            unsent: flow.tx.len(),
            refused: flow.refused,
            closed: flow.closed.is_some(),
            released: flow.released,
        }
    }

    /// Bytes that the socket has not taken yet.
    pub fn unsent(&self) -> usize {
        self.lock().tx.len()
    }

    /// Why the connection ended, if it has.
    pub fn closed(&self) -> Option<CloseReason> {
        self.lock().closed.clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Flow> {
        lock(&self.flow)
    }

    pub(super) fn mark_flow(&self, flow: &mut Flow) {
        if !flow.is_marked {
            flow.is_marked = true;
            self.worklist.touch(self.id);
        }
    }
}

/// The first read of a turn takes what a busy peer sends in one; more reads follow while they are full.
pub(super) const READ_CHUNK: usize = 64 * 1024;

/// A frame from this size on is worth a turn of its own.
const LARGE_FRAME: usize = 128 * 1024;

/// Of those that wait for the socket, so many go on at once: each may send what fills it again.
const WRITERS_AT_ONCE: usize = 16;

/// A message of a stream that is about to be sent: it counts like what waits for the socket.
#[derive(Debug)]
pub struct Queued {
    wire: Option<Arc<Wire>>,
    bytes: usize,
}

impl Queued {
    /// Counts `bytes` until it is dropped, where the peer's calls have a budget.
    pub fn new(wire: &Arc<Wire>, bytes: usize) -> Self {
        let wire = wire.budget.as_ref().map(|_| wire.clone());
        if let Some(wire) = &wire {
            wire.queued.fetch_add(bytes, Ordering::Relaxed);
            wire.count_replies(&wire.lock());
        }
        Self { wire, bytes }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        if let Some(wire) = &self.wire {
            wire.queued.fetch_sub(self.bytes, Ordering::Relaxed);
            wire.count_replies(&wire.lock());
        }
    }
}

/// Somebody who waits for the socket.
struct Writer<'a>(&'a AtomicUsize);

impl<'a> Writer<'a> {
    fn new(writers: &'a AtomicUsize) -> Self {
        writers.fetch_add(1, Ordering::Relaxed);
        Self(writers)
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A wire's state after a turn.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot {
    /// Bytes that the socket has not taken.
    pub unsent: usize,
    /// The socket had something and was not read for it.
    pub refused: bool,
    /// The connection ended.
    pub closed: bool,
    /// ttrpc let go of it.
    pub released: bool,
}

impl Flow {
    pub(super) fn close(&mut self, closed: CloseReason) {
        if self.closed.is_none() {
            self.closed = Some(closed);
            // A server's connection waits for nothing any more; a client's has answers to deliver.
            if self.rules.is_server() {
                self.block = None;
            }
        }
        self.wake_reader();
    }

    pub(super) fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    pub(super) fn end_of_stream(&mut self) {
        let closed = if self.rx.mid_frame() {
            let text = "the peer closed the connection in the middle of a message".to_owned();
            CloseReason { kind: CloseKind::Error, errno: libc::ECONNRESET, text }
        } else {
            CloseReason {
                kind: CloseKind::Remote,
                errno: 0,
                text: "the peer closed the connection".to_owned(),
            }
        };
        self.close(closed);
    }
}
