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
        let begins_frame = flow.rx.gathered().is_none() && !flow.rx.is_skipping();
        // JavaScript gets a large frame before the next one is begun.
        if !is_first && flow.rx.last_frame() > LARGE_FRAME && begins_frame {
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
            let wanted = if begins_frame && flow.rx.last_frame() >= APART {
                READ_HEAD
            } else {
                flow.rx.missing().max(READ_CHUNK)
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

#[cfg(test)]
mod tests {
    use super::super::Role;
    use super::super::testing::{bytes, frame, pair, read, receive};
    use super::*;
    use crate::limits::READ_BUDGET;
    use ttrpc::proto::{MESSAGE_LENGTH_MAX, MESSAGE_TYPE_DATA};

    /// A socket that has so many bytes, and counts the reads.
    struct Counted {
        left: usize,
        reads: usize,
    }

    impl Source for &mut Counted {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.reads += 1;
            let count = into.len().min(self.left);
            self.left -= count;
            if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
        }

        fn append(&mut self, _: &mut Vec<u8>) -> io::Result<usize> {
            unreachable!("nothing is gathered")
        }
    }

    #[test]
    fn a_large_frame_that_is_dropped_or_too_large_takes_no_more_reads_than_turns_of_full_size() {
        const UNKNOWN_TYPE: u8 = 9;
        let size = 3 * MESSAGE_LENGTH_MAX;
        // A server drops it, a client gives ttrpc the header, and a server's ttrpc refuses it.
        let frames = [
            (Role::Server, 1, UNKNOWN_TYPE),
            (Role::Client, 1, MESSAGE_TYPE_DATA),
            (Role::Server, 1, MESSAGE_TYPE_DATA),
        ];
        for (role, id, kind) in frames {
            let (wire, mut pipe) = pair(role);
            let mut header = frame(kind, id, Vec::new());
            header.header.length = size as u32;
            receive(&wire, &bytes(&header));
            let mut socket = Counted { left: size, reads: 0 };
            let mut turns = 0;
            while socket.left > 0 {
                read(&mut pipe);
                wire.receive(READ_BUDGET, &mut socket);
                turns += 1;
            }
            assert!(socket.reads < 2 * size / READ_CHUNK, "{} {kind}", socket.reads);
            assert!(turns < 2 * size / READ_BUDGET, "{turns} {kind}");
        }
    }
}
