//! Who is at the other end of a connection, from the kernel.

use socket2::SockAddr;

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
    /// Whether the peer runs as the same effective user and group as this process.
    pub fn is_own_user(&self) -> bool {
        // SAFETY: both take nothing, touch no memory and cannot fail.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        self.uid == uid && self.gid == gid
    }
}

/// The address of a connection's peer, from the kernel.
#[derive(Debug, Clone)]
pub struct PeerName {
    pub(super) name: SockAddr,
    /// The address of this end, on TCP.
    pub(super) local_ip: Option<std::net::IpAddr>,
}

impl PeerName {
    /// Whether this is the address of a listener of this host that is bound to `listener`.
    pub fn is(&self, listener: &SockAddr) -> bool {
        match (listener.as_socket(), self.name.as_socket()) {
            (Some(own), Some(peer)) => {
                // If the listener is bound to all addresses, the peer's must belong to this host.
                let is_here = || peer.ip().is_loopback() || self.local_ip == Some(peer.ip());
                own.port() == peer.port()
                    && (own.ip() == peer.ip() || own.ip().is_unspecified() && is_here())
            }
            _ => *listener == self.name,
        }
    }
}
