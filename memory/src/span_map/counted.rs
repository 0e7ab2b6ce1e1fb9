//! Counted pointers to nodes, in blocks of memory that a thread keeps for its next ones.
#![expect(
    unsafe_code,
    reason = "a count beside what it counts, in a block of memory that is made before what is in it"
)]
// A commit makes a few nodes and, some commits later, drops as many that it replaced: more at once than the allocator of most systems keeps at hand of
// one size, so that each would be cut from and joined with what is beside it.
//
// Soundness: a pointer stands for one of the counts of its block, which was initialised before the first pointer was given away. Only the pointer
// that takes the last count drops the value and gives the block away, and it has seen by then what all others did. A block that lies with a
// thread belongs to nobody else: only this thread reaches its list, the list is not borrowed while anything else runs, and a block in it holds nothing but a link.

use crate::sync::{AtomicUsize, Ordering};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Deref;
use std::process::abort;
use std::ptr::{self, NonNull};

/// What can begin with nothing in it.
pub(super) trait Empty {
    /// Nothing in it.
    const EMPTY: Self;
}

/// A shared pointer to a value that never changes.
pub(super) struct Counted<T> {
    block: NonNull<Block<T>>,
    owns: PhantomData<Block<T>>,
}

#[repr(C)]
struct Block<T> {
    count: AtomicUsize,
    value: T,
}

// SAFETY: as for `Arc`: whoever has a pointer reaches the value, and the last one drops it.
unsafe impl<T: Send + Sync> Send for Counted<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Counted<T> {}

impl<T: Empty> Counted<T> {
    /// What `fill` makes of nothing, made where it stays. Should it panic, what was put in so far is leaked with its block.
    #[inline]
    pub(super) fn make(fill: impl FnOnce(&mut T)) -> Self {
        let block = take(Layout::new::<Block<T>>()).cast::<Block<T>>();
        // SAFETY: the block is large enough and aligned (`take`), and nobody else has a pointer to it.
        let value = unsafe {
            block.write(Block {
                count: AtomicUsize::new(1),
                value: T::EMPTY,
            });
            &mut (*block.as_ptr()).value
        };
        fill(value);
        Self {
            block,
            owns: PhantomData,
        }
    }
}

impl<T> Counted<T> {
    #[inline]
    fn block(&self) -> &Block<T> {
        // SAFETY: see the head of the file: this pointer's count keeps the block.
        unsafe { self.block.as_ref() }
    }

    /// How many pointers there are.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.block().count.load(Ordering::Relaxed)
    }

    /// Whether both point to one value.
    #[inline]
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.block == other.block
    }

    #[inline(never)]
    fn drop_slow(&mut self) {
        // ORDERING: what the others did with the value before they gave up their counts (Release) is before its end. (A load and no fence, as
        // ThreadSanitizer knows of no fences; it is once in a node's life.)
        self.block().count.load(Ordering::Acquire);
        // SAFETY: see the head of the file: this was the last pointer.
        unsafe { ptr::drop_in_place(&raw mut (*self.block.as_ptr()).value) };
        give_back(self.block.cast(), Layout::new::<Block<T>>());
    }
}

impl<T> Clone for Counted<T> {
    #[inline]
    fn clone(&self) -> Self {
        // ORDERING: whoever has a pointer has seen the value already.
        let before = self.block().count.fetch_add(1, Ordering::Relaxed);
        if before > usize::MAX / 2 {
            // As `Arc`: so many pointers do not fit into memory, so they were forgotten, and the next might be the first again.
            abort();
        }
        Self {
            block: self.block,
            owns: PhantomData,
        }
    }
}

impl<T> Drop for Counted<T> {
    #[inline]
    fn drop(&mut self) {
        // ORDERING: pairs with the load of whoever takes the last count (`drop_slow`).
        if self.block().count.fetch_sub(1, Ordering::Release) == 1 {
            self.drop_slow();
        }
    }
}

impl<T> Deref for Counted<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.block().value
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
    // SAFETY: no node is of size zero: there is a count in front.
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{AT_HAND, Counted, Empty, MOST};
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

    fn bulk<const N: usize>(inside: &Arc<()>) -> Counted<Bulk<N>> {
        Counted::make(|bulk: &mut Bulk<N>| {
            bulk.bytes.fill(0xa5);
            bulk.inside = Some(inside.clone());
        })
    }

    fn kept() -> usize {
        AT_HAND.with(|at_hand| at_hand.len.get())
    }

    #[test]
    fn what_is_inside_goes_once_with_the_last_pointer() {
        fn of_size<const N: usize>() {
            let inside = Arc::new(());
            let first = bulk::<N>(&inside);
            let second = first.clone();
            assert!(first.is_same(&second) && first.count() == 2);
            drop(first);
            assert_eq!((second.count(), Arc::strong_count(&inside)), (1, 2));
            assert!(second.bytes.iter().all(|byte| *byte == 0xa5));
            drop(second);
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
        drop(one);
        assert_eq!(kept(), before.max(1), "taken and given back");
        let next = bulk::<900>(&inside);
        assert_eq!(std::ptr::from_ref(&*next), place);
        let many: Vec<_> = (0..2 * MOST).map(|_| bulk::<900>(&inside)).collect();
        assert_eq!(kept(), 0);
        drop(many);
        assert_eq!(kept(), MOST);
        let other_sizes = (bulk::<100>(&inside), bulk::<4000>(&inside));
        assert_eq!(kept(), MOST, "nodes are of one size");
        drop((next, other_sizes));
        assert_eq!((kept(), Arc::strong_count(&inside)), (MOST, 1));
    }

    #[test]
    fn a_node_may_end_in_a_thread_that_ends() {
        thread_local! {
            static LAST: std::cell::RefCell<Option<Counted<Bulk<900>>>> = const { std::cell::RefCell::new(None) };
        }
        let inside = Arc::new(());
        for is_first in [true, false] {
            let here = bulk::<900>(&inside);
            thread::spawn(move || {
                // The destructors of a thread run in an order of their own: with blocks at hand before and after.
                if is_first {
                    drop(here.clone());
                    LAST.with(|last| *last.borrow_mut() = Some(here));
                } else {
                    LAST.with(|last| *last.borrow_mut() = Some(here.clone()));
                    drop(here);
                }
            })
            .join()
            .unwrap();
        }
        assert_eq!(Arc::strong_count(&inside), 1);
    }
}
