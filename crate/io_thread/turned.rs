//! The engine, with what decides who turns it. One thread at a time does, which has the lock.

use super::poller::{Poller, Ready};
use crate::engine::{Change, Engine};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Answers wait no longer than about twice that for a JavaScript thread that has something else to do.
const CHECK_AFTER: Duration = Duration::from_millis(2);

/// See the module's documentation.
pub(super) struct Turned {
    pub(super) engine: Engine,
    poller: Poller,
    ready: Vec<Ready>,
    /// The last connection or listener that could not be watched, until it is asked for.
    pub(super) unwatchable: Option<(u32, io::Error)>,
    /// JavaScript knows that nothing keeps the process alive.
    pub(super) known_idle: bool,
    /// When the I/O thread's sleep ends by itself; `None` means that it does not.
    pub(super) wakes_at: Option<Instant>,
    /// JavaScript's thread looks for answers, and the I/O thread does not heed the descriptors.
    pub(super) driven: bool,
    /// How often it has looked.
    pub(super) looked: u64,
    /// The I/O thread sees to it that JavaScript's goes on looking.
    pub(super) supervised: bool,
    /// How often it does.
    pub(super) check_after: Duration,
}

impl Turned {
    pub(super) fn new(engine: Engine, poller: Poller) -> Self {
        Self {
            engine,
            poller,
            ready: Vec::new(),
            unwatchable: None,
            known_idle: true,
            wakes_at: None,
            driven: false,
            looked: 0,
            supervised: false,
            check_after: CHECK_AFTER,
        }
    }

    /// Has `work` done on the engine, and watches what it then needs. Catches panics, which must not end the thread. The
    /// engine's state is consistent between its steps, and tokio catches panics of ttrpc's tasks. What a panic leaves
    /// undone is lost with its call.
    pub(super) fn turn(&mut self, work: impl FnOnce(&mut Engine)) {
        let _ = catch_unwind(AssertUnwindSafe(|| {
            work(&mut self.engine);
            self.apply_changes();
        }));
    }

    /// Handles the descriptors that are ready.
    pub(super) fn poll(&mut self) -> io::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        let polled = self.poller.take_ready(&mut ready);
        for Ready { id, read, write } in ready.drain(..) {
            self.turn(|engine| engine.ready(id, read, write));
        }
        self.ready = ready;
        polled
    }

    /// Whether the I/O thread is to look for answers before it sleeps, because a program asked for it.
    pub(super) fn looks(&mut self, now: Instant) -> bool {
        self.engine.end_own_looks();
        let Some(until) = self.engine.looks_until() else { return false };
        if now < until {
            return true;
        }
        self.engine.end_look(false);
        false
    }

    /// Whether the process must be kept alive.
    pub(super) fn holds(&self) -> bool {
        self.poller.holds() || self.engine.timer_holds()
    }

    pub(super) fn apply_changes(&mut self) {
        let poller = &mut self.poller;
        let failed = self.engine.apply_changes(|change| match change {
            Change::Watch { id, fd, interest } => poller.watch(id, fd, interest),
            Change::Forget { id, descriptor } => {
                poller.forget(id, descriptor.fd());
                Ok(())
            }
        });
        self.unwatchable = failed.or(self.unwatchable.take());
    }
}
