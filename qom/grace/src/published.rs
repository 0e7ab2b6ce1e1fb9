//! A published pointer: readers follow it in a read section, writers replace it, the old value waits for its readers.
//!
//! # Soundness
//!
//! The cell owns one strong count of the value it shows, as a raw pointer from `Arc::into_raw`.
//!
//! * `load` borrows the value for as long as both the cell and the guard are borrowed. A value is given up in two ways only. `swap` takes it out
//!   and *retires* the count: it is dropped after a grace period of the cell's domain, and `load` insists on a guard of that
//!   domain, so the guard's section holds it off (the argument is in the header of `protocol.rs`). Dropping the cell drops the count at once,
//!   which needs the cell unborrowed. A guard that is leaked holds its section open for as long as a handle of the
//!   domain is left, and a borrow of the guard cannot outlive the handle the guard borrows.
//! * `swap` is one atomic exchange, so two writers retire different values. Which of them comes first is for the caller's lock to say.
//! * Counts that callers get (`load_arc`, `swap`) are counts of their own.
#![expect(unsafe_code, reason = "a counted pointer in an atomic")]

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::domain::{Domain, Inner};
use crate::guard::Guard;
use crate::protocol::PointerCell;

/// A shared value that readers see without locks and writers replace as a whole.
///
/// Bound to a [`Domain`]: reading takes a guard of that domain, and replaced values are retired there.
///
/// ```
/// use std::sync::Arc;
/// use qom_grace::{Domain, DomainConfig, Published};
///
/// let domain = Domain::new(DomainConfig::default(), Arc::new(drop));
/// let map = Published::new(&domain, Arc::new(vec!["ram"]));
/// let guard = domain.enter();
/// let before = map.load(&guard);
/// map.store(Arc::new(vec!["ram", "rom"]), 32);
/// assert_eq!(before.len(), 1);
/// assert_eq!(map.load(&guard).len(), 2);
/// ```
///
/// What was loaded does not outlive the guard:
///
/// ```
/// use std::sync::Arc;
/// use qom_grace::{Domain, DomainConfig, Published};
///
/// let domain = Domain::new(DomainConfig::default(), Arc::new(drop));
/// let map = Published::new(&domain, Arc::new(vec!["ram"]));
/// let guard = domain.enter();
/// let before = map.load(&guard);
/// assert_eq!(before.len(), 1);
/// drop(guard);
/// ```
///
/// ```compile_fail,E0505
/// use std::sync::Arc;
/// use qom_grace::{Domain, DomainConfig, Published};
///
/// let domain = Domain::new(DomainConfig::default(), Arc::new(drop));
/// let map = Published::new(&domain, Arc::new(vec!["ram"]));
/// let guard = domain.enter();
/// let before = map.load(&guard);
/// drop(guard);
/// assert_eq!(before.len(), 1);
/// ```
pub struct Published<T: Send + Sync + 'static> {
    cell: PointerCell<T>,
    domain_id: u64,
    domain: Arc<Inner>,
    _owns: PhantomData<Arc<T>>,
}

