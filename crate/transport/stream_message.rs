//! Messages of streams on their way to ttrpc and back, without their large payloads; see [`super::detached`].

use super::Wire;
use super::apart::APART;
use super::detached::STUB;
use crate::protocol::status::MESSAGE_LIMIT;

/// A message that ttrpc has as a stub. Drop it when ttrpc has written the message, or will not.
#[derive(Debug)]
pub struct LeavingMessage<'a> {
    wire: &'a Wire,
    stream_id: u32,
}

impl Wire {
    /// Takes a message of a stream that ttrpc gets next, if it is large, and puts a stub in its place. ttrpc may have one
    /// message of a stream at a time.
    pub fn detach_message(
        &self,
        stream_id: u32,
        message: &mut Vec<u8>,
    ) -> Option<LeavingMessage<'_>> {
        if !(APART..=MESSAGE_LIMIT).contains(&message.len()) {
            return None;
        }
        let payload = std::mem::replace(message, STUB.to_vec());
        self.lock().rules.detached.messages.insert(stream_id, payload);
        Some(LeavingMessage { wire: self, stream_id })
    }
}

impl Drop for LeavingMessage<'_> {
    fn drop(&mut self) {
        let mut flow = self.wire.lock();
        let detached = &mut flow.rules.detached;
        if detached.messages.contains_key(&self.stream_id) {
            // ttrpc may still write it.
            detached.abandoned.push(self.stream_id);
            self.wire.mark_flow(&mut flow);
        }
    }
}

#[cfg(test)]
mod tests;
