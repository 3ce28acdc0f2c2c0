//! Mutexes whose poison says nothing.

use std::sync::{Mutex, MutexGuard};

/// Locks a mutex whose holders do not panic while they hold it. Most are used on one thread, where they
/// satisfy ttrpc's `Send` bounds and never wait; only events are taken on another thread too.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
