//! The engine's end of a connection.

use super::budget::{Budget, Kind, Tally};
use super::flow::Flow;
use super::stream_state::StreamState;
use super::{Pipe, Role, Worklist};
use crate::protocol::close_reason::CloseReason;
use crate::protocol::code_corrections;
use crate::sync::lock;
use std::any::Any;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;
use ttrpc::proto::{FLAG_NO_DATA, FLAG_REMOTE_CLOSED, MessageHeader, Status};

/// The engine's end of one connection.
#[derive(Debug)]
pub struct Wire {
    pub(super) id: u32,
    pub(super) worklist: Arc<Worklist>,
    pub(super) flow: Mutex<Flow>,
    /// The budget of the listener that accepted it.
    pub(super) budget: Option<Arc<Budget>>,
    pub(super) frames: Tally,
    pub(super) messages: Arc<Tally>,
    pub(super) replies: Tally,
    /// Bytes of messages that served streams are about to send.
    pub(super) queued: AtomicUsize,
    /// A blocking caller turns the engine in place, and nobody takes events meanwhile.
    pub(super) blocking: bool,
    /// The stream id that ttrpc's client gives the next call.
    pub(super) next_id: AtomicU32,
    /// Wakes tasks that wait for the end.
    pub(super) ended: Notify,
    /// Wakes tasks that wait for the socket to take bytes.
    pub(super) writable: Notify,
    pub(super) writers: AtomicUsize,
}

/// The arguments of [`Wire::pair`].
#[derive(Debug, Clone)]
pub struct WireInit {
    /// The id of the connection.
    pub id: u32,
    /// Where the connection is marked for a flush.
    pub worklist: Arc<Worklist>,
    /// The budget of the listener that accepted it; `None` if this side made it.
    pub budget: Option<Arc<Budget>>,
    /// A blocking caller turns the engine in place.
    pub blocking: bool,
}

impl Wire {
    /// The two ends of a connection.
    pub fn pair(role: Role, init: WireInit) -> (Arc<Wire>, Pipe) {
        let WireInit { id, worklist, budget, blocking } = init;
        let wire = Arc::new(Wire {
            id,
            worklist,
            flow: Mutex::new(Flow::new(role)),
            frames: Tally::new(Kind::Frames, budget.clone()),
            messages: Arc::new(Tally::new(Kind::Messages, budget.clone())),
            replies: Tally::new(Kind::Replies, budget.clone()),
            queued: AtomicUsize::new(0),
            budget,
            blocking,
            next_id: AtomicU32::new(1),
            ended: Notify::new(),
            writable: Notify::new(),
            writers: AtomicUsize::new(0),
        });
        (wire.clone(), Pipe::new(wire))
    }

    /// The size of the last frame whose header was received.
    pub fn frame(&self) -> usize {
        self.lock().rx.last_frame()
    }

    /// Hands the bytes that ttrpc wrote to the socket, until all are gone or it would block. `write` returns
    /// what `writev(2)` does.
    pub fn send(
        &self,
        write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut flow = self.lock();
        let sent = flow.tx.send(&self.worklist.memory, write);
        self.count_replies(&flow);
        sent
    }

    /// Ends the connection after the bytes that were read, because the peer may have answered before it left.
    /// The first reason stays.
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

