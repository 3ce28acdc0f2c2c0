//! How large payloads become JavaScript's: without a copy, and without V8 collecting too often for it.
//!
//! V8 counts the bytes of an ArrayBuffer as if they lay on its heap, and so makes a full collection, on
//! all cores, for every few tens of MiB that arrive. A payload that is read and forgotten needs none: the
//! collection of young objects, which takes a millisecond, frees it. V8 makes one where an ArrayBuffer
//! is allocated while those of young objects have 32 MiB and more, but only for what it allocates itself.
//! So what lives of the payloads is kept from its count up to a limit, and an ArrayBuffer of one byte
//! is allocated along with each.

use napi::bindgen_prelude::{ArrayBuffer, Env, Uint8ArraySlice};
use napi::{Error, Result};
use std::cell::Cell;
use std::rc::Rc;

/// As many bytes that live are not counted. It bounds what V8 may leave uncollected for not knowing of it,
/// and is twice what makes it collect.
const UNCOUNTED_LIMIT: usize = 64 << 20;

/// Hands payloads over.
#[derive(Debug, Default)]
pub(super) struct Payloads {
    /// Bytes that live and are kept from V8's count.
    uncounted: Rc<Cell<usize>>,
}

impl Payloads {
    /// Makes `payload` JavaScript's.
    pub(super) fn give<'env>(
        &self,
        env: &'env Env,
        mut payload: Vec<u8>,
    ) -> Result<Uint8ArraySlice<'env>> {
        if payload.is_empty() {
            return Err(Error::from_reason("an empty payload does not cross whole"));
        }
        let (start, length) = (payload.as_mut_ptr(), payload.len());
        let counted = self.uncounted.get() + length > UNCOUNTED_LIMIT;
        let share = Share { length: if counted { 0 } else { length }, of: self.uncounted.clone() };
        share.of.set(share.of.get() + share.length);
        ArrayBuffer::copy_from(env, [0])?;
        let freed = |env: Env, (payload, share): (Vec<u8>, Share)| {
            drop(payload);
            // Nobody is there to be told that it failed, and the count is of use only.
            let _ = env.adjust_external_memory(share.length as i64);
        };
        let uncounted = share.length as i64;
        // SAFETY: the bytes are on the heap, where they stay while the vector moves, and the vector,
        // which nobody else sees, lives until `freed` is called.
        let array =
            unsafe { Uint8ArraySlice::from_external(env, start, length, (payload, share), freed)? };
        env.adjust_external_memory(-uncounted)?;
        Ok(array)
    }
}

/// What one payload has of the uncounted bytes.
struct Share {
    length: usize,
    of: Rc<Cell<usize>>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.set(self.of.get() - self.length);
    }
}
