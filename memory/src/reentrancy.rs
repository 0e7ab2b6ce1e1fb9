//! Which owners this thread is calling back: a device that reaches its own registers through memory is refused.
//!
//! Tracked per thread, as two threads in one device are legal; a device that starts a transfer for itself from a bottom half
//! enters its own name with [`enter`].
//!
//! Source: QEMU's `MemReentrancyGuard`, whose flag is per device (and so refuses a second thread too).

use qom::{Object, ObjectId};
use std::cell::RefCell;

thread_local! {
    static CALLING: RefCell<Vec<ObjectId>> = const { RefCell::new(Vec::new()) };
}

/// Whether this thread is inside a callback of `owner`.
#[inline]
pub fn is_inside(owner: &Object) -> bool {
    CALLING
        .try_with(|c| c.borrow().contains(&owner.id()))
        .unwrap_or(false)
}

/// Says that this thread runs code of `owner`, until the result is dropped. None: it does so already.
#[inline]
pub fn enter(owner: &Object) -> Option<Inside> {
    let id = owner.id();
    CALLING
        .try_with(|c| {
            let mut c = c.borrow_mut();
            if c.contains(&id) {
                return None;
            }
            c.push(id);
            Some(Inside {
                _not_send: std::marker::PhantomData,
            })
        })
        .ok()
        .flatten()
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
        let _ = CALLING.try_with(|c| c.borrow_mut().pop());
    }
}
