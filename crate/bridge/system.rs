//! System calls for shims and for socket files. Each returns the system's result, or its negated error
//! number, which TypeScript turns into an error.

use super::handed_out::{give_up, hand_out, take_back};
use super::own_thread::on_own_thread;
use super::processes;
use crate::socket::identity::Identity;
use crate::socket::{Address, Listener, file};
use crate::system::children::{self, Parent};
use crate::system::console;
use crate::system::digest;
use crate::system::fork;
use crate::system::memory;
use crate::system::overwritten;
use crate::system::pipe;
use crate::system::stream::{self, Opened};
use napi::Result;
use napi::bindgen_prelude::{BigInt, Env, Object, Uint8ArraySlice};
use napi_derive::napi;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Makes orphaned descendants children of this process.
#[napi(catch_unwind)]
pub fn become_subreaper() -> i32 {
    answer(children::become_subreaper().map(|()| 0))
}

/// Allows huge pages to this process and its children again, which mimalloc denied them when it was told to do
/// without.
#[napi(catch_unwind)]
pub fn allow_huge_pages() -> i32 {
    answer(children::allow_huge_pages().map(|()| 0))
}

/// Has the children of this process begin with this soft limit of open files, which Node has raised for itself.
#[napi(catch_unwind)]
pub fn limit_open_files_of_children(limit: f64) -> i32 {
    answer(fork::limit_open_files_of_children(limit as u64).map(|()| 0))
}

/// Has the children that this thread starts from now on end with it, by SIGKILL, or no longer.
#[napi(catch_unwind)]
pub fn end_children_with_this_thread(end: bool) -> i32 {
    answer(fork::end_children_with_this_thread(end).map(|()| 0))
}

/// Gives back the pages of a buffer, whose content is lost: they read as zeros.
#[napi(catch_unwind)]
pub fn discard_pages(mut buffer: Uint8ArraySlice<'_>) -> i32 {
    // SAFETY: JavaScript is waiting for this call to return, so nothing else reads or writes the buffer.
    answer(memory::discard(unsafe { buffer.as_mut() }).map(|()| 0))
}

/// Has the kernel send SIGIO before somebody overwrites the file from which the addon was loaded, which is open as this
/// descriptor.
#[napi(catch_unwind)]
pub fn watch_own_file(fd: i32) -> i32 {
    if fd < 0 {
        return -libc::EBADF;
    }
    // SAFETY: JavaScript is waiting for this call to return, and has the descriptor open meanwhile.
    answer(overwritten::watch(unsafe { BorrowedFd::borrow_raw(fd) }).map(|()| 0))
}

/// To be called after SIGIO: keeps the process from dying of a file that is about to be overwritten. Returns 1 if it is, and
/// 0 if the signal has another reason.
#[napi(catch_unwind)]
pub fn outlive_own_file() -> i32 {
    answer(overwritten::outlive().map(i32::from))
}

/// The SHA-256 digest of a string, in hexadecimal digits.
#[napi(catch_unwind)]
pub fn sha256(text: String) -> String {
    digest::sha256(&text)
}

/// Has V8 collect all garbage of this thread, and give back what that leaves.
#[napi(catch_unwind)]
pub fn collect_garbage() {
    memory::collect_garbage();
}

/// Has the allocators of the addon and of Node give back what they keep free.
#[napi(catch_unwind)]
pub fn trim_memory() {
    memory::trim();
}

/// The children that have ended and were not reaped.
#[napi(object, use_nullable = true)]
pub struct BindingEnded {
    /// The pids of this thread's children. They stay as they are.
    pub pids: Vec<u32>,
    /// The system's negated error number, or 0.
    pub errno: i32,
}

/// The children of this thread that have ended.
#[napi(catch_unwind)]
pub fn ended_children() -> BindingEnded {
    match children::ended() {
        Ok(pids) => BindingEnded { pids, errno: 0 },
        Err(error) => BindingEnded { pids: Vec::new(), errno: answer(Err(error)) },
    }
}

/// Whose child a process is: 0 for no child of this process, 1 for this thread's, 2 for another thread's.
#[napi(catch_unwind)]
pub fn parent_of(pid: u32) -> i32 {
    answer(children::parent_of(pid).map(|parent| match parent {
        Parent::Other => 0,
        Parent::ThisThread => 1,
        Parent::OtherThread => 2,
    }))
}

/// Reaps a child of this thread that has ended. Returns its exit code, or 128 plus the signal that ended it.
#[napi(catch_unwind)]
pub fn reap_child(pid: u32) -> i32 {
    answer(children::reap(pid).map(|status| status as i32))
}

/// The pids of the children for which the event loop of this environment waits.
#[napi(catch_unwind)]
pub fn children_of_loop(env: Env) -> Result<Vec<u32>> {
    processes::of_loop(&env)
}

/// Removes the file of a unix socket if nobody listens on it any more. Returns 1 if the path is free, and 0
/// if it is not a socket or somebody listens.
#[napi(catch_unwind)]
pub fn remove_stale_socket(path: String) -> i32 {
    answer(file::remove_stale(Path::new(&path)).map(i32::from))
}

/// Which file a path names.
#[napi(object, use_nullable = true)]
pub struct BindingIdentity {
    /// The device that it is on.
    pub device: BigInt,
    /// The number of its inode.
    pub inode: BigInt,
}

/// Which file a path names, without following a link; null if that cannot be told.
#[napi(catch_unwind)]
pub fn identity_of(path: String) -> Option<BindingIdentity> {
    let Identity { device, inode } = Identity::of(Path::new(&path)).ok()?;
    Some(BindingIdentity { device: device.into(), inode: inode.into() })
}

