//! A connection's descriptor.

use super::descriptor_claim::DescriptorClaim;
use super::hybrid::Greeting;
use super::{Address, Credentials, Ends};
use rustix::io::ioctl_fionread;
use socket2::{Domain, SockAddr, Socket, TcpKeepalive, Type};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

/// How long nothing comes over TCP until the kernel asks the peer whether it is there, how often it then asks, and how many
/// questions without an answer end the connection: what Go does. By itself, the kernel asks after two hours, and whatever
/// waits for a host that was cut off would wait as long.
const PROBE_EVERY: Duration = Duration::from_secs(15);
const PROBES: u32 = 9;

/// A connected or connecting descriptor.
#[derive(Debug)]
pub struct Stream {
    /// Must stay before the socket, so that it is dropped first.
    _claim: DescriptorClaim,
    socket: Socket,
    /// This process has the descriptor at the other end, and the real peer is behind it.
    anonymous: bool,
    /// The exchange with a hypervisor that is in progress.
    greeting: Option<Greeting>,
}

/// The state of a connection attempt that does not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The connection is open.
    Connected,
    /// Once the descriptor is ready for what [`Stream::awaits_bytes`] says, the connection is open, has failed, or
    /// waits on.
    Pending,
}

impl Stream {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            _claim: DescriptorClaim::new(socket.as_raw_fd()),
            socket,
            anonymous: false,
            greeting: None,
        }
    }

    /// Starts to connect, without waiting. If a unix listener's backlog is full, the error is EAGAIN.
    pub fn connect(to: &Address) -> io::Result<(Self, Progress)> {
        let address = to.sock_addr()?;
        let socket = Socket::new(address.domain(), Type::STREAM.nonblocking().cloexec(), None)?;
        let (mut stream, progress) = Self::begin(socket, &address)?;
        if let Address::Hybrid { port, .. } = to {
            stream.greeting = Some(Greeting::begin(&stream, *port)?);
            return Ok((stream, Progress::Pending));
        }
        Ok((stream, progress))
    }

    fn begin(socket: Socket, to: &SockAddr) -> io::Result<(Self, Progress)> {
        let result = socket.connect(to);
        let stream = Self::new(socket);
        stream.tune(to.domain());
        match result {
            Ok(()) => stream.refuse_itself()?,
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
                return Ok((stream, Progress::Pending));
            }
            Err(error) => return Err(error),
        }
        Ok((stream, Progress::Connected))
    }

    /// Fails if the socket is connected to itself. Where nobody listens at a port of this host from which connections
    /// are made, the kernel may give a connecting socket that very port, and it then answers itself.
    fn refuse_itself(&self) -> io::Result<()> {
        if !self.ends().is_some_and(|ends| ends.are_one()) {
            return Ok(());
        }
        // Without lingering, nothing stays at the port, so that whoever is to listen there can.
        let _ = self.socket.set_linger(Some(Duration::ZERO));
        Err(io::Error::from_raw_os_error(libc::ECONNREFUSED))
    }

    /// Takes over a connected descriptor.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(fd);
        if socket.r#type()? != Type::STREAM {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a stream socket"));
        }
        // Otherwise, a listener or a socket that was never connected would fail only at its first call.
        socket.peer_addr()?;
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
    pub(super) fn tune(&self, domain: Domain) {
        if domain == Domain::IPV4 || domain == Domain::IPV6 {
            let probes = TcpKeepalive::new()
                .with_time(PROBE_EVERY)
                .with_interval(PROBE_EVERY)
                .with_retries(PROBES);
            // A failure costs nothing but latency, and time until a peer is missed.
            let _ = self.socket.set_tcp_nodelay(true);
            let _ = self.socket.set_tcp_keepalive(&probes);
        }
    }

    /// Whether a [`Progress::Pending`] connection attempt waits for bytes, as opposed to room to write.
    pub fn awaits_bytes(&self) -> bool {
        self.greeting.is_some()
    }

    /// Continues a [`Progress::Pending`] connection attempt whose descriptor is ready.
    pub fn advance_connect(&mut self) -> io::Result<Progress> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        self.refuse_itself()?;
        if let Some(mut greeting) = self.greeting.take()
            && !greeting.advance(self)?
        {
            self.greeting = Some(greeting);
            return Ok(Progress::Pending);
        }
        Ok(Progress::Connected)
    }

    /// `recv(2)`, which never waits: a socket that was handed over may be shared with other processes, and starting one
    /// with it as a standard stream makes it block for all who have it.
    fn receive(&self, into: &mut [MaybeUninit<u8>], flags: libc::c_int) -> io::Result<usize> {
        self.socket.recv_with_flags(into, flags | libc::MSG_DONTWAIT)
    }

    /// `recv(2)` of bytes that stay in the socket.
    pub(super) fn peek(&self, into: &mut [u8]) -> io::Result<usize> {
        self.receive(as_room(into), libc::MSG_PEEK)
    }

    /// `recv(2)`, without waiting.
    pub fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.receive(as_room(into), 0)
    }

    /// `recv(2)` into the spare capacity of a vector, without waiting.
    pub fn append(&self, to: &mut Vec<u8>) -> io::Result<usize> {
        let count = self.receive(to.spare_capacity_mut(), 0)?;
        // SAFETY: the kernel has filled in so many bytes of the spare capacity.
        unsafe { to.set_len(to.len() + count) };
        Ok(count)
    }

    /// Bytes that can be read now; 0 if the system does not say.
    pub fn readable_bytes(&self) -> usize {
        ioctl_fionread(&self.socket).map_or(0, |count| count as usize)
    }

    /// Whether the peer sends no more, even if bytes can still be read.
    pub fn has_hung_up(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.fd(), events: libc::POLLRDHUP, revents: 0 };
        // SAFETY: `poll` is one valid pollfd.
        let result = unsafe { libc::poll(&raw mut poll, 1, 0) };
        result > 0 && poll.revents & (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) != 0
    }

    /// `send(2)`, without SIGPIPE and without waiting, or `sendmsg(2)` if there are several parts.
    pub fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        const FLAGS: libc::c_int = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        match parts {
            [part] => self.socket.send_with_flags(part, FLAGS),
            parts => self.socket.send_vectored_with_flags(parts, FLAGS),
        }
    }

    /// Shuts the connection down, for every holder of the descriptor.
    pub fn shutdown(&self) {
        // This fails if the peer has already left, which is fine.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    /// The two ends of the connection; `None` if it has ended.
    pub fn ends(&self) -> Option<Ends> {
        Ends::of(&self.socket)
    }

    /// Whether this is the other end of a connection.
    pub fn is_other_of(&self, ends: &Ends) -> bool {
        ends.lead_to_socket(&self.socket)
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

/// Room for what is received.
fn as_room(into: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    // SAFETY: bytes may be taken for bytes that need not be initialised, and the kernel writes nothing but bytes there.
    unsafe { &mut *(ptr::from_mut(into) as *mut [MaybeUninit<u8>]) }
}

#[cfg(test)]
mod tests {
    use super::super::Listener;
    use super::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

    /// A socket bound to the address to which it connects, as the kernel may bind it.
    fn connect_to_itself(ip: IpAddr) -> (SocketAddr, io::Result<Progress>) {
        let free = SockAddr::from(SocketAddr::new(ip, 0));
        let socket = Socket::new(free.domain(), Type::STREAM.nonblocking(), None).unwrap();
        socket.bind(&free).unwrap();
        let address = socket.local_addr().unwrap();
        let result = Stream::begin(socket, &address).and_then(|(mut stream, progress)| {
            if progress == Progress::Connected { Ok(progress) } else { stream.advance_connect() }
        });
        (address.as_socket().unwrap(), result)
    }

    #[test]
    fn a_socket_that_is_connected_to_itself_was_refused_and_leaves_the_port_free() {
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        for ip in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), mapped.into()] {
            let (address, result) = connect_to_itself(ip);
            let error = result.expect_err("nobody listens");
            assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED), "{address}");
            TcpListener::bind(address).unwrap();
        }
    }

    #[test]
    fn a_peer_that_vanished_is_missed_within_minutes_at_either_end_of_tcp() {
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let listener = Listener::bind(&Address::Tcp(address), None).unwrap();
        let name = listener.tcp_address().unwrap();
        let (client, _) = Stream::connect(&Address::Tcp(name)).unwrap();
        let served = loop {
            if let Some(stream) = listener.accept().unwrap() {
                break stream;
            }
        };
        let given = Stream::adopt(TcpStream::connect(name).unwrap().into()).unwrap();
        for Stream { socket, .. } in [client, served, given] {
            assert!(socket.keepalive().unwrap());
            let longest = socket.tcp_keepalive_time().unwrap()
                + socket.tcp_keepalive_interval().unwrap()
                    * socket.tcp_keepalive_retries().unwrap();
            assert!(longest < Duration::from_secs(200), "{longest:?}");
        }
    }
}
