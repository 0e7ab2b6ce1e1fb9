//! How the values that stay come into the new nodes of a changed map.
#![expect(unsafe_code, reason = "some values may be copied bit by bit")]
// Soundness: only the unsafe constructor allows copies bit by bit, and whoever calls it knows the type.

use std::marker::PhantomData;

/// How a map's values that stay are taken over where their nodes are made anew: as clones, or bit by bit.
#[derive(Debug)]
pub struct Keep<V> {
    by_bits: bool,
    of: PhantomData<fn(V)>,
}

impl<V> Clone for Keep<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Keep<V> {}

impl<V> Keep<V> {
    /// Clones. For any type.
    pub const CLONES: Self = Self {
        by_bits: false,
        of: PhantomData,
    };

    /// Copies, of which one is dropped when all have gone: without a count up and down for each value beside one that changes.
    ///
    /// # Safety
    ///
    /// Nothing that is done with a borrowed `V` changes its own bytes (what it points to is another thing): it has no cell in itself.
    pub const unsafe fn by_bits() -> Self {
        Self {
            by_bits: true,
            of: PhantomData,
        }
    }

    #[inline]
    pub(super) fn is_by_bits(self) -> bool {
        self.by_bits
    }
}
