//! The files of unix sockets: how they are made, and when they may be removed.
//!
//! A path belongs to whoever listens on it. It takes two steps to check what a path names and to remove it,
//! and in between the path may come to name another process's socket. It also takes two steps to bind and to
//! listen, and in between a socket looks abandoned. So a [`Lock`] on the path is held while a socket file is
//! made or removed. The rules under the lock:
//!
//! - a new socket is bound and listens before the lock is released;
//! - a file is stale if it is a socket, nobody answers, and no socket of this network namespace is bound
//!   to it (programs that know nothing of the lock may be between bind and listen);
//! - a listener removes its file while it still listens. Until then, the kernel holds the file's inode, so no
//!   other file can have its number.

use super::identity::Identity;
use super::lock::Lock;
use super::{Address, Stream};
use rustix::fs::{Mode, OFlags, chmod, fchmod, open};
use rustix::io::Errno;
use socket2::{SockAddr, Socket};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

/// Binds a socket to a new file, and listens. The file never has more permissions than `mode`, and has all of
/// them before anybody can connect.
pub(super) fn listen(
    socket: &Socket,
    name: &SockAddr,
    path: &Path,
    mode: Option<u32>,
    backlog: i32,
) -> io::Result<()> {
    // If there can be no lock, bind still refuses a path that exists.
    let _lock = Lock::take(path);
    if let Some(mode) = mode {
        // The kernel creates the file with this mode, minus the umask.
        fchmod(socket, Mode::from_raw_mode(mode))?;
    }
    socket.bind(name)?;
    let listening =
        mode.map_or(Ok(()), |mode| widen(path, mode)).and_then(|()| socket.listen(backlog));
    if listening.is_err() {
        // Nobody can have connected, and under the lock, nobody else can have taken the path.
        let _ = fs::remove_file(path);
    }
    listening
}

/// Restores the permissions that the umask took from a new file.
fn widen(path: &Path, mode: u32) -> io::Result<()> {
    // The file is held open, and no link is followed, so the file that is changed is the one that was
    // checked.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.file_type().is_socket() {
        return Err(io::Error::from_raw_os_error(libc::ENOTSOCK));
    }
    if metadata.mode() & 0o777 == mode {
        return Ok(());
    }
    let same = format!("/proc/self/fd/{}", file.as_raw_fd());
    chmod(same, Mode::from_raw_mode(mode)).map_err(|error| match error {
        // The file is there, for it is open.
        Errno::NOENT => {
            let text = "the mode of a socket cannot be set without /proc";
            io::Error::new(io::ErrorKind::Unsupported, text)
        }
        error => error.into(),
    })
}

/// Removes a socket file on which nobody listens any more. Returns whether the path is free. A file that is
/// not a socket, or whose socket is alive, stays.
pub fn remove_stale(path: &Path) -> io::Result<bool> {
    let _lock = Lock::take(path)?;
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => return Ok(false),
        Ok(_) => {}
    }
    let address = Address::Unix(path.as_os_str().as_bytes().to_vec());
    match Stream::connect(&address) {
        Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED) && !is_bound(path) => {}
        // The socket is alive, its backlog is full, or it is of another type.
        _ => return Ok(false),
    }
    fs::remove_file(path)?;
    Ok(true)
}

