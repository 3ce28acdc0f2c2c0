//! The end of a turn, for the connections that it touched: bytes leave, waiting calls start, ended
//! connections are reported and released, and the watcher learns what to wait for.

use crate::engine::client::calls::{fail_waiting, start_waiting};
use crate::engine::connection::{Connection, Endpoint, Hold, Interest};
use crate::engine::{Change, Descriptor, Engine, Shared};
use crate::limits::{MESSAGES_LIMIT, REPLY_LIMIT, SEND_LIMIT};
use crate::protocol::close_reason::CloseReason;
use crate::sync::lock;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Engine {
    /// Flushes each connection that the turn touched. Returns whether this may have made tasks ready.
    pub(in crate::engine) fn flush(&mut self) -> bool {
        let mut touched = std::mem::take(&mut self.scratch);
        self.shared.worklist.take_touched(&mut touched);
        let mut again = false;
        for id in touched.drain(..) {
            let Some(conn) = self.connections.get_mut(&id) else { continue };
            let (woke, over) = flush_connection(&self.shared, id, conn, &mut self.changes);
            again |= woke;
            // A blocking caller looks for itself.
            if std::mem::take(&mut conn.has_sent) && !conn.blocking {
                self.busy_poll.sent(id, conn);
            }
            if over {
                self.remove(id);
            }
        }
        self.scratch = touched;
        again
    }

    fn remove(&mut self, id: u32) {
        let Some(conn) = self.connections.remove(&id) else { return };
        match conn.endpoint {
            Endpoint::Server { listener, .. } => self.connection_ended(listener),
            // Nothing is left to bound: no more messages can arrive on these streams.
            Endpoint::Client(_) => lock(&self.shared.streams)
                .retain(|_, stream| !Arc::ptr_eq(&stream.wire, &conn.wire)),
        }
        self.changes.push(Change::Forget { id, descriptor: Descriptor::Stream(conn.stream) });
    }
}

/// Returns whether tasks were woken, and whether the connection is over.
fn flush_connection(
    shared: &Arc<Shared>,
    id: u32,
    conn: &mut Connection,
    changes: &mut Vec<Change>,
) -> (bool, bool) {
    conn.wire.turn_over();
    if !conn.connecting {
        conn.send();
    }
    let mut state = conn.wire.snapshot();
    let idle = conn.in_flight.load(Ordering::Relaxed) == 0;
    if !state.closed
        && state.unsent == 0
        && idle
        && let Some(reason) = conn.finishing.take()
    {
        conn.wire.close(reason);
        state = conn.wire.snapshot();
    }
    if state.closed {
        let first = !conn.reported;
        if first {
            report(shared, id, conn);
        }
        return (first, state.released);
    }
    let mut woke = false;
    if state.unsent <= SEND_LIMIT {
        woke |= conn.wire.wake_writers();
    }
    if conn.wire.replies_read() {
        woke = true;
        conn.resume();
        state = conn.wire.snapshot();
    }
    if !conn.connecting && !conn.waiting.is_empty() && state.unsent <= SEND_LIMIT {
        woke |= start_waiting(shared, conn, SEND_LIMIT + 1 - state.unsent);
    }
    let busy = conn.in_flight.load(Ordering::Relaxed) > 0 || conn.connecting;
    let is_full =
        conn.wire.unread() > MESSAGES_LIMIT || conn.is_server() && state.unsent > REPLY_LIMIT;
    let awaits_bytes = conn.connecting && conn.stream.awaits_bytes();
    let read = awaits_bytes || !(conn.connecting || state.refused || is_full);
    let interest = Interest {
        read,
        hangup: !read && !conn.connecting,
        write: if conn.connecting { !awaits_bytes } else { state.unsent > 0 },
        hold: match conn.hold {
            Hold::WhileBusy => busy,
            Hold::Always => true,
            Hold::Never => false,
        },
    };
    if interest != conn.watched && !conn.blocking {
        conn.watched = interest;
        changes.push(Change::Watch { id, fd: conn.stream.fd(), interest });
    }
    (woke, false)
}

fn report(shared: &Shared, id: u32, conn: &mut Connection) {
    conn.reported = true;
    let closed = conn.wire.closed().unwrap_or_else(CloseReason::local);
    // The peer learns of it now, however long ttrpc's tasks hold on to their end.
    conn.stream.shutdown();
    conn.wire.wake();
    conn.wire.forget_unsent();
    fail_waiting(conn, &closed);
    conn.let_go();
    lock(&shared.events).closed(id, &closed);
}
