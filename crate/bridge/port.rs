//! The class that JavaScript instantiates once for each driver and environment.

use super::buffers::Buffers;
use super::descriptors::check_free;
use super::driver::Driver;
use super::payloads::Payloads;
use super::uv::Uv;
use super::values::{
    BindingAddress, BindingListenOptions, BindingOpened, BindingPair, BindingVersions,
};
use crate::engine::{Attempt, Awaited, Engine, Excess, Hold, ListenOptions, Method, Services};
use crate::records::{RECORD_LIMIT, StreamKind};
use crate::socket::{Address, Stream, own, pair};
use napi::bindgen_prelude::{Env, Function, Uint8ArraySlice};
use napi::{Error, Result};
use napi_derive::napi;
use std::cell::RefCell;
use std::os::fd::IntoRawFd as _;
use std::time::Duration;

/// The batched port between JavaScript and the engine. See `crate::records` for the record format.
#[napi]
pub struct Port {
    driver: Driver,
    payloads: Payloads,
    /// The payload of the outcome of a blocking call.
    outcome: RefCell<Option<Vec<u8>>>,
    /// The blocking call that waits for its outcome.
    awaited: RefCell<Option<Awaited>>,
    /// The blocking attempt to connect that goes on.
    attempt: RefCell<Option<Attempt>>,
}

#[napi]
impl Port {
    /// Opens a port of this environment. `outbound` and `inbound` are each the whole of an
    /// ArrayBuffer that is never detached; `deliver` is called with what
    /// `submit` returns, and must be done with them when it returns. The slot of a request is used
    /// `generations` times. With `thread`, a thread of its own turns the engine, otherwise the event
    /// loop does. `in_node`: the runtime is Node, and no other.
    #[napi(constructor)]
    pub fn new(
        env: Env,
        outbound: Uint8ArraySlice<'_>,
        inbound: Uint8ArraySlice<'_>,
        deliver: Function<'_, u32, ()>,
        generations: u32,
        thread: bool,
        in_node: bool,
    ) -> Result<Self> {
        if inbound.len() < RECORD_LIMIT || outbound.len() < RECORD_LIMIT {
            return Err(Error::from_reason(format!("each buffer must have {RECORD_LIMIT} bytes")));
        }
        let buffers = Buffers::new(env, outbound, inbound, deliver)?;
        let driver = if thread {
            Driver::by_thread(buffers, generations)
        } else {
            Driver::by_loop(buffers, generations)
        };
        Ok(Self {
            driver: driver?,
            payloads: Payloads::new(in_node),
            outcome: RefCell::default(),
            awaited: RefCell::default(),
            attempt: RefCell::default(),
        })
    }

    /// Carries out the commands in the first `length` bytes of the outbound buffer. With `take`,
    /// returns the bytes of events that are in the inbound buffer, with the bit `MORE` if others wait,
    /// or are to be waited for: `submit` is then to be called again, in a later turn of the event loop.
    #[napi]
    pub fn submit(&self, length: u32, take: bool) -> Result<u32> {
        self.driver.submit(length as usize)?;
        Ok(if take { self.driver.take().bits() } else { 0 })
    }

    /// Copies a payload of a command that is to be submitted and has the flag that says so.
    #[napi]
    pub fn lend(&self, payload: Uint8ArraySlice<'_>) -> Result<()> {
        self.driver.lend(payload.to_vec())
    }

