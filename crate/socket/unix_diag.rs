//! Which unix sockets are connected, from the kernel: sock_diag(7).

use socket2::{Domain, Protocol, Socket, Type};
use std::io::{Read as _, Write as _};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// Asks for the other end.
const UDIAG_SHOW_PEER: u32 = 4;
/// The attribute that holds its inode.
const UNIX_DIAG_PEER: u16 = 2;
/// Sizes of `nlmsghdr`, `unix_diag_req` and `unix_diag_msg`.
const HEADER: usize = 16;
const REQUEST: usize = 24;
const ANSWER: usize = 16;

/// The inode of the socket at the other end. `None` if there is none, or if the kernel does not say: it may have been
/// built without `unix_diag`, and it speaks only of sockets of this thread's network namespace.
pub(super) fn other_end(inode: u64) -> Option<u64> {
    let inode = u32::try_from(inode).ok()?;
    let kind = Type::RAW.nonblocking().cloexec();
    let protocol = Some(Protocol::from(libc::NETLINK_SOCK_DIAG));
    let mut socket = Socket::new(Domain::from(libc::AF_NETLINK), kind, protocol).ok()?;
    socket.write_all(&request(inode)).ok()?;
    let mut answer = [0; 256];
    // The kernel has answered by the time it has taken the request.
    let size = socket.read(&mut answer).ok()?;
    peer_in(answer.get(..size)?, inode)
}

fn request(inode: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + REQUEST);
    let mut put = |part: &[u8]| bytes.extend_from_slice(part);
    put(&((HEADER + REQUEST) as u32).to_ne_bytes());
    put(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    // Sequence number and port: there is one request and one answer.
    put(&[0; 8]);
    put(&[libc::AF_UNIX as u8, 0, 0, 0]);
    // In any state.
    put(&u32::MAX.to_ne_bytes());
    put(&inode.to_ne_bytes());
    put(&UDIAG_SHOW_PEER.to_ne_bytes());
    // With any cookie.
    put(&[0xff; 8]);
    bytes
}

/// The peer's inode in the answer about a socket.
fn peer_in(answer: &[u8], inode: u32) -> Option<u64> {
    let u16_at = |at: usize| Some(u16::from_ne_bytes(*answer.get(at..)?.first_chunk()?));
    let u32_at = |at: usize| Some(u32::from_ne_bytes(*answer.get(at..)?.first_chunk()?));
    if u16_at(4)? != SOCK_DIAG_BY_FAMILY || u32_at(HEADER + 4)? != inode {
        return None;
    }
    let mut at = HEADER + ANSWER;
    loop {
        let (size, kind) = (usize::from(u16_at(at)?), u16_at(at + 2)?);
        if kind == UNIX_DIAG_PEER {
            return u32_at(at + 4).map(u64::from);
        }
        at += size.max(4).next_multiple_of(4);
    }
}
