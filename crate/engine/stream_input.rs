//! The queue of what JavaScript does with one stream, on its way to the stream's task.
//!
//! A tokio queue would reserve room for 32 entries in every open stream; this one takes no memory while it is
//! empty.

use crate::records::Reply;
use crate::sync::lock;
use crate::transport::Queued;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

/// What JavaScript does with a stream.
#[derive(Debug)]
pub(super) enum Input {
    /// Send a message, which counts until ttrpc has it.
    Message(Vec<u8>, Queued),
    /// Send no more.
    HalfClose,
    /// Served: end with this status, and with this payload if there is a single response.
    Finish(Box<Reply>),
}

#[derive(Debug, Default)]
struct Queue {
    inputs: VecDeque<Input>,
    waker: Option<Waker>,
    /// One of the two sides is gone.
    over: bool,
}

/// An empty queue keeps memory for at most this many inputs.
const KEEP: usize = 32;

/// The sending side. Dropping it ends the queue behind the inputs in it.
#[derive(Debug)]
pub(super) struct InputSender(Arc<Mutex<Queue>>);

/// The receiving side.
#[derive(Debug)]
pub(super) struct InputReceiver(Arc<Mutex<Queue>>);

/// Both sides of a queue.
pub(super) fn input_queue() -> (InputSender, InputReceiver) {
    let queue = Arc::<Mutex<Queue>>::default();
    (InputSender(queue.clone()), InputReceiver(queue))
}

impl InputSender {
    /// Appends an input. If the receiver is gone, the input is dropped.
    pub(super) fn put(&self, input: Input) {
        let mut queue = lock(&self.0);
        if queue.over {
            return;
        }
        queue.inputs.push_back(input);
        let waker = queue.waker.take();
        drop(queue);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Whether the receiver is gone.
    pub(super) fn is_closed(&self) -> bool {
        lock(&self.0).over
    }
}

impl Drop for InputSender {
    fn drop(&mut self) {
        let mut queue = lock(&self.0);
        queue.over = true;
        let waker = queue.waker.take();
        drop(queue);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl InputReceiver {
    /// The next input, if there is one.
    pub(super) fn try_next(&mut self) -> Option<Input> {
        lock(&self.0).take()
    }

    /// The next input; `None` if there will be no more.
    pub(super) async fn next(&mut self) -> Option<Input> {
        poll_fn(|context| {
            let mut queue = lock(&self.0);
            match queue.take() {
                None if !queue.over => {
                    queue.waker = Some(context.waker().clone());
                    Poll::Pending
                }
                next => Poll::Ready(next),
            }
        })
        .await
    }
}

impl Drop for InputReceiver {
    fn drop(&mut self) {
        let mut queue = lock(&self.0);
        queue.over = true;
        let (inputs, waker) = (std::mem::take(&mut queue.inputs), queue.waker.take());
        drop(queue);
        drop((inputs, waker));
    }
}

impl Queue {
    fn take(&mut self) -> Option<Input> {
        let next = self.inputs.pop_front();
        if self.inputs.is_empty() && self.inputs.capacity() > KEEP {
            self.inputs = VecDeque::new();
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[test]
    fn what_was_put_is_taken_in_order_and_then_the_queue_ends() {
        let (inputs, mut receiver) = input_queue();
        assert!(receiver.next().now_or_never().is_none());
        for _ in 0..100 {
            inputs.put(Input::HalfClose);
        }
        assert!(!inputs.is_closed());
        drop(inputs);
        for _ in 0..100 {
            assert!(matches!(receiver.next().now_or_never(), Some(Some(Input::HalfClose))));
        }
        assert!(matches!(receiver.next().now_or_never(), Some(None)));
        assert_eq!(lock(&receiver.0).inputs.capacity(), 0);
    }

    #[test]
    fn what_nobody_takes_any_more_is_dropped() {
        let (inputs, receiver) = input_queue();
        inputs.put(Input::HalfClose);
        drop(receiver);
        inputs.put(Input::HalfClose);
        assert!(inputs.is_closed() && lock(&inputs.0).inputs.is_empty());
    }
}
