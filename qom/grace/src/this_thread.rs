//! The slots of the calling thread: the last one at hand, all of them in a list, and what happens when the thread ends.
//!
//! # Soundness
//!
//! The list is made of raw counts (`Arc::into_raw`) linked through [`MySlot::next`], in a thread-local without a destructor, so
//! that it can be walked at any time, also while other thread-locals are being destroyed. A slot is on the
//! list of exactly the thread that claimed it, from `claim` until `drop_slot`; so whatever the list yields may be used as a [`MySlot`].
//!
//! [`END`] has a destructor: it releases the slots that nobody uses and marks the others late. A late slot is released by its last
//! guard or reader. A slot whose guard was leaked stays.
#![expect(
    unsafe_code,
    reason = "an intrusive list of counted slots, and slots whose lifetime is a domain's"
)]

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

use crate::domain::Inner;
use crate::slot::{MySlot, Slot, flag};

/// What a thread knows of its slots. Nothing in it has a destructor.
struct ThisThread {
    /// The domain of `slot`; zero is no domain's.
    domain: Cell<u64>,
    /// The slot used last.
    slot: Cell<*const Slot>,
    /// The first slot of the list.
    head: Cell<*const Slot>,
}

thread_local! {
    static THIS: ThisThread = const {
        ThisThread { domain: Cell::new(0), slot: Cell::new(ptr::null()), head: Cell::new(ptr::null()) }
    };
    static END: End = const { End };
}

/// Notices that the thread ends.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        THIS.with(|this| {
            for_each(this, |slot| {
                if slot.is_unused() || slot.slot().is_closed() {
                    drop_slot(this, slot);
                } else {
                    slot.set(flag::LATE);
                    slot.mark_ended();
                }
            });
        });
    }
}

/// Visits the thread's slots. The visitor may drop the one it is shown.
fn for_each(this: &ThisThread, mut visit: impl FnMut(MySlot<'_>)) {
    let mut at = this.head.get();
    // SAFETY: what is on the list is claimed by this thread, and the list's count keeps it.
    while let Some(slot) = unsafe { at.as_ref() } {
        // SAFETY: as above; `visit` gets it for one call only.
        let slot = unsafe { MySlot::new(slot) };
        at = slot.next().get();
        visit(slot);
    }
}

/// Takes a slot off the list and gives it back to its domain.
fn drop_slot(this: &ThisThread, slot: MySlot<'_>) {
    let place: *const Slot = slot.slot();
    if this.slot.get() == place {
        this.domain.set(0);
        this.slot.set(ptr::null());
    }
    if this.head.get() == place {
        this.head.set(slot.next().get());
    } else {
        for_each(this, |before| {
            if before.next().get() == place {
                before.next().set(slot.next().get());
            }
        });
    }
    slot.release();
    // SAFETY: the list's count, which `claim` made with `into_raw`; the slot is off the list.
    drop(unsafe { Arc::from_raw(place) });
}

/// This thread's slot in the domain; claims one if there is none.
#[inline]
pub(crate) fn slot(inner: &Inner) -> MySlot<'_> {
    THIS.with(|this| {
        if this.domain.get() == inner.id() {
            // SAFETY: `slot` is on this thread's list while `domain` is not zero, and the domain's registry keeps it while
            // `inner` is borrowed.
            return unsafe { MySlot::new(&*this.slot.get()) };
        }
        find_or_claim(this, inner)
    })
}

/// This thread's slot in the domain, if it is the one used last.
#[inline]
pub(crate) fn slot_at_hand(inner: &Inner) -> Option<MySlot<'_>> {
    THIS.with(|this| {
        if this.domain.get() != inner.id() {
            return None;
        }
        let slot = this.slot.get();
        // SAFETY: as in `slot`; and so it is not null, which whoever asks whether there is one need not ask again.
        Some(unsafe {
            std::hint::assert_unchecked(!slot.is_null());
            MySlot::new(&*slot)
        })
    })
}

