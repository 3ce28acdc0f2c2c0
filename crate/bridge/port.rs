//! The class that JavaScript instantiates for each driver that it uses.

use super::buffers::Buffers;
use super::descriptors::check_free;
use super::driver::Driver;
use super::handed_out::{give_up, hand_out};
use super::payloads::Payloads;
use super::uv::Uv;
use super::values::{
    BindingAddress, BindingListenOptions, BindingOpened, BindingPair, BindingVersions,
};
use crate::engine::{
    Attempt, Awaited, Engine, Excess, Hold, ListenOptions, Looks, Method, Services,
};
use crate::records::{RECORD_LIMIT, StreamKind};
use crate::socket::{Address, Stream, own, pair};
use napi::bindgen_prelude::{Env, Function, Uint8ArraySlice};
use napi::{Error, Result};
use napi_derive::napi;
use std::cell::RefCell;
use std::time::Duration;

/// JavaScript's handle on one engine, to which batches cross. `crate::records` documents their format.
#[napi]
pub struct Port {
    driver: Driver,
    payloads: Payloads,
    /// Whether the runtime is Node, and no other.
    in_node: bool,
    /// The payload of the outcome of a blocking call.
    outcome: RefCell<Option<Vec<u8>>>,
    /// The blocking call whose outcome is awaited.
    awaited: RefCell<Option<Awaited>>,
    /// The blocking attempt to connect that is pending.
    attempt: RefCell<Option<Attempt>>,
}

