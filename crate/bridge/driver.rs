//! What turns a port's engine: the event loop, or a thread of its own.

use super::buffers::Buffers;
use super::loop_driver::LoopDriver;
use super::thread_driver::ThreadDriver;
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
    Loop(Rc<LoopDriver>),
    Thread(Rc<ThreadDriver>),
}

impl Driver {
    /// Makes an engine, which the event loop turns.
    pub(super) fn by_loop(buffers: Buffers, generations: u32) -> Result<Self> {
        let uv = Uv::get().map_err(|symbol| {
            Error::from_reason(format!("this JavaScript runtime does not export libuv's {symbol}"))
        })?;
        let event_loop = event_loop_of(&buffers)?;
        let engine = Engine::new(generations).map_err(system)?;
        LoopDriver::new(uv, event_loop, buffers, engine).map(Self::Loop).map_err(system)
    }

    /// Makes an engine, which a thread of its own turns.
    pub(super) fn by_thread(buffers: Buffers, generations: u32) -> Result<Self> {
        let engine = Engine::new(generations).map_err(system)?;
        // Other runtimes may export functions of libuv that end the process.
        let event_loop = match Uv::get() {
            Ok(uv) if buffers.in_node() => Some((uv, event_loop_of(&buffers)?)),
            _ => None,
        };
        ThreadDriver::new(buffers, engine, event_loop).map(Self::Thread)
    }

    /// Runs `work` on the engine, after everything submitted before.
    pub(super) fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> Result<T> {
        self.with_watching(work).map(|(result, _)| result)
    }

    /// As `with`. Also returns the connection or listener that could not be watched as a consequence.
    pub(super) fn with_watching<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> Result<(T, Option<(u32, io::Error)>)> {
        match self {
            Self::Loop(loop_driver) => {
                let result = loop_driver.with(work).map_err(unusable)?;
                Ok((result, loop_driver.take_unwatchable()))
            }
            Self::Thread(thread_driver) => {
                let io_thread =
                    thread_driver.thread().ok_or(Unusable::TornDown).map_err(unusable)?;
                thread_driver.busy();
                io_thread.with(work).map_err(unusable)
            }
        }
    }

    /// Whether the process is kept alive.
    pub(super) fn holds(&self) -> bool {
        match self {
            Self::Loop(loop_driver) => loop_driver.holds(),
            Self::Thread(thread_driver) => thread_driver.holds(),
        }
    }

    /// Copies the payload of a command in the next batch.
    pub(super) fn lend(&self, payload: &[u8]) -> Result<()> {
        match self {
            Self::Loop(loop_driver) => {
                loop_driver.with(|engine| engine.lend(engine.spare_payloads().copy(payload)))
            }
            Self::Thread(thread_driver) => thread_driver
                .thread()
                .map(|io_thread| io_thread.lend(payload))
                .ok_or(Unusable::TornDown),
        }
        .map_err(unusable)
    }

    /// Carries out the commands in the first `length` bytes of the outbound buffer: at once, or soon if a
    /// thread does.
    pub(super) fn submit(&self, length: usize) -> Result<()> {
        let submitted = match self {
            Self::Loop(loop_driver) => loop_driver
                .buffers()
                .read(length, |batch| loop_driver.with(|engine| engine.submit(batch)))
                .map_err(unusable)?,
            Self::Thread(thread_driver) if length == 0 => {
                thread_driver.thread().ok_or(Unusable::TornDown).map_err(unusable)?.nudge();
                Ok(())
            }
            Self::Thread(thread_driver) => {
                let io_thread =
                    thread_driver.thread().ok_or(Unusable::TornDown).map_err(unusable)?;
                thread_driver.submit(&io_thread, length)
            }
        };
        submitted.map_err(malformed)
    }

    /// Moves pending events into the inbound buffer.
    pub(super) fn take(&self) -> Filled {
        match self {
            Self::Loop(loop_driver) => loop_driver.buffers().take(loop_driver.events()),
            Self::Thread(thread_driver) => thread_driver.take(),
        }
    }

    /// The payload of the next event whose payload crosses whole.
    pub(super) fn take_whole(&self) -> Option<Vec<u8>> {
        match self {
            Self::Loop(loop_driver) => loop_driver.events().take_whole(),
            Self::Thread(thread_driver) => thread_driver.thread()?.events().take_whole(),
        }
    }

    /// The environment to which the driver belongs.
    pub(super) fn env(&self) -> sys::napi_env {
        match self {
            Self::Loop(loop_driver) => loop_driver.buffers().env(),
            Self::Thread(thread_driver) => thread_driver.buffers().env(),
        }
    }

    /// Starts the call in the first `length` bytes of the outbound buffer, for `wait_blocking`.
    pub(super) fn start_blocking(&self, length: usize) -> Result<Awaited> {
        let loop_driver = self.loop_driver()?;
        loop_driver
            .buffers()
            .read(length, |batch| loop_driver.with(|engine| engine.start_blocking(batch)))
            .map_err(unusable)?
            .map_err(malformed)
    }

    fn loop_driver(&self) -> Result<&Rc<LoopDriver>> {
        match self {
            Self::Loop(loop_driver) => Ok(loop_driver),
            Self::Thread(_) => {
                Err(Error::from_reason("blocking calls are made on the loop's engine"))
            }
        }
    }

    /// Waits a moment for the outcome of a call, and writes it as one event into the inbound buffer. Returns
    /// the event's size, and its payload if that crosses whole. `None` if the outcome has not come yet.
    pub(super) fn wait_blocking(
        &self,
        awaited: &Awaited,
    ) -> Result<Option<(usize, Option<Vec<u8>>)>> {
        let loop_driver = self.loop_driver()?;
        let outcome = loop_driver.with(|engine| engine.wait_blocking(awaited)).map_err(unusable)?;
        let Some(outcome) = outcome else { return Ok(None) };
        let mut events = Events::default();
        events.outcome(0, CallId::default(), outcome);
        let Filled { size, .. } = loop_driver.buffers().fill(|buffer| events.fill(buffer));
        Ok(Some((size, events.take_whole())))
    }
}

fn event_loop_of(buffers: &Buffers) -> Result<Loop> {
    let mut event_loop = ptr::null_mut();
    // SAFETY: the environment is the current one; the out-pointer is a local.
    super::buffers::check(unsafe {
        sys::napi_get_uv_event_loop(buffers.env(), &raw mut event_loop)
    })?;
    Ok(Loop(event_loop.cast()))
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
