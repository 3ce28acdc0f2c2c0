//! What a port works on: an engine that the event loop turns, or one that a thread turns.

use super::batches::Batches;
use super::looped::Looped;
use super::threaded::Threaded;
use super::uv::{Loop, Uv};
use crate::driver::Unusable;
use crate::engine::{Awaited, Engine};
use crate::ids::CallId;
use crate::port::{Events, Filled, Malformed};
use napi::{Error, Result, sys};
use std::io;
use std::ptr;
use std::rc::Rc;

/// See the module's documentation.
pub(super) enum Driven {
    Loop(Rc<Looped>),
    Thread(Rc<Threaded>),
}

impl Driven {
    /// Makes an engine that the event loop turns.
    pub(super) fn by_loop(batches: Batches, generations: u32) -> Result<Self> {
        let uv = Uv::get().map_err(|symbol| {
            Error::from_reason(format!("this JavaScript runtime does not export libuv's {symbol}"))
        })?;
        let mut event_loop = ptr::null_mut();
        // SAFETY: the environment is the current one; the out-pointer is a local.
        super::batches::check(unsafe {
            sys::napi_get_uv_event_loop(batches.env(), &raw mut event_loop)
        })?;
        let engine = Engine::new(generations).map_err(system)?;
        let looped = Looped::new(uv, Loop(event_loop.cast()), batches, engine).map_err(system)?;
        Ok(Self::Loop(looped))
    }

    /// Makes an engine that a thread of its own turns.
    pub(super) fn by_thread(batches: Batches, generations: u32) -> Result<Self> {
        let engine = Engine::new(generations).map_err(system)?;
        Threaded::new(batches, engine).map(Self::Thread)
    }

    /// Runs `work` on the engine, behind all that was submitted.
    pub(super) fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> Result<T> {
        self.with_watching(work).map(|(result, _)| result)
    }

    /// As `with`; also returns what could not be watched in consequence.
    pub(super) fn with_watching<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> Result<(T, Option<(u32, io::Error)>)> {
        match self {
            Self::Loop(looped) => {
                let result = looped.with(work).map_err(unusable)?;
                Ok((result, looped.take_unwatchable()))
            }
            Self::Thread(threaded) => {
                let driver = threaded.driver().ok_or(Unusable::TornDown).map_err(unusable)?;
                threaded.busy();
                driver.with(work).map_err(unusable)
            }
        }
    }

    /// Takes the payload of a command of the next batch.
    pub(super) fn lend(&self, payload: Vec<u8>) -> Result<()> {
        match self {
            Self::Loop(looped) => looped.with(|engine| engine.lend(payload)),
            Self::Thread(threaded) => {
                threaded.driver().map(|driver| driver.lend(payload)).ok_or(Unusable::TornDown)
            }
        }
        .map_err(unusable)
    }

    /// Has the commands in the first `length` bytes of the outbound buffer carried out: at once, or
    /// soon, by the thread.
    pub(super) fn submit(&self, length: usize) -> Result<()> {
        let submitted = match self {
            Self::Loop(looped) => looped
                .batches()
                .read(length, |batch| looped.with(|engine| engine.submit(batch)))
                .map_err(unusable)?,
            Self::Thread(threaded) if length == 0 => {
                threaded.driver().ok_or(Unusable::TornDown).map_err(unusable)?.nudge();
                Ok(())
            }
            Self::Thread(threaded) => {
                let driver = threaded.driver().ok_or(Unusable::TornDown).map_err(unusable)?;
                threaded.busy();
                threaded.batches().read(length, |batch| driver.submit(batch))
            }
        };
        submitted.map_err(malformed)
    }

    /// Moves events that wait into the inbound buffer.
    pub(super) fn take(&self) -> Filled {
        match self {
            Self::Loop(looped) => looped.batches().take(looped.events()),
            Self::Thread(threaded) => threaded.take(),
        }
    }

    /// The payload of the next event that has it whole.
    pub(super) fn take_whole(&self) -> Option<Vec<u8>> {
        match self {
            Self::Loop(looped) => looped.events().take_whole(),
            Self::Thread(threaded) => threaded.driver()?.events().take_whole(),
        }
    }

    /// The environment that this belongs to.
    pub(super) fn env(&self) -> sys::napi_env {
        match self {
            Self::Loop(looped) => looped.batches().env(),
            Self::Thread(threaded) => threaded.batches().env(),
        }
    }

    /// Makes the one call in the first `length` bytes of the outbound buffer, for `wait_blocking`.
    pub(super) fn start_blocking(&self, length: usize) -> Result<Awaited> {
        let looped = self.looped()?;
        looped
            .batches()
            .read(length, |batch| looped.with(|engine| engine.start_blocking(batch)))
            .map_err(unusable)?
            .map_err(malformed)
    }

    fn looped(&self) -> Result<&Rc<Looped>> {
        match self {
            Self::Loop(looped) => Ok(looped),
            Self::Thread(_) => {
                Err(Error::from_reason("blocking calls are made on the loop's engine"))
            }
        }
    }

    /// Waits a moment for the outcome of a call, which is one event in the inbound buffer. Returns its
    /// bytes, and the payload if it has it whole; None if it is not there yet.
    pub(super) fn wait_blocking(
        &self,
        awaited: &Awaited,
    ) -> Result<Option<(usize, Option<Vec<u8>>)>> {
        let looped = self.looped()?;
        let outcome = looped.with(|engine| engine.wait_blocking(awaited)).map_err(unusable)?;
        let Some(outcome) = outcome else { return Ok(None) };
        let mut events = Events::default();
        events.outcome(0, CallId::default(), outcome);
        let Filled { size, .. } = looped.batches().fill(|buffer| events.fill(buffer));
        Ok(Some((size, events.take_whole())))
    }
}

fn system(error: io::Error) -> Error {
    Error::from_reason(error.to_string())
}

fn unusable(why: Unusable) -> Error {
    Error::from_reason(match why {
        Unusable::TornDown => "this JavaScript environment is being torn down".to_owned(),
        Unusable::Panicked(text) => format!("the addon panicked, which is a bug: {text}"),
    })
}

fn malformed(Malformed(what): Malformed) -> Error {
    Error::from_reason(format!("a batch is malformed: {what}"))
}
