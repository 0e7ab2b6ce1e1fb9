//! An address space as vm-memory's `GuestAddressSpace`: the present memory, at each use anew.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use memory::{AddressSpace, Snapshot, View};
use qom::layer::Target;
use vm_memory::GuestAddressSpace;

use crate::view::RamView;

/// An address space and the object in whose name snapshots of it are taken.
///
/// For consumers that own their memory and call [`memory`](GuestAddressSpace::memory) at each use. What that returns shows the topology of this
/// moment and keeps it alive: to be dropped before the event loop turns, as any [`Snapshot`]. A hot loop enters a guard
/// and uses [`RamView`] over its view, which takes no count at all.
///
/// Inside an object the holder is a [`WeakRef`](qom::WeakRef) to itself. Once the holder is gone, the memory is empty: every access fails.
///
/// ```
/// use memory::{AddressSpace, Backing, Offset, Priority, Region, RegionApi, Size};
/// use memory_rust_vmm::SpaceMemory;
/// use vm_memory::{Bytes, GuestAddress, GuestAddressSpace};
///
/// let machine = qom::Machine::new("doc");
/// let system = Region::container("system", Size::new(0x1_0000)).create(machine.root())?;
/// let ram = Region::ram("ram", Backing::anonymous(0x1000)?).create(machine.root())?;
/// let space = AddressSpace::open(machine.root(), "memory", &system)?;
///
/// let memory = SpaceMemory::new(space, system.clone());
/// assert!(memory.memory().write_obj(1_u8, GuestAddress(0)).is_err());
/// system.add_subregion(Offset(0), &ram, Priority(0))?;
/// memory.memory().write_obj(1_u8, GuestAddress(0))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SpaceMemory<H> {
    space: AddressSpace,
    holder: H,
}

impl<H: Target + Clone> SpaceMemory<H> {
    /// The memory that `space` shows, in the name of `holder`.
    pub fn new(space: AddressSpace, holder: H) -> Self {
        Self { space, holder }
    }

    /// The address space.
    pub fn space(&self) -> &AddressSpace {
        &self.space
    }
}

impl<H: Target + Clone> GuestAddressSpace for SpaceMemory<H> {
    type M = RamView<OwnedView>;
    type T = Arc<RamView<OwnedView>>;

    /// The RAM of the present view, owned; empty where the holder is gone.
    fn memory(&self) -> Self::T {
        let view = match self.space.snapshot(&self.holder) {
            Ok(snapshot) => OwnedView::Snapshot(snapshot),
            Err(error) => {
                tracing::debug!(space = self.space.name(), %error, "no memory for a holder that is gone");
                OwnedView::Nothing(View::default())
            }
        };
        Arc::new(RamView::new(view))
    }
}

impl<H> fmt::Debug for SpaceMemory<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpaceMemory({})", self.space.name())
    }
}

/// What [`SpaceMemory`] shows at one moment.
#[derive(Debug)]
pub enum OwnedView {
    /// A snapshot of the space.
    Snapshot(Snapshot),
    /// The holder was gone: an empty view.
    Nothing(View),
}

impl Deref for OwnedView {
    type Target = View;

    fn deref(&self) -> &View {
        match self {
            Self::Snapshot(snapshot) => snapshot,
            Self::Nothing(view) => view,
        }
    }
}
