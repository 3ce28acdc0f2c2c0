//! What makes a shared library a program: the path of its loader, and a place to start at. The C library is
//! then started as it is for any program.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::panic;

#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
macro_rules! loader {
    () => {
        "/lib64/ld-linux-x86-64.so.2"
    };
}
#[cfg(all(target_arch = "aarch64", target_env = "gnu"))]
macro_rules! loader {
    () => {
        "/lib/ld-linux-aarch64.so.1"
    };
}
#[cfg(all(target_arch = "x86_64", target_env = "musl"))]
macro_rules! loader {
    () => {
        "/lib/ld-musl-x86_64.so.1"
    };
}
#[cfg(all(target_arch = "aarch64", target_env = "musl"))]
macro_rules! loader {
    () => {
        "/lib/ld-musl-aarch64.so.1"
    };
}

// The linker makes a segment of this section, whether it links a program or a library. `R` keeps it.
core::arch::global_asm!(
    ".pushsection .interp,\"aR\",@progbits",
    concat!(".asciz \"", loader!(), "\""),
    ".popsection",
);

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".pushsection .text.containerd_shim_start,\"ax\",@progbits",
    ".globl containerd_shim_start",
    ".hidden containerd_shim_start",
    ".type containerd_shim_start,@function",
    "containerd_shim_start:",
    // The outermost frame. The kernel leaves the arguments on the stack, the loader its last function in rdx.
    "xor %ebp, %ebp",
    "mov %rsp, %rdi",
    "mov %rdx, %rsi",
    "and $-16, %rsp",
    "call {enter}",
    "hlt",
    ".popsection",
    enter = sym enter,
    options(att_syntax)
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".pushsection .text.containerd_shim_start,\"ax\",@progbits",
    ".globl containerd_shim_start",
    ".hidden containerd_shim_start",
    ".type containerd_shim_start,@function",
    "containerd_shim_start:",
    // The outermost frame. The kernel leaves the arguments on the stack, the loader its last function in x0.
    "mov x29, #0",
    "mov x30, #0",
    "mov x1, x0",
    "mov x0, sp",
    "bl {enter}",
    "brk #1",
    ".popsection",
    enter = sym enter,
);

unsafe extern "C" {
    fn __libc_start_main(
        main: extern "C" fn(c_int, *const *const c_char, *const *const c_char) -> c_int,
        argc: c_int,
        argv: *const *const c_char,
        init: Option<extern "C" fn()>,
        fini: Option<extern "C" fn()>,
        rtld_fini: *const c_void,
        stack_end: *const usize,
    ) -> c_int;
}

/// # Safety
///
/// `stack` is the stack as the kernel made it for a program: the number of arguments, then the arguments.
unsafe extern "C" fn enter(stack: *const usize, rtld_fini: *const c_void) -> ! {
    // SAFETY: the caller's promise; `__libc_start_main` does not return, and a library needs no more than `main`.
    unsafe {
        let argc = c_int::try_from(*stack).unwrap_or(0);
        __libc_start_main(main, argc, stack.add(1).cast(), None, None, rtld_fini, stack);
        libc::_exit(1)
    }
}

extern "C" fn main(argc: c_int, argv: *const *const c_char, _env: *const *const c_char) -> c_int {
    let args: Vec<OsString> = (0..usize::try_from(argc).unwrap_or(0))
        // SAFETY: there are `argc` arguments, all of them C strings, which live as long as the process.
        .map(|at| OsStr::from_bytes(unsafe { CStr::from_ptr(*argv.add(at)) }.to_bytes()).to_owned())
        .collect();
    panic::catch_unwind(|| super::program::run(args)).unwrap_or(101)
}
