//! The class that JavaScript makes one of per environment.

use super::environment::{Environment, JsBuffer, Parts, Unusable};
use super::uv::{Loop, Uv};
use super::values::{
    BindingAddress, BindingListenOptions, BindingOpened, BindingPair, BindingVersions,
};
use crate::engine::{Engine, Excess, Hold, ListenOptions, Method, Services};
use crate::port::{Events, Malformed, RECORD_LIMIT, StreamKind};
use crate::socket::{Address, Stream, own, pair};
use napi::bindgen_prelude::{Env, Function, JsValue, Uint8ArraySlice};
use napi::{Error, Result, sys};
use napi_derive::napi;
use std::os::fd::IntoRawFd as _;
use std::ptr;
use std::rc::Rc;
use std::time::Duration;

/// The batched port between JavaScript and the engine. See `crate::port` for the record format.
#[napi]
pub struct Port {
    environment: Rc<Environment>,
}

#[napi]
impl Port {
    /// Opens the port of this environment. `outbound` and `inbound` are each the whole of an
    /// ArrayBuffer that is never detached; `deliver` is called with the number of bytes of events
    /// that are in `inbound`, and must be done with them when it returns.
    #[napi(constructor)]
    pub fn new(
        env: Env,
        mut outbound: Uint8ArraySlice<'_>,
        mut inbound: Uint8ArraySlice<'_>,
        deliver: Function<'_, u32, ()>,
    ) -> Result<Self> {
        let uv = Uv::get().map_err(|symbol| {
            Error::from_reason(format!("this JavaScript runtime does not export libuv's {symbol}"))
        })?;
        if inbound.len() < RECORD_LIMIT || outbound.len() < RECORD_LIMIT {
            return Err(Error::from_reason(format!("each buffer must have {RECORD_LIMIT} bytes")));
        }
        let engine = Engine::new().map_err(|error| Error::from_reason(error.to_string()))?;
        let raw = env.raw();
        let mut event_loop = ptr::null_mut();
        let mut async_context = ptr::null_mut();
        let mut references = [ptr::null_mut(); 3];
        // SAFETY: `raw` is the current environment and all values are of this call; each out-pointer
        // is a local. Node frees references and context with the environment.
        unsafe {
            check(sys::napi_get_uv_event_loop(raw, &raw mut event_loop))?;
            let values = [outbound.value().value, inbound.value().value, deliver.value().value];
            for (value, reference) in values.into_iter().zip(&mut references) {
                check(sys::napi_create_reference(raw, value, 1, reference))?;
            }
            let mut name = ptr::null_mut();
            let text = c"ttrpc";
            let length = text.count_bytes() as isize;
            check(sys::napi_create_string_utf8(raw, text.as_ptr(), length, &raw mut name))?;
            check(sys::napi_async_init(raw, ptr::null_mut(), name, &raw mut async_context))?;
        }
        let parts = Parts {
            env: raw,
            uv,
            event_loop: Loop(event_loop.cast()),
            outbound: buffer(&mut outbound),
            inbound: buffer(&mut inbound),
            deliver: references[2],
            async_context,
        };
        let environment = Environment::new(parts, engine)
            .map_err(|error| Error::from_reason(error.to_string()))?;
        Ok(Self { environment })
    }

    /// Carries out the commands in the first `length` bytes of the outbound buffer. Returns the bytes
    /// of events that are in the inbound buffer; if any, call `take` for more when they are read.
    #[napi]
    pub fn submit(&self, length: u32) -> Result<u32> {
        self.environment
            .with_batch(length as usize, |engine, batch| engine.submit(batch))
            .map_err(unusable)?
            .map_err(malformed)?;
        Ok(self.environment.take_events() as u32)
    }

    /// Moves events that wait into the inbound buffer; returns their bytes.
    #[napi]
    pub fn take(&self) -> u32 {
        self.environment.take_events() as u32
    }

