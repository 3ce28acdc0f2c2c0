//! Non-blocking stream sockets of every address family, and the files of unix sockets: [`mod@file`].

mod descriptor_claim;
pub mod file;
pub mod identity;
mod lock;

pub use descriptor_claim::is_claimed;

use descriptor_claim::DescriptorClaim;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

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
}

impl Address {
    fn sock_addr(&self) -> io::Result<SockAddr> {
        match self {
            Self::Unix(name) => {
                use std::os::unix::ffi::OsStrExt as _;
                SockAddr::unix(std::ffi::OsStr::from_bytes(name))
            }
            Self::Tcp(address) => Ok(SockAddr::from(*address)),
            Self::Vsock { cid, port } => Ok(SockAddr::vsock(*cid, *port)),
        }
    }
}

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

/// A connected or connecting descriptor.
#[derive(Debug)]
pub struct Stream {
    /// Must stay before the socket, so that it is dropped first.
    _claim: DescriptorClaim,
    socket: Socket,
    /// This process has the descriptor at the other end, and the real peer is behind it.
    anonymous: bool,
}

/// The state of a connection attempt that does not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The connection is open.
    Connected,
    /// Once the descriptor is writable, the connection is open or has failed.
    Pending,
}

impl Stream {
    fn new(socket: Socket) -> Self {
        Self { _claim: DescriptorClaim::new(socket.as_raw_fd()), socket, anonymous: false }
    }

    /// Starts to connect, without waiting. If a unix listener's backlog is full, the error is EAGAIN.
    pub fn connect(address: &Address) -> io::Result<(Self, Progress)> {
        let address = address.sock_addr()?;
        let socket = Socket::new(address.domain(), Type::STREAM.nonblocking().cloexec(), None)?;
        let progress = match socket.connect(&address) {
            Ok(()) => Progress::Connected,
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Progress::Pending,
            Err(error) => return Err(error),
        };
        let stream = Self::new(socket);
        stream.tune(address.domain());
        Ok((stream, progress))
    }

    /// Takes over a connected descriptor.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(fd);
        if socket.r#type()? != Type::STREAM {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a stream socket"));
        }
        socket.set_nonblocking(true)?;
        let domain = socket.local_addr()?.domain();
        let stream = Self::new(socket);
        stream.tune(domain);
        Ok(stream)
    }

    /// Hides the peer's credentials, which would be this process's own.
    pub fn make_anonymous(&mut self) {
        self.anonymous = true;
    }

    /// Turns Nagle's algorithm off, because frames are gathered before they are written, and keepalive on.
    fn tune(&self, domain: Domain) {
        if domain == Domain::IPV4 || domain == Domain::IPV6 {
            // A failure costs nothing but latency.
            let _ = self.socket.set_tcp_nodelay(true);
            let _ = self.socket.set_keepalive(true);
        }
    }

    /// The outcome of a [`Progress::Pending`] connection attempt.
    pub fn finish_connect(&self) -> io::Result<()> {
        match self.socket.take_error()? {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// `read(2)`.
    pub fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        (&self.socket).read(into)
    }

    /// Bytes that can be read now; 0 if the system does not say.
    pub fn readable_bytes(&self) -> usize {
        let mut count: libc::c_int = 0;
        // SAFETY: the descriptor is open, and FIONREAD writes one int.
        let result = unsafe { libc::ioctl(self.fd(), libc::FIONREAD, &raw mut count) };
        if result == 0 { usize::try_from(count).unwrap_or(0) } else { 0 }
    }

    /// Whether the peer sends no more, even if bytes can still be read.
    pub fn has_hung_up(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.fd(), events: libc::POLLRDHUP, revents: 0 };
        // SAFETY: `poll` is one valid pollfd.
        let result = unsafe { libc::poll(&raw mut poll, 1, 0) };
        result > 0 && poll.revents & (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) != 0
    }

    /// `send(2)`, without SIGPIPE.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.send_with_flags(bytes, libc::MSG_NOSIGNAL)
    }

    /// Shuts the connection down, for every holder of the descriptor.
    pub fn shutdown(&self) {
        // This fails if the peer has already left, which is fine.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    /// The address to which the peer is bound.
    pub fn peer_name(&self) -> Option<PeerName> {
        let own = self.socket.local_addr().ok().and_then(|own| own.as_socket());
        Some(PeerName { name: self.socket.peer_addr().ok()?, local_ip: own.map(|own| own.ip()) })
    }

    /// The peer's credentials, on a unix socket.
    pub fn peer_credentials(&self) -> Option<Credentials> {
        if self.anonymous || self.socket.local_addr().ok()?.domain() != Domain::UNIX {
            return None;
        }
        let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
        let mut size = size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: the descriptor is open, and `peer` and `size` describe a writable ucred.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut peer).cast(),
                &raw mut size,
            )
        };
        (result == 0).then_some(Credentials { pid: peer.pid, uid: peer.uid, gid: peer.gid })
    }

    /// The descriptor, for polling.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// A listening descriptor.
#[derive(Debug)]
pub struct Listener {
    /// Must stay before the socket, so that it is dropped first.
    _claim: DescriptorClaim,
    socket: Socket,
    /// The address to which it is bound, from the kernel.
    pub name: SockAddr,
}

/// The length of the backlog. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

impl Listener {
    /// Binds and listens. The file of a unix socket has `mode` before anybody can connect.
    pub fn bind(address: &Address, mode: Option<u32>) -> io::Result<Self> {
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
        Self::listening(socket)
    }

    /// Takes over a bound descriptor, which may listen already.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(fd);
        socket.set_nonblocking(true)?;
        socket.listen(BACKLOG)?;
        Self::listening(socket)
    }

    /// Whether a descriptor is one end of a connection, as opposed to a listener.
    pub fn is_connected(fd: &OwnedFd) -> bool {
        let socket = socket2::SockRef::from(fd);
        socket.peer_addr().is_ok()
    }

    fn listening(socket: Socket) -> io::Result<Self> {
        let name = socket.local_addr()?;
        Ok(Self { _claim: DescriptorClaim::new(socket.as_raw_fd()), socket, name })
    }

    /// Accepts one connection that waits in the backlog, if there is one.
    pub fn accept(&self) -> io::Result<Option<Stream>> {
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

    /// The descriptor, for polling.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The bound address, if it is a TCP address.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.name.as_socket()
    }
}

/// The address of a connection's peer, from the kernel.
#[derive(Debug, Clone)]
pub struct PeerName {
    name: SockAddr,
    /// The address of this end, on TCP.
    local_ip: Option<std::net::IpAddr>,
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

/// Waits until `fd` can be read (or, with `write`, written), or until `timeout` milliseconds have passed (-1:
/// forever). Returns whether it is ready.
pub fn wait(fd: RawFd, write: bool, timeout: i32) -> io::Result<bool> {
    let events = libc::POLLIN | if write { libc::POLLOUT } else { 0 };
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: `poll` is one valid pollfd.
    match unsafe { libc::poll(&raw mut poll, 1, timeout) } {
        -1 => {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted { Ok(false) } else { Err(error) }
        }
        ready => Ok(ready > 0),
    }
}

/// A pair of connected descriptors.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    Ok((ours.into(), theirs.into()))
}

/// Takes ownership of a descriptor that JavaScript hands over by number.
pub fn own(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_SETFD takes no pointer; on a number that is not open it fails with EBADF.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and the caller gives it up, as the API's documentation says.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