/// Removes the file at `path` if it is `own`, the file of a listener that still listens.
pub fn remove_own(path: &Path, own: Identity) -> io::Result<()> {
    // The lock is not required: nobody who keeps to the rules removes the file of another listener that
    // listens.
    let _lock = Lock::take(path);
    match Identity::of(path) {
        Ok(now) if now == own => fs::remove_file(path),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether a socket of this network namespace that is not a connection is bound to the file at `path`: it
/// listens, or will. If the kernel's list cannot be read, no such socket is known.
fn is_bound(path: &Path) -> bool {
    let (Ok(list), Ok(file)) = (fs::read("/proc/net/unix"), Identity::of(path)) else {
        return false;
    };
    // The list has the paths that were passed to bind, which may name the file in another way.
    let is_it = |name: &Path| {
        name == path
            || name.file_name() == path.file_name() && Identity::of(name).is_ok_and(|it| it == file)
    };
    list.split(|byte| *byte == b'\n').filter_map(unconnected).any(|name| is_it(Path::new(name)))
}

/// The path in a line of the list, unless the socket is a connection: `Num RefCount Protocol Flags Type St
/// Inode Path`.
fn unconnected(line: &[u8]) -> Option<&OsStr> {
    let mut rest = line;
    let mut field = || {
        let text = rest.trim_ascii_start();
        let end = text.iter().position(|byte| *byte == b' ')?;
        rest = &text[end + 1..];
        Some(&text[..end])
    };
    for _ in 0..5 {
        field()?;
    }
    let state = field()?;
    field()?;
    (state == b"01").then(|| OsStr::from_bytes(rest))
}

#[cfg(test)]
mod tests {
    use super::super::Listener;
    use super::*;
    use socket2::{Domain, Type};
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    /// A folder of one test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("file-{}-{name}", std::process::id()));
            fs::create_dir(&path).expect("it is new");
            Self(path)
        }

        fn names(&self) -> Vec<std::ffi::OsString> {
            let entries = fs::read_dir(&self.0).expect("it is there");
            entries.map(|entry| entry.expect("it can be read").file_name()).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).expect("it is ours");
        }
    }

    fn bind(path: &Path) -> Socket {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("there are sockets");
        socket.bind(&SockAddr::unix(path).expect("it is short")).expect("it is free");
        socket
    }

    #[test]
    fn a_socket_that_is_bound_and_does_not_listen_yet_is_not_stale() {
        let folder = Folder::new("bound");
        let path = folder.0.join("s");
        let link = folder.0.join("link");
        symlink(&folder.0, &link).expect("the folder is writable");
        for name in [path.clone(), link.join("s")] {
            let socket = bind(&name);
            assert!(!remove_stale(&path).expect("it can be told"));
            socket.listen(1).expect("it is bound");
            assert!(!remove_stale(&path).expect("it can be told"));
            drop(socket);
            assert!(remove_stale(&path).expect("it can be removed"));
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_socket_whose_accepted_connections_alone_live_is_stale() {
        let folder = Folder::new("accepted");
        let path = folder.0.join("s");
        let listener = UnixListener::bind(&path).expect("it is free");
        let (_client, _accepted) =
            (std::os::unix::net::UnixStream::connect(&path), listener.accept().expect("it came"));
        drop(listener);
        assert!(remove_stale(&path).expect("it can be removed"));
    }

    #[test]
    fn only_the_file_of_the_listener_is_removed_as_its_own() {
        let folder = Folder::new("own");
        let path = folder.0.join("s");
        let address = Address::Unix(path.as_os_str().as_bytes().to_vec());
        let listener = Listener::bind(&address, Some(0o600)).expect("it is free");
        let own = Identity::of(&path).expect("it is there");
        fs::rename(&path, folder.0.join("old")).expect("it is ours");
        remove_own(&path, own).expect("it is gone already");
        let second = bind(&path);
        remove_own(&path, own).expect("it is another's");
        assert!(path.exists());
        drop(second);
        fs::rename(folder.0.join("old"), &path).expect("it is ours");
        remove_own(&path, own).expect("it is its own");
        drop(listener);
        assert_eq!(folder.names(), [""; 0]);
    }

    #[test]
    fn what_cannot_be_locked_can_be_bound_and_not_reclaimed() {
        let folder = Folder::new("unlockable");
        let path = folder.0.join("s");
        fs::create_dir(folder.0.join(".s.ttrpc-lock")).expect("it is new");
        let address = Address::Unix(path.as_os_str().as_bytes().to_vec());
        drop(Listener::bind(&address, Some(0o600)).expect("it is free"));
        let error = remove_stale(&path).expect_err("there is no lock");
        assert_eq!(error.raw_os_error(), Some(libc::EISDIR));
        assert!(path.exists());
    }

    #[test]
    fn a_mode_is_had_whatever_the_umask_is() {
        let folder = Folder::new("mode");
        for mode in [0o000, 0o600, 0o640, 0o666, 0o777] {
            let path = folder.0.join(format!("{mode:o}"));
            let address = Address::Unix(path.as_os_str().as_bytes().to_vec());
            let _listener = Listener::bind(&address, Some(mode)).expect("it is free");
            let metadata = fs::symlink_metadata(&path).expect("it is there");
            assert_eq!(metadata.mode() & 0o777, mode);
        }
    }
}
