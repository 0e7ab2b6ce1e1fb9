//! What a run has done, and what it has found.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

macro_rules! ops {
    ($($op:ident $name:literal),* $(,)?) => {
        /// A kind of operation that is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each has its name in words beside it")]
        pub enum Op { $($op),* }

        impl Op {
            /// All kinds, as they are printed.
            pub const ALL: &[(Op, &str)] = &[$((Op::$op, $name)),*];
        }
    };
}

ops! {
    Load "loads", Store "stores", Exchange "compare-exchanges", BulkRead "bulk reads", BulkWrite "bulk writes",
    Slice "borrowed slices", FixedView "fixed views", ViewWalk "views walked", Hole "decode errors",
    Callback "callbacks", CallbackPanic "panics in callbacks", Dma "accesses from callbacks", Reentry "re-entries refused",
    MoveInside "moves from callbacks", HideInside "hides from callbacks", UnplugInside "unplugs from callbacks", UnblobInside "blobs withdrawn from callbacks",
    Map "mappings opened", MapRefused "mappings refused", Bounce "bounce buffers", Unmap "mappings unmapped", MapDropped "mappings dropped",
    MapWithdrawn "mappings found withdrawn", PinMade "pins", PinDone "pins completed by the worker", Snapshot "snapshots", Holder "holders withdrawn",
    Plug "devices plugged", RealizeFailed "realizes that failed", Unplug "devices unplugged", UnplugAsync "unplugged asynchronously",
    UnplugGuard "unplugged in a read section", UnplugTransaction "unplugged in a transaction", UnplugHandle "unplugged by the last handle",
    UnplugBus "unplugged with their bus", Unrealize "unrealized and realized again", WaitedFinal "waits for a finalization", Blob "blobs plugged", Unblob "blobs withdrawn",
    Change "attributes changed", Transaction "transactions of several changes", SpaceOpen "address spaces opened", Listen "listeners registered", Told "calls of listeners",
    Quiesce "quiescences", Finalized "objects finalized", Machine "machines", MachineDropped "machines dropped while in use",
}

/// Counts and violations. Any thread.
#[derive(Debug)]
pub struct Tally {
    counts: Vec<AtomicU64>,
    violations: Mutex<Vec<String>>,
}

/// How many violations are kept in words.
const KEPT: usize = 20;

impl Default for Tally {
    fn default() -> Self {
        Self {
            counts: Op::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            violations: Mutex::default(),
        }
    }
}

impl Tally {
    /// Counts one.
    pub fn did(&self, op: Op) {
        // ORDERING: Relaxed: numbers for people; they must not order what is being tested.
        self.counts[op as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn count(&self, op: Op) -> u64 {
        self.counts[op as usize].load(Ordering::Relaxed)
    }

    /// Reports that something is not as it must be.
    pub fn violation(&self, what: impl fmt::Display) {
        let mut violations = self.violations.lock();
        if violations.len() < KEPT {
            eprintln!("VIOLATION: {what}");
        }
        violations.push(what.to_string());
    }

    /// Reports unless `right`.
    pub fn check(&self, right: bool, what: impl FnOnce() -> String) {
        if !right {
            self.violation(what());
        }
    }

    /// How many violations there were.
    pub fn violations(&self) -> usize {
        self.violations.lock().len()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (op, name) in Op::ALL {
            writeln!(f, "{:>12} {name}", self.count(*op))?;
        }
        write!(f, "{:>12} violations", self.violations())
    }
}
