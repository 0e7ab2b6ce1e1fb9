//! Read sections: the guard that is one, and the handle that makes them fast.

use std::fmt;
use std::mem;

use crate::domain::Domain;
use crate::slot::{MySlot, flag};
use crate::this_thread::{self, Seat};

/// A read section. While it lives, nothing that was reachable through a [`Published`](crate::Published) of its domain when
/// it was read is disposed of.
///
/// Sections nest; the outermost counts. A guard belongs to its thread:
///
/// ```
/// # use std::sync::Arc;
/// use qom_grace::{Domain, DomainConfig};
/// let domain = Domain::new(DomainConfig::default(), Arc::new(drop));
/// let guard = domain.enter();
/// std::thread::scope(|scope| {
///     scope.spawn(|| drop(domain.enter())); // each thread enters for itself
/// });
/// drop(guard);
/// ```
///
/// ```compile_fail,E0277
/// # use std::sync::Arc;
/// use qom_grace::{Domain, DomainConfig};
/// let domain = Domain::new(DomainConfig::default(), Arc::new(drop));
/// let guard = domain.enter();
/// std::thread::scope(|scope| {
///     scope.spawn(|| drop(guard)); // a guard does not leave its thread
/// });
/// ```
///
/// A guard that is leaked (`mem::forget`, `Box::leak`) leaves the section open for ever, also after its thread has ended, because a
/// reference that was borrowed from it may be anywhere. Whoever waits gets a typed error that names the thread; the domain's
/// last handle ends it.
#[must_use = "the section ends when the guard is dropped"]
pub struct Guard<'d> {
    domain: &'d Domain,
    slot: MySlot<'d>,
}

impl<'d> Guard<'d> {
    #[inline]
    pub(crate) fn enter(domain: &'d Domain, slot: MySlot<'d>) -> Self {
        slot.enter(domain.inner());
        Self { domain, slot }
    }

    /// The domain whose section this is.
    pub fn domain(&self) -> &'d Domain {
        self.domain
    }

    /// [`Domain::id`] of the domain.
    #[inline]
    pub fn domain_id(&self) -> u64 {
        self.slot.slot().domain()
    }
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        let left = self.slot.exit();
        if left != 0 {
            leave(self.domain, self.slot, left);
        }
    }
}

/// An outermost read section that has nothing to do when it is left; made by [`Domain::glance`].
///
/// Ended by [`end`](Self::end), through which the caller's result goes, so that a function that calls nothing else in between has no registers to
/// save; or by its drop, as any other.
#[must_use = "the section ends when this is dropped"]
#[derive(Debug)]
pub struct Glance<'d>(Guard<'d>);

impl<'d> Glance<'d> {
    #[inline]
    pub(crate) fn begin(domain: &'d Domain, slot: MySlot<'d>) -> Option<Self> {
        // A guard that is made ends its section when it is dropped: none is made where none was entered.
        if !slot.enter_plainly(domain.inner()) {
            return None;
        }
        Some(Self(Guard { domain, slot }))
    }

    /// The section.
    #[inline]
    pub fn guard(&self) -> &Guard<'d> {
        &self.0
    }

    /// Ends the section and gives back what was found in it.
    #[expect(clippy::inline_always, reason = "a call is what it is there to avoid")]
    #[inline(always)]
    pub fn end<R>(self, found: R) -> R {
        let Guard { domain, slot } = self.0;
        mem::forget(self);
        let left = slot.exit();
        if left != 0 {
            return leave_with(domain, slot, left, found);
        }
        found
    }
}

#[cold]
#[inline(never)]
fn leave_with<R>(domain: &Domain, slot: MySlot<'_>, left: u8, found: R) -> R {
    leave(domain, slot, left);
    found
}

/// What an outermost exit does besides, in the rare cases, and always under the epoch engine.
fn leave(domain: &Domain, slot: MySlot<'_>, left: u8) {
    if left & flag::PINS != 0 {
        slot.unpin();
    }
    if left & flag::OWES_WAIT != 0 {
        slot.clear(flag::OWES_WAIT);
        // Unwinding is no time to wait.
        if !std::thread::panicking() {
            slot.overloaded().set(!domain.inner().wait_for_room());
        }
    }
    this_thread::let_go_if_late(slot);
}

impl fmt::Debug for Guard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("domain", self.domain)
            .field("depth", &self.slot.depth())
            .finish()
    }
}

/// This thread's way into a domain, for hot loops: entering through it does not look for the thread's slot.
///
/// It shares the slot with [`Domain::enter`], so sections of both kinds nest. It keeps the domain alive and stays in its thread.
///
/// ```
/// # use std::sync::Arc;
/// use qom_grace::{Domain, DomainConfig};
/// let domain = Domain::new(DomainConfig::default(), Arc::new(drop));
/// let reader = domain.reader();
/// for _ in 0..3 {
///     let _guard = reader.enter();
///     assert!(domain.is_entered());
/// }
/// assert!(!domain.is_entered());
/// ```
pub struct Reader {
    seat: Seat,
    domain: Domain,
}

impl Reader {
    pub(crate) fn new(domain: Domain) -> Self {
        Self {
            seat: Seat::take(domain.inner()),
            domain,
        }
    }

    /// Begins a read section, or one more inside the one that is open.
    #[inline]
    pub fn enter(&self) -> Guard<'_> {
        Guard::enter(&self.domain, self.seat.slot())
    }

    /// Whether this thread is in a read section of the domain.
    #[inline]
    pub fn is_entered(&self) -> bool {
        self.seat.slot().is_entered()
    }

    /// The domain that is entered.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("domain", &self.domain)
            .field("is_entered", &self.is_entered())
            .finish_non_exhaustive()
    }
}
