//! ttrpc's end of a connection.

use super::Wire;
use crate::protocol::close_reason::{CloseKind, CloseReason};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The in-memory socket that ttrpc reads from and writes to.
#[derive(Debug)]
pub struct Pipe(Arc<Wire>);

impl Pipe {
    pub(super) fn new(wire: Arc<Wire>) -> Self {
        Self(wire)
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &*self.0;
        let mut flow = wire.lock();
        let flow = &mut *flow;
        if flow.rx.readable() == 0 {
            wire.advance(flow);
        }
        let count = flow.rx.readable().min(into.remaining());
        if count == 0 {
            if flow.closed.is_some() && flow.block.is_none() {
                return Poll::Ready(Ok(()));
            }
            flow.reader = Some(context.waker().clone());
            wire.mark_flow(flow);
            return Poll::Pending;
        }
        wire.worklist.count_activity();
        into.put_slice(flow.rx.take(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut flow = self.0.lock();
        let flow = &mut *flow;
        if flow.closed.is_some() {
            // A failed write would end ttrpc's connection before it has read the peer's last bytes.
            return Poll::Ready(if flow.rx.len() == 0 {
                Err(io::ErrorKind::BrokenPipe.into())
            } else {
                Ok(bytes.len())
            });
        }
        self.0.worklist.count_activity();
        self.0.write(flow, bytes);
        self.0.mark_flow(flow);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let mut flow = self.0.lock();
        flow.released = true;
        flow.close(CloseReason {
            kind: CloseKind::Error,
            errno: 0,
            text: "ttrpc ended the connection".to_owned(),
        });
        self.0.mark_flow(&mut flow);
    }
}