#[cold]
fn find_or_claim<'i>(this: &ThisThread, inner: &'i Inner) -> MySlot<'i> {
    let place = match find(this, inner) {
        Some(slot) => ptr::from_ref(slot.slot()),
        None => claim(this, inner),
    };
    this.domain.set(inner.id());
    this.slot.set(place);
    // SAFETY: it is on the list; the registry of the domain keeps it while `inner` is borrowed.
    unsafe { MySlot::new(&*place) }
}

/// This thread's slot in the domain, if it has one.
#[inline]
pub(crate) fn find_slot(inner: &Inner) -> Option<MySlot<'_>> {
    THIS.with(|this| {
        if this.domain.get() == inner.id() {
            // SAFETY: as in `slot`.
            return Some(unsafe { MySlot::new(&*this.slot.get()) });
        }
        find(this, inner)
    })
}

fn find<'i>(this: &ThisThread, inner: &'i Inner) -> Option<MySlot<'i>> {
    let mut at = this.head.get();
    // SAFETY: what is on the list is claimed by this thread. A slot of this domain is kept by its registry while `inner` is
    // borrowed; the others are only looked at here.
    while let Some(slot) = unsafe { at.as_ref::<'i>() } {
        // SAFETY: as above.
        let slot = unsafe { MySlot::new(slot) };
        if slot.slot().domain() == inner.id() {
            return Some(slot);
        }
        at = slot.next().get();
    }
    None
}

fn claim(this: &ThisThread, inner: &Inner) -> *const Slot {
    // A good moment to forget domains that are gone: whoever makes many domains claims many slots.
    for_each(this, |slot| {
        if slot.slot().is_closed() {
            drop_slot(this, slot);
        }
    });
    let lives = END.try_with(|_| ()).is_ok();
    // The standard library's own record of the thread may be gone too by then.
    let name = if lives {
        std::thread::current().name().map(Arc::from)
    } else {
        None
    };
    let slot = inner
        .registry()
        .claim(inner.id(), inner.engine().attach(), name, kernel_thread());
    let place = Arc::into_raw(slot);
    // SAFETY: claimed by this thread a line ago; the count is the list's from here on.
    let slot = unsafe { MySlot::new(&*place) };
    if !lives {
        slot.set(flag::LATE);
    }
    slot.next().set(this.head.get());
    this.head.set(place);
    place
}

/// A lasting use of this thread's slot. It keeps the slot, and stays in its thread.
pub(crate) struct Seat {
    slot: Arc<Slot>,
    _stays: PhantomData<*const ()>,
}

impl Seat {
    pub(crate) fn take(inner: &Inner) -> Self {
        let mine = slot(inner);
        mine.readers().set(mine.readers().get() + 1);
        // SAFETY: the pointer comes from `Arc::into_raw` (the list's count), and the count made here is the seat's.
        let slot = unsafe {
            let place: *const Slot = mine.slot();
            Arc::increment_strong_count(place);
            Arc::from_raw(place)
        };
        Self {
            slot,
            _stays: PhantomData,
        }
    }

    #[inline]
    pub(crate) fn slot(&self) -> MySlot<'_> {
        // SAFETY: a slot with readers is not released, and the seat has not left the thread that claimed the slot.
        unsafe { MySlot::new(&self.slot) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let slot = self.slot();
        slot.readers().set(slot.readers().get() - 1);
        let_go_if_late(slot);
    }
}

/// Gives back a slot that outlived its thread's destructors, once nobody uses it.
pub(crate) fn let_go_if_late(slot: MySlot<'_>) {
    if slot.has(flag::LATE) && slot.is_unused() {
        THIS.with(|this| drop_slot(this, slot));
    }
}

/// In a forked child: says of this thread's slots that their thread lives on.
pub(crate) fn inherit() {
    THIS.with(|this| for_each(this, |slot| slot.slot().inherit()));
}

#[cfg(target_os = "linux")]
fn kernel_thread() -> u64 {
    // SAFETY: takes nothing, cannot fail.
    let id = unsafe { libc::gettid() };
    u64::try_from(id).unwrap_or(0)
}

#[cfg(not(target_os = "linux"))]
fn kernel_thread() -> u64 {
    0
}
