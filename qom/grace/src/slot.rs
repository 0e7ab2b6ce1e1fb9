//! A reader's slot: its word, and what its own thread keeps beside it.
//!
//! # Soundness
//!
//! A [`Slot`] is shared between its thread and the reclaimer, but most of it belongs to its thread: the fields of
//! [`Own`] are plain cells. They are reached only through [`MySlot`], a copyable pointer that cannot leave its thread
//! and that is made in one place, by `this_thread.rs`, for a slot that the calling thread has claimed and not released.
//!
//! * A slot has one owner at a time: `claim` takes it with a compare-exchange from free to taken (acquire), and
//!   `release` gives it back (release), as the owner's last access.
//! * A thread releases a slot only when no guard and no [`Reader`](crate::Reader) of it is left, so no `MySlot` that will be
//!   used again outlives the claim. A guard that was leaked keeps the slot, and the section, for ever: somewhere there may be
//!   a reference that was borrowed from it.
//! * The memory of a slot lives as long as its domain's registry, which guards and readers borrow or keep; a thread's own list
//!   holds a count besides.
//!
//! ORDERING: the section's own word is argued in `protocol.rs`; here are the fields around it. `taken` hands a slot from one thread to the
//! next: Release when it is given back, Acquire when it is claimed, so the next owner sees the cells as the last left them; counting
//! the taken ones is for people and Relaxed. `closed` is Release and Acquire: who sees it sees a domain that is gone. `attached` is Release after the
//! pin is stored and Acquire where another thread judges it; its own thread reads it Relaxed. `generation` is written by the slot's
//! thread and read in a forked child, where it is the only thread there is. `ended` is for messages.
#![expect(
    unsafe_code,
    reason = "cells of one thread inside a structure that two threads share"
)]

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_epoch::{Guard as Pin, LocalHandle};

use crate::domain::Inner;
use crate::engine::Engine;
use crate::error::ReaderName;
use crate::fork;
use crate::lock::Mutex;
use crate::protocol::Word;

/// The low bits of [`Own::beside`]: what an outermost exit has to do besides.
pub(crate) mod flag {
    /// The engine pins something.
    pub(crate) const PINS: u8 = 1;
    /// The thread changed topology while too much was retired: it waits when it leaves.
    pub(crate) const OWES_WAIT: u8 = 2;
    /// The thread's destructors have run: the slot goes when its last user goes.
    pub(crate) const LATE: u8 = 4;
}

/// One nested section, in [`Own::beside`].
const NESTED: u64 = 1 << 8;

/// The flags in it.
#[inline]
fn low(beside: u64) -> u8 {
    beside.to_le_bytes()[0]
}

/// The part of a slot that only its own thread touches.
struct Own {
    /// How many sections are open inside the outermost one, which the word itself tells, in steps of [`NESTED`]; and below that the
    /// [`flag`]s. Entering and leaving the outermost only compare it with zero, at once for both, and the processor need not wait for
    /// the stores of the section before.
    beside: Cell<u64>,
    readers: Cell<u64>,
    overloaded: Cell<bool>,
    next: Cell<*const Slot>,
    pinned: RefCell<Pinned>,
}

/// What an engine wants kept per reader. The pin goes before the handle.
#[derive(Default)]
struct Pinned {
    pin: Option<Pin>,
    handle: Option<LocalHandle>,
}

/// Who has the slot, for display.
#[derive(Clone, Debug, Default)]
struct Owner {
    name: Option<Arc<str>>,
    thread: u64,
}

/// One thread's place in one domain.
#[repr(align(128))]
pub(crate) struct Slot {
    word: Word,
    domain: u64,
    own: Own,
    taken: AtomicBool,
    /// The domain is gone: the thread's list may drop its count.
    closed: AtomicBool,
    /// The thread has ended.
    ended: AtomicBool,
    /// In which process of a family of forks its thread lives.
    generation: AtomicU64,
    /// In which process of a family of forks it was attached to the engine.
    attached: AtomicU64,
    owner: Mutex<Owner>,
}

// SAFETY: `own` is the only part that is not `Sync`, and only the thread that claimed the slot reaches it (`MySlot`), or a
// thread of a forked child in which the claiming thread does not exist (`disinherit`). The part that is not `Send`
// (crossbeam's handle) is made, used and dropped by that thread, or leaked.
unsafe impl Sync for Slot {}
// SAFETY: as above. Dropping a slot elsewhere drops no handle: `release` and `forget_domain` took it out, or `Drop` leaks it.
unsafe impl Send for Slot {}

impl Slot {
    fn new(domain: u64) -> Self {
        Self {
            word: Word::new(),
            domain,
            own: Own {
                beside: Cell::new(0),
                readers: Cell::new(0),
                overloaded: Cell::new(false),
                next: Cell::new(std::ptr::null()),
                pinned: RefCell::default(),
            },
            taken: AtomicBool::new(true),
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            generation: AtomicU64::new(fork::generation()),
            attached: AtomicU64::new(fork::generation()),
            owner: Mutex::default(),
        }
    }

