//! Mutexes and condition variables: the standard library's, or `parking_lot`'s in a build for race detectors.
//!
//! The standard library's wait in the kernel and nowhere else, so a forked child inherits no queue of threads that stayed with
//! the parent; `parking_lot` queues its waiters in the process's own memory, and would wake one of those. A race detector, on the other hand, does
//! not see what happens inside the standard library once a lock is contended. So `holdfast_plain_atomics` chooses, as it does for the protocol.
//!
//! No code of others runs under any of the crate's locks, so a poisoned state is a whole one and is used.

use std::time::Duration;

#[cfg(holdfast_plain_atomics)]
pub(crate) use parking_lot::MutexGuard;
#[cfg(not(holdfast_plain_atomics))]
pub(crate) use std::sync::MutexGuard;
#[cfg(not(holdfast_plain_atomics))]
use std::sync::{self, PoisonError};

#[cfg(holdfast_plain_atomics)]
use parking_lot as sync;

/// A mutex.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        #[cfg(not(holdfast_plain_atomics))]
        return self.0.lock().unwrap_or_else(PoisonError::into_inner);
        #[cfg(holdfast_plain_atomics)]
        self.0.lock()
    }
}

/// A condition variable; used with one mutex each.
#[derive(Debug, Default)]
pub(crate) struct Condvar(sync::Condvar);

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self(sync::Condvar::new())
    }

    /// Waits to be notified, or for nothing at all.
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        #[cfg(not(holdfast_plain_atomics))]
        return self.0.wait(guard).unwrap_or_else(PoisonError::into_inner);
        #[cfg(holdfast_plain_atomics)]
        {
            let mut guard = guard;
            self.0.wait(&mut guard);
            guard
        }
    }

    /// As [`wait`](Self::wait), for no longer than `most`.
    pub(crate) fn wait_for<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        most: Duration,
    ) -> MutexGuard<'a, T> {
        #[cfg(not(holdfast_plain_atomics))]
        return self
            .0
            .wait_timeout(guard, most)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        #[cfg(holdfast_plain_atomics)]
        {
            let mut guard = guard;
            self.0.wait_for(&mut guard, most);
            guard
        }
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}
