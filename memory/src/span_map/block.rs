//! Where nodes are: in blocks of memory that a thread keeps for its next ones.
#![expect(
    unsafe_code,
    reason = "a block of memory is made before what is in it, and freed by whoever knows that nobody reaches it"
)]
// A commit makes a few nodes and, some commits later, frees as many that it replaced: more at once than the allocator of most systems keeps at hand of
// one size, so that each would be cut from and joined with what is beside it.
//
// Soundness: a `Block` is a pointer that owns nothing and may be copied. What it points to is there until somebody calls `free`, which is
// unsafe: the caller knows that nobody else reaches the block (`versions` says how). The other files of this folder have blocks from two places
// only: from a map that they borrow, whose version keeps them; and from a change that is under way, which has made them. They let none out but
// borrowed from the map. A block that lies with a thread belongs to nobody else: only this thread reaches its list, the list is not borrowed while anything
// else runs, and a block in it holds nothing but a link.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::{self, NonNull};

/// What can begin with nothing in it.
pub(super) trait Empty {
    /// Nothing in it.
    const EMPTY: Self;
}

/// A pointer to a value that never changes, in a block of its own.
pub(super) struct Block<T> {
    place: NonNull<Inside<T>>,
    owns: PhantomData<Inside<T>>,
}

#[repr(C)]
struct Inside<T> {
    born: u32,
    value: T,
}

// SAFETY: as for `Arc`: whoever has a pointer reaches the value, and one of them frees it.
unsafe impl<T: Send + Sync> Send for Block<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Block<T> {}

impl<T> Clone for Block<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Block<T> {}

impl<T: Empty> Block<T> {
    /// What `fill` makes of nothing, made where it stays, for the version of this number. Should it panic, what was put in so far is leaked with its block.
    #[inline]
    pub(super) fn make(born: u32, fill: impl FnOnce(&mut T)) -> Self {
        let place = take(Layout::new::<Inside<T>>()).cast::<Inside<T>>();
        // SAFETY: the block is large enough and aligned (`take`), and nobody else has a pointer to it.
        let value = unsafe {
            // Each by itself, or the whole is put together on the stack first.
            (&raw mut (*place.as_ptr()).born).write(born);
            let value = &raw mut (*place.as_ptr()).value;
            value.write(T::EMPTY);
            &mut *value
        };
        fill(value);
        Self {
            place,
            owns: PhantomData,
        }
    }
}

impl<T: Copy> Block<T> {
    /// A copy of this value, changed, for the version of this number.
    #[inline]
    pub(super) fn changed(&self, born: u32, change: impl FnOnce(&mut T)) -> Self {
        let place = take(Layout::new::<Inside<T>>()).cast::<Inside<T>>();
        // SAFETY: as in `make`.
        let value = unsafe {
            (&raw mut (*place.as_ptr()).born).write(born);
            let value = &raw mut (*place.as_ptr()).value;
            value.copy_from_nonoverlapping(&raw const **self, 1);
            &mut *value
        };
        change(value);
        Self {
            place,
            owns: PhantomData,
        }
    }
}

impl<T> Block<T> {
    #[inline]
    fn inside(&self) -> &Inside<T> {
        // SAFETY: see the head of the file: a version, or a change under way, keeps the block.
        unsafe { self.place.as_ref() }
    }

    /// The number of the version that it was made for.
    #[inline]
    pub(super) fn born(self) -> u32 {
        self.inside().born
    }

    /// Whether both point to one value.
    #[inline]
    pub(super) fn is_same(self, other: Self) -> bool {
        self.place == other.place
    }

    /// Drops the value and gives its memory back.
    ///
    /// # Safety
    ///
    /// Nobody uses any copy of this pointer any more, nor what was borrowed from it; and what they did with it is before this call.
    #[inline]
    pub(super) unsafe fn free(self) {
        // SAFETY: the caller's word: the block is this call's alone.
        unsafe { ptr::drop_in_place(&raw mut (*self.place.as_ptr()).value) };
        give_back(self.place.cast(), Layout::new::<Inside<T>>());
    }
}

impl<T> Deref for Block<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inside().value
    }
}

/// Blocks of up to this many bytes are kept.
const KEPT: Layout = match Layout::from_size_align(1024, 16) {
    Ok(layout) => layout,
    Err(_) => panic!("sixteen is a power of two"),
};
/// How many a thread keeps: a quarter of a mebibyte.
const MOST: usize = 256;

/// A block that nobody uses, and the next one.
struct Unused(Option<NonNull<Self>>);

struct AtHand {
    first: Cell<Option<NonNull<Unused>>>,
    len: Cell<usize>,
}

impl AtHand {
    #[inline]
    fn pop(&self) -> Option<NonNull<Unused>> {
        let block = self.first.get()?;
        // SAFETY: see the head of the file: it holds a link, and is this thread's alone.
        self.first.set(unsafe { block.as_ref() }.0);
        self.len.set(self.len.get() - 1);
        Some(block)
    }

    /// Whether there was room for it.
    #[inline]
    fn push(&self, block: NonNull<Unused>) -> bool {
        if self.len.get() >= MOST {
            return false;
        }
        // SAFETY: it is a block of `KEPT`'s size and alignment, of which nobody else knows any more.
        unsafe { block.write(Unused(self.first.get())) };
        self.first.set(Some(block));
        self.len.set(self.len.get() + 1);
        true
    }
}

