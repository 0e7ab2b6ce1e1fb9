//! The protocol between a reader and the reclaimer: one word per reader, one clock per domain.
//!
//! A reader announces its section by writing the clock's value to its own [`Word`], and ends it by writing zero.
//! The reclaimer moves the [`Clock`], issues the heavy half of the asymmetric barrier, and then waits until each
//! word is zero or holds the new value or a later one.
//!
//! ```text
//!   reader                                   writer (any thread)
//!   R1  e = clock            (acquire)       W0  p = swap(pointer, new)
//!   R2  word = e             (release)           hand p to the reclaimer   (under a lock)
//!       compiler fence                       reclaimer
//!   R3  q = pointer          (acquire)       W1  target = clock + 1; clock = target   (release)
//!       use *q                               M   membarrier
//!   R4  word = 0             (release)       W2  wait until word is 0 or ≥ target     (acquire)
//!                                            W3  free *p
//! ```
//!
//! # Why no reader can use what was freed
//!
//! ORDERING: let a section have loaded `q == p` at R3. We show that its last use happens before W3.
//!
//! `membarrier(PRIVATE_EXPEDITED)` makes every thread of the process pass a full fence at one point of its program
//! between the call and its return (a thread that does not run passed one in the scheduler). Let F be that point
//! in the reader's program.
//!
//! 1. *F lies before R3.* W0 happens before M, so whatever follows F sees W0, and R3 would have loaded the
//!    new pointer. That contradicts `q == p`.
//! 2. *F lies after R3*, so after R2, which the compiler fence keeps before R3 in the program (the processor
//!    may still delay the store; that is exactly what F ends). The store R2 is visible to whoever looks after M:
//!    each load of W2 reads R2's value or a later one of the same word. Which?
//!    * *R2's own `e`, and `e < target`*: the reclaimer goes on waiting.
//!    * *R2's own `e`, and `e ≥ target`*: then R1 (acquire) read the value of W1 (release) or a later one, W0
//!      happens before R3, and `q == p` is contradicted once more.
//!    * *R4's zero, or any later value of this word*: all of those are release stores of the same thread at or
//!      after R4, and W2 is an acquire load, so the uses before R4 happen before W3.
//!
//! R2 is a release store for the last case: a reader that leaves and enters again between two looks of
//! the reclaimer shows only the second section's value, and that value must carry the end of the first. On x86-64 the
//! acquire and release accesses are plain moves.
//!
//! A reader that registers its word after the reclaimer took its list of words did so under the lock of that
//! list, after W0 and W1, and cannot load `p` either.
//!
//! A stale R1 (an old clock value) only makes the reclaimer wait for a section it need not wait for.
//!
//! # Builds without the asymmetric barrier
//!
//! With `--cfg holdfast_plain_atomics` R2 is a sequentially consistent swap, R3, W0 and W2 are sequentially consistent too, and
//! M is nothing: if R3 reads the old pointer it precedes W0 in the single total order, so R2 precedes W2 in it, and
//! case 2 applies. Such a build is slower; it exists because race detectors understand it.

#[cfg(not(holdfast_plain_atomics))]
use crate::sync::light_barrier;
use crate::sync::{AtomicPtr, AtomicU64, Ordering};

#[cfg(holdfast_plain_atomics)]
const SCAN: Ordering = Ordering::SeqCst;
#[cfg(not(holdfast_plain_atomics))]
const SCAN: Ordering = Ordering::Acquire;

#[cfg(holdfast_plain_atomics)]
const FOLLOW: Ordering = Ordering::SeqCst;
#[cfg(not(holdfast_plain_atomics))]
const FOLLOW: Ordering = Ordering::Acquire;

#[cfg(holdfast_plain_atomics)]
const REPLACE: Ordering = Ordering::SeqCst;
#[cfg(not(holdfast_plain_atomics))]
const REPLACE: Ordering = Ordering::AcqRel;

/// The value of a [`Word`] whose thread is in no read section.
const QUIET: u64 = 0;

/// Counts grace periods. Readers copy it; only the reclaimer moves it. It starts at one, so that no copy is
/// mistaken for "in no section", and does not wrap in the life of a process.
#[derive(Debug)]
#[repr(align(128))]
pub struct Clock(AtomicU64);

impl Clock {
    /// A clock that shows one.
    pub fn new() -> Self {
        Self(AtomicU64::new(QUIET + 1))
    }

    /// What the clock shows.
    #[inline]
    pub fn now(&self) -> u64 {
        // ORDERING: R1; pairs with W1 in `advance`.
        self.0.load(Ordering::Acquire)
    }

    /// Moves the clock by one and returns what it shows now: sections that copied less may have begun before.
    pub fn advance(&self) -> u64 {
        // ORDERING: W1; release, so that who copies the new value also sees what was unlinked before.
        self.0.fetch_add(1, Ordering::AcqRel) + 1
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// What one reader announces: zero, or the clock's value at the begin of its outermost section. Written by its
/// thread only, read by the reclaimer.
#[derive(Debug)]
pub struct Word(AtomicU64);

impl Word {
    /// The word of a reader that is in no section.
    pub fn new() -> Self {
        Self(AtomicU64::new(QUIET))
    }

    /// Announces a section.
    #[inline]
    pub fn enter(&self, clock: &Clock) {
        // ORDERING: R2, and the fence that keeps R3 behind it; see the file's header.
        #[cfg(holdfast_plain_atomics)]
        self.0.swap(clock.now(), Ordering::SeqCst);
        #[cfg(not(holdfast_plain_atomics))]
        {
            self.0.store(clock.now(), Ordering::Release);
            light_barrier();
        }
    }

    /// Ends the section.
    #[inline]
    pub fn exit(&self) {
        // ORDERING: R4; the uses of the section stay before it. No fence: nobody is woken, the reclaimer looks.
        self.0.store(QUIET, Ordering::Release);
    }

    /// Whether the reader can no longer be in a section that began before the clock showed `target`. Only
    /// meaningful after the heavy half of the barrier.
    pub fn has_passed(&self, target: u64) -> bool {
        // ORDERING: W2; pairs with R4, and with R2 of a later section.
        let seen = self.0.load(SCAN);
        seen == QUIET || seen >= target
    }

    /// The clock value of the section, if the reader is in one. Exact for its own thread, a hint for others.
    #[inline]
    pub fn section(&self) -> Option<u64> {
        match self.0.load(Ordering::Relaxed) {
            QUIET => None,
            since => Some(since),
        }
    }
}

impl Default for Word {
    fn default() -> Self {
        Self::new()
    }
}

/// The published pointer itself: R3 and W0. It owns nothing; [`Published`](crate::Published) does.
#[derive(Debug)]
pub struct PointerCell<T>(AtomicPtr<T>);

impl<T> PointerCell<T> {
    /// A cell that shows `first`.
    pub fn new(first: *mut T) -> Self {
        Self(AtomicPtr::new(first))
    }

    /// What the cell shows.
    #[inline]
    pub fn load(&self) -> *mut T {
        // ORDERING: R3; acquire, so that the value behind a new pointer is seen whole.
        self.0.load(FOLLOW)
    }

    /// Shows `next` from now on; what it showed before comes back.
    pub fn swap(&self, next: *mut T) -> *mut T {
        // ORDERING: W0; release publishes the value behind `next`.
        self.0.swap(next, REPLACE)
    }
}
