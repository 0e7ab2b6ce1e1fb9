//! The callbacks of a region: a trait with the owner's type in it, and its erased form.

use crate::access::{self, Access, MemTx, MemTxError};
use crate::attrs::Attrs;
use crate::dispatch;
use crate::leaf::Place;
use crate::reentrancy::Here;
use qom::layer::{Pointer, Typed};
use qom::{Object, ObjectImpl, ObjectType};
use std::panic::{AssertUnwindSafe, catch_unwind};

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

/// [`RegionOps`] without the owner's type.
///
/// `whole_read` and `whole_write` are for an access that is one call, at one place of one size: they ask for the veto as well, see to panics, and
/// take and give what fits into registers. `load` and `store` are for any access in the target's byte order: made for each type of callbacks, so
/// that admission, the look for the owner and what is called are one function.
pub(crate) trait ErasedOps: Send + Sync {
    fn load(&self, here: Here, at: Place<'_>, offset: u64, size: u8, attrs: Attrs) -> (u64, MemTx);
    fn store(
        &self,
        here: Here,
        at: Place<'_>,
        offset: u64,
        size: u8,
        attrs: Attrs,
        value: u64,
    ) -> MemTx;
    fn whole_read(&self, at: Place<'_>, offset: u64, size: u8, attrs: Attrs) -> (u64, MemTx);
    fn whole_write(&self, at: Place<'_>, offset: u64, size: u8, attrs: Attrs, value: u64) -> MemTx;
    /// The owner, with the part that the callbacks are handed found beforehand.
    fn owner(&self, owner: &Pointer) -> Typed;
    fn read(&self, owner: &Object, access: Access) -> (u64, MemTx);
    fn write(&self, owner: &Object, access: Access, value: u64) -> MemTx;
    fn accepts(&self, owner: &Object, access: Access, is_write: bool) -> bool;
    fn fits(&self, owner: &Object) -> bool;
    fn owner_type(&self) -> &'static str;
}

impl<T: RegionOps> ErasedOps for T {
    fn load(&self, here: Here, at: Place<'_>, offset: u64, size: u8, attrs: Attrs) -> (u64, MemTx) {
        match dispatch::admit_at_once(here, at, offset, size, attrs) {
            Some(_inside) => self.whole_read(at, offset, size, attrs),
            None => dispatch::load_by_call(at, offset, size, attrs),
        }
    }

    fn store(
        &self,
        here: Here,
        at: Place<'_>,
        offset: u64,
        size: u8,
        attrs: Attrs,
        value: u64,
    ) -> MemTx {
        match dispatch::admit_at_once(here, at, offset, size, attrs) {
            Some(_inside) => self.whole_write(at, offset, size, attrs, value),
            None => dispatch::store_by_call(at, offset, size, attrs, value),
        }
    }

    #[inline]
    fn whole_read(&self, at: Place<'_>, offset: u64, size: u8, attrs: Attrs) -> (u64, MemTx) {
        let access = Access {
            offset,
            size,
            attrs,
        };
        let called = catch_unwind(AssertUnwindSafe(|| {
            let owner = at.calls().owner.get::<T::Owner>()?;
            let accepted = RegionOps::accepts(self, owner, access, false);
            accepted.then(|| RegionOps::read(self, owner, access))
        }));
        match called {
            // What is above the size is cut off by whoever asked.
            Ok(Some(Ok(value))) => (value, MemTx::OK),
            Ok(Some(Err(error))) => (0, error.result()),
            Ok(None) => (0, at.invalid(access, false)),
            Err(panic) => (0, at.panicked(panic)),
        }
    }

    #[inline]
    fn whole_write(&self, at: Place<'_>, offset: u64, size: u8, attrs: Attrs, value: u64) -> MemTx {
        let access = Access {
            offset,
            size,
            attrs,
        };
        // INVARIANT: it came from so many bytes.
        debug_assert!(value & !access::mask(size) == 0);
        let called = catch_unwind(AssertUnwindSafe(|| {
            let owner = at.calls().owner.get::<T::Owner>()?;
            let accepted = RegionOps::accepts(self, owner, access, true);
            accepted.then(|| RegionOps::write(self, owner, access, value))
        }));
        match called {
            Ok(Some(Ok(()))) => MemTx::OK,
            Ok(Some(Err(error))) => error.result(),
            Ok(None) => at.invalid(access, true),
            Err(panic) => at.panicked(panic),
        }
    }

    fn owner(&self, owner: &Pointer) -> Typed {
        Typed::new::<T::Owner>(owner)
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
