//! What a port works on: an engine that the event loop turns, or one that a thread turns.

use super::buffers::Buffers;
use super::on_loop::OnLoop;
use super::on_thread::OnThread;
use super::uv::{Loop, Uv};
use crate::engine::{Awaited, Engine};
use crate::ids::CallId;
use crate::io_thread::Unusable;
use crate::records::{Events, Filled, Malformed};
use napi::{Error, Result, sys};
use std::io;
use std::ptr;
use std::rc::Rc;

/// See the module's documentation.
pub(super) enum Driver {
    Loop(Rc<OnLoop>),
    Thread(Rc<OnThread>),
}

impl Driver {
    /// Makes an engine that the event loop turns.
    pub(super) fn by_loop(buffers: Buffers, generations: u32) -> Result<Self> {
        let uv = Uv::get().map_err(|symbol| {
            Error::from_reason(format!("this JavaScript runtime does not export libuv's {symbol}"))
        })?;
        let mut event_loop = ptr::null_mut();
        // SAFETY: the environment is the current one; the out-pointer is a local.
        super::buffers::check(unsafe {
            sys::napi_get_uv_event_loop(buffers.env(), &raw mut event_loop)
        })?;
        let engine = Engine::new(generations).map_err(system)?;
        let on_loop = OnLoop::new(uv, Loop(event_loop.cast()), buffers, engine).map_err(system)?;
        Ok(Self::Loop(on_loop))
    }

    /// Makes an engine that a thread of its own turns.
    pub(super) fn by_thread(buffers: Buffers, generations: u32) -> Result<Self> {
        let engine = Engine::new(generations).map_err(system)?;
        OnThread::new(buffers, engine).map(Self::Thread)
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
            Self::Loop(on_loop) => {
                let result = on_loop.with(work).map_err(unusable)?;
                Ok((result, on_loop.take_unwatchable()))
            }
            Self::Thread(on_thread) => {
                let io_thread = on_thread.thread().ok_or(Unusable::TornDown).map_err(unusable)?;
                on_thread.busy();
                io_thread.with(work).map_err(unusable)
            }
        }
    }

    /// Takes the payload of a command of the next batch.
    pub(super) fn lend(&self, payload: Vec<u8>) -> Result<()> {
        match self {
            Self::Loop(on_loop) => on_loop.with(|engine| engine.lend(payload)),
            Self::Thread(on_thread) => on_thread
                .thread()
                .map(|io_thread| io_thread.lend(payload))
                .ok_or(Unusable::TornDown),
        }
        .map_err(unusable)
    }

    /// Has the commands in the first `length` bytes of the outbound buffer carried out: at once, or
    /// soon, by the thread.
    pub(super) fn submit(&self, length: usize) -> Result<()> {
        let submitted = match self {
            Self::Loop(on_loop) => on_loop
                .buffers()
                .read(length, |batch| on_loop.with(|engine| engine.submit(batch)))
                .map_err(unusable)?,
            Self::Thread(on_thread) if length == 0 => {
                on_thread.thread().ok_or(Unusable::TornDown).map_err(unusable)?.nudge();
                Ok(())
            }
            Self::Thread(on_thread) => {
                let io_thread = on_thread.thread().ok_or(Unusable::TornDown).map_err(unusable)?;
                on_thread.busy();
                on_thread.buffers().read(length, |batch| io_thread.submit(batch))
            }
        };
        submitted.map_err(malformed)
    }

    /// Moves events that wait into the inbound buffer.
    pub(super) fn take(&self) -> Filled {
        match self {
            Self::Loop(on_loop) => on_loop.buffers().take(on_loop.events()),
            Self::Thread(on_thread) => on_thread.take(),
        }
    }

    /// The payload of the next event that has it whole.
    pub(super) fn take_whole(&self) -> Option<Vec<u8>> {
        match self {
            Self::Loop(on_loop) => on_loop.events().take_whole(),
            Self::Thread(on_thread) => on_thread.thread()?.events().take_whole(),
        }
    }

    /// The environment that this belongs to.
    pub(super) fn env(&self) -> sys::napi_env {
        match self {
            Self::Loop(on_loop) => on_loop.buffers().env(),
            Self::Thread(on_thread) => on_thread.buffers().env(),
        }
    }

    /// Makes the one call in the first `length` bytes of the outbound buffer, for `wait_blocking`.
    pub(super) fn start_blocking(&self, length: usize) -> Result<Awaited> {
        let on_loop = self.on_loop()?;
        on_loop
            .buffers()
            .read(length, |batch| on_loop.with(|engine| engine.start_blocking(batch)))
            .map_err(unusable)?
            .map_err(malformed)
    }

    fn on_loop(&self) -> Result<&Rc<OnLoop>> {
        match self {
            Self::Loop(on_loop) => Ok(on_loop),
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
        let on_loop = self.on_loop()?;
        let outcome = on_loop.with(|engine| engine.wait_blocking(awaited)).map_err(unusable)?;
        let Some(outcome) = outcome else { return Ok(None) };
        let mut events = Events::default();
        events.outcome(0, CallId::default(), outcome);
        let Filled { size, .. } = on_loop.buffers().fill(|buffer| events.fill(buffer));
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
