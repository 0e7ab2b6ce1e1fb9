//! The callbacks of a region: a trait with the owner's type in it, and its erased form.

use super::bound::Bound;
use crate::access::{Access, MemTx, MemTxError};
use qom::layer::Pointer;
use qom::{Object, ObjectImpl, ObjectType};
use std::sync::Arc;

/// What a region with callbacks does on an access.
///
/// The owner is handed in; an implementation holds no handle of it. Callbacks run in a read section on the thread that makes
/// the access, several at once; a callback of a withdrawn owner is not entered any more, but those that are running may overlap its
/// unrealize: the device synchronises with a lock of its own. A callback may change the memory map at once, and may not wait.
/// A panic in a callback is reported and answered with a device error.
///
/// Types do not prevent what an author does on purpose: an implementation written by hand, generic over a closure, can be given one that
/// captures a [`Ref`](qom::Ref) of the owner. The owner then keeps itself until it is unparented *and* that handle is dropped, which nobody will do;
/// `why_alive` names it. [`FnOps`] leaves no room for it.
///
/// ```
/// use memory::{Access, AddressSpace, Attrs, Gpa, MemTxError, Region, RegionOps, Size};
/// use qom::{Init, Machine, ObjectImpl, ObjectOps, RootObject};
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// struct Latch { object: RootObject, value: AtomicU64 }
/// qom::object_type! { Latch("doc-latch") { object: RootObject } }
/// impl ObjectImpl for Latch {
///     fn init(cx: &mut Init<'_>) -> Self { Self { object: cx.parent(), value: AtomicU64::new(0) } }
/// }
/// /// Holds nothing: the latch is handed in.
/// struct Regs;
/// impl RegionOps for Regs {
///     type Owner = Latch;
///     fn read(&self, latch: &Latch, _: Access) -> Result<u64, MemTxError> { Ok(latch.value.load(Relaxed)) }
///     fn write(&self, latch: &Latch, _: Access, value: u64) -> Result<(), MemTxError> {
///         latch.value.store(value, Relaxed);
///         Ok(())
///     }
///     fn accepts(&self, _: &Latch, access: Access, _is_write: bool) -> bool { access.size == 4 }
/// }
///
/// let machine = Machine::new("doc");
/// let latch = machine.create::<Latch>()?;
/// machine.root().add_child("latch", &latch)?;
/// let regs = Region::io("regs", Size::new(8), Regs).create(&latch)?;
/// let space = AddressSpace::open(machine.root(), "memory", &regs)?;
/// space.store::<u32>(Gpa(4), 7, Attrs::default())?;
/// assert_eq!(latch.value.load(Relaxed), 7);
/// assert!(space.load::<u16>(Gpa(0), Attrs::default()).is_err(), "not accepted");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Source: QEMU's `MemoryRegionOps` with attributes.
pub trait RegionOps: Send + Sync + 'static {
    /// The type of the objects that may own such a region.
    type Owner: ObjectImpl;

    /// A read of `access.size` bytes; the value in the region's byte order.
    ///
    /// # Errors
    /// What the guest is to be told.
    fn read(&self, owner: &Self::Owner, access: Access) -> Result<u64, MemTxError>;

    /// A write of `access.size` bytes.
    ///
    /// # Errors
    /// What the guest is to be told.
    fn write(&self, owner: &Self::Owner, access: Access, value: u64) -> Result<(), MemTxError>;

    /// A veto on single accesses, beyond what the region's [`AccessRules`](crate::AccessRules) say.
    fn accepts(&self, _owner: &Self::Owner, _access: Access, _is_write: bool) -> bool {
        true
    }
}

/// Callbacks made of two plain functions, which can capture nothing.
///
/// ```
/// use memory::FnOps;
/// use qom::Container;
///
/// let ops = FnOps::<Container> {
///     read: |_owner, access| Ok(access.offset),
///     write: |_owner, _access, _value| Ok(()),
/// };
/// # let _ = ops;
/// ```
///
/// A closure that captures a handle of the owner does not fit, which is the point; the owner comes as an argument:
///
/// ```
/// use memory::FnOps;
/// use qom::{Container, Ref};
///
/// fn ops(owner: Ref<Container>) -> FnOps<Container> {
///     FnOps {
///         read: move |owner, access| { let _ = &owner; Ok(access.offset) },
///         write: |_owner, _access, _value| Ok(()),
///     }
/// }
/// ```
///
/// ```compile_fail,E0308
/// use memory::FnOps;
/// use qom::{Container, Ref};
///
/// fn ops(owner: Ref<Container>) -> FnOps<Container> {
///     FnOps {
///         read: move |_owner, access| { let _ = &owner; Ok(access.offset) },
///         write: |_owner, _access, _value| Ok(()),
///     }
/// }
/// ```
pub struct FnOps<O: ObjectImpl> {
    /// Reads.
    pub read: fn(&O, Access) -> Result<u64, MemTxError>,
    /// Writes.
    pub write: fn(&O, Access, u64) -> Result<(), MemTxError>,
}

impl<O: ObjectImpl> RegionOps for FnOps<O> {
    type Owner = O;
    fn read(&self, owner: &O, access: Access) -> Result<u64, MemTxError> {
        (self.read)(owner, access)
    }
    fn write(&self, owner: &O, access: Access, value: u64) -> Result<(), MemTxError> {
        (self.write)(owner, access, value)
    }
}

/// [`RegionOps`] without the owner's type: what is known of a region's callbacks before they are [bound](Bound) to their owner, and accesses of several calls.
pub(crate) trait ErasedOps: Send + Sync {
    /// The callbacks and their owner, as a view has them.
    fn bind(self: Arc<Self>, owner: &Pointer) -> Bound;
    fn read(&self, owner: &Object, access: Access) -> (u64, MemTx);
    fn write(&self, owner: &Object, access: Access, value: u64) -> MemTx;
    fn accepts(&self, owner: &Object, access: Access, is_write: bool) -> bool;
    fn fits(&self, owner: &Object) -> bool;
    fn owner_type(&self) -> &'static str;
}

impl<T: RegionOps> ErasedOps for T {
    fn bind(self: Arc<Self>, owner: &Pointer) -> Bound {
        Bound::new(self, owner)
    }

    #[inline]
    fn read(&self, owner: &Object, access: Access) -> (u64, MemTx) {
        match owner
            .instance::<T::Owner>()
            .map(|o| RegionOps::read(self, o, access))
        {
            Some(Ok(value)) => (value, MemTx::OK),
            Some(Err(error)) => (0, error.result()),
            // Still in init: nobody can reach the region in a regular way.
            None => (0, MemTx::DECODE_ERROR),
        }
    }

    #[inline]
    fn write(&self, owner: &Object, access: Access, value: u64) -> MemTx {
        match owner
            .instance::<T::Owner>()
            .map(|o| RegionOps::write(self, o, access, value))
        {
            Some(Ok(())) => MemTx::OK,
            Some(Err(error)) => error.result(),
            None => MemTx::DECODE_ERROR,
        }
    }

    #[inline]
    fn accepts(&self, owner: &Object, access: Access, is_write: bool) -> bool {
        owner
            .instance::<T::Owner>()
            .is_some_and(|o| RegionOps::accepts(self, o, access, is_write))
    }

    fn fits(&self, owner: &Object) -> bool {
        owner.class().is_a::<T::Owner>()
    }

    fn owner_type(&self) -> &'static str {
        T::Owner::NAME
    }
}
