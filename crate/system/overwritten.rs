//! The file of a packed shim, which somebody overwrites while shims run: `cp` of a new version does, and most who install
//! files in scripts. The addon is mapped from it, so the process would die with the first page that has gone. The kernel
//! keeps files that are executed from this, but not those that are mapped.
//!
//! A lease on the file makes whoever opens it for writing wait, and tells its holder by SIGIO, who takes what is mapped into
//! memory of its own, and then lets the other go on. Until then it costs nothing.

use super::check;
use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::Mutex;

/// The descriptor with the lease.
static LEASED: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Has the kernel send SIGIO before somebody writes to the file from which this code was loaded. Fails where it has no
/// leases, or if the file belongs to another user.
pub fn watch(file: BorrowedFd<'_>) -> io::Result<()> {
    let own = file.try_clone_to_owned()?;
    // SAFETY: touches no memory.
    check(unsafe { libc::fcntl(own.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) })?;
    *crate::sync::lock(&LEASED) = Some(own);
    Ok(())
}

/// To be called after SIGIO. If somebody waits to write to the file, takes what is mapped of it into memory of its own,
/// and lets the other go on. Returns whether somebody did.
pub fn outlive() -> io::Result<bool> {
    let mut leased = crate::sync::lock(&LEASED);
    let Some(file) = &*leased else { return Ok(false) };
    // SAFETY: as above.
    let wanted = check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLEASE) })?;
    if wanted == libc::F_RDLCK {
        return Ok(false);
    }
    let result = detach((outlive as fn() -> io::Result<bool>) as usize);
    // SAFETY: as above. Whoever waits may go on in any case: the kernel would not keep them for long.
    let released = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
    *leased = None;
    result.and(check(released)).map(|_| true)
}

/// Takes all that is mapped of the file at an address into memory of its own, at the same addresses.
fn detach(here: usize) -> io::Result<()> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let mappings: Vec<Mapping<'_>> = maps.lines().filter_map(Mapping::parse).collect();
    let own = mappings
        .iter()
        .find(|mapping| (mapping.start..mapping.end).contains(&here))
        .ok_or(io::ErrorKind::NotFound)?
        .file;
    if own.1 == "0" {
        // It is in no file.
        return Ok(());
    }
    for mapping in mappings.iter().filter(|mapping| mapping.file == own) {
        mapping.detach()?;
    }
    Ok(())
}

fn page() -> usize {
    // SAFETY: touches no memory.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// A line of /proc/self/maps.
struct Mapping<'line> {
    start: usize,
    end: usize,
    protection: libc::c_int,
    /// The device and the inode; 0 of both without a file.
    file: (&'line str, &'line str),
}

impl<'line> Mapping<'line> {
    /// Parses `START-END rwxp OFFSET DEVICE INODE PATH`.
    fn parse(line: &'line str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let rights = fields.next()?;
        let _offset = fields.next()?;
        let file = (fields.next()?, fields.next()?);
        let protection = [('r', libc::PROT_READ), ('w', libc::PROT_WRITE), ('x', libc::PROT_EXEC)]
            .into_iter()
            .filter(|(letter, _)| rights.contains(*letter))
            .fold(libc::PROT_NONE, |all, (_, one)| all | one);
        let number = |text| usize::from_str_radix(text, 16).ok();
        Some(Self { start: number(start)?, end: number(end)?, protection, file })
    }

    /// Puts memory with the same content in its place: page by page where another thread could write meanwhile.
    fn detach(&self) -> io::Result<()> {
        if self.protection & libc::PROT_WRITE == 0 {
            return self.replace(self.start, self.end - self.start);
        }
        (self.start..self.end).step_by(page()).try_for_each(|at| self.replace(at, page()))
    }

    fn replace(&self, start: usize, size: usize) -> io::Result<()> {
        let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let writable = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the new memory is nobody else's until it takes the place of the old, with the same bytes and rights, in
        // one step. The old is mapped, since only this process unmaps it, and is read only if it may be. What another thread
        // writes to a page in the microsecond between could be lost; without all this, the process would die.
        unsafe {
            let copy = libc::mmap(ptr::null_mut(), size, writable, anonymous, -1, 0);
            if copy == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            if self.protection & libc::PROT_READ != 0 {
                ptr::copy_nonoverlapping(start as *const u8, copy.cast(), size);
            }
            let fixed = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            let place = start as *mut libc::c_void;
            if libc::mprotect(copy, size, self.protection) == -1
                || libc::mremap(copy, size, size, fixed, place) == libc::MAP_FAILED
            {
                let error = io::Error::last_os_error();
                libc::munmap(copy, size);
                return Err(error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn what_is_mapped_of_a_file_outlives_the_file() {
        let path = std::env::temp_dir().join(format!("overwritten-{}", std::process::id()));
        let size = 3 * page();
        fs::write(&path, vec![7_u8; size]).expect("the folder is writable");
        let file = fs::File::open(&path).expect("it is there");
        let mapped: Vec<usize> = [libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE]
            .into_iter()
            .map(|rights| {
                let fd = file.as_fd().as_raw_fd();
                // SAFETY: the kernel chooses the place.
                let place =
                    unsafe { libc::mmap(ptr::null_mut(), size, rights, libc::MAP_PRIVATE, fd, 0) };
                assert_ne!(place, libc::MAP_FAILED);
                place as usize
            })
            .collect();
        // SAFETY: it was mapped above, as writable.
        unsafe { *((mapped[1] + page()) as *mut u8) = 8 };
        detach(mapped[0]).expect("there is memory");
        fs::write(&path, "").expect("the folder is writable");
        for (at, changed) in [(mapped[0], 7), (mapped[1], 8)] {
            // SAFETY: both are mapped until they are unmapped here, and nobody writes.
            let bytes = unsafe { std::slice::from_raw_parts(at as *const u8, size) };
            assert_eq!((bytes[0], bytes[page()], bytes[size - 1]), (7, changed, 7));
            // SAFETY: as above.
            unsafe { libc::munmap(at as *mut libc::c_void, size) };
        }
        fs::remove_file(path).expect("it is there");
    }

    #[test]
    fn without_a_lease_nobody_waits() {
        assert!(!outlive().expect("nothing to do"));
    }
}
