//! Counters of live backings: process-wide, and separate ones that tests and machines can pass along.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many backings live and how many bytes they span.
struct Counts {
    live: AtomicU64,
    bytes: AtomicU64,
}

static PROCESS: Counts = Counts::new();

// ORDERING: Relaxed throughout. The counters order nothing; a reader that wants "none left" has learnt by other means (a join, a
// ticket) that the last holder is gone, and that edge carries the count with it.
impl Counts {
    const fn new() -> Self {
        Self {
            live: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    fn add(&self, len: u64) {
        self.live.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(len, Ordering::Relaxed);
    }

    fn remove(&self, len: u64) {
        self.live.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(len, Ordering::Relaxed);
    }
}

/// The bytes of all live [`Backing`](super::Backing)s of the process.
///
/// Each backing counts once with the length it was made with; its clones and slices add nothing. Bytes are spanned, not
/// necessarily resident. Any thread may ask.
///
/// ```standalone_crate
/// use memory::Backing;
/// use memory::host::{live_backing_bytes, live_backings};
///
/// let ram = Backing::anonymous(0x5000)?;
/// let rom = Backing::memfd("rom", 0x300)?;
/// let part = ram.slice(0x1000, 0x1000)?;
/// assert_eq!((live_backings(), live_backing_bytes()), (2, 0x5300));
/// drop((ram, rom));
/// assert_eq!((live_backings(), live_backing_bytes()), (1, 0x5000));
/// drop(part);
/// assert_eq!((live_backings(), live_backing_bytes()), (0, 0));
/// # Ok::<(), memory::BackingError>(())
/// ```
pub fn live_backing_bytes() -> u64 {
    PROCESS.bytes.load(Ordering::Relaxed)
}

/// The number of live [`Backing`](super::Backing)s of the process; clones and slices add nothing. Any thread may ask.
pub fn live_backings() -> u64 {
    PROCESS.live.load(Ordering::Relaxed)
}

pub(super) fn add_to_process(len: u64) {
    PROCESS.add(len);
}

pub(super) fn remove_from_process(len: u64) {
    PROCESS.remove(len);
}

/// A counter of one's own: it sees only the backings that were told about it.
///
/// Clones share the count. A test that asserts "nothing is left" uses one, so that tests running beside it do not disturb it.
///
/// ```
/// use memory::{Backing, BackingCounter};
///
/// let counter = BackingCounter::new();
/// let ram = Backing::anonymous_in(0x1000, &counter)?;
/// let tail = ram.slice(0x800, 0x800)?;
/// drop(ram);
/// assert_eq!((counter.live(), counter.bytes()), (1, 0x1000));
/// drop(tail);
/// assert_eq!((counter.live(), counter.bytes()), (0, 0));
/// # Ok::<(), memory::BackingError>(())
/// ```
#[derive(Clone)]
pub struct BackingCounter(Arc<Counts>);

impl BackingCounter {
    /// A counter at zero.
    pub fn new() -> Self {
        Self(Arc::new(Counts::new()))
    }

    /// The live backings that were told about this counter. Any thread may ask.
    pub fn live(&self) -> u64 {
        self.0.live.load(Ordering::Relaxed)
    }

    /// The bytes of those backings. Any thread may ask.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, len: u64) {
        self.0.add(len);
    }

    pub(super) fn remove(&self, len: u64) {
        self.0.remove(len);
    }
}

impl Default for BackingCounter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for BackingCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackingCounter")
            .field("live", &self.live())
            .field("bytes", &self.bytes())
            .finish()
    }
}