    /// Makes the one call in the first `length` bytes of the outbound buffer and waits for it. Returns
    /// the bytes of its outcome, one event, in the inbound buffer.
    #[napi]
    pub fn call_blocking(&self, length: u32) -> Result<u32> {
        let outcome = self
            .environment
            .with_batch(length as usize, |engine, batch| engine.call_blocking(batch))
            .map_err(unusable)?
            .map_err(malformed)?;
        let mut events = Events::default();
        events.outcome(0, 0, &outcome);
        Ok(self.environment.fill_inbound(|_, buffer| events.fill(buffer)) as u32)
    }

    /// Starts to connect; the outcome comes as an event.
    #[napi]
    pub fn connect(&self, address: BindingAddress) -> Result<BindingOpened> {
        self.open(|engine| engine.connect(&Address::try_from(address)?))
    }

    /// Connects and waits for it, at most `timeout` milliseconds.
    #[napi]
    pub fn connect_blocking(&self, address: BindingAddress, timeout: f64) -> Result<BindingOpened> {
        let timeout = Duration::try_from_secs_f64(timeout / 1000.0).unwrap_or(Duration::MAX);
        self.open(|engine| engine.connect_blocking(&Address::try_from(address)?, timeout))
    }

    /// Takes over a connected descriptor.
    #[napi]
    pub fn adopt(&self, fd: i32, blocking: bool) -> Result<BindingOpened> {
        self.open(|engine| {
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

    /// Whether the peer of a connection listens on this thread, so that waiting for it would be for ever.
    #[napi]
    pub fn is_own_listener(&self, connection: u32) -> Result<bool> {
        self.environment.with(|engine| engine.is_own_listener(connection)).map_err(unusable)
    }

    /// Ends a connection: at once, or once the socket has taken all that was sent.
    #[napi]
    pub fn close(&self, connection: u32, flush: bool) -> Result<()> {
        self.environment
            .with(|engine| if flush { engine.finish(connection) } else { engine.close(connection) })
            .map_err(unusable)
    }

    /// Whether a connection keeps the process alive: 0 while calls are in flight, 1 always, 2 never.
    #[napi]
    pub fn hold(&self, connection: u32, mode: u32) -> Result<()> {
        let hold = [Hold::WhileBusy, Hold::Always, Hold::Never][mode.min(2) as usize];
        self.environment.with(|engine| engine.hold(connection, hold)).map_err(unusable)
    }

    /// Binds and listens. Connections come as events.
    #[napi]
    pub fn listen(
        &self,
        address: BindingAddress,
        options: BindingListenOptions,
    ) -> Result<BindingOpened> {
        let mode = options.mode;
        self.open_listener(|engine| {
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
        self.open_listener(|engine| engine.listen_on(own(fd)?, anonymous, listen_options(options)))
    }

    /// Stops accepting. Connections that were accepted go on.
    #[napi]
    pub fn close_listener(&self, listener: u32) -> Result<()> {
        self.environment.with(|engine| engine.close_listener(listener)).map_err(unusable)
    }

    fn open(
        &self,
        open: impl FnOnce(&mut Engine) -> std::io::Result<u32>,
    ) -> Result<BindingOpened> {
        let result = self.environment.with(open).map_err(unusable)?;
        Ok(BindingOpened::new(result, None))
    }

    fn open_listener(
        &self,
        open: impl FnOnce(&mut Engine) -> std::io::Result<u32>,
    ) -> Result<BindingOpened> {
        let (result, bound) = self
            .environment
            .with(|engine| {
                let result = open(engine);
                let bound = result.as_ref().ok().and_then(|id| engine.tcp_address(*id));
                (result, bound.map(|address| address.to_string()))
            })
            .map_err(unusable)?;
        let unwatchable = result.as_ref().ok().and_then(|id| self.environment.watch_failure(*id));
        Ok(BindingOpened::new(unwatchable.map_or(result, Err), bound))
    }
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

fn buffer(slice: &mut Uint8ArraySlice<'_>) -> JsBuffer {
    // SAFETY: only the address is taken; it is used under the rules of `Environment`.
    let bytes = unsafe { slice.as_mut() };
    JsBuffer { start: bytes.as_mut_ptr(), size: bytes.len() }
}

fn check(status: sys::napi_status) -> Result<()> {
    if status == sys::Status::napi_ok {
        Ok(())
    } else {
        Err(Error::from_reason(format!("Node-API answered status {status}")))
    }
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
