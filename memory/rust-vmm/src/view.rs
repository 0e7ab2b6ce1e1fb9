//! A view's RAM as vm-memory's `GuestMemory`: lookups, permissions, slices.

use std::io;
use std::iter::FusedIterator;
use std::ops::Deref;

use memory::{Gpa, View};
use vm_memory::guest_memory::{GuestMemorySliceIterator, Result};
use vm_memory::{GuestAddress, GuestMemory, GuestMemoryError, Permissions, VolatileSlice};

use crate::regions::RamRegions;
use crate::slice::volatile;

/// The RAM of one view: of a guard's, `RamView<&View>`, or of an owned one.
///
/// The view never changes, so neither does what this shows; an access spans as many ranges as it needs. Any thread that
/// may use the view.
///
/// ```
/// use memory::{AddressSpace, Backing, Gpa, Offset, Priority, Region, RegionApi, Size};
/// use memory_rust_vmm::RamView;
/// use vm_memory::{Bytes, GuestAddress};
///
/// let machine = qom::Machine::new("doc");
/// let system = Region::container("system", Size::new(0x1_0000)).create(machine.root())?;
/// let ram = Region::ram("ram", Backing::anonymous(0x1000)?).create(machine.root())?;
/// system.add_subregion(Offset(0x4000), &ram, Priority(0))?;
/// let space = AddressSpace::open(machine.root(), "memory", &system)?;
///
/// let guard = space.enter();
/// let memory = RamView::new(guard.view());
/// memory.write_obj(0x4711_u32, GuestAddress(0x4ffc))?;
/// assert_eq!(memory.read_obj::<u32>(GuestAddress(0x4ffc))?, 0x4711);
/// assert!(memory.write_obj(1_u32, GuestAddress(0x4ffd)).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RamView<V>(V);

impl<V: Deref<Target = View>> RamView<V> {
    /// The RAM of `view`.
    pub fn new(view: V) -> Self {
        Self(view)
    }

    /// The view.
    pub fn view(&self) -> &View {
        &self.0
    }
}

impl<V: Deref<Target = View>> GuestMemory for RamView<V> {
    // Named because the trait wants a name; `physical_memory` is `None`, as a view has more ranges than its RAM.
    type PhysicalMemory = RamRegions<'static>;
    type Bitmap = ();

    fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        Slices::new(&self.0, addr, count, access).all(|slice| slice.is_ok())
    }

    fn get_slices(
        &self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'_, ()>> {
        Ok(Slices::new(&self.0, addr, count, access))
    }
}

/// The slices that make up a span of addresses, one for each range; ends at the first error.
struct Slices<'a> {
    view: &'a View,
    /// `None` behind the last address: nothing wraps around.
    at: Option<u64>,
    left: usize,
    access: Permissions,
}

impl<'a> Slices<'a> {
    fn new(view: &'a View, addr: GuestAddress, left: usize, access: Permissions) -> Self {
        Self {
            view,
            at: Some(addr.0),
            left,
            access,
        }
    }

    /// What the range at the present address gives of what is left; not empty.
    fn step(&self) -> Result<VolatileSlice<'a>> {
        let at = self.at.ok_or(GuestMemoryError::GuestAddressOverflow)?;
        let nothing_here = || GuestMemoryError::InvalidGuestAddress(GuestAddress(at));
        let (span, leaf) = self.view.find(Gpa(at)).ok_or_else(nothing_here)?;
        let offset = at - span.first();
        let bytes = leaf.bytes().ok_or_else(nothing_here)?;
        if offset >= bytes.len() {
            return Err(nothing_here());
        }
        if self.access.has_write() && leaf.writable_bytes().is_none() {
            return Err(denied());
        }
        let len = (bytes.len() - offset).min(self.left as u64);
        let bytes = bytes.subslice(offset, len).ok_or_else(nothing_here)?;
        volatile(bytes).ok_or_else(denied)
    }
}

/// There are bytes, but not for this.
#[cold]
fn denied() -> GuestMemoryError {
    GuestMemoryError::IOError(io::Error::from(io::ErrorKind::PermissionDenied))
}

impl<'a> Iterator for Slices<'a> {
    type Item = Result<VolatileSlice<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let step = self.step();
        let taken = step.as_ref().map_or(self.left, VolatileSlice::len);
        self.left -= taken;
        self.at = self.at.and_then(|at| at.checked_add(taken as u64));
        Some(step)
    }
}

impl FusedIterator for Slices<'_> {}

impl<'a> GuestMemorySliceIterator<'a, ()> for Slices<'a> {}
