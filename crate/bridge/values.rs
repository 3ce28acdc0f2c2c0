//! The objects that cross besides the buffers. Defaults and validation are TypeScript's. An absent value is
//! `null`.

use crate::socket::{Address, errno_of};
use napi_derive::napi;
use std::io;

/// An address to connect to or listen on.
#[napi(object, use_nullable = true)]
pub struct BindingAddress {
    /// `unix`, `tcp`, `vsock` or `hvsock`.
    pub kind: String,
    /// unix: the path, or NUL and the abstract name. tcp: `ip:port`. hvsock: the path of the hypervisor's socket.
    pub name: Option<String>,
    /// vsock: the context id.
    pub cid: Option<u32>,
    /// vsock and hvsock: the port.
    pub port: Option<u32>,
}

impl TryFrom<BindingAddress> for Address {
    type Error = io::Error;

    fn try_from(address: BindingAddress) -> io::Result<Self> {
        let BindingAddress { kind, name, cid, port } = address;
        match (kind.as_str(), name, cid, port) {
            ("unix", Some(name), ..) => Ok(Self::Unix(name.into_bytes())),
            ("tcp", Some(name), ..) => name.parse().map(Self::Tcp).map_err(io::Error::other),
            ("hvsock", Some(name), _, Some(port)) => {
                Ok(Self::Hybrid { path: name.into_bytes(), port })
            }
            ("vsock", _, Some(cid), Some(port)) => Ok(Self::Vsock { cid, port }),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

/// The result of opening a connection or listener. An error of the system is a value, not an exception.
#[napi(object, use_nullable = true)]
pub struct BindingOpened {
    /// The id of the connection or listener, or 0 if opening it failed.
    pub id: u32,
    /// A TCP listener's `ip:port`.
    pub bound: Option<String>,
    /// The system's error number, or 0.
    pub errno: i32,
    /// What went wrong, in words.
    pub text: Option<String>,
}

impl BindingOpened {
    pub(super) fn new(result: io::Result<u32>, bound: Option<String>) -> Self {
        match result {
            Ok(id) => Self { id, bound, errno: 0, text: None },
            Err(error) => {
                Self { id: 0, bound: None, errno: errno_of(&error), text: Some(error.to_string()) }
            }
        }
    }
}

/// A pair of connected descriptors.
#[napi(object, use_nullable = true)]
pub struct BindingPair {
    /// For the engine.
    pub ours: i32,
    /// For JavaScript.
    pub theirs: i32,
    /// The system's error number, or 0.
    pub errno: i32,
    /// What went wrong, in words.
    pub text: Option<String>,
}

/// A method that JavaScript handles.
#[napi(object)]
pub struct BindingMethod {
    /// The full name of the service.
    pub service: String,
    /// The name of the method.
    pub method: String,
    /// The route that its requests carry.
    pub route: u32,
    /// The client sends any number of messages.
    pub client_streams: bool,
    /// The server sends any number of messages.
    pub server_streams: bool,
}

/// The options of a listener.
#[napi(object, use_nullable = true)]
pub struct BindingListenOptions {
    /// The methods that JavaScript handles.
    pub methods: Vec<BindingMethod>,
    /// Permission bits of a unix socket's file.
    pub mode: Option<u32>,
    /// Whether to admit only peers of this process's user and group.
    pub require_same_user: bool,
    /// The most connections open at once.
    pub max_connections: u32,
    /// The most requests in flight.
    pub max_concurrent_calls: u32,
    /// The most bytes of requests in flight.
    pub max_queued_bytes: u32,
    /// Whether requests beyond these two limits are left unread until there is room, instead of refused.
    pub hold_back: bool,
    /// For how long to look for requests before the thread sleeps, in microseconds. By default, while that pays.
    pub busy_poll_us: Option<u32>,
}

/// The versions that an addon was built from.
#[napi(object)]
pub struct BindingVersions {
    /// The version of this addon.
    pub addon: String,
    /// The version of the task service that the `containerd-shim-protos` crate speaks.
    pub task_api: i32,
}
