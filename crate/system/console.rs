//! Terminals of containers. An OCI runtime makes the pty inside the container and sends its master over a
//! unix socket as a descriptor, which Node cannot receive.

use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;

/// Listens at `path` for the runtime.
pub fn listen(path: &Path) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec().nonblocking(), None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(1)?;
    Ok(socket.into())
}

/// Receives the terminal that the runtime has sent. Call it when the runtime has ended: everything that it
/// sent has arrived by then, and `WouldBlock` means that it sent nothing.
pub fn receive(listener: RawFd) -> io::Result<OwnedFd> {
    let terminal = received(listener)?;
    // Whatever else it is would be read to its end as output, or hold up the streams of all others.
    // SAFETY: the descriptor is open, and the call touches no memory of ours.
    if unsafe { libc::isatty(terminal.as_raw_fd()) } == 1 {
        return Ok(terminal);
    }
    let text = "the peer of a console socket sent what is no terminal";
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

/// Receives the descriptor that was sent.
fn received(listener: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: null is allowed for an address that is not wanted.
    let connection = unsafe {
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let fd = libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), flags);
        if fd == -1 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    receive_descriptor(connection.as_raw_fd())
}

/// Sets the size of a terminal, in characters.
pub fn resize(terminal: RawFd, width: u16, height: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize.
    let result = unsafe { libc::ioctl(terminal, libc::TIOCSWINSZ, &raw const size) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Descriptors that one message can bring; the kernel closes those that a peer sends beyond them.
const ROOM: usize = 8;

/// Room for these descriptors, aligned as control messages are.
#[repr(C)]
union Control {
    header: libc::cmsghdr,
    // SAFETY: CMSG_SPACE only computes.
    bytes: [u8; unsafe { libc::CMSG_SPACE((ROOM * size_of::<RawFd>()) as u32) } as usize],
}

fn receive_descriptor(connection: RawFd) -> io::Result<OwnedFd> {
    // The terminal's name comes along. runc's names are shorter.
    let mut name = [0u8; 4096];
    let mut part = libc::iovec { iov_base: name.as_mut_ptr().cast(), iov_len: name.len() };
    // SAFETY: all zeros is a Control and a msghdr.
    let (mut control, mut message): (Control, libc::msghdr) = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    // SAFETY: the message points at locals that outlive the call, with their sizes.
    if unsafe { libc::recvmsg(connection, &raw mut message, libc::MSG_CMSG_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // All descriptors are owned, so those that are not returned are closed.
    // SAFETY: the kernel has filled in the message that it points at.
    unsafe { descriptors(&message) }.into_iter().next().ok_or_else(|| {
        let text = "the peer of a console socket sent no descriptor";
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

/// Takes the descriptors that came with a message.
///
/// # Safety
///
/// `message` must have been filled in by `recvmsg`, and this must be called once for it.
unsafe fn descriptors(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut received = Vec::new();
    // SAFETY: the kernel wrote the headers; one of this kind is followed by descriptors up to its length,
    // which nobody else owns.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(control) = header.as_ref() {
            if (control.cmsg_level, control.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let length: usize = control.cmsg_len as _;
                let size = length - libc::CMSG_LEN(0) as usize;
                let first = libc::CMSG_DATA(header).cast::<RawFd>();
                for index in 0..size / size_of::<RawFd>() {
                    received.push(OwnedFd::from_raw_fd(first.add(index).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    received
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    fn path(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("console-{}-{name}", std::process::id()))
    }

    /// Sends up to sixteen descriptors.
    fn send(stream: &UnixStream, fds: &[RawFd]) {
        let mut name = *b"/dev/pts/7";
        let mut part = libc::iovec { iov_base: name.as_mut_ptr().cast(), iov_len: name.len() };
        let size = size_of_val(fds) as u32;
        // Aligned as a header is.
        let mut control = [0u64; 12];
        // SAFETY: the message points at locals; the control buffer has room for the descriptors.
        unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            message.msg_control = (&raw mut control).cast();
            message.msg_controllen = libc::CMSG_SPACE(size) as _;
            assert!(libc::CMSG_SPACE(size) as usize <= size_of_val(&control));
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size) as _;
            for (index, fd) in fds.iter().enumerate() {
                libc::CMSG_DATA(header).cast::<RawFd>().add(index).write_unaligned(*fd);
            }
            assert_eq!(libc::sendmsg(stream.as_raw_fd(), &raw const message, 0), 10);
        }
    }

    #[test]
    fn a_terminal_is_received_and_nothing_else() {
        let path = path("terminal");
        let listener = listen(&path).expect("the folder is writable");
        // SAFETY: the call takes flags; the descriptor that comes back is nobody else's.
        let terminal = unsafe {
            OwnedFd::from_raw_fd(libc::posix_openpt(
                libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC,
            ))
        };
        let file = File::open("/dev/zero").expect("it can be read");
        let send_to = |fd| {
            let runtime = UnixStream::connect(&path).expect("it listens");
            send(&runtime, &[fd]);
            receive(listener.as_raw_fd())
        };
        send_to(terminal.as_raw_fd()).expect("it is one");
        let error = send_to(file.as_raw_fd()).expect_err("it is none");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        std::fs::remove_file(path).expect("it was bound");
    }

    #[test]
    fn a_descriptor_arrives_after_its_sender_has_gone() {
        let path = path("arrives");
        let listener = listen(&path).expect("the folder is writable");
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        let runtime = UnixStream::connect(&path).expect("it listens");
        send(&runtime, &[theirs.as_raw_fd()]);
        drop((runtime, theirs));

        let received = received(listener.as_raw_fd()).expect("it was sent");
        File::from(received).write_all(b"here").expect("the other end is there");
        let mut text = String::new();
        ours.read_to_string(&mut text).expect("the received end is closed");
        assert_eq!(text, "here");
        std::fs::remove_file(path).expect("it was bound");
    }

    #[test]
    fn of_several_descriptors_the_first_is_taken_and_the_others_are_closed() {
        for count in [2, 3, ROOM, ROOM + 1, 16] {
            let path = path("several");
            let listener = listen(&path).expect("the folder is writable");
            let (mut ours, theirs) = UnixStream::pair().expect("a pair");
            let first = File::open("/dev/null").expect("there is one");
            let runtime = UnixStream::connect(&path).expect("it listens");
            let mut sent = vec![theirs.as_raw_fd(); count];
            sent[0] = first.as_raw_fd();
            send(&runtime, &sent);
            drop((runtime, theirs));
            let received = File::from(received(listener.as_raw_fd()).expect("it was sent"));
            let kind = received.metadata().expect("it is open").file_type();
            assert!(std::os::unix::fs::FileTypeExt::is_char_device(&kind));
            // The other end is closed only if every descriptor for it is.
            ours.set_nonblocking(true).expect("it is a socket");
            assert_eq!(ours.read(&mut [0]).expect("nobody has the other end"), 0);
            std::fs::remove_file(path).expect("it was bound");
        }
    }

    #[test]
    fn a_runtime_that_sent_nothing_is_told_from_one_that_never_came() {
        let path = path("nothing");
        let listener = listen(&path).expect("the folder is writable");
        let none = received(listener.as_raw_fd()).expect_err("nobody came");
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
        drop(UnixStream::connect(&path).expect("it listens"));
        let nothing = received(listener.as_raw_fd()).expect_err("it sent nothing");
        assert_eq!(nothing.kind(), io::ErrorKind::InvalidData);
        std::fs::remove_file(path).expect("it was bound");
    }

    #[test]
    fn a_terminal_has_the_size_that_it_was_given() {
        // SAFETY: plain calls on a descriptor that is ours; the size is a local.
        unsafe {
            let master = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY);
            assert!(master >= 0);
            resize(master, 132, 43).expect("it is a terminal");
            let mut size: libc::winsize = std::mem::zeroed();
            assert_eq!(libc::ioctl(master, libc::TIOCGWINSZ, &raw mut size), 0);
            assert_eq!((size.ws_col, size.ws_row), (132, 43));
            libc::close(master);
        }
    }
}