#[napi]
impl Port {
    /// Opens a port of this environment. `outbound` and `inbound` are each the whole of an ArrayBuffer that
    /// is never detached. `deliver` is called with a value like that of `submit`, and must have read the
    /// events when it returns. Async hooks see it as the resource, so it may have a `hasRef`. Each slot of a
    /// request is used `generations` times. With `thread`, a thread of its own turns the engine, otherwise the
    /// event loop does. `in_node`: the runtime is Node, and no other.
    #[napi(constructor, catch_unwind)]
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
        let buffers = Buffers::new(env, outbound, inbound, deliver, in_node)?;
        let driver = if thread {
            Driver::by_thread(buffers, generations)
        } else {
            Driver::by_loop(buffers, generations)
        };
        Ok(Self {
            driver: driver?,
            payloads: Payloads::new(in_node),
            in_node,
            outcome: RefCell::default(),
            awaited: RefCell::default(),
            attempt: RefCell::default(),
        })
    }

    /// Carries out the commands in the first `length` bytes of the outbound buffer. With `take`, moves
    /// pending events into the inbound buffer and returns their bytes, with the bit `MORE` if others wait or
    /// may come: then `submit` must be called again, in a later turn of the event loop.
    #[napi(catch_unwind)]
    pub fn submit(&self, length: u32, take: bool) -> Result<u32> {
        self.driver.submit(length as usize)?;
        Ok(if take { self.driver.take().bits() } else { 0 })
    }

    /// Whether the process is kept alive by what this port does.
    #[napi(catch_unwind)]
    pub fn holds(&self) -> bool {
        self.driver.holds()
    }

    /// Waits until every command handed over so far is carried out, for a process that is about to exit.
    #[napi(catch_unwind)]
    pub fn finish(&self) -> Result<()> {
        self.driver.with(|_| ())
    }

    /// Copies the payload of a command in the next batch that has the flag for it.
    #[napi(catch_unwind)]
    pub fn lend(&self, payload: Uint8ArraySlice<'_>) -> Result<()> {
        self.driver.lend(&payload)
    }

    /// The payload of the next event whose payload crosses whole. Call it once for each such event, in order.
    #[napi(catch_unwind)]
    pub fn take_whole<'env>(&self, env: &'env Env) -> Result<Uint8ArraySlice<'env>> {
        let missing = || Error::from_reason("no event has a whole payload");
        let of_outcome = self.outcome.borrow_mut().take();
        let payload = of_outcome.or_else(|| self.driver.take_whole()).ok_or_else(missing)?;
        self.payloads.give(env, payload)
    }

    /// Makes the call in the first `length` bytes of the outbound buffer, and waits for it. Its outcome is
    /// one event in the inbound buffer, whose bytes are returned. 0 means that it has not come yet, and
    /// `wait_blocking` must be called. Not on a thread's engine.
    #[napi(catch_unwind)]
    pub fn call_blocking(&self, length: u32) -> Result<u32> {
        *self.awaited.borrow_mut() = Some(self.driver.start_blocking(length as usize)?);
        self.wait_blocking()
    }

    /// Continues to wait for the outcome of `call_blocking`, and returns what that does.
    #[napi(catch_unwind)]
    pub fn wait_blocking(&self) -> Result<u32> {
        let awaited = self.awaited.borrow_mut().take().ok_or_else(nothing_waits)?;
        let Some((size, whole)) = self.driver.wait_blocking(&awaited)? else {
            *self.awaited.borrow_mut() = Some(awaited);
            return Ok(0);
        };
        *self.outcome.borrow_mut() = whole;
        Ok(size as u32)
    }

    /// Starts to connect. The outcome arrives as an event.
    #[napi(catch_unwind)]
    pub fn connect(&self, address: BindingAddress) -> Result<BindingOpened> {
        self.open(move |engine| engine.connect(&Address::try_from(address)?))
    }

    /// Connects, and waits at most `timeout` milliseconds. EINPROGRESS means that the attempt is pending, and
    /// `wait_connect` must be called.
    #[napi(catch_unwind)]
    pub fn connect_blocking(&self, address: BindingAddress, timeout: f64) -> Result<BindingOpened> {
        let timeout = Duration::try_from_secs_f64(timeout / 1000.0).unwrap_or(Duration::MAX);
        match Address::try_from(address) {
            Ok(address) => *self.attempt.borrow_mut() = Some(Attempt::new(address, timeout)),
            Err(error) => return Ok(BindingOpened::new(Err(error), None)),
        }
        self.wait_connect()
    }

    /// Continues to wait for the connection of `connect_blocking`.
    #[napi(catch_unwind)]
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

    /// Takes over a connected descriptor. EEXIST means that Node or an engine has it already, and keeps it.
    #[napi(catch_unwind)]
    pub fn adopt(&self, fd: i32, blocking: bool) -> Result<BindingOpened> {
        if let Err(error) = check_free(self.driver.env(), self.in_node, fd) {
            return Ok(BindingOpened::new(Err(error), None));
        }
        give_up(fd);
        self.open(move |engine| {
            let stream = Stream::adopt(own(fd)?)?;
            Ok(if blocking { engine.open_blocking(stream) } else { engine.adopt(stream) })
        })
    }

    /// Makes a pair of connected descriptors, for a transport whose bytes JavaScript moves.
    #[napi(catch_unwind)]
    pub fn pair(&self, env: &Env) -> BindingPair {
        let made = pair();
        match made.and_then(|(ours, theirs)| Ok((hand_out(env, ours)?, hand_out(env, theirs)?))) {
            Ok((ours, theirs)) => BindingPair { ours, theirs, errno: 0, text: None },
            Err(error) => BindingPair {
                ours: -1,
                theirs: -1,
                errno: error.raw_os_error().unwrap_or(0),
                text: Some(error.to_string()),
            },
        }
    }

    /// Whether `other` serves the other end of a connection. If it belongs to this JavaScript thread, a blocking wait
    /// would never end.
    #[napi(catch_unwind)]
    pub fn is_served_by(&self, connection: u32, other: &Port) -> Result<bool> {
        let Some(ends) = self.driver.with(move |engine| engine.ends(connection))? else {
            return Ok(false);
        };
        other.driver.with(move |engine| engine.serves(&ends))
    }

    /// Ends a connection: at once, or with `flush` once the socket has taken all bytes.
    #[napi(catch_unwind)]
    pub fn close(&self, connection: u32, flush: bool) -> Result<()> {
        self.driver.with(
            move |engine| {
                if flush { engine.finish(connection) } else { engine.close(connection) }
            },
        )
    }

    /// Sets whether a connection keeps the process alive: 0 while calls are in flight, 1 always, 2 never.
    #[napi(catch_unwind)]
    pub fn hold(&self, connection: u32, mode: u32) -> Result<()> {
        let hold = [Hold::WhileBusy, Hold::Always, Hold::Never][mode.min(2) as usize];
        self.driver.with(move |engine| engine.hold(connection, hold))
    }

    /// Looks for a connection's answers before the thread sleeps: for some microseconds, or while that pays.
    #[napi(catch_unwind)]
    pub fn busy_poll(&self, connection: u32, microseconds: Option<u32>) -> Result<()> {
        let looks = Looks::asked_for(microseconds);
        self.driver.with(move |engine| engine.look(connection, looks))
    }

    /// Binds and listens. Connections arrive as events.
    #[napi(catch_unwind)]
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

    /// Listens on an inherited descriptor, or serves the peer of a connected one. `anonymous`: this process
    /// has the other end, so its credentials are not those of the real peer.
    #[napi(catch_unwind)]
    pub fn listen_on(
        &self,
        fd: i32,
        anonymous: bool,
        options: BindingListenOptions,
    ) -> Result<BindingOpened> {
        if let Err(error) = check_free(self.driver.env(), self.in_node, fd) {
            return Ok(BindingOpened::new(Err(error), None));
        }
        give_up(fd);
        self.open_listener(move |engine| {
            engine.listen_on(own(fd)?, anonymous, listen_options(options))
        })
    }

    /// Stops accepting. Accepted connections stay open.
    #[napi(catch_unwind)]
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

/// Whether this process exports the functions of libuv that `driver: "loop"` needs.
#[napi(catch_unwind)]
pub fn has_libuv() -> bool {
    Uv::get().is_ok()
}

/// The versions from which this addon was built.
#[napi(catch_unwind)]
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
        looks: Looks::asked_for(options.busy_poll_us),
    }
}
