//! A listener's descriptor.

use super::descriptor_claim::DescriptorClaim;
use super::{Address, Stream, file};
use socket2::{SockAddr, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

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
        let invalid = |text| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        let socket = Socket::from(fd);
        // A socket of packets can listen, too, but what it accepts is no stream of bytes.
        if socket.r#type()? != Type::STREAM {
            return invalid("not a stream socket");
        }
        // The kernel would choose a port, of all addresses.
        if is_unbound(&socket.local_addr()?) {
            return invalid("neither bound nor connected");
        }
        socket.set_nonblocking(true)?;
        socket.listen(BACKLOG).map_err(|error| match error.raw_os_error() {
            // What was connected cannot listen.
            Some(libc::EINVAL) => io::Error::from_raw_os_error(libc::ENOTCONN),
            _ => error,
        })?;
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

    /// The file that it has made, if it is a unix socket's.
    pub fn own_file(&self) -> Option<PathBuf> {
        let path = self.name.as_pathname().filter(|_| !self.is_shared)?;
        Some(path.to_owned())
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

/// Whether it is the address of a socket that was not bound.
fn is_unbound(name: &SockAddr) -> bool {
    name.is_unnamed() || name.as_socket().is_some_and(|name| name.port() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::Domain;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    fn socket(domain: Domain, kind: Type) -> Socket {
        Socket::new(domain, kind, None).expect("there are sockets")
    }

    fn why_not(socket: Socket) -> io::Error {
        Listener::adopt(socket.into()).expect_err("it is no listener")
    }

    #[test]
    fn a_listener_of_packets_is_refused() {
        let packets = socket(Domain::UNIX, Type::SEQPACKET);
        let name = format!("\0packets-{}", std::process::id());
        packets.bind(&SockAddr::unix(name).expect("it is short")).expect("it is free");
        packets.listen(1).expect("it is bound");
        assert_eq!(why_not(packets).to_string(), "not a stream socket");
    }

    #[test]
    fn a_socket_that_is_bound_to_nothing_does_not_listen_anywhere() {
        for domain in [Domain::IPV4, Domain::IPV6, Domain::UNIX] {
            let error = why_not(socket(domain, Type::STREAM));
            assert_eq!(error.to_string(), "neither bound nor connected");
        }
    }

    #[test]
    fn one_that_is_bound_listens() {
        let bound = socket(Domain::IPV4, Type::STREAM);
        bound.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("it is free");
        let listener = Listener::adopt(bound.into()).expect("it is bound");
        TcpStream::connect(listener.tcp_address().expect("it has one")).expect("it listens");
    }

    #[test]
    fn a_connection_that_was_reset_is_not_connected() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("it is free");
        let peer = Socket::from(
            TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens"),
        );
        let socket = Socket::from(listener.accept().expect("it came").0);
        peer.set_linger(Some(std::time::Duration::ZERO)).expect("it is open");
        drop(peer);
        while socket.peer_addr().is_ok() {
            std::thread::yield_now();
        }
        let fd = OwnedFd::from(socket);
        assert!(!Listener::is_connected(&fd));
        let error = Listener::adopt(fd).expect_err("it is no listener");
        assert_eq!(error.raw_os_error(), Some(libc::ENOTCONN));
    }
}
