//! Bytes of a region, kept by a count on it: what a mapping and a pin have.
#![expect(
    unsafe_code,
    reason = "bytes that are borrowed for as long as the count that keeps them"
)]
// Soundness. `Kept::bytes` turns a host address into bytes borrowed for as long as the `Kept` is borrowed. The address lies in the region's
// backing (`Part` is made by a leaf, of its own host address, or by another `Kept`); a region gives its backing up in its finalizer and nowhere
// else (and the finalizer does so only where the machine has marked the object, not where somebody calls it by name); and an object is not
// finalized while a `Hold` on it exists. So the bytes stay mapped as long as the `Kept` exists.
//
// `Lent::bytes` borrows for as long as a read section and the `Lent`. What keeps the bytes leaves the `Lent` in `Lent::end` only, which stores the
// new state before that, and retires it: it is dropped a grace period later, when each section that has read the old state has ended. This is
// the protocol of `qom::grace` with the state in the place of the pointer. Where it does not leave, it goes with the `Lent`.

use crate::host::{Backing, HostMemory, VolatileBytes};
use crate::region::Region;
use parking_lot::Mutex;
use qom::grace::Guard;
use qom::layer::{Hold, Holder, Pointer, Reason, Target};
use qom::{MachineHandle, Object};
use std::panic::Location;
use std::sync::Weak;
use std::sync::atomic::{AtomicU8, Ordering};

/// Bytes of a region that somebody keeps at the moment.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    hold: &'a Hold,
    host: HostMemory,
    /// Where in the region's backing they begin.
    at: u64,
}

impl<'a> Part<'a> {
    /// INVARIANT: `host` is at `at` of the backing of the region that `hold` holds.
    #[inline]
    pub(crate) fn new(hold: &'a Hold, host: HostMemory, at: u64) -> Self {
        Self { hold, host, at }
    }

    #[inline]
    pub(crate) fn len(&self) -> u64 {
        self.host.len()
    }

    /// `len` bytes from `offset` on; none where they are not all inside.
    #[inline]
    pub(crate) fn within(self, offset: u64, len: u64) -> Option<Self> {
        Some(Self {
            host: self.host.subrange(offset, len)?,
            at: self.at + offset,
            ..self
        })
    }

    #[inline]
    pub(crate) fn read_only(self) -> Self {
        Self {
            host: self.host.read_only(),
            ..self
        }
    }

    #[inline]
    pub(crate) fn object(&self) -> &'a Object {
        self.hold.object()
    }

    /// Keeps them, for one I/O. None: there are too many.
    #[inline]
    pub(crate) fn keep(
        self,
        reason: Reason,
        holder: impl FnOnce() -> Holder,
        place: &'static Location<'static>,
    ) -> Option<Kept> {
        self.kept_by(self.hold.beside(reason, holder, place)?)
    }

    /// Keeps them, for what stands on its region's list. None: there are too many.
    #[inline]
    pub(crate) fn keep_listed(self) -> Option<Kept> {
        self.kept_by(self.hold.listed()?)
    }

    #[inline]
    #[expect(
        clippy::unnecessary_wraps,
        reason = "its callers end with what it gives"
    )]
    fn kept_by(self, hold: Hold) -> Option<Kept> {
        let Self { host, at, .. } = self;
        Some(Kept { host, at, hold })
    }
}

/// Bytes of a region, and the count on it that keeps them.
pub(crate) struct Kept {
    host: HostMemory,
    at: u64,
    hold: Hold,
}

impl Kept {
    #[inline]
    pub(crate) fn part(&self) -> Part<'_> {
        Part {
            hold: &self.hold,
            host: self.host,
            at: self.at,
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> u64 {
        self.host.len()
    }

    #[inline]
    pub(crate) fn object(&self) -> &Object {
        self.hold.object()
    }

    #[inline]
    pub(crate) fn bytes(&self) -> VolatileBytes<'_> {
        // SAFETY: see the head of the file: `self` is borrowed for the lifetime of the result.
        unsafe { self.host.bytes() }
    }

    /// The slice of the region's backing that they are, for what wants a file descriptor or wants to keep the bytes alone.
    pub(crate) fn backing(&self) -> Option<Backing> {
        let backing = self.object().instance::<Region>()?.backing()?;
        let slice = backing.slice(self.at, self.len()).ok()?;
        Some(if self.host.is_writable() {
            slice
        } else {
            slice.read_only()
        })
    }
}

/// Readers may still be at the bytes of a mapping that has ended.
const ENDED: Reason = Reason("closed mapping");

/// What keeps lent bytes.
pub(crate) enum Keeper {
    /// The region that they belong to.
    Region(Kept),
    /// Nobody else: they are a copy of what this region answers.
    Copy(Backing, Weak<Object>),
}

