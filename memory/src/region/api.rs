//! What can be done with a region, through any kind of handle.

use super::{Region, RegionError, RegionKind};
use crate::addr::{Offset, Size};
use crate::topology::Priority;
use crate::transaction::{self, change};
use qom::layer::{Pointer, Target};
use qom::{Child, Gone, Ref, WeakRef};

/// Whatever names a region: handles of all kinds, and the region itself.
pub trait RegionTarget {
    /// The region's object.
    ///
    /// # Errors
    /// The region is gone.
    fn region(&self) -> Result<Pointer, Gone>;
}

impl RegionTarget for Child<Region> {
    fn region(&self) -> Result<Pointer, Gone> {
        Target::pointer(self)
    }
}
impl RegionTarget for WeakRef<Region> {
    fn region(&self) -> Result<Pointer, Gone> {
        Target::pointer(self)
    }
}
impl RegionTarget for Ref<Region> {
    fn region(&self) -> Result<Pointer, Gone> {
        Target::pointer(self)
    }
}
impl RegionTarget for Region {
    fn region(&self) -> Result<Pointer, Gone> {
        Target::pointer(self)
    }
}

/// Operations on regions. Any thread, also in read sections and callbacks; not in listeners. Each is a transaction of its own, unless
/// one is open in this thread ([`transaction`](crate::transaction())).
///
/// A withdrawn region refuses new edges; taking it out of its container and setting its attributes is Ok and does nothing.
///
/// ```
/// # use memory::{AddressSpace, Attrs, Backing, Gpa, Offset, Priority, Region, RegionApi, Size};
/// # let machine = qom::Machine::new("doc");
/// # let system = Region::container("system", Size::MAX).create(machine.root())?;
/// # let ram = Region::ram("ram", Backing::anonymous(0x1000)?).create(machine.root())?;
/// # system.add_subregion(Offset(0x4000), &ram, Priority(0))?;
/// # let space = AddressSpace::open(machine.root(), "memory", &system)?;
/// assert_eq!(ram.info()?.address, Offset(0x4000));
/// ram.set_readonly(true)?;
/// assert!(space.store::<u8>(Gpa(0x4000), 1, Attrs::default()).is_err());
/// memory::transaction(&machine, |_| {                       // seen together
///     ram.set_readonly(false)?;
///     ram.set_address(Offset(0x8000))
/// })??;
/// space.store::<u8>(Gpa(0x8000), 1, Attrs::default())?;
/// system.del_subregion(&ram)?;
/// assert!(system.del_subregion(&ram).is_err(), "it is not there any more");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait RegionApi: RegionTarget {
    /// Puts `sub` at `offset` in this region. Among siblings that overlap, the higher priority wins, then the later one.
    ///
    /// # Errors
    /// Either is withdrawn or gone, `sub` is in a container, a loop would arise, an owner is in init and the owners differ, the machines differ,
    /// or this is a listener.
    fn add_subregion(
        &self,
        offset: Offset,
        sub: &(impl RegionTarget + ?Sized),
        priority: Priority,
    ) -> Result<(), RegionError> {
        transaction::add_subregion(&self.region()?, offset, &sub.region()?, priority)
    }

    /// Takes `sub` out of this region.
    ///
    /// Where either is withdrawn, it is out already: Ok, whether its finalizer has run by now or not.
    ///
    /// # Errors
    /// `sub` is not in this region (unless either is withdrawn), or this is a listener.
    fn del_subregion(&self, sub: &(impl RegionTarget + ?Sized)) -> Result<(), RegionError> {
        match (self.region(), sub.region()) {
            (Ok(container), Ok(sub)) => transaction::del_subregion(&container, &sub),
            // What is gone was withdrawn before.
            _ => Ok(()),
        }
    }

    /// Shows or hides it, with everything in it.
    ///
    /// # Errors
    /// It is gone, or this is a listener; so for the other setters.
    fn set_enabled(&self, on: bool) -> Result<(), RegionError> {
        change(&self.region()?, |t, k| t.set_enabled(k, on))
    }

    /// Moves it within its container: at a new place it is the newest of its siblings.
    ///
    /// # Errors
    /// As [`set_enabled`](Self::set_enabled).
    fn set_address(&self, offset: Offset) -> Result<(), RegionError> {
        change(&self.region()?, |t, k| t.set_address(k, offset))
    }

    /// Changes its priority among its siblings.
    ///
    /// # Errors
    /// As [`set_enabled`](Self::set_enabled).
    fn set_priority(&self, priority: Priority) -> Result<(), RegionError> {
        change(&self.region()?, |t, k| t.set_priority(k, priority))
    }

    /// Changes its size, 0 to 2^64.
    ///
    /// # Errors
    /// As [`set_enabled`](Self::set_enabled).
    fn set_size(&self, size: Size) -> Result<(), RegionError> {
        change(&self.region()?, |t, k| t.set_size(k, size))
    }

    /// Forbids or allows guests to write it.
    ///
    /// # Errors
    /// As [`set_enabled`](Self::set_enabled).
    fn set_readonly(&self, on: bool) -> Result<(), RegionError> {
        change(&self.region()?, |t, k| t.set_readonly(k, on))
    }

    /// Says whether its bytes outlive the machine.
    ///
    /// # Errors
    /// As [`set_enabled`](Self::set_enabled).
    fn set_nonvolatile(&self, on: bool) -> Result<(), RegionError> {
        change(&self.region()?, |t, k| t.set_nonvolatile(k, on))
    }

    /// Keeps its ranges apart from their neighbours, or lets them be joined.
    ///
    /// # Errors
    /// As [`set_enabled`](Self::set_enabled).
    fn set_unmergeable(&self, on: bool) -> Result<(), RegionError> {
        change(&self.region()?, |t, k| t.set_unmergeable(k, on))
    }

    /// A ROM device: reads go to the bytes (true) or to the callbacks.
    ///
    /// # Errors
    /// As [`set_enabled`](Self::set_enabled), and it is no ROM device.
    fn set_romd(&self, direct: bool) -> Result<(), RegionError> {
        change(&self.region()?, |t, k| t.set_romd(k, direct))
    }

    /// An alias: where in its target the window begins.
    ///
    /// # Errors
    /// As [`set_enabled`](Self::set_enabled), and it is no alias.
    fn set_alias_offset(&self, offset: Offset) -> Result<(), RegionError> {
        change(&self.region()?, |t, k| t.set_alias_offset(k, offset))
    }

    /// Its attributes at this moment.
    ///
    /// # Errors
    /// It is gone.
    fn info(&self) -> Result<RegionInfo, RegionError> {
        transaction::info(&self.region()?)
    }

    /// The container it is in at this moment, whether that has a path or not.
    ///
    /// # Errors
    /// It is gone.
    fn contained_in(&self) -> Result<Option<WeakRef<Region>>, RegionError> {
        transaction::contained_in(&self.region()?)
    }
}

impl<T: RegionTarget + ?Sized> RegionApi for T {}

/// A region's attributes at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an attribute of its own"
)]
pub struct RegionInfo {
    /// What it is.
    pub kind: RegionKind,
    /// Its size.
    pub size: Size,
    /// Its place in its container.
    pub address: Offset,
    /// Its priority there.
    pub priority: Priority,
    /// The container, by path; [`RegionApi::contained_in`] gives the region.
    pub container: Option<String>,
    /// Whether it shows.
    pub enabled: bool,
    /// Whether guests cannot write it.
    pub readonly: bool,
    /// Whether its bytes outlive the machine.
    pub nonvolatile: bool,
    /// Whether its ranges stay apart.
    pub unmergeable: bool,
    /// Whether it is withdrawn.
    pub withdrawn: bool,
}