    #[inline]
    pub(crate) fn word(&self) -> &Word {
        &self.word
    }

    #[inline]
    pub(crate) fn domain(&self) -> u64 {
        self.domain
    }

    pub(crate) fn is_closed(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `close`: who sees it sees a domain that is gone.
        self.closed.load(Ordering::Acquire)
    }

    /// The slot's thread is the caller, as seen by a forked child: it is the one thread that lives on.
    pub(crate) fn inherit(&self) {
        // ORDERING: Relaxed: its own thread writes it, and a forked child, where no other thread is, reads it.
        self.generation.store(fork::generation(), Ordering::Relaxed);
    }

    /// Whether its thread is in a section that began before the process was forked off, and is pinned in the parent's collector.
    pub(crate) fn is_pinned_elsewhere(&self) -> bool {
        // ORDERING: pairs with the release in `pin` and with the end of the section.
        self.attached.load(Ordering::Acquire) != fork::generation()
            && !self.word.has_passed(u64::MAX)
    }

    fn name(&self) -> ReaderName {
        let owner = self.owner.lock().clone();
        ReaderName {
            name: owner.name,
            thread: owner.thread,
            waited_for: None,
            // ORDERING: Relaxed: for messages.
            thread_ended: self.ended.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // What is still here was left by a thread that ended with a leaked guard; it belongs to that thread.
        std::mem::forget(self.own.pinned.take());
    }
}

/// A slot as its own thread sees it.
#[derive(Clone, Copy)]
pub(crate) struct MySlot<'a> {
    slot: &'a Slot,
    _stays: PhantomData<*const ()>,
}

impl<'a> MySlot<'a> {
    /// # Safety
    /// The calling thread has claimed `slot` and not released it, and does not use the result after it has.
    #[inline]
    pub(crate) unsafe fn new(slot: &'a Slot) -> Self {
        Self {
            slot,
            _stays: PhantomData,
        }
    }

    #[inline]
    pub(crate) fn slot(self) -> &'a Slot {
        self.slot
    }

    #[inline]
    pub(crate) fn depth(self) -> u64 {
        self.slot.own.beside.get() / NESTED + u64::from(self.is_entered())
    }

    /// Whether the thread is in a section.
    #[inline]
    pub(crate) fn is_entered(self) -> bool {
        self.slot.word.section().is_some()
    }

    /// Enters a section, or one more.
    #[inline]
    pub(crate) fn enter(self, inner: &Inner) {
        let own = &self.slot.own;
        if self.is_entered() {
            own.beside.set(own.beside.get() + NESTED);
            return;
        }
        self.slot.word.enter(inner.clock());
        if self.has(flag::PINS) {
            self.pin(inner.engine());
        }
    }

    /// Enters a section where the thread is in none and has nothing to do besides; false where that is not so.
    #[inline]
    pub(crate) fn enter_plainly(self, inner: &Inner) -> bool {
        if self.is_entered() || self.slot.own.beside.get() != 0 {
            return false;
        }
        self.slot.word.enter(inner.clock());
        true
    }

    /// Leaves a section. What the outermost exit has to do besides (bits of [`flag`]) is for the caller.
    #[inline]
    #[must_use]
    pub(crate) fn exit(self) -> u8 {
        let own = &self.slot.own;
        let beside = own.beside.get();
        // One question for what nearly all have.
        if beside == 0 {
            self.slot.word.exit();
            return 0;
        }
        if beside >= NESTED {
            own.beside.set(beside - NESTED);
            return 0;
        }
        self.slot.word.exit();
        low(beside)
    }

    fn pin(self, engine: &dyn Engine) {
        let mut pinned = self.slot.own.pinned.borrow_mut();
        // ORDERING: Relaxed: its own thread wrote it.
        if self.slot.attached.load(Ordering::Relaxed) != fork::generation() {
            // The handle belongs to the parent's collector, with all that was going on in it; nothing of it is touched.
            std::mem::forget(std::mem::replace(&mut pinned.handle, engine.attach()));
        }
        let pin = pinned.handle.as_ref().map(LocalHandle::pin);
        pinned.pin = pin;
        // ORDERING: Release: the pin is stored before it; pairs with the Acquire in `is_pinned_elsewhere`.
        self.slot
            .attached
            .store(fork::generation(), Ordering::Release);
    }

    /// Ends the engine's pin.
    pub(crate) fn unpin(self) {
        let pin = self.slot.own.pinned.borrow_mut().pin.take();
        drop(pin);
    }

    pub(crate) fn has(self, bit: u8) -> bool {
        low(self.slot.own.beside.get()) & bit != 0
    }

    pub(crate) fn set(self, bit: u8) {
        let beside = &self.slot.own.beside;
        beside.set(beside.get() | u64::from(bit));
    }

    pub(crate) fn clear(self, bit: u8) {
        let beside = &self.slot.own.beside;
        beside.set(beside.get() & !u64::from(bit));
    }

    pub(crate) fn overloaded(self) -> &'a Cell<bool> {
        &self.slot.own.overloaded
    }

    pub(crate) fn readers(self) -> &'a Cell<u64> {
        &self.slot.own.readers
    }

    pub(crate) fn next(self) -> &'a Cell<*const Slot> {
        &self.slot.own.next
    }

    pub(crate) fn is_unused(self) -> bool {
        !self.is_entered() && self.readers().get() == 0
    }

    /// Notes that the thread has ended, for those who ask who holds a section.
    pub(crate) fn mark_ended(self) {
        // ORDERING: Relaxed: for messages.
        self.slot.ended.store(true, Ordering::Relaxed);
    }

    /// Drops what the engine wanted kept. For a slot that is released, or whose domain is gone.
    pub(crate) fn detach(self) {
        let pinned = self.slot.own.pinned.take();
        drop(pinned);
    }

    /// Gives the slot back. Nothing may use it through this thread afterwards.
    pub(crate) fn release(self) {
        self.detach();
        let own = &self.slot.own;
        own.beside.set(0);
        own.overloaded.set(false);
        own.next.set(std::ptr::null());
        // ORDERING: the last access of this owner; pairs with the acquire in `claim`.
        self.slot.taken.store(false, Ordering::Release);
    }
}

