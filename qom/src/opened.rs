//! What is opened in an object's name and closed with it.

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

/// Names a handle in its holder's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HandleId(pub(crate) u64);
