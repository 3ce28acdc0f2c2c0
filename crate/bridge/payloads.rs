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

/// What V8 is told of in their place grows by so much.
const CUSHION_STEP: usize = 8 << 20;

/// Hands payloads over.
#[derive(Debug, Default)]
pub(super) struct Payloads {
    account: Rc<Account>,
}

/// V8 takes a payload from its count when it frees it, and this gives back what it took only later. V8
/// aborts the process where its count gets below zero meanwhile. So it is told of as many bytes that are
/// not there as are kept from its count, at most: once, and not with each payload.
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
        ArrayBuffer::copy_from(env, [0])?;
        let account = self.account.clone();
        let uncounted = if account.uncounted.get() + length > UNCOUNTED_LIMIT { 0 } else { length };
        env.adjust_external_memory(account.take(uncounted))?;
        let freed = move |env: Env, payload: Vec<u8>| {
            drop(payload);
            // Nobody is there to be told that it failed, and the count is of use only.
            let _ = env.adjust_external_memory(account.give_back(uncounted));
        };
        // SAFETY: the bytes are on the heap, where they stay while the vector moves, and the vector,
        // which nobody else sees, lives until `freed` is called.
        unsafe { Uint8ArraySlice::from_external(env, start, length, payload, freed) }
    }
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
