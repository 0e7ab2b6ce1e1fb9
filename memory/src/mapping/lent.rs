//! Bytes that are lent to read sections, until what keeps them is let go of.
#![expect(
    unsafe_code,
    reason = "bytes and their keeper, which are looked at in read sections and let go of a grace period later"
)]
// Soundness. Two things are borrowed here for as long as a read section and the `Lent`.
//
// The bytes, in `Lent::bytes`: `host` is that of the keeper that was given to `Lent::new`, and the keeper's bytes stay mapped as long as the keeper
// exists (`kept.rs`). The keeper goes in two ways. With the `Lent` itself, which the result borrows. Or in the drop of `Ended`, which `let_go` retires:
// whoever calls that has seen that the entry has ended, and asserts it; so a section in which the entry was seen to be open began before the
// entry's end, hence before the retiring, and `Ended` is dropped once it has been left. This is the protocol of `qom::grace`, with the entry in the
// place of the pointer (W0 is `Entry::end`, R3 `Entry::standing`).
//
// The keeper, in `Lent::with_keeper`: the same with `is_kept` in the place of the entry: W0 is the swap in `let_go`, R3 the load. The keeper is
// written to in the drop of `Ended` only; there is one, as the swap finds `true` once.

use crate::host::{Backing, HostMemory, VolatileBytes};
use crate::kept::Kept;
use qom::grace::Guard;
use qom::layer::{End, Entry, Holder, Reason};
use qom::{MachineHandle, Object};
use std::cell::UnsafeCell;
use std::panic::Location;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

/// Readers may still be at the bytes of a mapping that has ended.
const ENDED: Reason = Reason("closed mapping");

/// What keeps lent bytes.
pub(super) enum Keeper {
    /// The region that they belong to.
    Region(Kept),
    /// Nobody else: they are a copy of what this region answers.
    Copy(Backing, Weak<Object>),
}

/// Bytes that are lent to read sections until their entry has ended.
pub(super) struct Lent {
    pub(super) entry: Entry,
    host: HostMemory,
    domain: u64,
    /// False: the keeper is about to go, or has gone.
    is_kept: AtomicBool,
    keeper: UnsafeCell<Option<Keeper>>,
}

// SAFETY: a keeper is `Send` and `Sync`, and what is done with the cell is said in the head of the file.
unsafe impl Sync for Lent {}

/// Whoever has a `Lent` and keeps it where it is.
///
/// # Safety
/// `lent` always gives the same.
pub(super) unsafe trait Lends: Send + 'static {
    fn lent(&self) -> &Lent;
}

/// An ended lending, whose keeper goes when this is dropped: on the executor, after a grace period.
struct Ended<L: Lends> {
    lends: L,
    /// A quiescence waits for the keeper's end, which comes first.
    _pending: qom::Pending,
}

impl<L: Lends> Drop for Ended<L> {
    fn drop(&mut self) {
        // SAFETY: see the head of the file: nobody looks at it any more, and nobody else writes to it.
        let keeper = unsafe { (*self.lends.lent().keeper.get()).take() };
        drop(keeper);
    }
}

impl Lent {
    pub(super) fn new(
        entry: Entry,
        keeper: Keeper,
        read_only: bool,
        machine: &MachineHandle,
    ) -> Self {
        let host = match &keeper {
            Keeper::Region(kept) => kept.host(),
            Keeper::Copy(backing, _) => backing.host(),
        };
        Self {
            entry,
            host: if read_only { host.read_only() } else { host },
            domain: machine.domain().id(),
            is_kept: AtomicBool::new(true),
            keeper: UnsafeCell::new(Some(keeper)),
        }
    }

    #[inline]
    pub(super) fn len(&self) -> u64 {
        self.host.len()
    }

    #[inline]
    fn check(&self, guard: &Guard<'_>) {
        assert_eq!(
            guard.domain_id(),
            self.domain,
            "a mapping of one machine is read with a guard of another"
        );
    }

    /// The bytes.
    ///
    /// # Errors
    /// How the lending has ended.
    ///
    /// # Panics
    /// If the guard is of another machine.
    #[inline]
    pub(super) fn bytes<'g>(&'g self, guard: &'g Guard<'_>) -> Result<VolatileBytes<'g>, End> {
        self.check(guard);
        match self.entry.standing() {
            // SAFETY: see the head of the file: the section and `self` are borrowed for the lifetime of the result.
            End::NotYet => Ok(unsafe { self.host.bytes() }),
            ended => Err(ended),
        }
    }

    /// Looks at what keeps the bytes; none where it is about to go. It may still be there when the lending has just ended.
    ///
    /// # Panics
    /// If the guard is of another machine.
    pub(super) fn keeper<'g>(&'g self, guard: &'g Guard<'_>) -> Option<&'g Keeper> {
        self.check(guard);
        // ORDERING: SeqCst: R3 of the protocol; see the head of the file.
        if !self.is_kept.load(Ordering::SeqCst) {
            return None;
        }
        // SAFETY: see the head of the file: the section and `self` are borrowed for the lifetime of the result.
        unsafe { (*self.keeper.get()).as_ref() }
    }

    /// Lets what keeps the bytes go when all readers of today have left. Only the first call does something.
    ///
    /// # Panics
    /// If the entry has not ended.
    pub(super) fn let_go<L: Lends>(lends: L, machine: &MachineHandle) {
        let lent = lends.lent();
        let is_open = lent.entry.standing() == End::NotYet;
        assert!(!is_open, "bytes that are lent are kept");
        let mut bytes = 0;
        {
            let section = machine.domain().enter();
            match lent.keeper(&section) {
                Some(Keeper::Region(kept)) => {
                    // It is on no list any more.
                    let readers = Holder::named("readers of what was mapped");
                    kept.name(ENDED, readers, Location::caller());
                }
                // A region's bytes are its owner's business; a copy is nobody's but the readers'.
                Some(Keeper::Copy(..)) => bytes = lent.len(),
                None => return,
            }
        }
        // ORDERING: SeqCst: W0 of the protocol; see the head of the file.
        if !lent.is_kept.swap(false, Ordering::SeqCst) {
            return;
        }
        let ended = Ended {
            lends,
            _pending: machine.pending(),
        };
        machine.retire(bytes, "closed mapping", ended);
    }
}
