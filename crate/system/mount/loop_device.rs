//! A file as a disk: a loop device that the kernel takes back when nothing uses it any more.

use super::Failure;
use libc::c_int;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::thread;
use std::time::Duration;

const CONTROL: &str = "/dev/loop-control";

/// How often another is tried because somebody else took the free one first.
const MOST_TRIES: u32 = 100;

const LOOP_SET_FD: u32 = 0x4c00;
const LOOP_CLR_FD: u32 = 0x4c01;
const LOOP_SET_STATUS64: u32 = 0x4c04;
const LOOP_SET_DIRECT_IO: u32 = 0x4c08;
const LOOP_CONFIGURE: u32 = 0x4c0a;
const LOOP_CTL_GET_FREE: u32 = 0x4c82;

const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

const NAME_SIZE: usize = 64;

/// The kernel's `struct loop_info64`.
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; NAME_SIZE],
    crypt_name: [u8; NAME_SIZE],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// The kernel's `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<Info>() == 232 && size_of::<Config>() == 304);

/// A loop device with a file. It stays while this, or a mount of it, does.
pub(super) struct LoopDevice {
    /// Its path.
    pub(super) path: String,
    _open: OwnedFd,
}

impl LoopDevice {
    /// Makes a disk of a file.
    pub(super) fn of(file: &str, read_only: bool, direct: bool) -> Result<Self, Failure> {
        let access = if read_only { OFlags::RDONLY } else { OFlags::RDWR };
        let backing = open(file, access | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Failure::about(errno, "the file of the loop device", file))?;
        for tries in 0..MOST_TRIES {
            let path = format!("/dev/loop{}", free_number()?);
            let device = open(&path, access | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| Failure::about(errno, "the loop device", &path))?;
            match configure(&device, &backing, file, read_only, direct) {
                Ok(()) => return Ok(Self { path, _open: device }),
                // Free devices are not reserved: somebody else has taken it.
                Err(Errno::BUSY) => thread::sleep(Duration::from_millis(u64::from(tries))),
                Err(errno) => return Err(Failure::about(errno, "the loop device", &path)),
            }
        }
        Err(Failure::new(Errno::BUSY, "every loop device was taken by somebody else"))
    }
}

fn free_number() -> Result<c_int, Failure> {
    let about = |errno| Failure::about(errno, "a loop device needs", CONTROL);
    let control = open(CONTROL, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(about)?;
    // SAFETY: the request takes no argument.
    unsafe { request(&control, LOOP_CTL_GET_FREE, 0) }.map_err(about)
}

fn configure(
    device: &OwnedFd,
    backing: &OwnedFd,
    file: &str,
    read_only: bool,
    direct: bool,
) -> rustix::io::Result<()> {
    let mut flags = LO_FLAGS_AUTOCLEAR;
    if read_only {
        flags |= LO_FLAGS_READ_ONLY;
    }
    let info = Info {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags,
        file_name: name_of(file),
        crypt_name: [0; NAME_SIZE],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
    let mut config =
        Config { fd: backing.as_raw_fd().cast_unsigned(), block_size: 0, info, reserved: [0; 8] };
    if direct {
        config.info.flags |= LO_FLAGS_DIRECT_IO;
    }
    // SAFETY: the request reads a `struct loop_config`.
    match unsafe { request(device, LOOP_CONFIGURE, (&raw const config).expose_provenance()) } {
        // Before Linux 5.8 it takes three requests.
        Err(Errno::INVAL | Errno::NOTTY) => {}
        result => return result.map(|_| ()),
    }
    config.info.flags = flags;
    let backing = usize::try_from(backing.as_raw_fd()).map_err(|_| Errno::BADF)?;
    // SAFETY: the request takes a descriptor.
    unsafe { request(device, LOOP_SET_FD, backing) }?;
    let info = (&raw const config.info).expose_provenance();
    // SAFETY: the request reads a `struct loop_info64`.
    let mut set = unsafe { request(device, LOOP_SET_STATUS64, info) };
    if direct && set.is_ok() {
        // SAFETY: the request takes a number.
        set = unsafe { request(device, LOOP_SET_DIRECT_IO, 1) };
    }
    if set.is_err() {
        // SAFETY: the request takes no argument.
        let _ = unsafe { request(device, LOOP_CLR_FD, 0) };
    }
    set.map(|_| ())
}

/// A name for those who list devices: cut where it does not fit, with a NUL behind it.
fn name_of(file: &str) -> [u8; NAME_SIZE] {
    let mut name = [0; NAME_SIZE];
    for (to, from) in name.iter_mut().take(NAME_SIZE - 1).zip(file.bytes()) {
        *to = from;
    }
    name
}

/// Makes a request of a device.
///
/// # Safety
///
/// The argument must be what the request takes: a number, or the address of what it reads.
unsafe fn request(device: &OwnedFd, request: u32, argument: usize) -> rustix::io::Result<c_int> {
    // C libraries differ in the type of a request.
    // SAFETY: the descriptor is open, and the caller vouches for the argument.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), request as _, argument) };
    if result < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    Ok(result)
}