    /// Drops the bytes that the socket has not taken.
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
            // There may be room for the next writer, too.
            self.mark();
        }
    }

    /// Wakes some of the tasks that wait in [`Wire::writable`]. Returns whether any waits. Must be called
    /// inside the runtime.
    pub fn wake_writers(&self) -> bool {
        let few = self.writers.load(Ordering::Relaxed).min(WRITERS_AT_ONCE);
        (0..few).for_each(|_| self.writable.notify_one());
        few > 0
    }

    /// Wakes all tasks that wait in [`Wire::ended`] and [`Wire::writable`]. Must be called inside the
    /// runtime.
    pub fn wake(&self) {
        self.ended.notify_waiters();
        self.writable.notify_waiters();
    }

    /// Bytes of stream messages that arrived and were not taken. A message that is not whole does not count:
    /// it would keep its own rest from being read.
    pub fn unread(&self) -> usize {
        self.messages.held() - self.lock().reserved
    }

    /// The state of a new stream of this connection.
    pub fn new_stream(&self) -> Arc<StreamState> {
        Arc::new(StreamState::new(self.messages.clone()))
    }

    /// The request of the stream with this `state` was just given to ttrpc.
    pub fn opening_stream(&self, state: &Arc<StreamState>) {
        self.lock().rules.opening(state.clone());
    }

    /// The peer opened the stream with this `state`, and its request says whether it sends more.
    pub fn opened_stream(&self, stream_id: u32, state: &Arc<StreamState>, half_closed: bool) {
        if half_closed {
            state.half_close();
        }
        self.lock().rules.opened(stream_id, state.clone());
    }

    /// Tells the peer that the messages of a stream end before they are complete. ttrpc has no frame for
    /// this, but a closing frame that carries data breaks the protocol: a server in Rust fails the stream
    /// with it, and one in Go answers with an error (and its handler sees the end).
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

    /// The stream `stream_id` has its answer, which ttrpc is about to write. ttrpc knows the stream as long as there is its
    /// `receiver`, and would refuse what still arrives before it writes the answer: the peer would take the refusal for it.
    pub fn answering(&self, stream_id: u32, receiver: Box<dyn Any + Send>) {
        let mut flow = self.lock();
        if flow.closed.is_none() {
            flow.rules.answering(stream_id, receiver);
        }
    }

    /// A stream is over for this side: messages that still arrive are not counted.
    pub fn forget_stream(&self, state: &StreamState) {
        let mut flow = self.lock();
        flow.rules.forget(state);
        self.mark_flow(&mut flow);
    }

    /// The reply to `stream_id` carries a handler's own status, which is not corrected even if it looks like
    /// one of ttrpc's; see [`FrameRules::exempt`](super::frame_rules::FrameRules::exempt).
    pub fn exempt_own(&self, stream_id: u32, status: &Status) {
        if status.code.value() == ttrpc::Code::INVALID_ARGUMENT as i32
            && code_corrections::code_by_text(status.message.as_bytes()).is_some()
        {
            self.lock().rules.exempt(stream_id);
        }
    }

    /// The bytes of a stream's request: its payload, and what else is kept. Call it when the stream's handler
    /// begins.
    pub fn request(&self, stream_id: u32) -> (usize, usize) {
        self.lock().rules.request(stream_id)
    }

    /// The id of the connection.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether ttrpc can read a frame, or part of one.
    pub fn has_frame(&self) -> bool {
        self.lock().rx.readable() > 0
    }

    /// Puts the connection on the worklist, so that the engine flushes it at the end of the turn.
    pub fn mark(&self) {
        self.mark_flow(&mut self.lock());
    }

    /// The turn is over: every task that it made ready has run.
    pub fn turn_over(&self) {
        self.lock().rules.turn_over();
    }

    /// The state after a turn, for the engine. Clears the mark.
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

    /// Why the connection ended, if it did.
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

impl Drop for Wire {
    /// The unused memory of its buffers is gone with them.
    fn drop(&mut self) {
        let kept = std::mem::take(&mut self.lock().slack);
        self.worklist.memory.keeps(kept, 0);
    }
}

/// Writers that are woken at once, because each may fill the socket again.
const WRITERS_AT_ONCE: usize = 16;

/// A stream message that is about to be sent. It counts like bytes that wait for the socket.
#[derive(Debug)]
pub struct Queued {
    wire: Option<Arc<Wire>>,
    bytes: usize,
}

impl Queued {
    /// Counts `bytes` until it is dropped, if the connection has a budget.
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

/// A task that waits for the socket, counted until dropped.
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

/// The state of a wire after a turn.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot {
    /// Bytes that the socket has not taken.
    pub unsent: usize,
    /// The socket was readable and was not read.
    pub refused: bool,
    /// The connection ended.
    pub closed: bool,
    /// ttrpc dropped its end.
    pub released: bool,
}
