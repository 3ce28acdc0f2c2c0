//! Unary calls and replies on their way to ttrpc and back, without their large payloads; see [`super::detached`].

use super::Wire;
use super::detached::{DETACHED, Leaving, ONE_WRITE, Prefix, STUB};
use crate::protocol::status::MESSAGE_LIMIT;
use protobuf::Message as _;
use std::sync::atomic::Ordering::Relaxed;
use ttrpc::proto::{Codec as _, MESSAGE_HEADER_LENGTH, Request, Response};

/// Moves the payload of a message with `size` encoded bytes out of it, unless ttrpc has to see all of it. `at` tells
/// where the payload's field begins.
fn detach(payload: &mut Vec<u8>, size: usize, at: impl FnOnce() -> usize) -> Option<Leaving> {
    let is_large = payload.len() >= DETACHED && size <= MESSAGE_LIMIT;
    if !is_large || size - payload.len() + MESSAGE_HEADER_LENGTH > ONE_WRITE {
        return None;
    }
    let payload = std::mem::replace(payload, STUB.to_vec());
    Some(Leaving { at: at(), payload })
}

/// The size of a field with a number below 16 and `length` bytes.
fn field_size(length: usize) -> usize {
    Prefix::new(0, length).bytes().len() + length
}

fn string_size(string: &str) -> usize {
    if string.is_empty() { 0 } else { field_size(string.len()) }
}

/// A unary call that ttrpc has. Dropping it gives the call up, and drops its payloads.
#[derive(Debug)]
pub struct UnaryCall<'a> {
    wire: &'a Wire,
    id: u32,
    /// The payload of its request was detached.
    is_detached: bool,
}

impl Wire {
    /// Takes out the payload of a request that ttrpc gets next, if it is large. Between this and the first poll of
    /// ttrpc's `Client::request`, no other call may begin.
    pub fn unary_call(&self, request: &mut Request) -> UnaryCall<'_> {
        let leaving = if request.payload.len() >= DETACHED {
            let at = string_size(&request.service) + string_size(&request.method);
            let size = request.size() as usize;
            detach(&mut request.payload, size, || at)
        } else {
            None
        };
        let id = self.take_id();
        let is_detached = leaving.is_some();
        if let Some(leaving) = leaving {
            self.lock().rules.detached.leaving.insert(id, leaving);
        }
        UnaryCall { wire: self, id, is_detached }
    }

    /// The id of the next call. Only the engine's thread makes calls, so this need not be one atomic operation.
    fn take_id(&self) -> u32 {
        let id = self.next_id.load(Relaxed);
        self.next_id.store(id.wrapping_add(2), Relaxed);
        id
    }

    /// ttrpc gets a stream's request next. Between this and the first poll of ttrpc's `Client::new_stream`, no other
    /// call may begin. Returns the stream's id.
    pub fn stream_call(&self) -> u32 {
        self.take_id()
    }

    /// Takes the payload of a request that ttrpc got without it.
    pub fn take_payload(&self, stream_id: u32) -> Option<Vec<u8>> {
        self.lock().rules.detached.take(stream_id)
    }

    /// Whether no payload and no call is kept.
    #[cfg(test)]
    pub fn detaches_nothing(&self) -> bool {
        let detached = &self.lock().rules.detached;
        let arriving = detached.arriving.is_empty() && detached.awaited.is_empty();
        arriving && detached.leaving.is_empty() && detached.arrived() == 0
    }

    /// Takes out the payload of the reply to a request, if it is large. ttrpc must get the reply next.
    pub fn detach_reply(&self, stream_id: u32, response: &mut Response) {
        if response.payload.len() < DETACHED {
            return;
        }
        let size = response.size() as usize;
        let at = || {
            response.status.as_ref().map_or(0, |status| field_size(status.compute_size() as usize))
        };
        let Some(leaving) = detach(&mut response.payload, size, at) else { return };
        self.lock().rules.detached.leaving.insert(stream_id, leaving);
    }
}

impl UnaryCall<'_> {
    /// Ends the call, which got this response. Puts the payload back, if it was detached.
    pub fn end(self, response: &mut Response) {
        // A payload that ttrpc saw came in the first response to the call, which is awaited no more.
        if (response.payload.is_empty() || self.is_detached)
            && let Some(payload) = self.forget()
        {
            response.payload = payload;
        }
        std::mem::forget(self);
    }

    fn forget(&self) -> Option<Vec<u8>> {
        let detached = &mut self.wire.lock().rules.detached;
        detached.leaving.remove(&self.id);
        detached.awaited.remove(self.id);
        detached.take(self.id)
    }
}

impl Drop for UnaryCall<'_> {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests;
