//! Mutexes whose poison says nothing.

use std::sync::{Mutex, MutexGuard};

/// Locks a mutex that only this thread uses and whose holders do not panic half-way.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
