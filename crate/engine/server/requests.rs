//! The requests that JavaScript has not answered, by name.

use crate::engine::stream_handle::Handle;
use crate::engine::stream_input::Input;
use crate::ids::{CallId, CallIds, IdMap};
use crate::records::Reply;
use crate::transport::budget::Charge;
use tokio::sync::oneshot;

/// Requests that JavaScript has not answered.
#[derive(Debug)]
pub(in crate::engine) struct Requests {
    pub(in crate::engine) ids: CallIds,
    pub(in crate::engine) waiting: IdMap<oneshot::Sender<Reply>, CallId>,
    pub(in crate::engine) streams: IdMap<Handle, CallId>,
    /// What requests that no longer need an answer count, until JavaScript has let go of them.
    pub(in crate::engine) aborted: IdMap<Charge, CallId>,
}

impl Requests {
    /// Slots are used `generations` times each.
    pub(in crate::engine) fn new(generations: u32) -> Self {
        Self {
            ids: CallIds::new(generations),
            waiting: IdMap::default(),
            streams: IdMap::default(),
            aborted: IdMap::default(),
        }
    }

    /// JavaScript has let go of a request that no longer needed an answer.
    pub(in crate::engine) fn let_go(&mut self, call: CallId) {
        self.aborted.remove(&call);
    }

    /// Passes an answer on. One for which nobody waits is dropped.
    pub(in crate::engine) fn answer(&mut self, reply: Reply) {
        if let Some(handler) = self.waiting.remove(&reply.call) {
            let _ = handler.send(reply);
        } else if let Some(stream) = self.streams.get(&reply.call) {
            stream.put(Input::Finish(Box::new(reply)));
        }
    }

    /// A stream that JavaScript serves.
    pub(in crate::engine) fn stream(&self, call: CallId) -> Option<&Handle> {
        self.streams.get(&call)
    }
}
