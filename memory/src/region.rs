//! The memory region: an object that is a container, RAM, ROM, a ROM device, callbacks, a reservation or an alias.
//!
//! A region's owner is its tree parent, fixed when it is made. While it is parented it merely points at its owner; from its
//! withdrawal to its finalization it holds it, so an owner is finalized after its regions.

mod api;
pub(crate) mod bound;
mod builder;
mod error;
mod ops;

pub use api::{RegionApi, RegionInfo, RegionTarget};
pub use builder::RegionBuilder;
pub use error::RegionError;
pub use ops::{FnOps, RegionOps};

pub(crate) use ops::ErasedOps;

use crate::access::AccessRules;
use crate::addr::{Offset, Size};
use crate::host::{Backing, HostMemory};
use crate::state::MemoryState;
use crate::topology::RegionKey;
use parking_lot::Mutex;
use qom::layer::{Hold, Holder, LayerHooks, Name, Pointer, Reason, Target};
use qom::{ClassInit, Init, MachineHandle, Object, ObjectImpl, RootObject};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A withdrawn region holds its owner.
pub(crate) const OWNER: Reason = Reason("withdrawn region → owner");

/// What a region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegionKind {
    /// Only there to contain others.
    Container,
    /// Bytes.
    Ram,
    /// Bytes for reading, callbacks for writing; or callbacks for both.
    RomDevice,
    /// Callbacks.
    Io,
    /// Nothing, but it takes its place: reads as unassigned, traps to an accelerator.
    Reservation,
    /// A window on another region.
    Alias,
}

impl std::fmt::Display for RegionKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Container => "container",
            Self::Ram => "ram",
            Self::RomDevice => "romd",
            Self::Io => "i/o",
            Self::Reservation => "reservation",
            Self::Alias => "alias",
        })
    }
}

/// What views and mappings need of a region: kept by them, apart from the object. First what each range of a view is made from, together.
#[repr(C)]
pub(crate) struct RegionCore {
    pub(crate) ops: Option<Arc<dyn ErasedOps>>,
    pub(crate) owner: Pointer,
    pub(crate) rules: AccessRules,
    pub(crate) reentrant: bool,
    pub(crate) kind: RegionKind,
    host: Option<HostMemory>,
    pub(crate) name: Name,
    /// Given up in the finalizer.
    backing: Mutex<Option<Backing>>,
}

impl RegionCore {
    /// Where the bytes are, as long as the region is not finalized.
    pub(crate) fn host(&self) -> Option<HostMemory> {
        self.host
    }

    pub(crate) fn backing(&self) -> Option<Backing> {
        self.backing.lock().clone()
    }

    /// How many bytes go when the region goes.
    pub(crate) fn bytes_alone(&self) -> u64 {
        self.backing.lock().as_ref().map_or(0, Backing::alone)
    }
}

/// A memory region. Made with one of the functions that give a [`RegionBuilder`]; used through [`RegionApi`].
///
/// ```
/// use memory::{Backing, Gpa, Offset, Priority, Region, RegionApi, Size, AddressSpace, Attrs};
/// use qom::Machine;
///
/// let machine = Machine::new("doc");
/// let system = Region::container("system", Size::MAX).create(machine.root())?;
/// let ram = Region::ram("ram", Backing::anonymous(0x4000)?).create(machine.root())?;
/// system.add_subregion(Offset(0x8000), &ram, Priority(0))?;
/// let space = AddressSpace::open(machine.root(), "memory", &system)?;
/// space.store::<u32>(Gpa(0x8010), 0x1234_5678, Attrs::default())?;
/// assert_eq!(space.load::<u32>(Gpa(0x8010), Attrs::default())?, 0x1234_5678);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Source: QEMU's `MemoryRegion`.
pub struct Region {
    object: RootObject,
    core: Arc<RegionCore>,
    pub(crate) state: Arc<MemoryState>,
    /// Its [`RegionKey`] as a number; zero: it has none yet.
    key: AtomicU64,
    owner_hold: Mutex<Option<Hold>>,
}

