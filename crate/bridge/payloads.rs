//! How large payloads are given to JavaScript: without a copy if that is safe, and without making V8 collect
//! too often.
//!
//! An external ArrayBuffer lives no longer than the environment that made it. When a worker ends, Node frees
//! the memory, even if `transfer()` has moved it to an ArrayBuffer that Node does not know, and that one to
//! another thread. Only on the process's first thread does nothing outlive the environment, because the
//! process ends with it. And only Node reports on the environment's own thread that the memory is free; Deno
//! reports it on the thread that collects. In all other cases, the bytes are copied into memory of V8, which
//! V8 frees when nobody holds it any more, on any thread.
//!
//! V8 counts the bytes of an ArrayBuffer as if they were on its heap, and so makes a full collection, on all
//! cores, for every few tens of MiB that arrive. A payload that is read and dropped does not need one: a
//! collection of young objects, which takes a millisecond, frees it. V8 makes such a collection when it
//! allocates an ArrayBuffer itself while those of young objects have 32 MiB or more. So up to a limit, live
//! payloads are withheld from V8's count, and an ArrayBuffer of one byte is allocated for each MiB of external
//! ones.

use super::buffers::check;
use super::given::{Account, Given};
use crate::limits::UNCOUNTED_LIMIT;
use napi::bindgen_prelude::{
    ArrayBuffer, BufferSlice, Env, FromNapiValue as _, JsValue as _, Uint8ArraySlice,
};
use napi::{Error, Result, sys};
use std::cell::Cell;
use std::ptr;
use std::rc::Rc;

/// V8 gets an occasion to collect young objects once for this many bytes of external ArrayBuffers.
const OCCASION_STEP: usize = 1 << 20;

/// Counts the bytes of external ArrayBuffers, up to the next occasion.
#[derive(Debug, Default)]
struct Occasions(Cell<usize>);

impl Occasions {
    /// Counts `length` bytes. Returns whether V8 needs an occasion.
    fn is_due(&self, length: usize) -> bool {
        let bytes = self.0.get() + length;
        self.0.set(bytes % OCCASION_STEP);
        bytes >= OCCASION_STEP
    }
}

/// Hands payloads to JavaScript.
#[derive(Debug)]
pub(super) struct Payloads {
    account: Rc<Account>,
    occasions: Occasions,
    /// Whether external ArrayBuffers are safe, because none can outlive this environment.
    lends: bool,
}

impl Payloads {
    /// For the environment of the current thread. `in_node`: the runtime is Node, and no other.
    pub(super) fn new(in_node: bool) -> Self {
        // SAFETY: two calls without arguments that cannot fail. (glibc has no gettid before 2.30.)
        let is_first =
            unsafe { libc::syscall(libc::SYS_gettid) == libc::c_long::from(libc::getpid()) };
        Self { account: Rc::default(), occasions: Occasions::default(), lends: in_node && is_first }
    }

    /// Gives `payload` to JavaScript.
    pub(super) fn give<'env>(
        &self,
        env: &'env Env,
        payload: Vec<u8>,
    ) -> Result<Uint8ArraySlice<'env>> {
        if payload.is_empty() {
            return Err(Error::from_reason("an empty payload does not cross whole"));
        }
        let uncounted = self.account.uncounted() + payload.len();
        let kept = if uncounted > UNCOUNTED_LIMIT { 0 } else { payload.len() };
        if self.lends { self.lend(env, payload, kept) } else { self.copy(env, &payload, kept) }
    }

    /// Gives it as an external ArrayBuffer. `kept` of its bytes are withheld from V8's count.
    fn lend<'env>(
        &self,
        env: &'env Env,
        mut payload: Vec<u8>,
        kept: usize,
    ) -> Result<Uint8ArraySlice<'env>> {
        let (start, length) = (payload.as_mut_ptr(), payload.len());
        if self.occasions.is_due(length) {
            ArrayBuffer::copy_from(env, [0])?;
        }
        let given = Given::new(env, start, &self.account, kept)?;
        let freed = move |env: Env, payload: Vec<u8>| {
            // Before its memory is another's.
            given.ended(&env);
            drop(payload);
        };
        // SAFETY: the bytes are on the heap, where they stay while the vector moves, and the vector, which
        // nobody else sees, lives until `freed` is called: when nothing holds the memory any more, at the
        // latest when the environment ends.
        unsafe { Uint8ArraySlice::from_external(env, start, length, payload, freed) }
    }

    /// Copies it into memory of V8. `kept` of its bytes are withheld from V8's count.
    fn copy<'env>(
        &self,
        env: &'env Env,
        payload: &[u8],
        kept: usize,
    ) -> Result<Uint8ArraySlice<'env>> {
        // Unlike the memory of a new ArrayBuffer, that of a Buffer is not zeroed first.
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
            let start = buffer.as_ptr().wrapping_sub(offset);
            Given::new(env, start, &self.account, kept)?.end_with(env, memory)?;
            Uint8ArraySlice::from_napi_value(env.raw(), array)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v8_gets_an_occasion_for_each_mib_however_it_is_divided() {
        for length in [8 << 10, 100_000, OCCASION_STEP, 4 << 20] {
            let occasions = Occasions::default();
            let count = (64 << 20) / length;
            let due = (0..count).filter(|_| occasions.is_due(length)).count();
            assert_eq!(due, (count * length / OCCASION_STEP).min(count), "{length}");
        }
    }
}
