//! A view's writable RAM as a list of regions: vm-memory's `GuestMemoryBackend`.

use memory::View;
use vm_memory::guest_memory::Result;
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryRegion, GuestMemoryRegionBytes,
    GuestUsize, MemoryRegionAddress, VolatileSlice,
};

use crate::slice::volatile;

/// The writable RAM of a view, one region for each of its ranges, in ascending order. Made once, by a walk over the view; borrowed from it.
///
/// vm-memory's regions know no permissions, so what may not be written is not in the list. Ranges that continue one another are
/// accessed as one; a region of RAM that is partly hidden shows as several.
///
/// ```
/// use memory::{AddressSpace, Backing, Offset, Priority, Region, RegionApi, Size};
/// use memory_rust_vmm::RamRegions;
/// use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};
///
/// let machine = qom::Machine::new("doc");
/// let system = Region::container("system", Size::new(0x1_0000)).create(machine.root())?;
/// let ram = Region::ram("ram", Backing::anonymous(0x3000)?).create(machine.root())?;
/// let rom = Region::rom("rom", Backing::anonymous(0x1000)?).create(machine.root())?;
/// system.add_subregion(Offset(0), &ram, Priority(0))?;
/// system.add_subregion(Offset(0x1000), &rom, Priority(1))?;
/// let space = AddressSpace::open(machine.root(), "memory", &system)?;
///
/// let guard = space.enter();
/// let regions = RamRegions::of(guard.view());
/// let places: Vec<_> = regions.iter().map(|r| (r.start_addr().0, r.len())).collect();
/// assert_eq!(places, [(0, 0x1000), (0x2000, 0x1000)]);
/// regions.write_slice(b"kernel", GuestAddress(0x2000))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct RamRegions<'v> {
    regions: Vec<RamRegion<'v>>,
}

impl<'v> RamRegions<'v> {
    /// The writable RAM of `view`.
    pub fn of(view: &'v View) -> Self {
        let regions = view
            .ranges()
            .filter_map(|(range, leaf)| {
                let slice = volatile(leaf.writable_bytes().filter(|bytes| !bytes.is_empty())?)?;
                Some(RamRegion {
                    start: range.span.first(),
                    slice,
                })
            })
            .collect();
        Self { regions }
    }
}

impl<'v> GuestMemoryBackend for RamRegions<'v> {
    type R = RamRegion<'v>;

    fn num_regions(&self) -> usize {
        self.regions.len()
    }

    fn find_region(&self, addr: GuestAddress) -> Option<&RamRegion<'v>> {
        let behind = self.regions.partition_point(|it| it.start <= addr.0);
        let region = self.regions.get(behind.checked_sub(1)?)?;
        (addr.0 - region.start < region.len()).then_some(region)
    }

    fn iter(&self) -> impl Iterator<Item = &RamRegion<'v>> {
        self.regions.iter()
    }
}

/// The bytes of one range of RAM, and where the guest sees them.
#[derive(Clone, Copy, Debug)]
pub struct RamRegion<'v> {
    start: u64,
    /// INVARIANT: not empty, and does not reach beyond the last address.
    slice: VolatileSlice<'v>,
}

impl GuestMemoryRegion for RamRegion<'_> {
    type B = ();

    fn len(&self) -> GuestUsize {
        self.slice.len() as GuestUsize
    }

    fn start_addr(&self) -> GuestAddress {
        GuestAddress(self.start)
    }

    fn bitmap(&self) {}

    fn get_host_address(&self, addr: MemoryRegionAddress) -> Result<*mut u8> {
        let offset = self
            .check_address(addr)
            .and_then(|addr| usize::try_from(addr.0).ok())
            .ok_or(GuestMemoryError::InvalidBackendAddress)?;
        let rest = self.slice.offset(offset)?;
        Ok(rest.ptr_guard_mut().as_ptr())
    }

    fn get_slice(&self, offset: MemoryRegionAddress, count: usize) -> Result<VolatileSlice<'_>> {
        let offset =
            usize::try_from(offset.0).map_err(|_| GuestMemoryError::InvalidBackendAddress)?;
        Ok(self.slice.subslice(offset, count)?)
    }
}

impl GuestMemoryRegionBytes for RamRegion<'_> {}
