//! Interrupt lines: how a device's interrupts leave it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// The far end of an interrupt line. Any thread; must not wait and must not call the device back.
///
/// ```
/// use qdev::Line;
/// use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
///
/// /// Counts edges, as an edge-sensitive interrupt controller does.
/// #[derive(Default)]
/// struct Pin { high: AtomicBool, edges: AtomicU32 }
/// impl Line for Pin {
///     fn set(&self, level: bool) {
///         if level && !self.high.swap(level, Relaxed) {
///             self.edges.fetch_add(1, Relaxed);
///         }
///         self.high.store(level, Relaxed);
///     }
/// }
///
/// let pin = Pin::default();
/// pin.set(true);
/// pin.set(true);                                // it was high
/// pin.set(false);
/// pin.pulse();
/// assert_eq!(pin.edges.load(Relaxed), 2);
/// ```
pub trait Line: Send + Sync {
    /// The line is now high (true) or low. Setting it again to what it is has no effect on a level-sensitive far end; an edge-sensitive
    /// one counts [`pulse`](Self::pulse)s.
    fn set(&self, level: bool);

    /// The line goes high and low again: one edge.
    fn pulse(&self) {
        self.set(true);
        self.set(false);
    }
}

/// A line that leads nowhere.
#[derive(Debug, Default)]
pub struct NoLine;

impl Line for NoLine {
    fn set(&self, _level: bool) {}
}

/// A line that signals an eventfd at each rising edge, as KVM's irqfd wants it.
///
/// ```
/// use qdev::{EventFdLine, Line};
/// let line = EventFdLine::new()?;
/// line.set(true);
/// line.set(false);
/// line.pulse();
/// assert_eq!(line.event().read()?, 2, "edges since the last read");
/// assert!(line.event().read().is_err(), "non-blocking");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct EventFdLine {
    event: EventFd,
    level: AtomicBool,
    edges: AtomicU64,
}

impl EventFdLine {
    /// A line with a non-blocking eventfd of its own.
    ///
    /// # Errors
    /// The system gives no eventfd.
    pub fn new() -> io::Result<Self> {
        EventFd::new(EFD_NONBLOCK).map(Self::from)
    }

    /// The eventfd, to be read or handed to an accelerator.
    pub fn event(&self) -> &EventFd {
        &self.event
    }

    /// How many rising edges there were.
    pub fn edges(&self) -> u64 {
        self.edges.load(Ordering::Relaxed)
    }

    /// Whether the line is high.
    pub fn level(&self) -> bool {
        // ORDERING: Acquire pairs with the swap in `set`.
        self.level.load(Ordering::Acquire)
    }
}

impl From<EventFd> for EventFdLine {
    fn from(event: EventFd) -> Self {
        Self {
            event,
            level: AtomicBool::new(false),
            edges: AtomicU64::new(0),
        }
    }
}

impl Line for EventFdLine {
    fn set(&self, level: bool) {
        // ORDERING: AcqRel: of two threads that raise the line one makes the edge, and what was written before it is seen by who reads the event.
        let was = self.level.swap(level, Ordering::AcqRel);
        if level && !was {
            self.edges.fetch_add(1, Ordering::Relaxed);
            // A full counter (2^64 - 2 unread edges) is already readable: nothing is lost.
            if let Err(error) = self.event.write(1) {
                tracing::debug!(%error, "an interrupt's eventfd is full");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eventfd_counts_rising_edges() {
        let line = EventFdLine::new().unwrap();
        line.set(true);
        line.set(true);
        line.set(false);
        line.pulse();
        assert_eq!(line.event().read().unwrap(), 2);
        assert_eq!((line.edges(), line.level()), (2, false));
        assert!(line.event().read().is_err(), "non-blocking, and empty");
    }
}
