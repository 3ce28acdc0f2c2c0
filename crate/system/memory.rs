//! Memory that the process holds without need, and that the kernel may have back.

use rustix::param::page_size;
use std::io;

#[cfg(not(address_sanitizer))]
unsafe extern "C" {
    /// mimalloc's own: frees what it keeps for later allocations, with `force` all of it.
    fn mi_collect(force: bool);
}

/// Gives back the pages that lie in `bytes` as a whole. Their content is lost: they read as zeros.
pub fn discard(bytes: &mut [u8]) -> io::Result<()> {
    let page = page_size();
    let before = bytes.as_ptr().align_offset(page);
    let size = bytes.len().saturating_sub(before) / page * page;
    if size == 0 {
        return Ok(());
    }
    let pages = &mut bytes[before..before + size];
    // SAFETY: these pages are in a borrowed slice of bytes, for which every content is valid.
    super::check(unsafe {
        libc::madvise(pages.as_mut_ptr().cast(), pages.len(), libc::MADV_DONTNEED)
    })
    .map(drop)
}

/// Has V8 collect the garbage of this thread, and give back what that leaves. Does nothing in a runtime without V8.
///
/// Node-API has no function for it, and the collections that JavaScript can ask for keep V8's spare memory. Every Node exports
/// these two methods of `v8::Isolate`, for addons in C++.
pub fn collect_garbage() {
    type Current = unsafe extern "C" fn() -> *mut libc::c_void;
    type Collect = unsafe extern "C" fn(*mut libc::c_void);
    const CURRENT: &std::ffi::CStr = c"_ZN2v87Isolate13TryGetCurrentEv";
    const COLLECT: &std::ffi::CStr = c"_ZN2v87Isolate21LowMemoryNotificationEv";
    // SAFETY: if the process has these symbols, they are V8's, and their names say that they take no arguments. The first
    // gives the isolate that this thread has entered, or null; the second is a method of it.
    unsafe {
        let current = libc::dlsym(libc::RTLD_DEFAULT, CURRENT.as_ptr());
        let collect = libc::dlsym(libc::RTLD_DEFAULT, COLLECT.as_ptr());
        if current.is_null() || collect.is_null() {
            return;
        }
        let isolate = std::mem::transmute::<*mut libc::c_void, Current>(current)();
        if !isolate.is_null() {
            std::mem::transmute::<*mut libc::c_void, Collect>(collect)(isolate);
        }
    }
}

/// Has the allocators of the addon and of Node give back what they keep free.
pub fn trim() {
    // SAFETY: may be called at any time, from any thread.
    #[cfg(not(address_sanitizer))]
    unsafe {
        mi_collect(true);
    }
    // SAFETY: as above.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_pages_are_given_back_and_their_neighbours_stay() {
        let mut bytes = vec![1_u8; 64 * 1024];
        discard(&mut bytes[1..]).expect("madvise");
        assert_eq!(bytes.first(), Some(&1));
        let kept = bytes.iter().filter(|&&byte| byte == 1).count();
        assert!((1..=2 * 4096).contains(&kept), "{kept} bytes were kept");
    }

    #[test]
    fn less_than_a_page_stays() {
        let mut bytes = vec![1_u8; 100];
        discard(&mut bytes).expect("nothing to do");
        discard(&mut []).expect("nothing to do");
        assert_eq!(bytes, [1; 100]);
    }

    #[test]
    fn memory_in_use_survives_a_trim() {
        let bytes = vec![7_u8; 1 << 20];
        trim();
        assert!(bytes.iter().all(|&byte| byte == 7));
    }
}
