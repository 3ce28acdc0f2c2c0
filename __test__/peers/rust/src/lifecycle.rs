//! How a server says that it is ready, and what ends it.

use std::{io, thread};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use crate::output;

/// The events that end a server.
pub(crate) struct Stop {
    /// SIGTERM, caught so that the process exits with status 0.
    terminate: Signal,
    /// Resolves at the end of stdin, if that should end the server.
    stdin: Option<oneshot::Receiver<()>>,
}

impl Stop {
    /// Starts watching. Call it before the server says `ready`: a test may stop it right after.
    pub(crate) fn watch(stdin: bool) -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, stdin: stdin.then(watch_stdin) })
    }

    /// Prints `ready` and waits for the end. The caller returns from `main` then, which drops the
    /// connections: a test that wants its answers takes them before it stops the peer.
    pub(crate) async fn ready_until_stopped(mut self) -> io::Result<()> {
        output::line("ready")?;
        match self.stdin {
            Some(stdin) => tokio::select! {
                _ = self.terminate.recv() => {}
                _ = stdin => {}
            },
            None => {
                self.terminate.recv().await;
            }
        }
        Ok(())
    }
}

/// Reads stdin to its end on a thread of its own: Tokio's stdin would hold the runtime's end until
/// a pending read returns.
fn watch_stdin() -> oneshot::Receiver<()> {
    let (ended, receiver) = oneshot::channel();
    thread::spawn(move || {
        // An unreadable stdin counts as ended.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = ended.send(());
    });
    receiver
}
