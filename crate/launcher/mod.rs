//! The addon as a program. A shim is one file: this addon, and behind it the shim's script. containerd executes
//! the file, Node loads the addon from it.
//!
//! The launcher answers what needs no Node, and starts Node for everything else:
//!
//! - `start` for a group whose shim runs costs a connect ([`group`]); otherwise the server is started as a daemon
//!   and its answer passed on ([`start`]);
//! - `delete` after the shim has cleaned up costs reading a file ([`delete`]); otherwise Node does it;
//! - all else is Node's, in this process.
//!
//! What the launcher does not understand, it leaves to Node, whose errors are the shim's.

pub mod arguments;
pub mod delete;
#[cfg(all(not(test), launcher))]
mod entry;
pub mod group;
pub mod node;
pub mod payload;
#[cfg(all(not(test), launcher))]
mod program;
pub mod start;
