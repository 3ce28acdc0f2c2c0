//! Mutexes whose poisoning is ignored.

use std::sync::{Mutex, MutexGuard};

/// Locks a mutex whose holders do not panic while they hold it. Most are used by one thread at a time, where they only
/// satisfy ttrpc's `Send` bounds and never block; only events are taken while another thread turns the engine.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
