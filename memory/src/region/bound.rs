//! A region's callbacks bound to the object that they are called on: what one access calls, made for the type of the callbacks.
//!
//! An access to a device is some thirty instructions beside the look for it, so each word on its way counts. Admission, the owner's part and what is
//! called are one function for each type of callbacks, which is found by one pointer; nothing is asked again that was known when the range
//! came into the view.
#![expect(
    unsafe_code,
    reason = "the owner's part and the callbacks, whose types an access would else compare each time"
)]
// Soundness: what is unsafe are the functions of an `Entry`, which turn the two addresses of a `Bound` back into references to what they were made from.
// Both are made in `Bound::new` and nowhere else, together with the entry of the same type, and none of the fields ever changes; each function of an
// entry takes them from the place that the entry itself was taken from (`load` and its siblings, below).
// `ops` is from `Arc::into_raw`, and its count is the `Bound`'s own until its drop. `part` is what `layer::part` gave for `owner`: it stays where it is
// for as long as a pointer to the owner exists, and the `Bound` has one. Where there was no part, the entry is one whose functions do not look at `part`.

use super::RegionOps;
use crate::access::{self, Access, MemTx, MemTxError};
use crate::attrs::Attrs;
use crate::dispatch;
use crate::leaf::Place;
use crate::reentrancy::{self, Here};
use qom::layer::{self, Pointer};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;

/// Callbacks, and whom they are called on. It keeps the owner's block of memory, and not the owner.
pub(crate) struct Bound {
    entry: &'static Entry,
    owner: Pointer,
    /// INVARIANT: the owner's part, of the entry's type of owners, where the entry looks at it.
    part: *const (),
    /// INVARIANT: of the entry's type, and counted.
    ops: *const (),
}

// SAFETY: callbacks and objects' instances are `Send` and `Sync`, and it gives out nothing else.
unsafe impl Send for Bound {}
// SAFETY: as above.
unsafe impl Sync for Bound {}

