//! The two counts of an object and its fate, in one atomic word.
//!
//! *Storage* counts whoever needs the object alive; *users* counts the handles that users hold (each of them
//! has a storage count too). The flags say whether the object has a parent, has been withdrawn, has been finalized.
//! One word, because the questions that matter are about several of them at once: "was that the last user handle
//! of an object without a parent?" and "may this weak handle come back to life?".
//!
//! ORDERING: every transition is a read-modify-write on the one word, so all of them form a single total order and no
//! decision can be made on a stale half. Releases are `Release` and the step that finds storage at zero is `Acquire`
//! as well, so that the finalizer sees everything that any former holder did (the same argument as for `Arc`).
//! `tests/loom_counts.rs` explores the races: last handle dropped against an upgrade, and against an unparent.

use crate::sync::{AtomicU64, Ordering};

const STORAGE_ONE: u64 = 1;
const STORAGE_MASK: u64 = (1 << 32) - 1;
const USER_ONE: u64 = 1 << 32;
const USER_MASK: u64 = ((1 << 28) - 1) << 32;
const PARENTED: u64 = 1 << 60;
const WITHDRAWN: u64 = 1 << 61;
const FINALIZED: u64 = 1 << 62;

/// How many user handles or storage counts may exist before a further one is refused with a panic.
///
/// Both are far from overflow, so that racing threads cannot jump over the gap.
const USERS_LIMIT: u64 = 1 << 27;
const STORAGE_LIMIT: u64 = 1 << 31;

/// What a word said at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountsNow(u64);

impl CountsNow {
    /// Number of counted reasons to keep the object alive, user handles included.
    #[inline]
    pub fn storage(self) -> u64 {
        self.0 & STORAGE_MASK
    }
    /// Number of user handles.
    #[inline]
    pub fn users(self) -> u64 {
        (self.0 & USER_MASK) >> 32
    }
    /// Whether the object has a parent.
    #[inline]
    pub fn is_parented(self) -> bool {
        self.0 & PARENTED != 0
    }
    /// Whether the object has been withdrawn, or its withdrawal has begun.
    #[inline]
    pub fn is_withdrawn(self) -> bool {
        self.0 & WITHDRAWN != 0
    }
    /// Whether the finalizer has run or is running.
    #[inline]
    pub fn is_finalized(self) -> bool {
        self.0 & FINALIZED != 0
    }
}

/// What the dropper of a user handle has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Dropped {
    /// Nothing: others hold the object.
    Kept,
    /// The word has been marked withdrawn; the dropper still owns one storage count: withdraw, then release it.
    Withdraw,
    /// Storage reached zero: queue the finalizer.
    Finalize,
}

/// The word.
#[derive(Debug)]
pub(crate) struct Counts(AtomicU64);

