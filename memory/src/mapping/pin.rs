//! Pins: one I/O in flight.

use super::found::Request;
use super::{Intent, MapError, PIN};
use crate::addr::Gpa;
use crate::host::{Backing, VolatileBytes};
use crate::region::Region;
use crate::space::AddressSpace;
use crate::state::MemoryState;
use qom::Object;
use qom::layer::{Hold, Holder, Pointer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    backing: Backing,
    read_only: bool,
    /// Behind the backing: the bytes go first.
    hold: Hold,
    state: Arc<MemoryState>,
}

impl Pin {
    #[track_caller]
    pub(crate) fn take(
        space: &AddressSpace,
        holder: &Pointer,
        addr: Gpa,
        len: u64,
        intent: Intent,
    ) -> Result<Self, MapError> {
        let request = Request {
            space,
            holder,
            addr,
            len,
            intent,
        };
        request.check()?;
        if holder.is_withdrawn() {
            return Err(MapError::Withdrawn {
                what: request.place(),
                holder: holder.describe(),
            });
        }
        let guard = space.enter();
        let found = guard.view().find(addr);
        let (span, leaf) = found.ok_or_else(|| request.not_ram())?;
        let found = request.find_ram(leaf, addr.0 - span.first())?;
        if found.backing.len() < len {
            return Err(request.too_short());
        }
        Self::new(
            found.object,
            found.backing,
            || Self::holder(holder),
            space.state(),
            !intent.writes(),
        )
        .ok_or_else(|| MapError::Withdrawn {
            what: found.object.describe(),
            holder: holder.describe(),
        })
    }

    /// Who holds a pin. Not the object in whose name it is: the pin survives that object's end, and must be seen as what keeps it alive
    /// where an object pins its own memory.
    pub(super) fn holder(of: &Object) -> Holder {
        Holder::named(format!("I/O of {}", of.describe()))
    }

    #[track_caller]
    pub(super) fn new(
        object: &Pointer,
        backing: Backing,
        holder: impl FnOnce() -> Holder,
        state: &Arc<MemoryState>,
        read_only: bool,
    ) -> Option<Self> {
        let hold = Hold::counted(object, PIN, holder)?;
        let pins: &AtomicU64 = &state.counters.pins;
        pins.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            backing,
            read_only,
            hold,
            state: state.clone(),
        })
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> VolatileBytes<'_> {
        let bytes = self.backing.bytes();
        if self.read_only {
            bytes.read_only()
        } else {
            bytes
        }
    }

    /// The backing slice, for what wants a file descriptor or a host address.
    pub fn backing(&self) -> &Backing {
        &self.backing
    }

    /// The region that it keeps.
    pub fn region(&self) -> Option<&Region> {
        self.hold.object().instance()
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.state.counters.pins.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Pin({} bytes of {})",
            self.backing.len(),
            self.hold.object().describe()
        )
    }
}
