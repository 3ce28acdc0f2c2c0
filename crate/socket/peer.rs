//! Who is at the other end of a connection, from the kernel.

use super::unix_diag;
use crate::system::users::{is_own_group, is_own_user};
use socket2::{SockAddr, Socket};
use std::cell::OnceCell;
use std::io;
use std::net::IpAddr;

/// The credentials of a unix socket's peer. The kernel records a client's when it connects, and a server's
/// when it calls listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// Process id in this process's namespace; 0 if it is not visible there.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

impl Credentials {
    /// Whether the peer runs as the same effective user and group as this process, for certain.
    pub fn is_own_user(&self) -> bool {
        is_own_user(self.uid) && is_own_group(self.gid)
    }
}

/// The two ends of a connection, from the kernel.
#[derive(Debug)]
pub struct Ends {
    /// The address of the peer.
    peer: SockAddr,
    own: OwnEnd,
    /// The inode of the peer's socket, once somebody has asked.
    peer_inode: OnceCell<Option<u64>>,
}

/// What tells this end from every other socket: unix sockets mostly have no names.
#[derive(Debug)]
enum OwnEnd {
    Unix { inode: u64 },
    Named(SockAddr),
}

impl Ends {
    pub(super) fn of(socket: &Socket) -> Option<Self> {
        let peer = socket.peer_addr().ok()?;
        let own = if peer.is_unix() {
            OwnEnd::Unix { inode: inode(socket)? }
        } else {
            OwnEnd::Named(socket.local_addr().ok()?)
        };
        Some(Self { peer, own, peer_inode: OnceCell::new() })
    }

    /// Whether the peer is, or was accepted by, a listener of this host that is bound to `listener`.
    pub fn lead_to(&self, listener: &SockAddr) -> bool {
        if let (Some(own), Some(peer)) = (listener.as_socket(), self.peer.as_socket()) {
            let ip = peer.ip().to_canonical();
            // If the listener is bound to all addresses, the peer's must belong to this host.
            let is_here = || ip.is_loopback() || self.own_ip() == Some(ip);
            let bound = own.ip().to_canonical();
            return own.port() == peer.port()
                && (bound == ip || bound.is_unspecified() && is_here());
        }
        if let (Some((own, port)), Some((peer, peer_port))) =
            (listener.as_vsock_address(), self.peer.as_vsock_address())
        {
            let is_here = || peer == libc::VMADDR_CID_LOCAL || self.own_cid() == Some(peer);
            return port == peer_port && (own == peer || own == libc::VMADDR_CID_ANY && is_here());
        }
        *listener == self.peer
    }

    /// Whether `other` is the socket of the peer.
    pub(super) fn lead_to_socket(&self, other: &Socket) -> bool {
        match &self.own {
            OwnEnd::Unix { inode: own } => inode(other).is_some_and(|inode| {
                *self.peer_inode.get_or_init(|| unix_diag::other_end(*own)) == Some(inode)
            }),
            OwnEnd::Named(own) => {
                let at = |end: io::Result<SockAddr>, name| end.is_ok_and(|end| is_same(&end, name));
                at(other.local_addr(), &self.peer) && at(other.peer_addr(), own)
            }
        }
    }

    /// Whether this is a connection of a TCP socket with itself.
    pub(super) fn are_one(&self) -> bool {
        let OwnEnd::Named(own) = &self.own else { return false };
        own.as_socket().is_some() && is_same(own, &self.peer)
    }

    fn own_ip(&self) -> Option<IpAddr> {
        let OwnEnd::Named(own) = &self.own else { return None };
        Some(own.as_socket()?.ip().to_canonical())
    }

    fn own_cid(&self) -> Option<u32> {
        let OwnEnd::Named(own) = &self.own else { return None };
        own.as_vsock_address().map(|(cid, _)| cid)
    }
}

/// Whether two addresses are the same, in whichever family an IPv4 address is written.
fn is_same(one: &SockAddr, other: &SockAddr) -> bool {
    match (one.as_socket(), other.as_socket()) {
        (Some(one), Some(other)) => {
            one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
        }
        _ => one == other,
    }
}

fn inode(socket: &Socket) -> Option<u64> {
    rustix::fs::fstat(socket).ok().map(|status| status.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::pair;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    fn ends(own: SockAddr, peer: SockAddr) -> Ends {
        Ends { peer, own: OwnEnd::Named(own), peer_inode: OnceCell::new() }
    }

    fn tcp(address: &str) -> SockAddr {
        address.parse::<SocketAddr>().unwrap().into()
    }

    #[test]
    fn a_listener_is_found_in_whichever_family_an_ipv4_address_is_written() {
        let plain = ends(tcp("127.0.0.1:9"), tcp("127.0.0.1:80"));
        let mapped = ends(tcp("[::ffff:127.0.0.1]:9"), tcp("[::ffff:127.0.0.1]:80"));
        let own = ends(tcp("[::ffff:10.0.0.1]:9"), tcp("[::ffff:10.0.0.1]:80"));
        for listener in ["0.0.0.0:80", "[::]:80", "[::ffff:0.0.0.0]:80"].map(tcp) {
            assert!(
                plain.lead_to(&listener) && mapped.lead_to(&listener) && own.lead_to(&listener)
            );
        }
        for listener in ["127.0.0.1:80", "[::ffff:127.0.0.1]:80"].map(tcp) {
            assert!(plain.lead_to(&listener) && mapped.lead_to(&listener));
            assert!(!own.lead_to(&listener));
        }
        for listener in ["0.0.0.0:81", "[::1]:80", "127.0.0.2:80"].map(tcp) {
            assert!(!plain.lead_to(&listener) && !mapped.lead_to(&listener));
        }
        let away = ends(tcp("10.0.0.1:9"), tcp("10.0.0.2:80"));
        assert!(!away.lead_to(&tcp("0.0.0.0:80")));
    }

    #[test]
    fn a_listener_of_any_context_id_has_those_of_this_host() {
        let any = SockAddr::vsock(libc::VMADDR_CID_ANY, 80);
        for (peer, is_here) in [(libc::VMADDR_CID_LOCAL, true), (7, true), (3, false)] {
            let ends = ends(SockAddr::vsock(7, 9), SockAddr::vsock(peer, 80));
            assert_eq!(ends.lead_to(&any), is_here, "{peer}");
        }
    }

    #[test]
    fn the_other_end_of_a_socket_pair_is_found_and_no_other_socket() {
        let pairs = [pair().unwrap(), pair().unwrap()];
        let [(one, other), (third, _)] = pairs.map(|(a, b)| (Socket::from(a), Socket::from(b)));
        let ends = Ends::of(&one).unwrap();
        assert!(ends.lead_to_socket(&other));
        assert!(!ends.lead_to_socket(&one) && !ends.lead_to_socket(&third));
    }

    #[test]
    fn the_other_end_of_a_tcp_connection_is_found_and_no_other_socket() {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let [(one, other), (third, _)] = [(); 2].map(|()| {
            let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            (Socket::from(stream), Socket::from(listener.accept().unwrap().0))
        });
        let ends = Ends::of(&one).unwrap();
        assert!(ends.lead_to_socket(&other));
        assert!(!ends.lead_to_socket(&one) && !ends.lead_to_socket(&third));
    }
}