/// How lending has ended, or has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Lending {
    Open,
    Unmapped,
    Withdrawn,
}

/// Bytes that are lent to read sections until it is said that they are not any more.
pub(crate) struct Lent {
    host: HostMemory,
    domain: u64,
    state: AtomicU8,
    /// Locked while the lending ends: who finds it ended finds its keeper gone, too.
    keeper: Mutex<Option<Keeper>>,
}

/// What an ended lending kept; dropped on the executor.
struct Ended {
    _keeper: Option<Keeper>,
    /// A quiescence waits for the keeper's end, which comes first.
    _pending: qom::Pending,
}

impl Lent {
    pub(crate) fn new(keeper: Keeper, read_only: bool, machine: &MachineHandle) -> Self {
        let host = match &keeper {
            Keeper::Region(kept) => kept.host,
            Keeper::Copy(backing, _) => backing.host(),
        };
        Self {
            host: if read_only { host.read_only() } else { host },
            domain: machine.domain().id(),
            state: AtomicU8::new(Lending::Open as u8),
            keeper: Mutex::new(Some(keeper)),
        }
    }

    #[inline]
    pub(crate) fn state(&self) -> Lending {
        // ORDERING: SeqCst, with the swap in `end`: it is R3 of `qom::grace`'s protocol, of which the build for race detectors asks that much.
        match self.state.load(Ordering::SeqCst) {
            0 => Lending::Open,
            1 => Lending::Unmapped,
            _ => Lending::Withdrawn,
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> u64 {
        self.host.len()
    }

    /// The bytes.
    ///
    /// # Errors
    /// How the lending has ended.
    ///
    /// # Panics
    /// If the guard is of another machine.
    #[inline]
    pub(crate) fn bytes<'g>(&'g self, guard: &'g Guard<'_>) -> Result<VolatileBytes<'g>, Lending> {
        assert_eq!(
            guard.domain_id(),
            self.domain,
            "a mapping of one machine is read with a guard of another"
        );
        match self.state() {
            // SAFETY: see the head of the file: the section and `self` are borrowed for the lifetime of the result.
            Lending::Open => Ok(unsafe { self.host.bytes() }),
            ended => Err(ended),
        }
    }

    /// Whether something keeps the bytes in its name.
    pub(crate) fn has_keeper(&self) -> bool {
        self.keeper.lock().is_some()
    }

    /// The region that the bytes belong to or are a copy of, as long as they are lent.
    pub(crate) fn object(&self) -> Option<Pointer> {
        match &*self.keeper.lock() {
            Some(Keeper::Region(kept)) => kept.object().pointer().ok(),
            Some(Keeper::Copy(_, region)) => region.upgrade(),
            None => None,
        }
    }

    /// Looks at what keeps the bytes, while nobody ends the lending.
    ///
    /// # Errors
    /// How the lending has ended.
    pub(crate) fn with_keeper<R>(&self, f: impl FnOnce(&Keeper) -> R) -> Result<R, Lending> {
        let keeper = self.keeper.lock();
        match (self.state(), &*keeper) {
            (Lending::Open, Some(keeper)) => Ok(f(keeper)),
            (ended, _) => Err(ended),
        }
    }

    /// Ends the lending once; true: this call did it. Readers that began before may read on; the keeper goes when they have left.
    pub(crate) fn end(&self, how: Lending, machine: &MachineHandle) -> bool {
        let mut keeper = self.keeper.lock();
        if !self.mark(how) {
            return false;
        }
        let mut keeper = keeper.take();
        if let Some(Keeper::Region(kept)) = &mut keeper {
            // It is on no list any more.
            let readers = Holder::named("readers of what was mapped");
            kept.hold.name(ENDED, readers, Location::caller());
        }
        // A region's bytes are its owner's business; a copy is nobody's but the readers'.
        let bytes = match &keeper {
            Some(Keeper::Copy(..)) => self.len(),
            _ => 0,
        };
        let ended = Ended {
            _keeper: keeper,
            _pending: machine.pending(),
        };
        machine.retire(bytes, "closed mapping", ended);
        true
    }

    /// Ends the lending once; true: this call did it. The keeper goes with `self`.
    pub(crate) fn end_with_self(&self) -> bool {
        let _ending = self.keeper.lock();
        self.mark(Lending::Unmapped)
    }

    fn mark(&self, how: Lending) -> bool {
        // ORDERING: SeqCst: W0 of the protocol; see `state`.
        let (open, how) = (Lending::Open as u8, how as u8);
        let marked = self
            .state
            .compare_exchange(open, how, Ordering::SeqCst, Ordering::SeqCst);
        marked.is_ok()
    }
}
