//! How large payloads become JavaScript's: without a copy where that is safe, and without V8 collecting too
//! often for it.
//!
//! An external ArrayBuffer lives no longer than the environment that made it: when a worker ends, Node has
//! its memory given back, even if `transfer()` has moved it to an ArrayBuffer that Node does not know of,
//! and that to another thread. Only of the process's first thread nothing outlives the environment, since
//! the process ends with it. And only Node says on the environment's own thread that the memory is free; Deno
//! says it on the thread that collects. Elsewhere the bytes are copied into memory of V8, which frees it when
//! nobody has it any more, wherever that is.
//!
//! V8 counts the bytes of an ArrayBuffer as if they lay on its heap, and so makes a full collection, on
//! all cores, for every few tens of MiB that arrive. A payload that is read and dropped needs none: the
//! collection of young objects, which takes a millisecond, frees it. V8 makes one where an ArrayBuffer
//! is allocated while those of young objects have 32 MiB and more, but only for what it allocates itself.
//! So what lives of the payloads is kept from its count up to a limit, and an ArrayBuffer of one byte
//! is allocated along with each that is external.

use super::buffers::check;
use crate::limits::UNCOUNTED_LIMIT;
use napi::bindgen_prelude::{
    ArrayBuffer, BufferSlice, Env, FromNapiValue as _, JsValue as _, Uint8ArraySlice,
};
use napi::{Error, Result, sys};
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;
use std::rc::Rc;

/// What V8 is told of in their place grows by so much.
const CUSHION_STEP: usize = 8 << 20;

/// Hands payloads over.
#[derive(Debug)]
pub(super) struct Payloads {
    account: Rc<Account>,
    /// Whether external ArrayBuffers are safe: nothing that is made here can outlive this environment.
    lends: bool,
}

/// V8 subtracts a payload when it frees it, and this side restores its share only later. V8 aborts the
/// process if its count drops below zero in between. So V8 is told once, and not with each payload, of
/// as many extra bytes as may ever be withheld from its count.
#[derive(Debug, Default)]
struct Account {
    uncounted: Cell<usize>,
    cushion: Cell<usize>,
}

impl Account {
    /// Keeps so many bytes from V8's count. Returns what its count is to be changed by.
    fn take(&self, length: usize) -> i64 {
        let uncounted = self.uncounted.get() + length;
        self.uncounted.set(uncounted);
        let cushion = self.cushion.get().max(uncounted.next_multiple_of(CUSHION_STEP));
        let grown = cushion - self.cushion.replace(cushion);
        grown as i64 - length as i64
    }

    /// Gives them back, and the cushion with the last. Returns what V8's count is to be changed by.
    fn give_back(&self, length: usize) -> i64 {
        self.uncounted.set(self.uncounted.get() - length);
        let unneeded = if self.uncounted.get() == 0 { self.cushion.take() } else { 0 };
        length as i64 - unneeded as i64
    }
}

impl Payloads {
    /// For the environment of the current thread. `in_node`: the runtime is Node, and no other.
    pub(super) fn new(in_node: bool) -> Self {
        // SAFETY: two calls without arguments that cannot fail. (glibc has no gettid before 2.30.)
        let is_first =
            unsafe { libc::syscall(libc::SYS_gettid) == libc::c_long::from(libc::getpid()) };
        Self { account: Rc::default(), lends: in_node && is_first }
    }

