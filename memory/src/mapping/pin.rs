//! Pins: one I/O in flight.

use super::found::Request;
use super::{MapError, PIN};
use crate::host::{Backing, VolatileBytes};
use crate::kept::{Kept, Part};
use crate::region::Region;
use qom::Object;
use qom::layer::{self, Holder};
use std::panic::Location;

/// An I/O in flight: keeps its bytes, their region, and so the region's owner, until it is dropped. Owned and `Send`.
///
/// It survives the withdrawal of everybody concerned; the ledger counts it, and names it while it records.
///
/// ```
/// # use memory::{AddressSpace, Attrs, Backing, Gpa, Offset, Priority, Region, RegionApi, Size};
/// # let machine = qom::Machine::new("doc");
/// # let system = Region::container("system", Size::MAX).create(machine.root())?;
/// # let ram = Region::ram("ram", Backing::anonymous(0x1000)?).create(machine.root())?;
/// # system.add_subregion(Offset(0x4000), &ram, Priority(0))?;
/// # let space = AddressSpace::open(machine.root(), "memory", &system)?;
/// use memory::Intent;
/// use qom::ObjectOps;
///
/// let pin = space.pin(machine.root(), Gpa(0x4010), 4, Intent::Write)?;
/// ram.unparent()?;                                          // the guest finds a hole from here on
/// let io = std::thread::spawn(move || {
///     pin.bytes().write(0, b"done").unwrap();               // and the I/O in flight its bytes
///     pin.bytes().load_u32(0)
/// });
/// assert_eq!(io.join().unwrap(), Some(u32::from_ne_bytes(*b"done")));
/// machine.quiesce(std::time::Duration::from_secs(10))?;
/// assert!(ram.get().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Pin {
    kept: Kept,
}

impl Pin {
    /// The usual case, for which nothing but counts is needed.
    #[expect(clippy::inline_always, reason = "a call would go through memory")]
    #[inline(always)]
    pub(crate) fn at_once(request: &Request<'_>) -> Option<Self> {
        let Request { space, holder, .. } = *request;
        if !layer::belongs_to(holder, space.machine()) || holder.is_withdrawn() || request.len == 0
        {
            return None;
        }
        let guard = space.enter();
        let (span, leaf) = guard.view().near_at_once(request.addr)?;
        let part = leaf.part()?;
        let part = if request.intent.writes() {
            Some(part).filter(|_| leaf.writes_directly())?
        } else {
            part.read_only()
        };
        // Before the range this is past all that there is in it.
        let offset = request.addr.0.wrapping_sub(span.first());
        let part = part.within(offset, request.len)?;
        Self::of(part, || Self::holder(holder), request.place)
    }

    /// What stands in the way; or nothing any more.
    ///
    /// # Errors
    /// As [`AddressSpace::pin`](crate::AddressSpace::pin).
    #[cold]
    pub(crate) fn or_error(request: &Request<'_>) -> Result<Self, MapError> {
        request.check()?;
        let Request { space, holder, .. } = *request;
        if holder.is_withdrawn() {
            return Err(request.withdrawn(None));
        }
        let guard = space.enter();
        let found = guard.view().find(request.addr);
        let (span, leaf) = found.ok_or_else(|| request.not_ram())?;
        let part = request.find_ram(leaf, request.addr.0 - span.first())?;
        if part.len() < request.len {
            return Err(request.too_short());
        }
        let part = if request.intent.writes() {
            part
        } else {
            part.read_only()
        };
        Self::of(part, || Self::holder(holder), request.place)
            .ok_or_else(|| request.withdrawn(Some(part)))
    }

    /// Who holds a pin. Not the object in whose name it is: the pin survives that object's end, and must be seen as what keeps it alive
    /// where an object pins its own memory.
    pub(super) fn holder(of: &Object) -> Holder {
        Holder::named(format!("I/O of {}", of.describe()))
    }

    #[inline]
    pub(super) fn of(
        part: Part<'_>,
        holder: impl FnOnce() -> Holder,
        place: &'static Location<'static>,
    ) -> Option<Self> {
        let kept = part.keep(PIN, holder, place)?;
        Some(Self { kept })
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> VolatileBytes<'_> {
        self.kept.bytes()
    }

    /// The slice of the region's backing that is pinned, for what wants a file descriptor, or wants to keep the bytes without the region. Read-only
    /// where the pin is for reading.
    ///
    /// # Panics
    /// Never: a region gives its backing up when nothing pins it any more.
    pub fn backing(&self) -> Backing {
        let backing = self.kept.backing();
        backing.expect("a pinned region has its backing")
    }

    /// The region that it keeps.
    pub fn region(&self) -> Option<&Region> {
        self.kept.object().instance()
    }
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let region = self.kept.object().describe();
        write!(f, "Pin({} bytes of {region})", self.kept.len())
    }
}
