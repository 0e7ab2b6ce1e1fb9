//! Setting a machine up.

use super::{Machine, MachineHandle, MachineInner};
use crate::container::Container;
use crate::executor::{Disposal, Executor, Wake};
use crate::tracker::Tracker;
use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex};
use qom_grace::{Domain, DomainConfig, Retired};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

/// What is more at once is dropped on the executor whatever it is: it would hold up whoever retires the next thing.
const MOST_INERT_BYTES: u64 = 256 << 10;

/// How a machine is set up. Made by [`Machine::builder`].
///
/// ```
/// use qom::Machine;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// let woken = Arc::new(AtomicBool::new(false));
/// let flag = woken.clone();
/// let machine = Machine::builder("driven")
///     .embedder_driven(Arc::new(move || flag.store(true, Ordering::Release)))
///     .build();
/// machine.defer(|| println!("a bottom half"));
/// assert!(woken.load(Ordering::Acquire));
/// assert_eq!(machine.run_pending(16), 1);      // from the embedder's loop
/// ```
pub struct MachineBuilder {
    name: String,
    grace: DomainConfig,
    wake: Option<Wake>,
    recording: bool,
}

impl MachineBuilder {
    pub(super) fn new(name: &str) -> Self {
        let grace = DomainConfig {
            name: name.to_owned(),
            ..DomainConfig::default()
        };
        Self {
            name: name.to_owned(),
            grace,
            wake: None,
            recording: cfg!(debug_assertions),
        }
    }

    /// No executor thread: `wake` is told (from any thread) that [`MachineHandle::run_pending`] has something to do. What a waiting call needs
    /// to be done it does itself. A machine that is dropped before it is closed gets a thread for the rest, as nobody drives it any more.
    #[must_use]
    pub fn embedder_driven(mut self, wake: Wake) -> Self {
        self.wake = Some(wake);
        self
    }

    /// How grace periods are waited for, and how many bytes may be retired and not freed.
    #[must_use]
    pub fn grace(mut self, change: impl FnOnce(&mut DomainConfig)) -> Self {
        change(&mut self.grace);
        self
    }

    /// Whether user handles, pins and snapshots stand in the ledger with their source place. On in debug builds.
    #[must_use]
    pub fn recording(mut self, on: bool) -> Self {
        self.recording = on;
        self
    }

    /// Makes the machine.
    ///
    /// # Panics
    /// Where the executor's thread cannot be started.
    pub fn build(self) -> Machine {
        let executor = Arc::new(Executor::new(self.wake));
        let tracker = Tracker::default();
        let sink = {
            let (executor, tracker) = (executor.clone(), tracker.clone());
            Arc::new(move |retired: Vec<Retired>| {
                let bytes = retired.iter().map(Retired::bytes);
                let inert = retired.iter().all(Retired::is_inert)
                    && bytes.fold(0, u64::saturating_add) <= MOST_INERT_BYTES;
                let disposal = Disposal::Retired(retired, tracker.token());
                if inert {
                    executor.push_inert(disposal);
                } else {
                    executor.push_disposal(disposal);
                }
            })
        };
        let inner = Arc::new(MachineInner {
            tree: Mutex::default(),
            tracker,
            domain: Domain::new(self.grace, sink),
            closed: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            recording: AtomicBool::new(self.recording),
            root: OnceLock::new(),
            live: AtomicU64::new(0),
            finalized: Mutex::default(),
            finalized_one: Condvar::new(),
            subscribers: ArcSwap::from_pointee(Vec::new()),
            next_subscriber: AtomicU64::new(0),
            extensions: Mutex::default(),
            executor,
            name: self.name,
        });
        if !inner.executor.is_embedded() {
            inner
                .executor
                .start_thread(&inner.name)
                .expect("the executor's thread starts");
        }
        let handle = MachineHandle(inner);
        let root = handle
            .create::<Container>()
            .expect("a new machine takes its root");
        handle.0.name_root(root.object(), "machine");
        tracing::debug!(machine = %handle.0.name, "machine made");
        Machine {
            handle,
            root: root.child(),
            root_handle: Some(root),
        }
    }
}