    /// Makes `payload` JavaScript's.
    pub(super) fn give<'env>(
        &self,
        env: &'env Env,
        payload: Vec<u8>,
    ) -> Result<Uint8ArraySlice<'env>> {
        if payload.is_empty() {
            return Err(Error::from_reason("an empty payload does not cross whole"));
        }
        let uncounted = self.account.uncounted.get() + payload.len();
        let kept = if uncounted > UNCOUNTED_LIMIT { 0 } else { payload.len() };
        if self.lends { self.lend(env, payload, kept) } else { self.copy(env, &payload, kept) }
    }

    /// As an external ArrayBuffer. `kept` of its bytes are kept from V8's count.
    fn lend<'env>(
        &self,
        env: &'env Env,
        mut payload: Vec<u8>,
        kept: usize,
    ) -> Result<Uint8ArraySlice<'env>> {
        let (start, length) = (payload.as_mut_ptr(), payload.len());
        ArrayBuffer::copy_from(env, [0])?;
        let account = self.account.clone();
        env.adjust_external_memory(account.take(kept))?;
        let freed = move |env: Env, payload: Vec<u8>| {
            drop(payload);
            // Nobody is there to be told that it failed, and the count is of use only.
            let _ = env.adjust_external_memory(account.give_back(kept));
        };
        // SAFETY: the bytes are on the heap, where they stay while the vector moves, and the vector,
        // which nobody else sees, lives until `freed` is called: when nobody has the memory any more,
        // or with the environment, which is the last.
        unsafe { Uint8ArraySlice::from_external(env, start, length, payload, freed) }
    }

    /// In memory of V8's own, of which `kept` bytes are kept from its count.
    fn copy<'env>(
        &self,
        env: &'env Env,
        payload: &[u8],
        kept: usize,
    ) -> Result<Uint8ArraySlice<'env>> {
        // Unlike that of a new ArrayBuffer, its memory is not zeroed first.
        let buffer = BufferSlice::copy_from(env, payload)?;
        let (mut memory, mut offset, mut array) = (ptr::null_mut(), 0, ptr::null_mut());
        // SAFETY: the values are of this environment and this call; each out-pointer is a local.
        unsafe {
            check(sys::napi_get_typedarray_info(
                env.raw(),
                buffer.value().value,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
                &raw mut memory,
                &raw mut offset,
            ))?;
            let kind = sys::TypedarrayType::uint8_array;
            let length = payload.len();
            check(sys::napi_create_typedarray(
                env.raw(),
                kind,
                length,
                memory,
                offset,
                &raw mut array,
            ))?;
            self.keep(env, memory, kept)?;
            Uint8ArraySlice::from_napi_value(env.raw(), array)
        }
    }

    /// Keeps so many bytes from V8's count for as long as an ArrayBuffer lives.
    ///
    /// # Safety
    ///
    /// `memory` must be an ArrayBuffer of this environment.
    unsafe fn keep(&self, env: &Env, memory: sys::napi_value, kept: usize) -> Result<()> {
        if kept == 0 {
            return Ok(());
        }
        env.adjust_external_memory(self.account.take(kept))?;
        let data = Box::into_raw(Box::new(Kept { account: self.account.clone(), bytes: kept }));
        // SAFETY: the caller's promise; `data` is given back to `collected` once.
        check(unsafe {
            sys::napi_add_finalizer(
                env.raw(),
                memory,
                data.cast(),
                Some(collected),
                ptr::null_mut(),
                ptr::null_mut(),
            )
        })
    }
}

/// What an ArrayBuffer of V8's own keeps from V8's count.
struct Kept {
    account: Rc<Account>,
    bytes: usize,
}

unsafe extern "C" fn collected(env: sys::napi_env, data: *mut c_void, _: *mut c_void) {
    // SAFETY: `data` is the box that `keep` gave away, and Node calls this once, on the thread of `env`.
    let Kept { account, bytes } = *unsafe { Box::from_raw(data.cast::<Kept>()) };
    // Nobody is there to be told that it failed, and the count is of use only.
    let _ = Env::from_raw(env).adjust_external_memory(account.give_back(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// V8 frees before this side hears of it: what it is told of must cover all that it is not told of.
    #[test]
    fn what_is_kept_from_the_count_is_covered_at_any_time() {
        let account = Account::default();
        let mut told = 0;
        let mut live = Vec::new();
        for length in [1, CUSHION_STEP - 1, 1, 300_000, CUSHION_STEP * 3, 5] {
            told += account.take(length);
            live.push(length);
            assert!(told >= 0, "{told}");
            assert!(told < CUSHION_STEP as i64);
        }
        while let Some(length) = live.pop() {
            told += account.give_back(length);
            assert!(told >= 0, "{told}");
        }
        assert_eq!((told, account.uncounted.get(), account.cushion.get()), (0, 0, 0));
    }
}
