//! How the socket is read.

use super::apart::APART;
use super::flow::Flow;
use super::wire::Wire;
use crate::protocol::close_reason::CloseReason;
use std::io;

/// A socket to read from.
pub trait Source {
    /// Fills free space, as `read(2)` does.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// The same with the spare capacity of a vector.
    fn append(&mut self, to: &mut Vec<u8>) -> io::Result<usize>;
}

/// The size of one read. The first takes what a busy peer sends in one turn; more follow while they come
/// full.
pub(super) const READ_CHUNK: usize = 64 * 1024;

/// The size of a read behind a large frame: the next one is probably large, too, and this much is copied of it.
const READ_HEAD: usize = 512;

/// A frame of this size or more is worth a turn of its own.
const LARGE_FRAME: usize = 128 * 1024;

impl Wire {
    /// Reads from the socket straight into the buffer, or into the memory of a payload, until the socket would block or
    /// ends, `budget` bytes have come, or the limit is reached.
    ///
    /// Returns the number of bytes read. The end of the socket closes the wire, with the reason.
    pub fn receive(&self, budget: usize, mut source: impl Source) -> usize {
        let mut flow = self.lock();
        let flow = &mut *flow;
        flow.rules.received();
        let mut total = 0;
        let ended = loop {
            match self.read(flow, budget - total.min(budget), total == 0, &mut source) {
                Read::Full(count) => total += count,
                Read::Last(count) => {
                    total += count;
                    break None;
                }
                Read::Ended(reason) => break Some(reason),
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

    /// Reads once, at most `most` bytes; but of a payload as much as there is room for, if nothing was read before.
    fn read(&self, flow: &mut Flow, most: usize, is_first: bool, source: &mut impl Source) -> Read {
        // JavaScript gets a large frame before the next one is begun.
        if !is_first && flow.rx.last_frame() > LARGE_FRAME && flow.rx.gathered().is_none() {
            return Read::Last(0);
        }
        let allowance = self.allowance(flow).min(most);
        if allowance == 0 {
            return Read::Last(0);
        }
        let (read, room) = if let Some(apart) = flow.rx.apart() {
            if apart.missing() > most && !is_first {
                return Read::Last(0);
            }
            let space = apart.space();
            let room = space.capacity() - space.len();
            (source.append(space), room)
        } else {
            let wanted = match flow.rx.gathered() {
                None if flow.rx.last_frame() >= APART => READ_HEAD,
                _ => flow.rx.missing().max(READ_CHUNK),
            };
            let room = allowance.min(wanted);
            let read = source.read(flow.rx.received.space(room, &self.worklist.memory.received));
            if let Ok(count) = read {
                flow.rx.received.filled(count);
            }
            (read, room)
        };
        match read {
            Ok(0) => Read::Ended(None),
            Ok(count) => {
                self.advance(flow);
                // A short read means as much as WouldBlock, and saves a system call.
                if count < room { Read::Last(count) } else { Read::Full(count) }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Read::Full(0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::Last(0),
            Err(error) => Read::Ended(Some(error)),
        }
    }
}

/// What a read came to.
enum Read {
    /// There may be more to read.
    Full(usize),
    /// There is no more to read now, or it may not be read.
    Last(usize),
    /// The socket has ended, perhaps with an error.
    Ended(Option<io::Error>),
}