impl Counts {
    /// A new object: one user handle, no parent.
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(USER_ONE | STORAGE_ONE))
    }

    /// Reads the word.
    #[inline]
    pub(crate) fn now(&self) -> CountsNow {
        // ORDERING: Acquire pairs with the Release of whoever set a flag that the caller acts on.
        CountsNow(self.0.load(Ordering::Acquire))
    }

    /// Adds a user handle beside an existing one.
    ///
    /// # Panics
    /// When about 2^27 handles or 2^31 counts exist: something leaks them in a loop, and going on would wrap.
    pub(crate) fn clone_user(&self) {
        // ORDERING: Relaxed: the caller's own handle keeps the word from reaching any state that matters here.
        let before = CountsNow(self.0.fetch_add(USER_ONE | STORAGE_ONE, Ordering::Relaxed));
        debug_assert!(before.users() > 0);
        if before.users() >= USERS_LIMIT || before.storage() >= STORAGE_LIMIT {
            self.0.fetch_sub(USER_ONE | STORAGE_ONE, Ordering::Relaxed);
            panic!("too many handles to one object");
        }
    }

    /// Makes a user handle out of nothing but a pointer: the rule for weak handles.
    pub(crate) fn upgrade(&self) -> bool {
        self.change(|now| {
            let reachable = now.is_parented() || now.users() > 0;
            let room = now.users() < USERS_LIMIT && now.storage() < STORAGE_LIMIT;
            (now.storage() > 0 && reachable && !now.is_withdrawn() && room)
                .then_some(now.0 + (USER_ONE | STORAGE_ONE))
        })
        .is_ok()
    }

    /// Drops a user handle.
    pub(crate) fn drop_user(&self) -> Dropped {
        let changed = self.change(|now| {
            let last = now.users() == 1 && !now.is_parented() && !now.is_withdrawn();
            Some(if last {
                (now.0 - USER_ONE) | WITHDRAWN
            } else {
                now.0 - (USER_ONE | STORAGE_ONE)
            })
        });
        let Ok((before, after)) = changed else {
            return Dropped::Kept;
        };
        debug_assert!(before.users() > 0);
        if after.is_withdrawn() && !before.is_withdrawn() {
            Dropped::Withdraw
        } else if after.storage() == 0 {
            Dropped::Finalize
        } else {
            Dropped::Kept
        }
    }

    /// Takes a storage count; fails once storage has been at zero.
    #[must_use]
    #[inline]
    pub(crate) fn hold(&self) -> bool {
        self.change(|now| {
            (now.storage() > 0 && now.storage() < STORAGE_LIMIT).then_some(now.0 + STORAGE_ONE)
        })
        .is_ok()
    }

    /// Takes a storage count beside one that stays for the time of the call; fails where there are too many.
    #[must_use]
    #[inline]
    pub(crate) fn hold_beside(&self) -> bool {
        // ORDERING: Relaxed: the other count keeps the word from reaching any state that matters here, as for `clone_user`.
        let before = CountsNow(self.0.fetch_add(STORAGE_ONE, Ordering::Relaxed));
        debug_assert!(before.storage() > 0);
        if before.storage() < STORAGE_LIMIT {
            return true;
        }
        self.0.fetch_sub(STORAGE_ONE, Ordering::Relaxed);
        false
    }

    /// Gives a storage count back; true: it was the last one, queue the finalizer.
    #[must_use]
    #[inline]
    pub(crate) fn release(&self) -> bool {
        // ORDERING: AcqRel: see the head of the file.
        let before = CountsNow(self.0.fetch_sub(STORAGE_ONE, Ordering::AcqRel));
        debug_assert!(before.storage() > 0);
        before.storage() == 1
    }

    /// Gives the object a parent, which takes a storage count. Fails on one that has a parent or is withdrawn.
    ///
    /// # Errors
    /// The word that stood against it.
    pub(crate) fn set_parented(&self) -> Result<(), CountsNow> {
        self.change(|now| {
            (!now.is_parented() && !now.is_withdrawn()).then_some((now.0 | PARENTED) + STORAGE_ONE)
        })
        .map(|_| ())
    }

    /// Takes the parent away without withdrawing, for a roll-back: only while a user handle keeps the object.
    /// True: done, and the parent's storage count is gone.
    #[must_use]
    pub(crate) fn detach(&self) -> bool {
        self.change(|now| {
            (now.is_parented() && !now.is_withdrawn() && now.users() > 0)
                .then_some((now.0 & !PARENTED) - STORAGE_ONE)
        })
        .is_ok()
    }

    /// Marks the object withdrawn; true: this call did it.
    #[must_use]
    pub(crate) fn mark_withdrawn(&self) -> bool {
        !CountsNow(self.0.fetch_or(WITHDRAWN, Ordering::AcqRel)).is_withdrawn()
    }

    /// The last step of a withdrawal: the parent goes, with its storage count. True: that was the last count.
    #[must_use]
    pub(crate) fn clear_parented(&self) -> bool {
        self.change(|now| {
            now.is_parented()
                .then_some((now.0 & !PARENTED) - STORAGE_ONE)
        })
        .is_ok_and(|(_, after)| after.storage() == 0)
    }

    /// Marks the finalizer as running; true: this call did it.
    #[must_use]
    pub(crate) fn mark_finalized(&self) -> bool {
        !CountsNow(self.0.fetch_or(FINALIZED, Ordering::AcqRel)).is_finalized()
    }

    /// One transition: `step` gives the new word, or `None` where the word forbids it.
    fn change(
        &self,
        step: impl Fn(CountsNow) -> Option<u64>,
    ) -> Result<(CountsNow, CountsNow), CountsNow> {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            let Some(next) = step(CountsNow(now)) else {
                return Err(CountsNow(now));
            };
            // ORDERING: AcqRel on success (see the head of the file), Acquire to judge the next attempt.
            match self
                .0
                .compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Ok((CountsNow(now), CountsNow(next))),
                Err(seen) => now = seen,
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn last_handle_without_parent_withdraws_while_alive() {
        let c = Counts::new();
        assert_eq!(c.drop_user(), Dropped::Withdraw);
        assert_eq!(c.now().storage(), 1, "the dropper still owns one count");
        assert!(!c.upgrade(), "a withdrawn object does not come back");
        assert!(c.release());
    }

    #[test]
    fn a_parent_keeps_what_no_handle_keeps() {
        let c = Counts::new();
        c.set_parented().unwrap();
        assert_eq!(c.drop_user(), Dropped::Kept);
        assert!(c.upgrade());
        assert_eq!(c.drop_user(), Dropped::Kept);
        assert!(c.mark_withdrawn());
        assert!(!c.mark_withdrawn());
        assert!(!c.upgrade());
        assert!(c.clear_parented());
        assert!(!c.clear_parented(), "the parent goes once");
    }

    #[test]
    fn a_second_parent_and_a_withdrawn_child_are_refused() {
        let c = Counts::new();
        c.set_parented().unwrap();
        assert!(c.set_parented().unwrap_err().is_parented());
        let d = Counts::new();
        assert!(d.mark_withdrawn());
        assert!(d.set_parented().unwrap_err().is_withdrawn());
        assert_eq!(d.drop_user(), Dropped::Finalize);
    }

    #[test]
    fn detach_needs_a_handle() {
        let c = Counts::new();
        c.set_parented().unwrap();
        assert!(c.detach());
        c.set_parented().unwrap();
        assert_eq!(c.drop_user(), Dropped::Kept);
        assert!(
            !c.detach(),
            "detaching would finalize an object that nobody withdrew"
        );
    }

    #[test]
    fn storage_does_not_rise_from_zero() {
        let c = Counts::new();
        assert_eq!(c.drop_user(), Dropped::Withdraw);
        assert!(c.hold());
        assert!(!c.release());
        assert!(c.release());
        assert!(!c.hold());
        assert!(c.mark_finalized());
        assert!(!c.mark_finalized());
    }
}
