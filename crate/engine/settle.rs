//! What happens to the connections that a turn touched: bytes leave, waiting calls start, ended
//! connections are reported and let go, and the watcher learns what to wait for.

use super::calls::{fail_waiting, start_waiting};
use super::link::{End, Hold, Interest, Link};
use super::{Change, Descriptor, Engine, SEND_LIMIT, Shared};
use crate::transport::{Closed, REPLY_LIMIT, lock};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A connection on which this much of its streams was not taken is not read from. What is on its way
/// by then, one turn's reading, comes on top.
const STREAM_LIMIT: usize = 4 << 20;

impl Engine {
    /// Looks at each touched connection once. Returns whether tasks may have become ready by it.
    pub(super) fn settle(&mut self) -> bool {
        let mut touched = std::mem::take(&mut self.scratch);
        self.shared.touched.take(&mut touched);
        let mut again = false;
        for token in touched.drain(..) {
            let Some(link) = self.links.get_mut(&token) else { continue };
            let (woke, over) = settle_link(&self.shared, token, link, &mut self.changes);
            again |= woke;
            if over {
                self.remove(token);
            }
        }
        self.scratch = touched;
        again
    }

    fn remove(&mut self, token: u32) {
        let Some(link) = self.links.remove(&token) else { return };
        match link.end {
            End::Server { listener, .. } => self.connection_ended(listener),
            // There is nothing left to bound: what JavaScript still holds of its streams is all there is.
            End::Client(_) => lock(&self.shared.streams)
                .retain(|_, stream| !Arc::ptr_eq(&stream.wire, &link.wire)),
        }
        self.changes.push(Change::Forget { token, descriptor: Descriptor::Stream(link.stream) });
    }
}

/// Returns whether tasks were woken, and whether the connection is over.
fn settle_link(
    shared: &Arc<Shared>,
    token: u32,
    link: &mut Link,
    changes: &mut Vec<Change>,
) -> (bool, bool) {
    if !link.connecting {
        link.send();
    }
    let mut look = link.wire.look();
    let idle = link.in_flight.load(Ordering::Relaxed) == 0;
    if !look.closed
        && look.unsent == 0
        && idle
        && let Some(reason) = link.finishing.take()
    {
        link.wire.close(reason);
        look = link.wire.look();
    }
    if look.closed {
        let first = !link.reported;
        if first {
            report(shared, token, link);
        }
        return (first, look.released);
    }
    let mut woke = false;
    if look.unsent <= SEND_LIMIT {
        woke |= link.wire.wake_writers();
    }
    if link.wire.replies_read() {
        woke = true;
        link.go_on();
        look = link.wire.look();
    }
    if !link.connecting && !link.waiting.is_empty() && look.unsent <= SEND_LIMIT {
        woke |= start_waiting(shared, link, SEND_LIMIT + 1 - look.unsent);
    }
    let busy = link.in_flight.load(Ordering::Relaxed) > 0 || link.connecting;
    let is_full =
        link.wire.unread() > STREAM_LIMIT || link.is_server() && look.unsent > REPLY_LIMIT;
    let read = !(link.connecting || look.refused || is_full);
    let interest = Interest {
        read,
        hangup: !read && !link.connecting,
        write: link.connecting || look.unsent > 0,
        hold: match link.hold {
            Hold::WhileBusy => busy,
            Hold::Always => true,
            Hold::Never => false,
        },
    };
    if interest != link.watched && !link.blocking {
        link.watched = interest;
        changes.push(Change::Watch { token, fd: link.stream.fd(), interest });
    }
    (woke, false)
}

fn report(shared: &Shared, token: u32, link: &mut Link) {
    link.reported = true;
    let closed = link.wire.closed().unwrap_or_else(Closed::local);
    // The peer hears of it now, however long ttrpc's tasks hold on to their end.
    link.stream.shutdown();
    link.wire.wake();
    link.wire.forget_unsent();
    fail_waiting(shared, link, &closed);
    link.let_go();
    lock(&shared.events).closed(token, &closed);
}
