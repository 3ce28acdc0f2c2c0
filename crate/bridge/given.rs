//! The payloads that JavaScript has: how many of their bytes V8 does not count, and how a program releases one before V8
//! collects it.

use super::buffers::check;
use napi::Result;
use napi::bindgen_prelude::{ArrayBuffer, Env, JsValue as _};
use napi::sys;
use napi_derive::napi;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr;
use std::rc::Rc;

/// The step, in bytes, by which the cushion grows.
const CUSHION_STEP: usize = 8 << 20;

thread_local! {
    /// Those of this thread's environment, by the address of their memory.
    static GIVEN: RefCell<HashMap<usize, Rc<Given>>> = RefCell::default();
}

/// V8 subtracts a payload when it frees it, and this side restores the withheld bytes only later. V8 aborts
/// the process if its count drops below zero in between. So V8 counts a cushion of extra bytes, at least as
/// many as are withheld, which grows in steps and not with each payload.
#[derive(Debug, Default)]
pub(super) struct Account {
    uncounted: Cell<usize>,
    cushion: Cell<usize>,
}

impl Account {
    /// The bytes that are withheld from V8's count.
    pub(super) fn uncounted(&self) -> usize {
        self.uncounted.get()
    }

    /// Withholds `length` bytes from V8's count. Returns the change to make to the count.
    fn take(&self, length: usize) -> i64 {
        let uncounted = self.uncounted.get() + length;
        self.uncounted.set(uncounted);
        let cushion = self.cushion.get().max(uncounted.next_multiple_of(CUSHION_STEP));
        let grown = cushion - self.cushion.replace(cushion);
        grown as i64 - length as i64
    }

    /// Restores `length` bytes, and with the last ones removes the cushion. Returns the change to make to
    /// V8's count.
    fn give_back(&self, length: usize) -> i64 {
        self.uncounted.set(self.uncounted.get() - length);
        let unneeded = if self.uncounted.get() == 0 { self.cushion.take() } else { 0 };
        length as i64 - unneeded as i64
    }
}

/// A payload that JavaScript has, until its ArrayBuffer is no more.
#[derive(Debug)]
pub(super) struct Given {
    start: usize,
    account: Rc<Account>,
    /// Its bytes that V8 does not count.
    withheld: Cell<usize>,
    /// The ArrayBuffer, if V8 owns the memory. As soon as that is free, another ArrayBuffer may have its address.
    of_v8: Cell<Option<sys::napi_ref>>,
}

impl Given {
    /// Notes a payload whose memory begins at `start`, and withholds some of its bytes from V8's count.
    pub(super) fn new(
        env: &Env,
        start: *const u8,
        account: &Rc<Account>,
        withheld: usize,
    ) -> Result<Rc<Self>> {
        env.adjust_external_memory(account.take(withheld))?;
        let given = Rc::new(Self {
            start: start as usize,
            account: account.clone(),
            withheld: Cell::new(withheld),
            of_v8: Cell::default(),
        });
        GIVEN.with_borrow_mut(|all| all.insert(given.start, given.clone()));
        Ok(given)
    }

    /// Ties it to an ArrayBuffer whose memory is V8's: it ends with that.
    ///
    /// # Safety
    ///
    /// `buffer` must be the ArrayBuffer, of the current environment.
    pub(super) unsafe fn end_with(
        self: &Rc<Self>,
        env: &Env,
        buffer: sys::napi_value,
    ) -> Result<()> {
        let mut reference = ptr::null_mut();
        let data = Rc::into_raw(self.clone()).cast_mut().cast();
        // SAFETY: the caller's promise; `collected` takes `data` back, once, and deletes the reference.
        check(unsafe {
            sys::napi_add_finalizer(
                env.raw(),
                buffer,
                data,
                Some(collected),
                ptr::null_mut(),
                &raw mut reference,
            )
        })?;
        self.of_v8.set(Some(reference));
        Ok(())
    }

    /// Its ArrayBuffer is no more.
    pub(super) fn ended(self: &Rc<Self>, env: &Env) {
        self.forget();
        self.restore(env);
    }

    /// Whether it is in `buffer`, whose memory has its address.
    fn is_in(&self, buffer: &ArrayBuffer<'_>) -> Result<bool> {
        let Some(reference) = self.of_v8.get() else {
            return Ok(true);
        };
        let buffer = buffer.value();
        let (mut own, mut equal) = (ptr::null_mut(), false);
        // SAFETY: the reference lives until `collected`, which takes it out; each out-pointer is a local.
        unsafe {
            check(sys::napi_get_reference_value(buffer.env, reference, &raw mut own))?;
            if !own.is_null() {
                check(sys::napi_strict_equals(buffer.env, own, buffer.value, &raw mut equal))?;
            }
        }
        Ok(equal)
    }

    fn forget(self: &Rc<Self>) {
        // The thread's memory may end before its environment. After a release, the address may be another's.
        let _ = GIVEN.try_with(|all| {
            let mut all = all.borrow_mut();
            if all.get(&self.start).is_some_and(|given| Rc::ptr_eq(given, self)) {
                all.remove(&self.start);
            }
        });
    }

    /// Has V8 count what was withheld.
    fn restore(&self, env: &Env) {
        // A failure cannot be reported here, and costs only the accuracy of the count.
        let _ = env.adjust_external_memory(self.account.give_back(self.withheld.take()));
    }
}

unsafe extern "C" fn collected(env: sys::napi_env, data: *mut c_void, _: *mut c_void) {
    // SAFETY: `data` is what `end_with` gave away, and Node calls this once, on the thread of `env`.
    let given = unsafe { Rc::from_raw(data.cast::<Given>()) };
    if let Some(reference) = given.of_v8.take() {
        // SAFETY: it is of `env`, and nobody else has it any more.
        unsafe { sys::napi_delete_reference(env, reference) };
    }
    given.ended(&Env::from_raw(env));
}

/// Detaches the ArrayBuffer of a payload that crossed whole, so that its memory is free at once. Returns whether it is one.
#[napi(catch_unwind)]
pub fn release_payload(env: &Env, buffer: ArrayBuffer<'_>) -> Result<bool> {
    let start = buffer.as_ptr() as usize;
    let Some(given) = GIVEN.with_borrow(|all| all.get(&start).cloned()) else {
        return Ok(false);
    };
    if !given.is_in(&buffer)? {
        return Ok(false);
    }
    buffer.detach()?;
    given.restore(env);
    // Memory of this side keeps its address until Node says that nobody reads it any more.
    if given.of_v8.get().is_some() {
        given.forget();
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// V8 frees memory before this side is told, so the cushion must cover everything that is withheld.
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
