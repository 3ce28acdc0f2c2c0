//! Why connections end.

use crate::socket::errno_of;
use std::io;

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseReason {
    /// Who ended it, and whether it ended in order.
    pub kind: CloseKind,
    /// The system's error number, or 0.
    pub errno: i32,
    /// What happened, in words. May be empty if `errno` says everything.
    pub text: String,
}

/// How a connection ends. The discriminants are part of the record format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum CloseKind {
    /// This side closed it.
    Local = 0,
    /// The peer closed it, between two frames.
    Remote = 1,
    /// The socket failed, or the peer stopped in the middle of a frame.
    Error = 2,
    /// The peer sent something that is not ttrpc.
    Protocol = 3,
}

impl CloseReason {
    /// Closed by this side.
    pub fn local() -> Self {
        Self { kind: CloseKind::Local, errno: 0, text: String::new() }
    }

    /// The peer holds room that others wait for.
    pub fn stalled(why: &str) -> Self {
        Self { kind: CloseKind::Error, errno: libc::ETIMEDOUT, text: why.to_owned() }
    }

    /// A socket operation failed.
    pub fn failed(operation: &str, error: &io::Error) -> Self {
        Self {
            kind: CloseKind::Error,
            errno: errno_of(error),
            text: format!("{operation}: {error}"),
        }
    }
}
