//! The guest's end of the interrupt line.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use qdev::Line;

/// The guest's end of the interrupt line. Any thread.
///
/// ```
/// use holdfast_examples::guest::Interrupt;
/// use qdev::Line;
/// use std::time::{Duration, Instant};
///
/// let line = Interrupt::default();
/// assert_eq!(line.wait(Duration::ZERO), None);
/// line.set(true);
/// assert!(line.wait(Duration::ZERO) <= Some(Instant::now()));
/// assert_eq!(line.raised(), 1);
/// ```
#[derive(Debug, Default)]
pub struct Interrupt {
    /// Since when the line is high.
    high: Mutex<Option<Instant>>,
    changed: Condvar,
    raised: AtomicU64,
}

impl Line for Interrupt {
    fn set(&self, level: bool) {
        let mut high = self.lock();
        if !level {
            *high = None;
        } else if high.is_none() {
            *high = Some(Instant::now());
            self.raised.fetch_add(1, Ordering::Relaxed);
            self.changed.notify_all();
        }
    }
}

impl Interrupt {
    /// Rising edges so far.
    pub fn raised(&self) -> u64 {
        self.raised.load(Ordering::Relaxed)
    }

    /// Waits for the line to be high, asleep like a processor that waits for an interrupt, and says since when it is; none where it stays low for as
    /// long as `limit`.
    pub fn wait(&self, limit: Duration) -> Option<Instant> {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), limit, |high| high.is_none());
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn is_high(&self) -> bool {
        self.lock().is_some()
    }

    /// Nothing that is done under it can stop half way.
    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.high.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
