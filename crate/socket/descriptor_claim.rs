//! Which descriptors this process's engines have, so that none is taken over twice.

use crate::sync::lock;
use std::collections::HashSet;
use std::os::fd::RawFd;
use std::sync::{LazyLock, Mutex};

static CLAIMED: LazyLock<Mutex<HashSet<RawFd>>> = LazyLock::new(Mutex::default);

/// An engine's claim to a descriptor. It must be dropped before the descriptor is closed: from then on
/// its number may be somebody else's.
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

/// Whether an engine has this descriptor.
pub fn is_claimed(fd: RawFd) -> bool {
    lock(&CLAIMED).contains(&fd)
}