/// Removes the file of a unix socket if it has this device and inode. The socket must still listen.
#[napi(catch_unwind)]
pub fn remove_own_socket(path: String, device: BigInt, inode: BigInt) -> i32 {
    let own = Identity { device: device.get_u64().1, inode: inode.get_u64().1 };
    answer(file::remove_own(Path::new(&path), own).map(|()| 0))
}

/// Listens at a path, with a file of this mode before anybody can connect. Returns a descriptor, which the caller
/// owns, as well as the file.
#[napi(catch_unwind)]
pub fn listen_at(env: &Env, path: String, mode: u32) -> i32 {
    let address = Address::Unix(path.into_bytes());
    handed(env, Listener::bind(&address, Some(mode)).map(Listener::into_fd))
}

/// Listens at a path for the terminal of a container. Returns a descriptor, which the caller owns.
#[napi(catch_unwind)]
pub fn listen_console(env: &Env, path: String) -> i32 {
    handed(env, console::listen(&PathBuf::from(path)))
}

/// Receives the terminal that was sent to such a socket. Returns a descriptor, which the caller owns.
#[napi(catch_unwind)]
pub fn receive_console(env: &Env, listener: i32) -> i32 {
    handed(env, console::receive(listener))
}

/// Sets the size of a terminal, in characters.
#[napi(catch_unwind)]
pub fn resize_console(terminal: i32, width: u16, height: u16) -> i32 {
    answer(console::resize(terminal, width, height).map(|()| 0))
}

/// A pipe, whose ends the caller owns.
#[napi(object, use_nullable = true)]
pub struct BindingPipe {
    /// Where it is read.
    pub reader: i32,
    /// Where it is written.
    pub writer: i32,
    /// The system's error number below 0, or 0.
    pub errno: i32,
}

/// Creates a pipe between this process and one of a user and group, to whom one of its ends is given.
#[napi(catch_unwind)]
pub fn create_pipe(env: &Env, give_reader: bool, uid: u32, gid: u32) -> BindingPipe {
    let made = pipe::pipe().and_then(|(reader, writer)| {
        pipe::give(if give_reader { &reader } else { &writer }, uid, gid)?;
        Ok((hand_out(env, reader)?, hand_out(env, writer)?))
    });
    match made {
        Ok((reader, writer)) => BindingPipe { reader, writer, errno: 0 },
        Err(error) => BindingPipe { reader: -1, writer: -1, errno: answer(Err(error)) },
    }
}

/// A counter on which the kernel can announce events. A descriptor, which the caller owns.
#[napi(catch_unwind)]
pub fn create_eventfd(env: &Env) -> i32 {
    handed(env, pipe::eventfd())
}

/// A second descriptor of the same open file, which the caller owns.
#[napi(catch_unwind)]
pub fn duplicate_descriptor(env: &Env, fd: i32) -> i32 {
    handed(env, pipe::duplicate(fd))
}

/// How many bytes are in a pipe, of which the caller has an end.
#[napi(catch_unwind)]
pub fn unread_bytes(fd: i32) -> i32 {
    answer(pipe::unread(fd))
}

/// Closes a descriptor that came from the addon: Node warns in a worker of descriptors that it has not opened itself.
#[napi(catch_unwind)]
pub fn close_descriptor(fd: i32) {
    drop(take_back(fd));
}

/// Gives a descriptor that came from the addon to another owner, such as Node. Until then, it is closed when the
/// environment ends.
#[napi(catch_unwind)]
pub fn give_up_descriptor(fd: i32) {
    give_up(fd);
}

/// A stream that was opened.
#[napi(object, use_nullable = true)]
pub struct BindingStream {
    /// The descriptor, which the caller owns; -1 if there is none.
    pub fd: i32,
    /// Whether it is a fifo.
    pub is_fifo: bool,
    /// The system's error number below 0, or 0.
    pub errno: i32,
}

/// Opens a stream with flags of open(2), on a thread of its own: a disk may not answer.
#[napi(catch_unwind, ts_return_type = "Promise<BindingStream>")]
pub fn open_stream(env: &Env, path: String, flags: i32, parents: bool) -> Result<Object<'_>> {
    let work = move || stream::open_stream(Path::new(&path), flags, parents);
    on_own_thread(env, "open a stream", work, Err, |env, result| {
        let handed = |Opened { descriptor, is_fifo }| Ok((hand_out(env, descriptor)?, is_fifo));
        match result.and_then(handed) {
            Ok((fd, is_fifo)) => BindingStream { fd, is_fifo, errno: 0 },
            Err(error) => BindingStream { fd: -1, is_fifo: false, errno: answer(Err(error)) },
        }
    })
}

/// A descriptor that JavaScript gets, or the number that it makes an error of.
fn handed(env: &Env, made: io::Result<OwnedFd>) -> i32 {
    answer(made.and_then(|descriptor| hand_out(env, descriptor)))
}

/// The number that JavaScript makes an error of, or a result.
pub(super) fn answer<T: From<i32>>(result: io::Result<T>) -> T {
    result.unwrap_or_else(|error| {
        T::from(-error.raw_os_error().unwrap_or(match error.kind() {
            io::ErrorKind::WouldBlock => libc::EAGAIN,
            io::ErrorKind::InvalidData => libc::EBADMSG,
            _ => libc::EINVAL,
        }))
    })
}
