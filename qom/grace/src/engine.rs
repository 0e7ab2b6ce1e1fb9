//! The two ways to find out that readers have passed, and the choice between them, made once in a process.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam_epoch::{Collector, LocalHandle};

use crate::error::EngineError;
use crate::fork;
use crate::lock::Mutex;
#[cfg(not(holdfast_plain_atomics))]
use crate::membarrier;
use crate::protocol::Clock;
use crate::slot::Registry;

/// The environment variable that overrides the choice: `membarrier` or `epoch`.
const VARIABLE: &str = "HOLDFAST_GRACE";

/// How a domain finds out that its readers have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// Asymmetric fences: readers execute none, the reclaimer issues `membarrier(PRIVATE_EXPEDITED)`. Linux 4.14 and
    /// later, unless a system call filter forbids it.
    Membarrier,
    /// crossbeam-epoch: a full fence in each outermost section; works everywhere.
    Epoch,
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Membarrier => "membarrier",
            Self::Epoch => "epoch",
        })
    }
}

static CHOSEN: OnceLock<EngineKind> = OnceLock::new();

/// The engine of this process: the one that was [chosen](choose_engine), else the one that `HOLDFAST_GRACE` names, else
/// membarrier where the kernel allows it, else epoch. The first call settles it.
pub fn engine() -> EngineKind {
    *CHOSEN.get_or_init(|| {
        let wanted = match std::env::var(VARIABLE).as_deref() {
            Ok("epoch") => Some(EngineKind::Epoch),
            Ok("membarrier") => Some(EngineKind::Membarrier),
            Ok(other) => {
                tracing::warn!(
                    value = other,
                    "{VARIABLE} names no engine; known are membarrier and epoch"
                );
                None
            }
            Err(_) => None,
        };
        if wanted != Some(EngineKind::Epoch) && available(EngineKind::Membarrier) {
            EngineKind::Membarrier
        } else {
            EngineKind::Epoch
        }
    })
}

/// Chooses the engine of this process, once, before the first domain. Choosing again what already runs is fine.
///
/// # Errors
/// [`EngineError::AlreadyChosen`] when the other engine runs; [`EngineError::Unavailable`] when this system does not
/// offer the engine.
pub fn choose_engine(kind: EngineKind) -> Result<(), EngineError> {
    if !available(kind) {
        return Err(EngineError::Unavailable { wanted: kind });
    }
    let chosen = *CHOSEN.get_or_init(|| kind);
    if chosen == kind {
        Ok(())
    } else {
        Err(EngineError::AlreadyChosen {
            wanted: kind,
            chosen,
        })
    }
}

/// Whether this system offers the engine. Registers the process where registering is how one asks.
pub(crate) fn available(kind: EngineKind) -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    match kind {
        EngineKind::Epoch => true,
        EngineKind::Membarrier => *REGISTERED.get_or_init(|| {
            #[cfg(holdfast_plain_atomics)]
            let outcome: io::Result<()> = Ok(());
            #[cfg(not(holdfast_plain_atomics))]
            let outcome = membarrier::register();
            if let Err(error) = &outcome {
                tracing::info!(%error, "no membarrier here; read sections use crossbeam-epoch");
            }
            outcome.is_ok()
        }),
    }
}

/// One grace period under way: asked again and again by the reclaimer until it says that all readers
/// have passed.
pub(crate) type Passage<'a> = Box<dyn FnMut() -> bool + 'a>;

/// What an engine does for a domain. Readers of both write their
/// [`Word`](crate::protocol::Word); only that is done without asking the engine.
pub(crate) trait Engine: Send + Sync {
    /// Which one it is.
    fn kind(&self) -> EngineKind;

    /// What a reader pins beside its word, if anything. Called in the reader's thread.
    fn attach(&self) -> Option<LocalHandle>;

    /// Begins a grace period for all that was unlinked before this call. Called by the reclaimer
    /// only.
    ///
    /// # Errors
    /// The system's, when no barrier was to be had. Nothing may be disposed of then.
    fn begin<'a>(&'a self, clock: &Clock, registry: &Registry) -> io::Result<Passage<'a>>;
}

/// The engine of that kind for one domain.
pub(crate) fn make(kind: EngineKind) -> Box<dyn Engine> {
    match kind {
        EngineKind::Membarrier => Box::new(Asymmetric),
        EngineKind::Epoch => Box::new(Epochs {
            collector: Mutex::new((fork::generation(), Collector::new())),
        }),
    }
}

/// Asymmetric fences; the argument is in the header of `protocol.rs`.
struct Asymmetric;

impl Engine for Asymmetric {
    fn kind(&self) -> EngineKind {
        EngineKind::Membarrier
    }

    fn attach(&self) -> Option<LocalHandle> {
        None
    }

    fn begin<'a>(&'a self, clock: &Clock, registry: &Registry) -> io::Result<Passage<'a>> {
        let target = clock.advance();
        #[cfg(not(holdfast_plain_atomics))]
        membarrier::heavy_barrier()?;
        // The list is taken after the clock moved: a reader that is not on it yet takes the list's
        // lock after us.
        let mut slots = registry.snapshot();
        Ok(Box::new(move || {
            slots.retain(|slot| !slot.word().has_passed(target));
            slots.is_empty()
        }))
    }
}

/// crossbeam-epoch, one collector per domain. What is deferred only sets a flag: nothing is ever
/// disposed of in a reader, although the collector may run deferred functions in one.
struct Epochs {
    /// The collector, and the process it belongs to: in a forked child the threads that are pinned in
    /// the parent's do not exist, so the first who registers there makes another.
    collector: Mutex<(u64, Collector)>,
}

impl Epochs {
    fn register(&self) -> LocalHandle {
        let mut current = self.collector.lock();
        if current.0 != fork::generation() {
            let parents = std::mem::replace(&mut *current, (fork::generation(), Collector::new()));
            // It may be in any state.
            std::mem::forget(parents);
        }
        current.1.register()
    }
}

impl Engine for Epochs {
    fn kind(&self) -> EngineKind {
        EngineKind::Epoch
    }

    fn attach(&self) -> Option<LocalHandle> {
        Some(self.register())
    }

    fn begin<'a>(&'a self, clock: &Clock, registry: &Registry) -> io::Result<Passage<'a>> {
        // The clock moves for the sake of naming slow readers.
        clock.advance();
        let handle = self.register();
        let passed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&passed);
        let pin = handle.pin();
        // ORDERING: what was unlinked happens before this call (the reclaimer's lock), and `flush`
        // seals the bag behind a full fence, so a pin that can still see the unlinked value is at
        // most as new as the bag.
        pin.defer(move || flag.store(true, Ordering::Release));
        pin.flush();
        drop(pin);
        // A section that was open when the process forked is pinned in the parent's collector. There
        // is one such slot at most, of the thread that forked; what it did before the fork is seen.
        let mut older = registry.snapshot();
        older.retain(|slot| slot.is_pinned_elsewhere());
        Ok(Box::new(move || {
            older.retain(|slot| slot.is_pinned_elsewhere());
            // Each flush tries to advance the epoch by one step and collects.
            handle.pin().flush();
            // ORDERING: pairs with the flag's release: the collector has seen every older pin end.
            passed.load(Ordering::Acquire) && older.is_empty()
        }))
    }
}
