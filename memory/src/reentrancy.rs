//! Which owners this thread is calling back: a device that reaches its own registers through memory is refused.
//!
//! Tracked per thread, as two threads in one device are legal; a device that starts a transfer for itself from a bottom half
//! enters its own name with [`enter`].
//!
//! Source: QEMU's `MemReentrancyGuard`, whose flag is per device (and so refuses a second thread too).
#![expect(
    unsafe_code,
    reason = "a thread's own cells, which an access finds before it knows whether it needs them"
)]
// Soundness: the one unsafe step is `Here::get`, which looks at the thread's cells where `Here::find` found them. They are in a thread-local
// without a destructor, so they are there from the thread's first look to its end; and a `Here` stays with its thread, as it holds a pointer.

use qom::{Object, ObjectId};
use std::cell::Cell;

/// How many owners may be on one thread's stack at once. More are refused: a chain of callbacks is as deep as the guest makes it, and a stack
/// is not.
const DEEPEST: usize = 32;

/// The owners whose code this thread runs, outermost first, and how many listeners.
struct Calling {
    owners: [Cell<ObjectId>; DEEPEST],
    /// How many owners, and [`LISTENER`] for each listener: one word, so that one look says that it is nobody's code at all.
    running: Cell<u64>,
}

/// A listener in [`Calling::running`].
const LISTENER: u64 = 1 << 32;

impl Calling {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what is above is the number of listeners"
    )]
    #[inline]
    fn len(&self) -> usize {
        self.running.get() as u32 as usize
    }

    fn contains(&self, id: ObjectId) -> bool {
        self.owners[..self.len()]
            .iter()
            .any(|owner| owner.get() == id)
    }
}

thread_local! {
    // Plain cells: nothing to be destroyed, so that it works in the last destructor of a thread as well.
    static CALLING: Calling = const {
        Calling { owners: [const { Cell::new(ObjectId(0)) }; DEEPEST], running: Cell::new(0) }
    };
}

/// Where this thread's are. Apart from what looks at them, so that a loop finds them once.
#[derive(Clone, Copy)]
pub(crate) struct Here {
    /// Not of another thread: a pointer is not `Send`.
    calling: *const Calling,
}

impl Here {
    #[expect(
        clippy::inline_always,
        reason = "it is an address, of which a loop around it makes nothing"
    )]
    #[inline(always)]
    pub(crate) fn find() -> Self {
        CALLING.with(|calling| Self { calling })
    }

    #[inline]
    fn get(&self) -> &Calling {
        // SAFETY: see the head of the file.
        unsafe { &*self.calling }
    }
}

/// Whether this thread is inside a callback of `owner`.
#[inline]
pub fn is_inside(owner: &Object) -> bool {
    CALLING.with(|c| c.contains(owner.id()))
}

/// How many owners this thread is calling back, and which it is in. For the ledger, which tells whose code took a handle.
pub(crate) fn innermost() -> (usize, Option<ObjectId>) {
    CALLING.with(|c| {
        let len = c.len();
        let owner = len.checked_sub(1).map(|last| c.owners[last].get());
        (len, owner)
    })
}

/// Says that this thread runs code of `owner`, until the result is dropped. None: it does so already, or it runs the code of 32 others.
#[inline]
pub fn enter(owner: &Object) -> Option<Inside> {
    let id = owner.id();
    CALLING.with(|c| {
        let len = c.len();
        if len > 0 && c.contains(id) {
            return None;
        }
        c.owners.get(len)?.set(id);
        c.running.set(c.running.get() + 1);
        Some(Inside {
            _not_send: std::marker::PhantomData,
        })
    })
}

/// The same for a thread that runs nobody's code yet, no listener's either: what most accesses find. None: it does run somebody's.
#[expect(
    clippy::inline_always,
    reason = "it is a few instructions of the quickest way to a callback"
)]
#[inline(always)]
pub(crate) fn enter_first(here: Here, owner: &Object) -> Option<First> {
    let calling = here.get();
    if calling.running.get() != 0 {
        return None;
    }
    calling.owners[0].set(owner.id());
    calling.running.set(1);
    Some(First { here })
}

/// A stay in an owner's code, by a thread that was in nobody's before.
#[must_use]
pub(crate) struct First {
    here: Here,
}

impl Drop for First {
    #[inline]
    fn drop(&mut self) {
        self.here.get().running.set(0);
    }
}

/// Says that this thread runs a listener, until the result is dropped: it is not [first](enter_first) anywhere meanwhile.
pub(crate) fn listen() -> Listening {
    CALLING.with(|c| c.running.set(c.running.get() + LISTENER));
    Listening {
        _not_send: std::marker::PhantomData,
    }
}

/// A stay in a listener.
#[must_use]
pub(crate) struct Listening {
    _not_send: std::marker::PhantomData<*const ()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        CALLING.with(|c| c.running.set(c.running.get() - LISTENER));
    }
}

/// A stay in an owner's code; belongs to its thread.
#[must_use]
#[derive(Debug)]
pub struct Inside {
    _not_send: std::marker::PhantomData<*const ()>,
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        // Stays end in the reverse order of their beginnings, as they are scopes of one thread.
        CALLING.with(|c| c.running.set(c.running.get() - 1));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Here, enter, enter_first, is_inside, listen};
    use qom::{Container, Machine};

    #[test]
    fn the_quick_way_is_for_a_thread_that_runs_nobodys_code() {
        let machine = Machine::new("first");
        let [one, other] = [(); 2].map(|()| machine.create::<Container>().unwrap());
        let [one, other] = [one.object(), other.object()];
        let is_first = || enter_first(Here::find(), one).is_some();
        assert!(is_first());
        for _ in 0..3 {
            let outer = enter(other).unwrap();
            assert!(!is_first() && is_inside(other) && !is_inside(one));
            let inner = enter(one).unwrap();
            assert!(enter(one).is_none());
            drop((inner, outer));
            assert!(is_first());
            let listening = [listen(), listen()];
            assert!(!is_first());
            let inside = enter(one).unwrap();
            assert!(is_inside(one) && enter(one).is_none());
            drop(inside);
            let [outer, inner] = listening;
            drop(inner);
            assert!(!is_first());
            drop(outer);
            assert!(is_first());
        }
        let first = enter_first(Here::find(), one).unwrap();
        assert!(is_inside(one) && enter(one).is_none() && enter(other).is_some());
        drop(first);
        assert!(!is_inside(one));
    }
}
