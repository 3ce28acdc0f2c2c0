//! The descriptors that the engines of this process own, so that none is taken over twice.

use crate::sync::lock;
use std::collections::HashSet;
use std::os::fd::RawFd;
use std::sync::{LazyLock, Mutex};

static CLAIMED: LazyLock<Mutex<HashSet<RawFd>>> = LazyLock::new(Mutex::default);

/// An engine's claim to a descriptor. It must be dropped before the descriptor is closed, because the number
/// may then be reused at once.
#[derive(Debug)]
pub(super) struct DescriptorClaim(RawFd);

impl DescriptorClaim {
    pub(super) fn new(fd: RawFd) -> Self {
        lock(&CLAIMED).insert(fd);
        Self(fd)
    }
}

impl Drop for DescriptorClaim {
    fn drop(&mut self) {
        lock(&CLAIMED).remove(&self.0);
    }
}

/// Whether an engine owns this descriptor.
pub fn is_claimed(fd: RawFd) -> bool {
    lock(&CLAIMED).contains(&fd)
}