/// All slots of a domain. Grows to the largest number of threads that had one at a time, and keeps them until it goes.
#[derive(Default)]
pub(crate) struct Registry {
    slots: Mutex<Vec<Arc<Slot>>>,
}

impl Registry {
    /// Takes a free slot, or makes one, for the calling thread.
    pub(crate) fn claim(
        &self,
        domain: u64,
        handle: Option<LocalHandle>,
        name: Option<Arc<str>>,
        thread: u64,
    ) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        let free = slots.iter().find(|slot| {
            // ORDERING: acquire pairs with `release`.
            slot.taken
                .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        });
        let slot = if let Some(slot) = free {
            Arc::clone(slot)
        } else {
            let slot = Arc::new(Slot::new(domain));
            slots.push(Arc::clone(&slot));
            slot
        };
        slot.ended.store(false, Ordering::Relaxed);
        slot.inherit();
        *slot.owner.lock() = Owner { name, thread };
        // This thread has just claimed it.
        if handle.is_some() {
            slot.own.beside.set(u64::from(flag::PINS));
        }
        slot.own.pinned.borrow_mut().handle = handle;
        slot.attached.store(fork::generation(), Ordering::Release);
        slot
    }

    /// The slots there are now.
    pub(crate) fn snapshot(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().clone()
    }

    /// How many threads have a slot.
    pub(crate) fn taken(&self) -> u64 {
        let slots = self.slots.lock();
        // ORDERING: Relaxed: a number for people.
        slots
            .iter()
            .map(|slot| u64::from(slot.taken.load(Ordering::Relaxed)))
            .sum()
    }

    /// The reader whose section began first by the clock, and that clock value. `last` comes last, whenever
    /// it began.
    pub(crate) fn oldest(&self, last: Option<&Slot>) -> Option<(u64, ReaderName)> {
        let slots = self.slots.lock();
        let is_last = |slot: &Slot| last.is_some_and(|last| std::ptr::eq(last, slot));
        slots
            .iter()
            .filter_map(|slot| Some((slot.word.section()?, slot)))
            .min_by_key(|(since, slot)| (is_last(slot), *since))
            .map(|(since, slot)| (since, slot.name()))
    }

    /// In a forked child: ends the sections of threads that do not exist here.
    pub(crate) fn disinherit(&self) {
        let slots = self.slots.lock();
        for slot in slots.iter() {
            // ORDERING: Relaxed: this is a forked child, in which no other thread is.
            if slot.generation.load(Ordering::Relaxed) == fork::generation() {
                continue;
            }
            // The owner does not exist in this process, and the caller holds the registry's lock, so nobody else is here.
            let own = &slot.own;
            own.readers.set(0);
            own.beside.set(0);
            own.overloaded.set(false);
            own.next.set(std::ptr::null());
            slot.word.exit();
            // A thread that was just about to pin has it borrowed for ever; that slot is not used again.
            if let Ok(mut pinned) = own.pinned.try_borrow_mut() {
                std::mem::forget(std::mem::take(&mut *pinned));
                drop(pinned);
                // ORDERING: Release: the next owner sees the cells as they are left here; pairs with the claim's Acquire.
                slot.taken.store(false, Ordering::Release);
            }
        }
    }

    /// The domain is gone: threads may forget their slots.
    pub(crate) fn close(&self) {
        for slot in self.slots.lock().iter() {
            // ORDERING: Release pairs with the Acquire in `is_closed`.
            slot.closed.store(true, Ordering::Release);
        }
    }
}
