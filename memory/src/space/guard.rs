//! The guards through which an address space is read, and the shorter way to them.

use super::{AddressSpace, SpaceInner};
use crate::access::{Endian, MemTx, MemTxError};
use crate::addr::Gpa;
use crate::attrs::Attrs;
use crate::dispatch::{self, AtOnce, Scalar, StoreAtOnce};
use crate::view::View;
use qom::grace::{Guard, Reader};

/// A thread's own way into an address space. Not `Send`.
pub struct SpaceReader {
    reader: Reader,
    space: AddressSpace,
}

impl SpaceReader {
    pub(super) fn new(space: AddressSpace) -> Self {
        Self {
            reader: space.inner.domain.reader(),
            space,
        }
    }

    /// Enters a read section.
    #[inline]
    pub fn enter(&self) -> SpaceGuard<'_> {
        SpaceGuard::new(self.reader.enter(), &self.space.inner)
    }

    /// The space.
    pub fn space(&self) -> &AddressSpace {
        &self.space
    }
}

/// A read section in an address space: single accesses, each on the current view; and [`view`](Self::view), fixed for as long as it is borrowed.
///
/// Belongs to its thread, which may have as many as it likes:
///
/// ```
/// # let machine = qom::Machine::new("doc");
/// # let root = memory::Region::container("r", memory::Size::MAX).create(machine.root()).unwrap();
/// # let space = memory::AddressSpace::open(machine.root(), "s", &root).unwrap();
/// let guard = space.enter();
/// std::thread::scope(|s| { s.spawn(|| drop(space.enter())); });
/// ```
///
/// ```compile_fail,E0277
/// # let machine = qom::Machine::new("doc");
/// # let root = memory::Region::container("r", memory::Size::MAX).create(machine.root()).unwrap();
/// # let space = memory::AddressSpace::open(machine.root(), "s", &root).unwrap();
/// let guard = space.enter();
/// std::thread::scope(|s| { s.spawn(|| drop(guard)); });
/// ```
///
/// and borrowed bytes do not outlive it:
///
/// ```
/// # let machine = qom::Machine::new("doc");
/// # let root = memory::Region::container("r", memory::Size::MAX).create(machine.root()).unwrap();
/// # let space = memory::AddressSpace::open(machine.root(), "s", &root).unwrap();
/// let guard = space.enter();
/// let bytes = guard.view().slice(memory::Gpa(0), 8);
/// println!("{}", bytes.is_ok());
/// drop(guard);
/// ```
///
/// ```compile_fail,E0505
/// # let machine = qom::Machine::new("doc");
/// # let root = memory::Region::container("r", memory::Size::MAX).create(machine.root()).unwrap();
/// # let space = memory::AddressSpace::open(machine.root(), "s", &root).unwrap();
/// let guard = space.enter();
/// let bytes = guard.view().slice(memory::Gpa(0), 8);
/// drop(guard);
/// println!("{}", bytes.is_ok());
/// ```
pub struct SpaceGuard<'a> {
    guard: Guard<'a>,
    space: &'a SpaceInner,
}

impl<'a> SpaceGuard<'a> {
    #[inline]
    pub(super) fn new(guard: Guard<'a>, space: &'a SpaceInner) -> Self {
        Self { guard, space }
    }

    /// What the space shows now. What is borrowed from here stays as it is while the guard lives.
    #[inline]
    pub fn view(&self) -> &View {
        &self.space.published.load(&self.guard).view
    }

    /// The read section.
    pub fn section(&self) -> &Guard<'a> {
        &self.guard
    }

    /// See [`AddressSpace::load`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn load<T: Scalar>(&self, addr: Gpa, attrs: Attrs) -> Result<T, MemTxError> {
        match dispatch::load_at_once(self.view(), addr.0, Endian::Native) {
            AtOnce::Value(value) => Ok(value),
            AtOnce::Calls(at, offset) => dispatch::loaded(at.load(offset, T::SIZE, attrs)),
            AtOnce::Other => self.load_otherwise(addr, attrs),
        }
    }

    #[inline(never)]
    pub(super) fn load_otherwise<T: Scalar>(
        &self,
        addr: Gpa,
        attrs: Attrs,
    ) -> Result<T, MemTxError> {
        dispatch::load(self.view(), addr.0, Endian::Native, attrs)
    }

    /// See [`AddressSpace::store`].
    ///
    /// # Errors
    /// As [`AddressSpace::load`].
    #[inline]
    pub fn store<T: Scalar>(&self, addr: Gpa, value: T, attrs: Attrs) -> Result<(), MemTxError> {
        match dispatch::store_at_once(self.view(), addr.0, value) {
            StoreAtOnce::Done => Ok(()),
            StoreAtOnce::Calls(at, offset) => at.store(offset, T::SIZE, attrs, value.to_u64()).ok(),
            StoreAtOnce::Other => self.store_otherwise(addr, value, attrs),
        }
    }

    #[inline(never)]
    pub(super) fn store_otherwise<T: Scalar>(
        &self,
        addr: Gpa,
        value: T,
        attrs: Attrs,
    ) -> Result<(), MemTxError> {
        dispatch::store(self.view(), addr.0, value, Endian::Native, attrs)
    }

    /// Loads a number in a byte order of the caller's choice.
    ///
    /// # Errors
    /// As [`AddressSpace::load`].
    pub fn load_as<T: Scalar>(
        &self,
        addr: Gpa,
        order: Endian,
        attrs: Attrs,
    ) -> Result<T, MemTxError> {
        dispatch::load(self.view(), addr.0, order, attrs)
    }

    /// Stores a number in a byte order of the caller's choice.
    ///
    /// # Errors
    /// As [`AddressSpace::load`].
    pub fn store_as<T: Scalar>(
        &self,
        addr: Gpa,
        value: T,
        order: Endian,
        attrs: Attrs,
    ) -> Result<(), MemTxError> {
        dispatch::store(self.view(), addr.0, value, order, attrs)
    }

    /// See [`AddressSpace::read`].
    #[inline]
    pub fn read(&self, addr: Gpa, buf: &mut [u8], attrs: Attrs) -> MemTx {
        dispatch::read(self.view(), addr.0, buf, attrs)
    }

    /// See [`AddressSpace::write`].
    #[inline]
    pub fn write(&self, addr: Gpa, data: &[u8], attrs: Attrs) -> MemTx {
        dispatch::write(self.view(), addr.0, data, attrs)
    }

    /// See [`AddressSpace::compare_exchange`].
    ///
    /// # Errors
    /// As there.
    pub fn compare_exchange<T: Scalar>(
        &self,
        addr: Gpa,
        current: T,
        new: T,
        attrs: Attrs,
    ) -> Result<Result<T, T>, MemTxError> {
        dispatch::compare_exchange(self.view(), addr.0, current, new, attrs)
    }
}
