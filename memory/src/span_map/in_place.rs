//! Makes a node where it is to be: on its way from the stack into an [`Arc`] it would be copied three times.
#![expect(unsafe_code, reason = "a block of memory is made before what is in it")]
// Soundness: the one unsafe step says that a block is initialised; the line before wrote a whole value to it. Should what fills the node panic,
// the block goes without the value being dropped: what was put in so far is leaked, and nothing is seen.

use std::sync::Arc;

/// What can begin with nothing in it.
pub(super) trait Empty {
    /// Nothing in it.
    const EMPTY: Self;
}

/// What `fill` makes of nothing.
#[inline]
pub(super) fn make<T: Empty>(fill: impl FnOnce(&mut T)) -> Arc<T> {
    let mut place = Arc::<T>::new_uninit();
    let Some(empty) = Arc::get_mut(&mut place) else {
        unreachable!("nobody else has a pointer that is new")
    };
    fill(empty.write(T::EMPTY));
    // SAFETY: see the head of the file: it is written above.
    unsafe { place.assume_init() }
}
