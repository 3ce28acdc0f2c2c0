//! A listener's descriptor.

use super::descriptor_claim::DescriptorClaim;
use super::{Address, Stream, file};
use socket2::{SockAddr, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// A listening descriptor.
#[derive(Debug)]
pub struct Listener {
    /// Must stay before the socket, so that it is dropped first.
    _claim: DescriptorClaim,
    socket: Socket,
    /// It was handed over, so other processes may have it, too.
    is_shared: bool,
    /// The address to which it is bound, from the kernel.
    pub name: SockAddr,
}

/// The length of the backlog. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

impl Listener {
    /// Binds and listens. The file of a unix socket has `mode` before anybody can connect.
    pub fn bind(address: &Address, mode: Option<u32>) -> io::Result<Self> {
        if matches!(address, Address::Hybrid { .. }) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let name = address.sock_addr()?;
        let socket = Socket::new(name.domain(), Type::STREAM.nonblocking().cloexec(), None)?;
        if matches!(address, Address::Tcp(_)) {
            socket.set_reuse_address(true)?;
        }
        match address {
            Address::Unix(path) if path.first() != Some(&0) => {
                use std::os::unix::ffi::OsStrExt as _;
                let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path));
                file::listen(&socket, &name, path, mode, BACKLOG)?;
            }
            _ => {
                socket.bind(&name)?;
                socket.listen(BACKLOG)?;
            }
        }
        Self::listening(socket, false)
    }

    /// Takes over a bound descriptor, which may listen already.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(fd);
        socket.set_nonblocking(true)?;
        socket.listen(BACKLOG)?;
        Self::listening(socket, true)
    }

    /// Whether a descriptor is one end of a connection, as opposed to a listener.
    pub fn is_connected(fd: &OwnedFd) -> bool {
        let socket = socket2::SockRef::from(fd);
        socket.peer_addr().is_ok()
    }

    fn listening(socket: Socket, is_shared: bool) -> io::Result<Self> {
        let name = socket.local_addr()?;
        Ok(Self { _claim: DescriptorClaim::new(socket.as_raw_fd()), socket, is_shared, name })
    }

    /// Accepts one connection that waits in the backlog, if there is one.
    pub fn accept(&self) -> io::Result<Option<Stream>> {
        if self.is_shared {
            // Starting a process with it as a standard stream makes it block for all who have it.
            self.socket.set_nonblocking(true)?;
        }
        loop {
            return match self.socket.accept4(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) {
                Ok((socket, _)) => {
                    let stream = Stream::new(socket);
                    stream.tune(self.name.domain());
                    Ok(Some(stream))
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => Ok(None),
                    // The peer left before it was accepted.
                    Some(libc::EINTR | libc::ECONNABORTED) => continue,
                    _ => Err(error),
                },
            };
        }
    }

    /// The descriptor, for somebody else to listen on.
    pub fn into_fd(self) -> OwnedFd {
        self.socket.into()
    }

    /// The descriptor, for polling.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The bound address, if it is a TCP address.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.name.as_socket()
    }
}
