//! Which owners this thread is calling back: a device that reaches its own registers through memory is refused.
//!
//! Tracked per thread, as two threads in one device are legal; a device that starts a transfer for itself from a bottom half
//! enters its own name with [`enter`].
//!
//! Source: QEMU's `MemReentrancyGuard`, whose flag is per device (and so refuses a second thread too).

use qom::{Object, ObjectId};
use std::cell::Cell;

/// How many owners may be on one thread's stack at once. More are refused: a chain of callbacks is as deep as the guest makes it, and a stack
/// is not.
const DEEPEST: usize = 32;

/// The owners whose code this thread runs, outermost first.
struct Calling {
    owners: [Cell<ObjectId>; DEEPEST],
    len: Cell<usize>,
}

impl Calling {
    fn contains(&self, id: ObjectId) -> bool {
        self.owners[..self.len.get()]
            .iter()
            .any(|owner| owner.get() == id)
    }
}

thread_local! {
    // Plain cells: nothing to be destroyed, so that it works in the last destructor of a thread as well.
    static CALLING: Calling = const {
        Calling { owners: [const { Cell::new(ObjectId(0)) }; DEEPEST], len: Cell::new(0) }
    };
}

/// Whether this thread is inside a callback of `owner`.
#[inline]
pub fn is_inside(owner: &Object) -> bool {
    CALLING.with(|c| c.contains(owner.id()))
}

/// Says that this thread runs code of `owner`, until the result is dropped. None: it does so already, or it runs the code of 32 others.
#[inline]
pub fn enter(owner: &Object) -> Option<Inside> {
    let id = owner.id();
    CALLING.with(|c| {
        let len = c.len.get();
        if len > 0 && c.contains(id) {
            return None;
        }
        c.owners.get(len)?.set(id);
        c.len.set(len + 1);
        Some(Inside {
            _not_send: std::marker::PhantomData,
        })
    })
}

/// The same for a thread that runs nobody's code yet: what most accesses find. None: it does run somebody's.
#[inline]
pub(crate) fn enter_first(owner: &Object) -> Option<First> {
    CALLING.with(|c| {
        if c.len.get() != 0 {
            return None;
        }
        c.owners[0].set(owner.id());
        c.len.set(1);
        Some(First {
            _not_send: std::marker::PhantomData,
        })
    })
}

/// A stay in an owner's code, by a thread that was in nobody's before.
#[must_use]
pub(crate) struct First {
    _not_send: std::marker::PhantomData<*const ()>,
}

impl Drop for First {
    #[inline]
    fn drop(&mut self) {
        CALLING.with(|c| c.len.set(0));
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
        CALLING.with(|c| c.len.set(c.len.get().saturating_sub(1)));
    }
}