impl Drop for AtHand {
    fn drop(&mut self) {
        while let Some(block) = self.pop() {
            // SAFETY: blocks on the list were allocated with this layout.
            unsafe { dealloc(block.as_ptr().cast(), KEPT) };
        }
    }
}

thread_local! {
    static AT_HAND: AtHand = const { AtHand { first: Cell::new(None), len: Cell::new(0) } };
}

/// Whether blocks of this layout are kept.
const fn is_kept(layout: Layout) -> bool {
    layout.size() <= KEPT.size()
        && layout.align() <= KEPT.align()
        && layout.size() * 2 > KEPT.size()
}

/// A block for this layout, with nothing in it.
#[inline]
fn take(layout: Layout) -> NonNull<u8> {
    if !is_kept(layout) {
        return allocate(layout);
    }
    // A thread that is about to end keeps none.
    let at_hand = AT_HAND.try_with(AtHand::pop).ok().flatten();
    at_hand.map_or_else(|| allocate(KEPT), NonNull::cast)
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: no node is of size zero: there is a number in front.
    let block = unsafe { alloc(layout) };
    NonNull::new(block).unwrap_or_else(|| handle_alloc_error(layout))
}

/// The block goes: it came from [`take`] with this layout, and nobody looks at it any more.
#[inline]
fn give_back(block: NonNull<u8>, layout: Layout) {
    let layout = if is_kept(layout) {
        if AT_HAND.try_with(|at_hand| at_hand.push(block.cast())) == Ok(true) {
            return;
        }
        KEPT
    } else {
        layout
    };
    // SAFETY: it was allocated with this layout (`take`).
    unsafe { dealloc(block.as_ptr(), layout) };
}

#[cfg(test)]
mod tests {
    use super::{AT_HAND, Block, Empty, MOST};
    use std::sync::Arc;
    use std::thread;

    /// As large as a node, or as small as no node is.
    struct Bulk<const N: usize> {
        bytes: [u8; N],
        inside: Option<Arc<()>>,
    }

    impl<const N: usize> Empty for Bulk<N> {
        const EMPTY: Self = Self {
            bytes: [0; N],
            inside: None,
        };
    }

    fn bulk<const N: usize>(inside: &Arc<()>) -> Block<Bulk<N>> {
        Block::make(7, |bulk: &mut Bulk<N>| {
            bulk.bytes.fill(0xa5);
            bulk.inside = Some(inside.clone());
        })
    }

    fn free<const N: usize>(block: Block<Bulk<N>>) {
        // SAFETY: each test has the only pointer.
        unsafe { block.free() }
    }

    fn kept() -> usize {
        AT_HAND.with(|at_hand| at_hand.len.get())
    }

    #[test]
    fn what_is_inside_goes_with_its_block() {
        fn of_size<const N: usize>() {
            let inside = Arc::new(());
            let (one, other) = (bulk::<N>(&inside), bulk::<N>(&inside));
            assert!(one.is_same(one) && !one.is_same(other));
            assert_eq!((one.born(), Arc::strong_count(&inside)), (7, 3));
            free(other);
            assert!(one.bytes.iter().all(|byte| *byte == 0xa5));
            free(one);
            assert_eq!(Arc::strong_count(&inside), 1);
        }
        of_size::<1>();
        of_size::<900>();
        of_size::<1000>();
        of_size::<4000>();
    }

    #[test]
    fn a_thread_keeps_blocks_for_its_next_nodes_up_to_a_bound() {
        let inside = Arc::new(());
        let before = kept();
        let one = bulk::<900>(&inside);
        let place = std::ptr::from_ref(&*one);
        free(one);
        assert_eq!(kept(), before.max(1), "taken and given back");
        let next = bulk::<900>(&inside);
        assert_eq!(std::ptr::from_ref(&*next), place);
        let many: Vec<_> = (0..2 * MOST).map(|_| bulk::<900>(&inside)).collect();
        assert_eq!(kept(), 0);
        many.into_iter().for_each(free);
        assert_eq!(kept(), MOST);
        let other_sizes = (bulk::<100>(&inside), bulk::<4000>(&inside));
        assert_eq!(kept(), MOST, "nodes are of one size");
        free(next);
        free(other_sizes.0);
        free(other_sizes.1);
        assert_eq!((kept(), Arc::strong_count(&inside)), (MOST, 1));
    }

    #[test]
    fn a_node_may_end_in_a_thread_that_ends() {
        struct Last(Option<Block<Bulk<900>>>);
        impl Drop for Last {
            fn drop(&mut self) {
                self.0.take().into_iter().for_each(free);
            }
        }
        thread_local! {
            static LAST: std::cell::RefCell<Last> = const { std::cell::RefCell::new(Last(None)) };
        }
        let inside = Arc::new(());
        for is_first in [true, false] {
            let (here, more) = (bulk::<900>(&inside), bulk::<900>(&inside));
            thread::spawn(move || {
                // The destructors of a thread run in an order of their own: with blocks at hand before and after.
                if is_first {
                    free(more);
                    LAST.with(|last| last.borrow_mut().0 = Some(here));
                } else {
                    LAST.with(|last| last.borrow_mut().0 = Some(here));
                    free(more);
                }
            })
            .join()
            .unwrap();
        }
        assert_eq!(Arc::strong_count(&inside), 1);
    }
}
