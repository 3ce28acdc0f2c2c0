//! The in-memory byte stream between one socket and ttrpc.
//!
//! ttrpc reads from and writes to a [`Pipe`]; the engine moves bytes between the other end, the
//! [`Wire`], and the descriptor. Writing into a pipe never waits: all frames of a turn gather in one
//! buffer and leave in one system call. (A request whose deadline ran out in the middle of a write
//! would make ttrpc close the whole connection; here there is no middle.) What bounds the buffer is
//! the engine: it starts no call and reads no request while [`Wire::unsent`] is above its limit.

mod closed;
pub mod codes;
mod frames;
mod inbox;
pub mod meter;
mod pipe;
mod requested;
mod touched;
mod watch;

pub use closed::{CloseKind, Closed};
pub use pipe::Pipe;
pub use touched::Touched;
pub use watch::Role;

use frames::Scanner;
use inbox::Inbox;
use meter::Meter;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use tokio::sync::Notify;
use ttrpc::proto::{FLAG_NO_DATA, FLAG_REMOTE_CLOSED, MessageHeader, Status};
use watch::{NotTtrpc, Watch};

/// The engine's end of one connection.
#[derive(Debug)]
pub struct Wire {
    token: u32,
    touched: Arc<Touched>,
    flow: Mutex<Flow>,
    /// Bytes of streams that arrived and were not taken.
    unread: Arc<AtomicUsize>,
    /// Wakes those that wait for the end, or for the socket to take what was sent.
    changed: Notify,
    /// Somebody waits for the socket to take what was sent.
    writers: AtomicBool,
}

#[derive(Debug)]
struct Flow {
    watch: Watch,
    /// Bytes from the peer that ttrpc has not read.
    rx: Inbox,
    rx_scanner: Scanner,
    /// Bytes of ttrpc that the socket has not taken.
    tx: Vec<u8>,
    tx_taken: usize,
    tx_scanner: Scanner,
    reader: Option<Waker>,
    closed: Option<Closed>,
    /// ttrpc dropped its end.
    released: bool,
    is_touched: bool,
}

/// Buffers larger than this are given back once they are empty.
const KEEP_CAPACITY: usize = 256 * 1024;

impl Wire {
    /// A connection's two ends. `token` is what `touched` collects.
    pub fn pair(role: Role, token: u32, touched: Arc<Touched>) -> (Arc<Wire>, Pipe) {
        let flow = Flow {
            watch: Watch::new(role),
            rx: Inbox::default(),
            rx_scanner: Scanner::default(),
            tx: Vec::new(),
            tx_taken: 0,
            tx_scanner: Scanner::default(),
            reader: None,
            closed: None,
            released: false,
            is_touched: false,
        };
        let wire = Arc::new(Wire {
            token,
            touched,
            flow: Mutex::new(flow),
            unread: Arc::default(),
            changed: Notify::new(),
            writers: AtomicBool::new(false),
        });
        (wire.clone(), Pipe::new(wire))
    }