qom::object_type! { Region("memory-region") { object: RootObject }, install |class: &mut ClassInit<'_>| { class.layer(&LAYER); } }

static LAYER: LayerHooks = LayerHooks {
    name: "memory",
    mark: Some(mark),
    retract: Some(retract),
    close: None,
};

/// Step 0: the region's pointer to its owner becomes strong.
fn mark(object: &Pointer) {
    // Without it, a seeded defect: `cargo xtask defects`.
    if !cfg!(holdfast_without = "owner_becomes_strong")
        && let Some(region) = object.instance::<Region>()
    {
        let hold = Hold::new(&region.core.owner, OWNER, Holder::object(object));
        *region.owner_hold.lock() = hold;
    }
}

/// Step 1: one transaction takes all regions of the batch out of everything.
fn retract(machine: &MachineHandle, batch: &[Pointer]) {
    crate::transaction::retract(machine, batch);
}

impl ObjectImpl for Region {
    /// A region made by its type's name alone is an empty container, as in introspection. It belongs to the machine's root: one that
    /// owned itself would keep itself from its withdrawal on.
    fn init(cx: &mut Init<'_>) -> Self {
        let machine = qom::layer::machine_of(cx.object());
        let root = machine.resolve("/machine");
        let owner = root.and_then(|root| qom::layer::Target::pointer(&root).ok());
        let owner = owner.unwrap_or_else(|| panic!("machine `{}` ends meanwhile", machine.name()));
        let state = MemoryState::of(&machine);
        Self::assemble(cx, state, RegionParts::empty(owner))
    }

    fn finalize(&self) {
        // The bytes go here, under everybody who has a hold: only where it is the machine that calls, which has marked the object.
        let is_marked = Target::pointer(self).is_ok_and(|object| object.is_finalized());
        if !is_marked {
            return;
        }
        if let Some(key) = self.key() {
            crate::transaction::forget(&self.state, key);
        }
        // What goes with it may be somebody's own: outside the lock.
        let backing = self.core.backing.lock().take();
        drop(backing);
        // Last: it may be the owner's last count.
        let owner = self.owner_hold.lock().take();
        drop(owner);
    }
}

/// What the builder gives to a new region.
pub(crate) struct RegionParts {
    pub(crate) name: Name,
    pub(crate) kind: RegionKind,
    pub(crate) rules: AccessRules,
    pub(crate) reentrant: bool,
    pub(crate) ops: Option<Arc<dyn ErasedOps>>,
    pub(crate) owner: Pointer,
    pub(crate) backing: Option<Backing>,
}

impl RegionParts {
    fn empty(owner: Pointer) -> Self {
        Self {
            name: "".into(),
            kind: RegionKind::Container,
            rules: AccessRules::DEFAULT,
            reentrant: false,
            ops: None,
            owner,
            backing: None,
        }
    }
}

impl Region {
    pub(crate) fn assemble(cx: &mut Init<'_>, state: Arc<MemoryState>, parts: RegionParts) -> Self {
        Self {
            object: cx.parent(),
            core: Arc::new(RegionCore {
                name: parts.name,
                kind: parts.kind,
                rules: parts.rules,
                reentrant: parts.reentrant,
                ops: parts.ops,
                owner: parts.owner,
                host: parts.backing.as_ref().map(Backing::host),
                backing: Mutex::new(parts.backing),
            }),
            state,
            key: AtomicU64::new(0),
            owner_hold: Mutex::default(),
        }
    }

    pub(crate) fn set_key(&self, key: RegionKey) {
        // ORDERING: Release: whoever sees it finds the region in the topology.
        let before = self.key.swap(key.to_bits(), Ordering::Release);
        debug_assert_eq!(before, 0, "a region is entered into the topology once");
    }

    pub(crate) fn core(&self) -> &Arc<RegionCore> {
        &self.core
    }

    /// The name by which views know it ([`FlatRange::region`](crate::FlatRange::region)); unique in its machine, none while it is made.
    pub fn key(&self) -> Option<RegionKey> {
        // ORDERING: Acquire, see `set_key`.
        RegionKey::from_bits(self.key.load(Ordering::Acquire))
    }

    /// What it is.
    pub fn kind(&self) -> RegionKind {
        self.core.kind
    }

    /// The name it was made with.
    pub fn name(&self) -> &str {
        self.core.name.as_str()
    }

    /// The object that owns it: its tree parent when it was made.
    pub fn owner(&self) -> &Object {
        &self.core.owner
    }

    /// Its bytes, where it has any and is not finalized.
    pub fn backing(&self) -> Option<Backing> {
        self.core.backing()
    }

    /// A container of `size` bytes.
    pub fn container(name: &str, size: Size) -> RegionBuilder {
        RegionBuilder::new(name, RegionKind::Container, size)
    }

    /// RAM of the size of its backing.
    pub fn ram(name: &str, backing: Backing) -> RegionBuilder {
        RegionBuilder::new(name, RegionKind::Ram, Size::new(backing.len())).backing(backing)
    }

    /// RAM without bytes: it takes its place and every access is a decode error.
    pub fn ram_without_backing(name: &str, size: Size) -> RegionBuilder {
        RegionBuilder::new(name, RegionKind::Ram, size)
    }

    /// RAM that a guest cannot write.
    pub fn rom(name: &str, backing: Backing) -> RegionBuilder {
        Self::ram(name, backing).readonly(true)
    }

    /// Bytes for reading, callbacks for writing; [`RegionApi::set_romd`] sends reads to the callbacks too.
    pub fn rom_device(name: &str, backing: Backing, ops: impl RegionOps) -> RegionBuilder {
        RegionBuilder::new(name, RegionKind::RomDevice, Size::new(backing.len()))
            .backing(backing)
            .ops(ops)
    }

    /// Callbacks.
    pub fn io(name: &str, size: Size, ops: impl RegionOps) -> RegionBuilder {
        RegionBuilder::new(name, RegionKind::Io, size).ops(ops)
    }

    /// A place that nothing answers at.
    pub fn reservation(name: &str, size: Size) -> RegionBuilder {
        RegionBuilder::new(name, RegionKind::Reservation, size)
    }

    /// A window of `size` bytes on `target`, from `offset` on.
    pub fn alias(
        name: &str,
        target: &(impl RegionTarget + ?Sized),
        offset: Offset,
        size: Size,
    ) -> RegionBuilder {
        RegionBuilder::new(name, RegionKind::Alias, size).target(target, offset)
    }
}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Region({} {})", self.core.kind, self.core.name)
    }
}
