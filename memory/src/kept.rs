//! Bytes of a region, kept by a count on it: what a mapping and a pin have.
#![expect(
    unsafe_code,
    reason = "bytes that are borrowed for as long as the count that keeps them"
)]
// Soundness. `Kept::bytes` turns a host address into bytes borrowed for as long as the `Kept` is borrowed. The address lies in the region's
// backing (`Part` is made by a leaf, of its own host address, or by another `Kept`); a region gives its backing up in its finalizer and nowhere
// else (and the finalizer does so only where the machine has marked the object, not where somebody calls it by name); and an object is not
// finalized while a `Hold` on it exists. So the bytes stay mapped as long as the `Kept` exists.

use crate::host::{Backing, HostMemory, VolatileBytes};
use crate::region::Region;
use qom::Object;
use qom::layer::{Hold, Holder, Reason};
use std::panic::Location;

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
    pub(crate) fn host(&self) -> HostMemory {
        self.host
    }

    #[inline]
    pub(crate) fn object(&self) -> &Object {
        self.hold.object()
    }

    /// Enters what keeps them into the ledger, if it has no name there.
    pub(crate) fn name(&self, reason: Reason, holder: Holder, place: &'static Location<'static>) {
        self.hold.name(reason, holder, place);
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
