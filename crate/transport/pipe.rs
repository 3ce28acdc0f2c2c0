//! ttrpc's end of a connection.

use super::{CloseKind, Closed, Wire};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What ttrpc takes for the socket.
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
        let mut flow = self.0.lock();
        let flow = &mut *flow;
        let count = flow.rx.readable(&flow.rx_scanner).min(into.remaining());
        if count == 0 {
            if flow.closed.is_some() {
                return Poll::Ready(Ok(()));
            }
            flow.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        self.0.touched.count();
        into.put_slice(flow.rx.take(count, &mut flow.rx_scanner));
        flow.rx.recycle(&self.0.touched.spare);
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
            // A failed write ends ttrpc's connection before it has read the peer's last words.
            return Poll::Ready(match flow.rx.readable(&flow.rx_scanner) {
                0 => Err(io::ErrorKind::BrokenPipe.into()),
                _ => Ok(bytes.len()),
            });
        }
        self.0.touched.count();
        flow.tx.extend_from_slice(bytes);
        flow.watch.outbound(&mut flow.tx_scanner, &mut flow.tx);
        self.0.touch(flow);
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
        flow.close(Closed {
            kind: CloseKind::Error,
            errno: 0,
            text: "ttrpc ended the connection".to_owned(),
        });
        self.0.touch(&mut flow);
    }
}