/// What is called, for one type of callbacks.
///
/// # Safety
/// `load`, `store`, `read` and `write`: the entry is that of the place. `release`: once, with the `ops` that the entry was made with.
struct Entry {
    load: unsafe fn(Here, Place<'_>, u64, u8, Attrs) -> (u64, MemTx),
    store: unsafe fn(Here, Place<'_>, u64, u8, Attrs, u64) -> MemTx,
    read: unsafe fn(Place<'_>, Access) -> (u64, MemTx),
    write: unsafe fn(Place<'_>, Access, u64) -> MemTx,
    release: unsafe fn(*const ()),
}

impl Entry {
    /// For callbacks of type `T`.
    const fn of<T: RegionOps>() -> &'static Self {
        &Self {
            load: load_of::<T>,
            store: store_of::<T>,
            read: read_of::<T>,
            write: write_of::<T>,
            release: release_of::<T>,
        }
    }

    /// For such whose owner was being made.
    const fn sought<T: RegionOps>() -> &'static Self {
        &Self {
            load: |_, at, offset, size, attrs| dispatch::load_by_call(at, offset, size, attrs),
            store: |_, at, offset, size, attrs, value| {
                dispatch::store_by_call(at, offset, size, attrs, value)
            },
            read: seek_and_read::<T>,
            write: seek_and_write::<T>,
            release: release_of::<T>,
        }
    }
}

impl Bound {
    /// Binds callbacks to their owner. Where that is still being made (a region of it can be seen through somebody else's alias), it is looked for at
    /// each access.
    pub(crate) fn new<T: RegionOps>(ops: Arc<T>, owner: &Pointer) -> Self {
        let part = layer::part::<T::Owner>(owner);
        Self {
            entry: match part {
                Some(_) => Entry::of::<T>(),
                None => Entry::sought::<T>(),
            },
            owner: owner.clone(),
            part: part.map_or(ptr::null(), |part| part.as_ptr().cast_const().cast()),
            ops: Arc::into_raw(ops).cast(),
        }
    }

    /// On whom they are called.
    #[inline]
    pub(crate) fn owner(&self) -> &Pointer {
        &self.owner
    }

    /// # Safety
    /// The entry is that of `T`.
    #[inline]
    unsafe fn ops<T: RegionOps>(&self) -> &T {
        // SAFETY: see the head of the file.
        unsafe { &*self.ops.cast::<T>() }
    }

    /// # Safety
    /// The entry is that of `T`.
    #[inline]
    unsafe fn part<T: RegionOps>(&self) -> &T::Owner {
        // SAFETY: see the head of the file.
        unsafe { &*self.part.cast::<T::Owner>() }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // SAFETY: the entry was made with these, and this is the one drop.
        unsafe { (self.entry.release)(self.ops) }
    }
}

/// A read in the target's byte order, from wherever the thread is.
#[inline]
pub(crate) fn load(here: Here, at: Place<'_>, offset: u64, size: u8, attrs: Attrs) -> (u64, MemTx) {
    // SAFETY: the place's own entry.
    unsafe { (at.calls().bound.entry.load)(here, at, offset, size, attrs) }
}

/// A write of that kind.
#[inline]
pub(crate) fn store(
    here: Here,
    at: Place<'_>,
    offset: u64,
    size: u8,
    attrs: Attrs,
    value: u64,
) -> MemTx {
    // SAFETY: the place's own entry.
    unsafe { (at.calls().bound.entry.store)(here, at, offset, size, attrs, value) }
}

/// One call of the read callback, which has been admitted; asks for the veto as well, and sees to panics.
#[inline]
pub(crate) fn read(at: Place<'_>, access: Access) -> (u64, MemTx) {
    // SAFETY: the place's own entry.
    unsafe { (at.calls().bound.entry.read)(at, access) }
}

/// One call of the write callback.
#[inline]
pub(crate) fn write(at: Place<'_>, access: Access, value: u64) -> MemTx {
    // INVARIANT: it came from so many bytes.
    debug_assert!(value & !access::mask(access.size) == 0);
    // SAFETY: the place's own entry.
    unsafe { (at.calls().bound.entry.write)(at, access, value) }
}

/// [`load()`] for one type of callbacks.
///
/// # Safety
/// The place's entry is that of `T`.
unsafe fn load_of<T: RegionOps>(
    here: Here,
    at: Place<'_>,
    offset: u64,
    size: u8,
    attrs: Attrs,
) -> (u64, MemTx) {
    let Some(inside) = dispatch::admit_at_once(here, at, offset, size, attrs) else {
        return dispatch::load_by_call(at, offset, size, attrs);
    };
    let bound = &at.calls().bound;
    // SAFETY: for the caller to see to.
    let (ops, owner) = unsafe { (bound.ops::<T>(), bound.part::<T>()) };
    let access = Access {
        offset,
        size,
        attrs,
    };
    match read_on(ops, owner, access) {
        Ok(called) => {
            // Before anything else is called, so that the usual way saves no registers for that.
            drop(inside);
            read_answer(at, access, called)
        }
        Err(panic) => (0, panicked_inside(at, panic, inside)),
    }
}

/// [`store()`] for one type of callbacks.
///
/// # Safety
/// The place's entry is that of `T`.
unsafe fn store_of<T: RegionOps>(
    here: Here,
    at: Place<'_>,
    offset: u64,
    size: u8,
    attrs: Attrs,
    value: u64,
) -> MemTx {
    let Some(inside) = dispatch::admit_at_once(here, at, offset, size, attrs) else {
        return dispatch::store_by_call(at, offset, size, attrs, value);
    };
    let bound = &at.calls().bound;
    // SAFETY: for the caller to see to.
    let (ops, owner) = unsafe { (bound.ops::<T>(), bound.part::<T>()) };
    let access = Access {
        offset,
        size,
        attrs,
    };
    match write_on(ops, owner, access, value) {
        Ok(called) => {
            drop(inside);
            write_answer(at, access, called)
        }
        Err(panic) => panicked_inside(at, panic, inside),
    }
}

/// [`read()`] for one type of callbacks.
///
/// # Safety
/// The place's entry is that of `T`.
unsafe fn read_of<T: RegionOps>(at: Place<'_>, access: Access) -> (u64, MemTx) {
    let bound = &at.calls().bound;
    // SAFETY: for the caller to see to.
    let (ops, owner) = unsafe { (bound.ops::<T>(), bound.part::<T>()) };
    read_reported(at, access, read_on(ops, owner, access))
}

/// [`write()`] for one type of callbacks.
///
/// # Safety
/// The place's entry is that of `T`.
unsafe fn write_of<T: RegionOps>(at: Place<'_>, access: Access, value: u64) -> MemTx {
    let bound = &at.calls().bound;
    // SAFETY: for the caller to see to.
    let (ops, owner) = unsafe { (bound.ops::<T>(), bound.part::<T>()) };
    write_reported(at, access, write_on(ops, owner, access, value))
}

/// [`read()`] where the owner's part is looked for.
///
/// # Safety
/// The place's entry is that of `T`.
unsafe fn seek_and_read<T: RegionOps>(at: Place<'_>, access: Access) -> (u64, MemTx) {
    let bound = &at.calls().bound;
    // SAFETY: for the caller to see to.
    let ops = unsafe { bound.ops::<T>() };
    match bound.owner.instance::<T::Owner>() {
        Some(owner) => read_reported(at, access, read_on(ops, owner, access)),
        None => (0, at.invalid(access, false)),
    }
}

/// [`write()`] where the owner's part is looked for.
///
/// # Safety
/// The place's entry is that of `T`.
unsafe fn seek_and_write<T: RegionOps>(at: Place<'_>, access: Access, value: u64) -> MemTx {
    let bound = &at.calls().bound;
    // SAFETY: for the caller to see to.
    let ops = unsafe { bound.ops::<T>() };
    match bound.owner.instance::<T::Owner>() {
        Some(owner) => write_reported(at, access, write_on(ops, owner, access, value)),
        None => at.invalid(access, true),
    }
}

/// Lets go of the callbacks.
///
/// # Safety
/// `ops` is from `Arc::into_raw` of an `Arc<T>`, and not used any more.
unsafe fn release_of<T: RegionOps>(ops: *const ()) {
    // SAFETY: for the caller to see to.
    drop(unsafe { Arc::from_raw(ops.cast::<T>()) });
}

/// What a callback answered: none where the veto hook refused.
type Answer<R> = Option<Result<R, MemTxError>>;
/// The same, or it panicked.
type Called<R> = Result<Answer<R>, Box<dyn Any + Send>>;

#[inline]
fn read_on<T: RegionOps>(ops: &T, owner: &T::Owner, access: Access) -> Called<u64> {
    catch_unwind(AssertUnwindSafe(|| {
        let accepted = ops.accepts(owner, access, false);
        accepted.then(|| ops.read(owner, access))
    }))
}

#[inline]
fn write_on<T: RegionOps>(ops: &T, owner: &T::Owner, access: Access, value: u64) -> Called<()> {
    catch_unwind(AssertUnwindSafe(|| {
        let accepted = ops.accepts(owner, access, true);
        accepted.then(|| ops.write(owner, access, value))
    }))
}

#[inline]
fn read_answer(at: Place<'_>, access: Access, answer: Answer<u64>) -> (u64, MemTx) {
    match answer {
        // What is above the size is cut off by whoever asked.
        Some(Ok(value)) => (value, MemTx::OK),
        Some(Err(error)) => (0, error.result()),
        None => (0, at.invalid(access, false)),
    }
}

#[inline]
fn write_answer(at: Place<'_>, access: Access, answer: Answer<()>) -> MemTx {
    match answer {
        Some(Ok(())) => MemTx::OK,
        Some(Err(error)) => error.result(),
        None => at.invalid(access, true),
    }
}

/// The same of a call by a thread whose stay in the device is its caller's, and does not end here.
#[inline]
fn read_reported(at: Place<'_>, access: Access, called: Called<u64>) -> (u64, MemTx) {
    match called {
        Ok(answer) => read_answer(at, access, answer),
        Err(panic) => (0, at.panicked(panic)),
    }
}

/// As [`read_reported`].
#[inline]
fn write_reported(at: Place<'_>, access: Access, called: Called<()>) -> MemTx {
    match called {
        Ok(answer) => write_answer(at, access, answer),
        Err(panic) => at.panicked(panic),
    }
}

/// Whoever hears of the panic is still inside the device, as on the other ways. Apart, so that the usual way saves no registers for it.
#[cold]
#[inline(never)]
fn panicked_inside(at: Place<'_>, panic: Box<dyn Any + Send>, inside: reentrancy::First) -> MemTx {
    let answer = at.panicked(panic);
    drop(inside);
    answer
}
