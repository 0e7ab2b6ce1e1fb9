//! What is opened in an object's name and closed with it.

use crate::layer::Pointer;
use crate::ledger::Reason;
use crate::machine::MachineHandle;
use crate::object::Object;
use crate::tree::TreeKey;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Something opened in an object's name: a mapping, an address space, a listener, a notifier, a timer, …
///
/// The object's withdrawal closes it (and so does its unrealize, for what was opened since its realize). Closing is idempotent:
/// the opener may have closed it before.
///
/// ```
/// use qom::{Container, Handle, Machine, ObjectOps};
/// use std::sync::{Arc, atomic::{AtomicBool, Ordering::Relaxed}};
///
/// struct Timer { armed: AtomicBool }
/// impl Handle for Timer {
///     fn close(&self) { self.armed.store(false, Relaxed) }
///     fn describe(&self) -> String { "timer of 10 ms".into() }
/// }
///
/// let machine = Machine::new("doc");
/// let clock = machine.create::<Container>()?;
/// machine.root().add_child("clock", &clock)?;
/// let timer = Arc::new(Timer { armed: AtomicBool::new(true) });
/// clock.open(timer.clone())?;
/// assert_eq!(clock.opened(), ["timer of 10 ms"]);
/// clock.unparent()?;
/// assert!(!timer.armed.load(Relaxed));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Handle: Send + Sync {
    /// Closes it. Runs outside every lock, on the thread that runs the withdrawal; may block as long as a hook may.
    fn close(&self);
    /// What it is, for messages and the ledger: `mapping of /machine/a/bar[0]`.
    fn describe(&self) -> String;
}

/// A handle that is opened in one object's name on another, and ends with whichever of the two goes first: a mapping of a region in a device's name.
///
/// For layers: it is opened with [`open_on`](crate::layer::open_on), and closed with [`Entry::close`]. At the withdrawal of the holder or of what it
/// is on, its entry is taken off their lists, from when on it says so, and then the handle is ended.
pub trait HandleOn: Send + Sync {
    /// Where it stands. Gives a field and does nothing else, as it is called under the tree lock.
    fn entry(&self) -> &Entry;
    /// One of the two is withdrawn, as its entry says already. Called once at most, outside every lock of this crate; may block as long as a hook may.
    fn end(self: Arc<Self>);
    /// What it is, for messages and the ledger: `mapping of /machine/a/bar[0]`.
    fn describe(&self) -> String;
    /// Why it holds what it is on, and from which code.
    fn edge(&self) -> (Reason, &'static Location<'static>);
}

/// What stands on an object's list.
#[derive(Clone)]
pub(crate) enum Opened {
    /// A handle that is nobody's but its holder's.
    Alone(Arc<dyn Handle>),
    /// One that is on another object, or could be.
    On(Arc<dyn HandleOn>),
}

impl Opened {
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Alone(handle) => handle.describe(),
            Self::On(handle) => handle.describe(),
        }
    }
}

/// Whether a [`HandleOn`] is open, or how it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is open.
    NotYet,
    /// By whoever has it, or it was never opened.
    Closed,
    /// With its holder or what it was on.
    Withdrawn,
}

/// Where a [`HandleOn`] stands, and whether it still does: changed under the tree lock, and read without.
#[derive(Debug)]
pub struct Entry {
    pub(crate) holder: TreeKey,
    pub(crate) on: Option<TreeKey>,
    /// The handle's number and one; or one of the three below.
    state: AtomicU64,
}

const UNOPENED: u64 = 0;
const CLOSED: u64 = u64::MAX;
const WITHDRAWN: u64 = u64::MAX - 1;

impl Entry {
    /// For a handle that is going to be opened in the name of `holder`, perhaps on something.
    #[inline]
    pub fn of(holder: &Object, on: Option<&Object>) -> Self {
        Self {
            holder: holder.key,
            on: on.map(|on| on.key),
            state: AtomicU64::new(UNOPENED),
        }
    }

    /// Whether it is open. Where a read section has begun before, and the handle ends later, nothing that is retired after that end goes before
    /// the section is left.
    #[inline]
    pub fn standing(&self) -> End {
        // ORDERING: SeqCst, with the stores in `end`: R3 and W0 of `grace`'s protocol, of which the build for race detectors asks that much.
        match self.state.load(Ordering::SeqCst) {
            WITHDRAWN => End::Withdrawn,
            CLOSED | UNOPENED => End::Closed,
            _ => End::NotYet,
        }
    }

    /// The holder, if it is not finalized. Takes the tree lock of its machine.
    pub fn holder(&self, machine: &MachineHandle) -> Option<Pointer> {
        machine.0.tree.lock().object(self.holder).cloned()
    }

    /// Closes the handle for whoever has it: takes it off the lists, and gives the lists' pointer to it; none where somebody was faster, or it was
    /// never opened. `machine` is that of its holder.
    #[inline]
    pub fn close(&self, machine: &MachineHandle) -> Option<Arc<dyn HandleOn>> {
        machine.0.tree.lock().close_on(self, true)
    }

    /// As [`close`](Self::close), where no reader without the lock asks for its standing at the same time: whoever closes it is the only one who may.
    #[inline]
    pub fn close_unread(&self, machine: &MachineHandle) -> Option<Arc<dyn HandleOn>> {
        machine.0.tree.lock().close_on(self, false)
    }

    /// Under the tree lock.
    #[inline]
    pub(crate) fn begin(&self, number: u64) {
        // ORDERING: Relaxed: whoever reads it has the handle from whoever opened it, or the lock.
        self.state.store(number + 1, Ordering::Relaxed);
    }

    /// Its number while it is open. Under the tree lock.
    #[inline]
    pub(crate) fn number(&self) -> Option<u64> {
        // ORDERING: Relaxed: changes are under the lock, or before anybody else had the handle.
        match self.state.load(Ordering::Relaxed) {
            UNOPENED | CLOSED | WITHDRAWN => None,
            number => Some(number - 1),
        }
    }

    /// Under the tree lock.
    pub(crate) fn end(&self, how: End) {
        let state = if how == End::Withdrawn {
            WITHDRAWN
        } else {
            CLOSED
        };
        // ORDERING: SeqCst: W0 of the protocol; see `standing`.
        self.state.store(state, Ordering::SeqCst);
    }

    /// Under the tree lock: closed, where nobody else asks.
    #[inline]
    pub(crate) fn end_unread(&self) {
        // ORDERING: Relaxed: whoever closes it is the only one who reads it, until everybody may see that by other means.
        self.state.store(CLOSED, Ordering::Relaxed);
    }
}

/// Names a handle in its holder's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HandleId(pub(crate) u64);
