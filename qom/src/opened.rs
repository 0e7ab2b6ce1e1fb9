//! What is opened in an object's name and closed with it.

use crate::layer::Pointer;
use crate::machine::MachineHandle;
use crate::object::Object;
use crate::tree::TreeKey;
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

/// A handle's own note of the list that it stands on: for handles that come and go often, and keep no pointer to their holder.
#[derive(Debug)]
pub struct Entry {
    holder: TreeKey,
    /// The handle's number and one; zero: it stands on no list.
    number: AtomicU64,
}

impl Entry {
    /// For a handle that is going to be opened in the name of `holder`, with [`open_at`](crate::layer::open_at).
    pub fn of(holder: &Object) -> Self {
        Self {
            holder: holder.key,
            number: AtomicU64::new(0),
        }
    }

    pub(crate) fn set(&self, id: HandleId) {
        // ORDERING: Relaxed: whoever takes the entry off the list has the handle from whoever put it there.
        self.number.store(id.0 + 1, Ordering::Relaxed);
    }

    /// The holder, if it is not finalized. Takes the tree lock of its machine.
    pub fn holder(&self, machine: &MachineHandle) -> Option<Pointer> {
        machine.0.tree.lock().object(self.holder).cloned()
    }

    /// Takes the handle off the list, because it has been closed. `machine` is that of its holder.
    pub fn forget(&self, machine: &MachineHandle) {
        // ORDERING: Relaxed: see `set`.
        if let Some(number) = self.number.load(Ordering::Relaxed).checked_sub(1) {
            let forgotten = machine
                .0
                .tree
                .lock()
                .forget_opened(self.holder, HandleId(number));
            // Outside the lock.
            drop(forgotten);
        }
    }
}

/// Names a handle in its holder's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HandleId(pub(crate) u64);
