//! The callbacks of a region: a trait with the owner's type in it, and its erased form.

use crate::access::{Access, MemTx, MemTxError};
use qom::{Object, ObjectImpl, ObjectType};

/// What a region with callbacks does on an access.
///
/// The owner is handed in; an implementation holds no handle of it. Callbacks run in a read section on the thread that makes
/// the access, several at once; a callback of a withdrawn owner is not entered any more, but those that are running may overlap its
/// unrealize: the device synchronises with a lock of its own. A callback may change the memory map at once, and may not wait.
/// A panic in a callback is reported and answered with a device error.
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
/// A closure that captures a handle of the owner does not fit, which is the point:
///
/// ```compile_fail
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

/// [`RegionOps`] without the owner's type.
///
/// `whole_read` and `whole_write` are for an access that is one call: they ask for the veto as well, and are `None` where there is one.
pub(crate) trait ErasedOps: Send + Sync {
    fn whole_read(&self, owner: &Object, access: Access) -> Option<(u64, MemTx)>;
    fn whole_write(&self, owner: &Object, access: Access, value: u64) -> Option<MemTx>;
    fn read(&self, owner: &Object, access: Access) -> (u64, MemTx);
    fn write(&self, owner: &Object, access: Access, value: u64) -> MemTx;
    fn accepts(&self, owner: &Object, access: Access, is_write: bool) -> bool;
    fn fits(&self, owner: &Object) -> bool;
    fn owner_type(&self) -> &'static str;
}

impl<T: RegionOps> ErasedOps for T {
    #[inline]
    fn whole_read(&self, owner: &Object, access: Access) -> Option<(u64, MemTx)> {
        let owner = owner.instance::<T::Owner>()?;
        if !RegionOps::accepts(self, owner, access, false) {
            return None;
        }
        Some(match RegionOps::read(self, owner, access) {
            Ok(value) => (value, MemTx::OK),
            Err(error) => (0, error.result()),
        })
    }

    #[inline]
    fn whole_write(&self, owner: &Object, access: Access, value: u64) -> Option<MemTx> {
        let owner = owner.instance::<T::Owner>()?;
        if !RegionOps::accepts(self, owner, access, true) {
            return None;
        }
        Some(match RegionOps::write(self, owner, access, value) {
            Ok(()) => MemTx::OK,
            Err(error) => error.result(),
        })
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