    /// The payload of the next event that has it whole. To be called once for each, in order.
    #[napi]
    pub fn take_whole<'env>(&self, env: &'env Env) -> Result<Uint8ArraySlice<'env>> {
        let missing = || Error::from_reason("no event has a whole payload");
        let of_outcome = self.outcome.borrow_mut().take();
        let payload = of_outcome.or_else(|| self.driver.take_whole()).ok_or_else(missing)?;
        self.payloads.give(env, payload)
    }

    /// Makes the one call in the first `length` bytes of the outbound buffer and waits for it. Its
    /// outcome is one event in the inbound buffer, whose bytes are returned; 0 if it is not there yet,
    /// and `wait_blocking` is to be called. Not on a thread's engine.
    #[napi]
    pub fn call_blocking(&self, length: u32) -> Result<u32> {
        *self.awaited.borrow_mut() = Some(self.driver.start_blocking(length as usize)?);
        self.wait_blocking()
    }

    /// Waits on for the outcome of `call_blocking`, and returns what that does.
    #[napi]
    pub fn wait_blocking(&self) -> Result<u32> {
        let awaited = self.awaited.borrow_mut().take().ok_or_else(nothing_waits)?;
        let Some((size, whole)) = self.driver.wait_blocking(&awaited)? else {
            *self.awaited.borrow_mut() = Some(awaited);
            return Ok(0);
        };
        *self.outcome.borrow_mut() = whole;
        Ok(size as u32)
    }

    /// Starts to connect; the outcome comes as an event.
    #[napi]
    pub fn connect(&self, address: BindingAddress) -> Result<BindingOpened> {
        self.open(move |engine| engine.connect(&Address::try_from(address)?))
    }

    /// Connects and waits for it, at most `timeout` milliseconds. EINPROGRESS: it goes on, by
    /// `wait_connect`.
    #[napi]
    pub fn connect_blocking(&self, address: BindingAddress, timeout: f64) -> Result<BindingOpened> {
        let timeout = Duration::try_from_secs_f64(timeout / 1000.0).unwrap_or(Duration::MAX);
        match Address::try_from(address) {
            Ok(address) => *self.attempt.borrow_mut() = Some(Attempt::new(address, timeout)),
            Err(error) => return Ok(BindingOpened::new(Err(error), None)),
        }
        self.wait_connect()
    }

    /// Waits on for the connection of `connect_blocking`.
    #[napi]
    pub fn wait_connect(&self) -> Result<BindingOpened> {
        let mut attempt = self.attempt.borrow_mut().take().ok_or_else(nothing_waits)?;
        let (result, attempt) = self.driver.with(move |engine| {
            let result = engine.connect_blocking(&mut attempt);
            (result, attempt)
        })?;
        if matches!(&result, Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS)) {
            *self.attempt.borrow_mut() = Some(attempt);
        }
        Ok(BindingOpened::new(result, None))
    }

    /// Takes over a connected descriptor. EEXIST: Node or an engine has it already, and keeps it.
    #[napi]
    pub fn adopt(&self, fd: i32, blocking: bool) -> Result<BindingOpened> {
        if let Err(error) = check_free(self.driver.env(), fd) {
            return Ok(BindingOpened::new(Err(error), None));
        }
        self.open(move |engine| {
            let stream = Stream::adopt(own(fd)?)?;
            Ok(if blocking { engine.open_blocking(stream) } else { engine.adopt(stream) })
        })
    }

    /// Makes a pair of connected descriptors, for a transport that JavaScript moves the bytes of.
    #[napi]
    pub fn pair(&self) -> BindingPair {
        match pair() {
            Ok((ours, theirs)) => BindingPair {
                ours: ours.into_raw_fd(),
                theirs: theirs.into_raw_fd(),
                errno: 0,
                text: None,
            },
            Err(error) => BindingPair {
                ours: -1,
                theirs: -1,
                errno: error.raw_os_error().unwrap_or(0),
                text: Some(error.to_string()),
            },
        }
    }

    /// Whether a connection's peer is a listener of `other`. If this JavaScript thread serves that
    /// listener, a blocking wait would never end.
    #[napi]
    pub fn is_listener_of(&self, connection: u32, other: &Port) -> Result<bool> {
        let Some(peer) = self.driver.with(move |engine| engine.peer(connection))? else {
            return Ok(false);
        };
        other.driver.with(move |engine| engine.listens_at(&peer))
    }

    /// Ends a connection: at once, or once the socket has taken all that was sent.
    #[napi]
    pub fn close(&self, connection: u32, flush: bool) -> Result<()> {
        self.driver.with(
            move |engine| {
                if flush { engine.finish(connection) } else { engine.close(connection) }
            },
        )
    }

    /// Whether a connection keeps the process alive: 0 while calls are in flight, 1 always, 2 never.
    #[napi]
    pub fn hold(&self, connection: u32, mode: u32) -> Result<()> {
        let hold = [Hold::WhileBusy, Hold::Always, Hold::Never][mode.min(2) as usize];
        self.driver.with(move |engine| engine.hold(connection, hold))
    }

    /// Binds and listens. Connections come as events.
    #[napi]
    pub fn listen(
        &self,
        address: BindingAddress,
        options: BindingListenOptions,
    ) -> Result<BindingOpened> {
        let mode = options.mode;
        self.open_listener(move |engine| {
            engine.listen(&Address::try_from(address)?, mode, listen_options(options))
        })
    }

    /// Listens on an inherited descriptor, or serves the peer of a connected one. `anonymous`: the
    /// other end is this process's own and says nothing of the peer behind it.
    #[napi]
    pub fn listen_on(
        &self,
        fd: i32,
        anonymous: bool,
        options: BindingListenOptions,
    ) -> Result<BindingOpened> {
        if let Err(error) = check_free(self.driver.env(), fd) {
            return Ok(BindingOpened::new(Err(error), None));
        }
        self.open_listener(move |engine| {
            engine.listen_on(own(fd)?, anonymous, listen_options(options))
        })
    }

    /// Stops accepting. Connections that were accepted go on.
    #[napi]
    pub fn close_listener(&self, listener: u32) -> Result<()> {
        self.driver.with(move |engine| engine.close_listener(listener))
    }

    fn open(
        &self,
        open: impl FnOnce(&mut Engine) -> std::io::Result<u32> + Send + 'static,
    ) -> Result<BindingOpened> {
        Ok(BindingOpened::new(self.driver.with(open)?, None))
    }

    fn open_listener(
        &self,
        open: impl FnOnce(&mut Engine) -> std::io::Result<u32> + Send + 'static,
    ) -> Result<BindingOpened> {
        let ((result, bound), unwatchable) = self.driver.with_watching(|engine| {
            let result = open(engine);
            let bound = result.as_ref().ok().and_then(|id| engine.tcp_address(*id));
            (result, bound.map(|address| address.to_string()))
        })?;
        let failed =
            unwatchable.filter(|(unwatched, _)| result.as_ref().is_ok_and(|id| id == unwatched));
        Ok(BindingOpened::new(failed.map_or(result, |(_, error)| Err(error)), bound))
    }
}

fn nothing_waits() -> Error {
    Error::from_reason("there is nothing to wait for")
}

/// Whether this process has the functions of libuv that an event loop is asked to turn an engine by.
#[napi]
pub fn has_libuv() -> bool {
    Uv::get().is_ok()
}

/// The versions that this addon was built from.
#[napi]
pub fn versions() -> BindingVersions {
    BindingVersions {
        addon: env!("CARGO_PKG_VERSION").to_owned(),
        task_api: containerd_shim_protos::TASK_API_VERSION,
    }
}

fn listen_options(options: BindingListenOptions) -> ListenOptions {
    let mut services = Services::new();
    for method in options.methods {
        let (client, server) = (method.client_streams, method.server_streams);
        let kind = (client || server).then_some(StreamKind { client, server });
        let entry = Method { name: method.method, route: method.route as u16, kind };
        services.entry(method.service).or_default().push(entry);
    }
    ListenOptions {
        services,
        require_same_user: options.require_same_user,
        max_connections: options.max_connections,
        max_concurrent_calls: options.max_concurrent_calls,
        max_queued_bytes: options.max_queued_bytes,
        excess: if options.hold_back { Excess::HeldBack } else { Excess::Refused },
    }
}