    /// Reads from the socket straight into the buffer until it would block, ends, or `budget` bytes
    /// came. `read` gets free space and answers as `read(2)` does.
    ///
    /// Returns the bytes read. The end of the socket closes the wire with the reason.
    pub fn receive(
        &self,
        budget: usize,
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> usize {
        let mut flow = self.lock();
        let flow = &mut *flow;
        let mut total = 0;
        let ended = loop {
            let chunk = (budget - total).min(READ_CHUNK);
            if chunk == 0 {
                break None;
            }
            match read(flow.rx.space(chunk, &mut flow.rx_scanner, &self.touched.spare)) {
                Ok(0) => break Some(None),
                Ok(count) => {
                    flow.rx.filled(count);
                    total += count;
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
        if let Err(NotTtrpc(header)) = flow.watch.inbound(&mut flow.rx_scanner, flow.rx.bytes()) {
            flow.close(Closed {
                kind: CloseKind::Protocol,
                errno: 0,
                text: format!("the peer sent what is not a ttrpc frame: {}", header.escape_ascii()),
            });
        }
        let replies = flow.watch.own_replies();
        if !replies.is_empty() && flow.closed.is_none() {
            flow.inject(&replies);
        }
        flow.rx.recycle(&self.touched.spare);
        match ended {
            Some(Some(error)) => flow.close(Closed::failed("read", &error)),
            Some(None) => flow.end_of_stream(),
            None => {}
        }
        if let Some(reader) = flow.reader.take() {
            reader.wake();
        }
        self.touch(flow);
        total
    }

    /// Bytes of the frame that was received last, or is being received.
    pub fn frame(&self) -> usize {
        self.lock().rx_scanner.frame()
    }

    /// Hands what ttrpc wrote to the socket until all is gone or it would block. `write` answers as
    /// `write(2)` does.
    pub fn send(&self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        let mut flow = self.lock();
        while flow.tx_taken < flow.tx.len() {
            match write(&flow.tx[flow.tx_taken..]) {
                Ok(count) => flow.tx_taken += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    flow.forget_sent();
                    return Ok(());
                }
                Err(error) => {
                    flow.discard_unsent();
                    return Err(error);
                }
            }
        }
        flow.discard_unsent();
        Ok(())
    }

    /// Ends the connection behind what was read of it: the peer may have answered before it went. The
    /// first reason stays.
    pub fn fail(&self, closed: Closed) {
        let mut flow = self.lock();
        flow.close(closed);
        self.touch(&mut flow);
    }

    /// Closes the connection for ttrpc too: its reads end at once, its writes fail. The first reason
    /// stays.
    pub fn close(&self, closed: Closed) {
        let mut flow = self.lock();
        flow.close(closed);
        flow.rx.clear();
        flow.rx_scanner = Scanner::default();
        self.touch(&mut flow);
    }

    /// Waits for the end of the connection.
    pub async fn ended(&self) -> Closed {
        loop {
            let changed = self.changed.notified();
            if let Some(closed) = self.closed() {
                return closed;
            }
            changed.await;
        }
    }

    /// Waits until no more than `limit` bytes wait for the socket, or the connection has ended.
    pub async fn writable(&self, limit: usize) {
        loop {
            let changed = self.changed.notified();
            if self.unsent() <= limit || self.closed().is_some() {
                return;
            }
            self.writers.store(true, Ordering::Relaxed);
            changed.await;
        }
    }

    /// Whether somebody waits in [`Wire::writable`], since this was last asked.
    pub fn take_writers(&self) -> bool {
        self.writers.swap(false, Ordering::Relaxed)
    }

    /// Wakes those that wait in [`Wire::ended`] and [`Wire::writable`]. Must be called inside the runtime.
    pub fn wake(&self) {
        self.changed.notify_waiters();
    }

    /// Bytes of streams that arrived and were not taken.
    pub fn unread(&self) -> usize {
        self.unread.load(Ordering::Relaxed)
    }

    /// A count for one stream of this connection.
    pub fn meter(&self) -> Arc<Meter> {
        Arc::new(Meter::new(self.unread.clone()))
    }

    /// The request of the stream that `meter` counts was just given to ttrpc.
    pub fn opening_stream(&self, meter: &Arc<Meter>) {
        self.lock().watch.opening(meter.clone());
    }

    /// The peer opened the stream that `meter` counts, and said in its request whether it sends more.
    pub fn opened_stream(&self, stream_id: u32, meter: &Arc<Meter>, half_closed: bool) {
        if half_closed {
            meter.half_close();
        }
        self.lock().watch.opened(stream_id, meter.clone());
    }

    /// Tells the peer that the messages of a stream end and are not all. ttrpc has no frame for it, but
    /// a closing frame that carries data breaks the protocol: a server in Rust fails the stream with it,
    /// one in Go answers an error (and its handler sees the end).
    pub fn break_off(&self, meter: &Meter) {
        let Some(stream_id) = meter.stream_id() else { return };
        let mut flow = self.lock();
        if flow.closed.is_some() {
            return;
        }
        let mut header = MessageHeader::new_data(stream_id, 1);
        header.set_flags(FLAG_REMOTE_CLOSED | FLAG_NO_DATA);
        flow.inject(&[&Vec::from(header)[..], &[0]].concat());
        self.touch(&mut flow);
    }

    /// A stream is over for this side.
    pub fn forget_stream(&self, meter: &Meter) {
        let mut flow = self.lock();
        flow.watch.forget(meter);
        self.touch(&mut flow);
    }

    /// The reply to `stream_id` carries a handler's own status, which goes out as it is even if it
    /// looks like one of ttrpc's; see [`Watch::exempt`].
    pub fn exempt_own(&self, stream_id: u32, status: &Status) {
        if status.code.value() == ttrpc::Code::INVALID_ARGUMENT as i32
            && codes::code_by_text(status.message.as_bytes()).is_some()
        {
            self.lock().watch.exempt(stream_id);
        }
    }

    /// Marks the connection as touched, so that the engine looks at it when the turn is over.
    pub fn mark(&self) {
        self.touch(&mut self.lock());
    }

    /// What the engine needs to know after a turn; clears the mark.
    pub fn look(&self) -> Look {
        let mut flow = self.lock();
        flow.is_touched = false;
        Look {
            unsent: flow.tx.len() - flow.tx_taken,
            unread: flow.rx.readable(&flow.rx_scanner),
            closed: flow.closed.is_some(),
            released: flow.released,
        }
    }

    /// Bytes that the socket has not taken yet.
    pub fn unsent(&self) -> usize {
        let flow = self.lock();
        flow.tx.len() - flow.tx_taken
    }

    /// Why the connection ended, if it has.
    pub fn closed(&self) -> Option<Closed> {
        self.lock().closed.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Flow> {
        lock(&self.flow)
    }

    fn touch(&self, flow: &mut Flow) {
        if !flow.is_touched {
            flow.is_touched = true;
            self.touched.add(self.token);
        }
    }
}

/// The first read of a turn takes what a busy peer sends in one; more reads follow while they are full.
const READ_CHUNK: usize = 64 * 1024;

/// A wire's state after a turn.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Bytes that the socket has not taken.
    pub unsent: usize,
    /// Bytes that ttrpc has not read.
    pub unread: usize,
    /// The connection ended.
    pub closed: bool,
    /// ttrpc let go of it.
    pub released: bool,
}

impl Flow {
    fn close(&mut self, closed: Closed) {
        if self.closed.is_none() {
            self.closed = Some(closed);
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn end_of_stream(&mut self) {
        let closed = if self.rx_scanner.mid_frame(self.rx.end()) {
            let text = "the peer closed the connection in the middle of a message".to_owned();
            Closed { kind: CloseKind::Error, errno: libc::ECONNRESET, text }
        } else {
            Closed {
                kind: CloseKind::Remote,
                errno: 0,
                text: "the peer closed the connection".to_owned(),
            }
        };
        self.close(closed);
    }

    /// Sends whole frames of this side's own. ttrpc writes a frame in one poll of its task, so whenever
    /// another runs, the stream stands between two.
    fn inject(&mut self, frames: &[u8]) {
        self.tx.extend_from_slice(frames);
        self.watch.outbound(&mut self.tx_scanner, &mut self.tx);
    }

    /// A connection that is never quite drained must not keep all that it ever sent. Moving the rest to
    /// the front costs no more than was sent since the last time.
    fn forget_sent(&mut self) {
        if self.tx_taken > self.tx.len() / 2 {
            self.tx.drain(..self.tx_taken);
            self.tx_scanner.removed(self.tx_taken);
            self.tx_taken = 0;
        }
    }

    fn discard_unsent(&mut self) {
        self.tx_scanner.removed(self.tx.len());
        self.tx.clear();
        self.tx.shrink_to(KEEP_CAPACITY);
        self.tx_taken = 0;
    }
}

/// Locks a mutex that only this thread uses and whose holders do not panic half-way.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