impl<T: Send + Sync + 'static> Published<T> {
    /// A cell of `domain` that shows `value`. It does not keep the domain open.
    pub fn new(domain: &Domain, value: Arc<T>) -> Self {
        Self {
            cell: PointerCell::new(Arc::into_raw(value).cast_mut()),
            domain_id: domain.id(),
            domain: Arc::clone(domain.inner()),
            _owns: PhantomData,
        }
    }

    /// [`Domain::id`] of the cell's domain.
    pub fn domain_id(&self) -> u64 {
        self.domain_id
    }

    /// The value shown now. It stays readable while the guard is there, whatever is stored meanwhile; a later load may give
    /// another one.
    ///
    /// # Panics
    /// If the guard is of another domain.
    #[inline]
    #[track_caller]
    pub fn load<'g>(&'g self, guard: &'g Guard<'_>) -> &'g T {
        if guard.domain_id() != self.domain_id {
            self.wrong_domain(guard);
        }
        // SAFETY: the pointer is from `Arc::into_raw`; its count is the cell's or retired in the guard's domain. See the file's header.
        unsafe { &*self.cell.load() }
    }

    /// The value shown now, as [`load`](Self::load); none where the guard is of another domain.
    #[inline]
    pub fn try_load<'g>(&'g self, guard: &'g Guard<'_>) -> Option<&'g T> {
        if guard.domain_id() != self.domain_id {
            return None;
        }
        // SAFETY: as in `load`.
        Some(unsafe { &*self.cell.load() })
    }

    /// A count of its own on the value shown now. Costs a read-modify-write on the count that all who do this share.
    ///
    /// # Panics
    /// If the guard is of another domain.
    #[track_caller]
    pub fn load_arc(&self, guard: &Guard<'_>) -> Arc<T> {
        let shown: *const T = self.load(guard);
        // SAFETY: the pointer is from `Arc::into_raw`, and as in `load` a count of it lives as long as the guard.
        unsafe {
            Arc::increment_strong_count(shown);
            Arc::from_raw(shown)
        }
    }

    /// Shows `value` from now on and retires the one shown before, which was said to hold `bytes`.
    ///
    /// Any thread may call it, also in a read section; callers that build the new value from the old one bring their own lock.
    pub fn store(&self, value: Arc<T>, bytes: u64) {
        let old = self.replace(value);
        self.retire(bytes, old, false);
    }

    /// Like [`store`](Self::store), and also gives the caller a count of its own on the value shown before. Readers may still be looking
    /// at it, and it is not dropped before the caller has dropped that count too.
    pub fn swap(&self, value: Arc<T>, bytes: u64) -> Arc<T> {
        let old = self.replace(value);
        self.retire(bytes, Arc::clone(&old), false);
        old
    }

    /// Like [`swap`](Self::swap), where dropping a value runs nobody's code but the library's, takes no lock that a caller may have, and may be done
    /// by any thread: the sink can tell ([`Retired::is_inert`](crate::Retired::is_inert)).
    pub fn swap_inert(&self, value: Arc<T>, bytes: u64) -> Arc<T> {
        let old = self.replace(value);
        self.retire(bytes, Arc::clone(&old), true);
        old
    }

    fn retire(&self, bytes: u64, old: Arc<T>, inert: bool) {
        self.domain
            .retire_count(bytes, "published value", old, inert);
    }

    fn replace(&self, value: Arc<T>) -> Arc<T> {
        let old = self.cell.swap(Arc::into_raw(value).cast_mut());
        // SAFETY: the cell's own count, which only this call took out. Both callers retire it.
        unsafe { Arc::from_raw(old) }
    }

    /// Gives the value up; no reader can hold the cell any more, so no grace period is needed.
    pub fn into_inner(self) -> Arc<T> {
        let shown = self.cell.load().cast_const();
        // SAFETY: the cell's count keeps the value until `self` is dropped at the end of this function.
        unsafe {
            Arc::increment_strong_count(shown);
            Arc::from_raw(shown)
        }
    }

    #[cold]
    #[track_caller]
    fn wrong_domain(&self, guard: &Guard<'_>) -> ! {
        panic!(
            "a pointer of domain `{}` ({}) was read with a guard of domain `{}` ({})",
            self.domain.name(),
            self.domain_id,
            guard.domain().name(),
            guard.domain_id()
        );
    }
}

impl<T: Send + Sync + 'static> Drop for Published<T> {
    fn drop(&mut self) {
        // SAFETY: the cell's own count; nobody borrows the cell, so nobody borrowed the value through it.
        drop(unsafe { Arc::from_raw(self.cell.load().cast_const()) });
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Published<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published")
            .field("domain", self.domain.name())
            .finish_non_exhaustive()
    }
}
