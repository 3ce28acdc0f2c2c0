//! Addresses of every family.

use socket2::SockAddr;
use std::io;
use std::net::SocketAddr;

/// An address to connect to or listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// The path of a socket file, or, with a leading NUL, an abstract name.
    Unix(Vec<u8>),
    /// An IP address and port.
    Tcp(SocketAddr),
    /// A context id and port.
    Vsock {
        /// The context id.
        cid: u32,
        /// The port.
        port: u32,
    },
    /// A guest's port behind the unix socket of its hypervisor. Only to connect to.
    Hybrid {
        /// The path of the hypervisor's socket.
        path: Vec<u8>,
        /// The port.
        port: u32,
    },
}

impl Address {
    /// As the system's calls take it.
    pub(super) fn sock_addr(&self) -> io::Result<SockAddr> {
        match self {
            Self::Unix(name) | Self::Hybrid { path: name, .. } => {
                use std::os::unix::ffi::OsStrExt as _;
                SockAddr::unix(std::ffi::OsStr::from_bytes(name))
            }
            Self::Tcp(address) => Ok(SockAddr::from(*address)),
            Self::Vsock { cid, port } => Ok(SockAddr::vsock(*cid, *port)),
        }
    }
}
