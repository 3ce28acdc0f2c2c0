//! The two buffers that a port shares with JavaScript, and the callback that announces events.

use crate::engine::PendingEvents;
use crate::records::Filled;
use napi::bindgen_prelude::{Env, Function, JsValue, Uint8ArraySlice};
use napi::{Error, Result, sys};
use std::ptr;

/// See the module's documentation.
pub(super) struct Buffers {
    env: sys::napi_env,
    outbound: JsBuffer,
    inbound: JsBuffer,
    deliver: sys::napi_ref,
    async_context: sys::napi_async_context,
    /// Whether the runtime is Node, and no other.
    in_node: bool,
}

/// Memory of an ArrayBuffer that a reference keeps alive and that JavaScript never detaches.
#[derive(Debug, Clone, Copy)]
struct JsBuffer {
    reference: sys::napi_ref,
    start: *mut u8,
    size: usize,
}

impl Buffers {
    pub(super) fn new(
        env: Env,
        mut outbound: Uint8ArraySlice<'_>,
        mut inbound: Uint8ArraySlice<'_>,
        callback: Function<'_, u32, ()>,
        in_node: bool,
    ) -> Result<Self> {
        let env = env.raw();
        let mut async_context = ptr::null_mut();
        let mut references = [ptr::null_mut(); 3];
        // SAFETY: `env` is the current environment and all values are of this call; each out-pointer
        // is a local.
        unsafe {
            let values = [outbound.value().value, inbound.value().value, callback.value().value];
            for (value, reference) in values.into_iter().zip(&mut references) {
                check(sys::napi_create_reference(env, value, 1, reference))?;
            }
            let name = resource_name(env)?;
            let resource = callback.value().value;
            check(sys::napi_async_init(env, resource, name, &raw mut async_context))?;
        }
        let [outbound_reference, inbound_reference, deliver] = references;
        Ok(Self {
            env,
            outbound: buffer(&mut outbound, outbound_reference),
            inbound: buffer(&mut inbound, inbound_reference),
            deliver,
            async_context,
            in_node,
        })
    }

    /// Frees the references and the context: Node frees what they refer to with the environment, but not their own memory,
    /// which each worker would leave behind.
    ///
    /// # Safety
    ///
    /// The environment is the current one, which may be ending, and nothing of this is used any more.
    pub(super) unsafe fn let_go(&self) {
        let Self { env, outbound, inbound, deliver, async_context, in_node } = self;
        // SAFETY: the caller's promise.
        unsafe {
            for reference in [outbound.reference, inbound.reference, *deliver] {
                sys::napi_delete_reference(*env, reference);
            }
            // Deno needs a handle scope for it, which an environment that is ending does not have.
            if *in_node {
                sys::napi_async_destroy(*env, *async_context);
            }
        }
    }

    /// The environment to which the buffers belong.
    pub(super) fn env(&self) -> sys::napi_env {
        self.env
    }

    /// Whether the runtime is Node, and no other.
    pub(super) fn in_node(&self) -> bool {
        self.in_node
    }

    /// The callback, which is also what async hooks see of the port. Null if there is none any more.
    pub(super) fn callback(&self) -> sys::napi_value {
        let mut function = ptr::null_mut();
        // SAFETY: `env` is the current environment, and the reference lives until the driver is torn down.
        unsafe { sys::napi_get_reference_value(self.env, self.deliver, &raw mut function) };
        function
    }

    /// Passes the first `length` bytes of the outbound buffer to `read`.
    pub(super) fn read<T>(&self, length: usize, read: impl FnOnce(&[u8]) -> T) -> T {
        let length = length.min(self.outbound.size);
        // SAFETY: a reference keeps the buffer alive, and JavaScript, its only writer, is waiting for
        // this call to return.
        read(unsafe { std::slice::from_raw_parts(self.outbound.start, length) })
    }

    /// Has `fill` write into the inbound buffer.
    pub(super) fn fill<T>(&self, fill: impl FnOnce(&mut [u8]) -> T) -> T {
        // SAFETY: a reference keeps the buffer alive. JavaScript reads it only between this call's
        // return and its next call into the port, and not after that.
        fill(unsafe { std::slice::from_raw_parts_mut(self.inbound.start, self.inbound.size) })
    }

    /// Delivers pending events; JavaScript fetches the rest. Call it only from a libuv or Node callback,
    /// never while JavaScript runs.
    pub(super) fn deliver(&self, events: &PendingEvents) {
        let filled = self.take(events);
        if filled.size > 0 {
            self.call_back(filled);
        }
    }

    /// Moves events of an engine that this thread turns into the inbound buffer. `more` is also set if
    /// connections wait until JavaScript has taken them.
    pub(super) fn take(&self, events: &PendingEvents) -> Filled {
        let Filled { size, more } = self.fill(|buffer| events.fill(buffer));
        Filled { size, more: more || events.is_crowded() }
    }

    /// Announces the events in the inbound buffer. Call it only where [`Buffers::deliver`] may be called.
    pub(super) fn call_back(&self, filled: Filled) {
        let env = self.env;
        let mut scope = ptr::null_mut();
        // SAFETY: the caller is on the thread of `env`, outside of any JavaScript. The reference and
        // the context live until the driver is torn down. Each result is written before it is read; a
        // call that fails leaves a null, which the next one refuses.
        unsafe {
            if sys::napi_open_handle_scope(env, &raw mut scope) != sys::Status::napi_ok {
                return;
            }
            let function = self.callback();
            let (mut receiver, mut argument, mut result) =
                (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
            sys::napi_get_global(env, &raw mut receiver);
            sys::napi_create_uint32(env, filled.bits(), &raw mut argument);
            let status = sys::napi_make_callback(
                env,
                self.async_context,
                receiver,
                function,
                1,
                &raw const argument,
                &raw mut result,
            );
            if status == sys::Status::napi_pending_exception {
                let mut exception = ptr::null_mut();
                sys::napi_get_and_clear_last_exception(env, &raw mut exception);
                sys::napi_fatal_exception(env, exception);
            }
            sys::napi_close_handle_scope(env, scope);
        }
    }
}

/// The name of the port's callbacks in async hooks and diagnostics.
///
/// # Safety
///
/// `env` must be the current environment.
pub(super) unsafe fn resource_name(env: sys::napi_env) -> Result<sys::napi_value> {
    let mut name = ptr::null_mut();
    let text = c"ttrpc";
    let length = text.count_bytes() as isize;
    // SAFETY: the caller's promise; `text` has `length` bytes.
    check(unsafe { sys::napi_create_string_utf8(env, text.as_ptr(), length, &raw mut name) })?;
    Ok(name)
}

/// An error if a status of Node-API is not `napi_ok`.
pub(super) fn check(status: sys::napi_status) -> Result<()> {
    if status == sys::Status::napi_ok {
        Ok(())
    } else {
        Err(Error::from_reason(format!("Node-API answered status {status}")))
    }
}

fn buffer(slice: &mut Uint8ArraySlice<'_>, reference: sys::napi_ref) -> JsBuffer {
    // SAFETY: only the address is taken; it is used under the rules of `Buffers`.
    let bytes = unsafe { slice.as_mut() };
    JsBuffer { reference, start: bytes.as_mut_ptr(), size: bytes.len() }
}
