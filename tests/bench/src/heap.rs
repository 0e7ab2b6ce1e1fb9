//! An allocator that counts what is asked of it, while it is told to.
//!
//! It counts requested bytes: what the system's allocator adds to each block is not in it.

#![expect(unsafe_code, reason = "an allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// The system's allocator, with a count.
#[derive(Debug)]
pub struct Heap;

static COUNTING: AtomicBool = AtomicBool::new(false);
static BYTES: AtomicI64 = AtomicI64::new(0);

/// Counts from now on, or stops. Other measurements are not to pay for it.
pub fn count(on: bool) {
    COUNTING.store(on, Ordering::Relaxed);
}

/// Bytes that were allocated and not freed, counted since the first time that counting was on; negative where what was freed is older.
pub fn bytes() -> i64 {
    BYTES.load(Ordering::Relaxed)
}

#[inline]
fn note(bytes: usize, sign: i64) {
    if COUNTING.load(Ordering::Relaxed) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        BYTES.fetch_add(sign * bytes, Ordering::Relaxed);
    }
}

// SAFETY: all is left to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note(layout.size(), -1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(layout.size(), -1);
        note(size, 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_only_while_it_is_told_to() {
        let layout = Layout::from_size_align(1000, 8).expect("a layout");
        let grow = |on| {
            count(on);
            let before = bytes();
            // SAFETY: the layout is not empty; the block is freed with the layout it was grown to.
            unsafe {
                let block = Heap.alloc(layout);
                let block = Heap.realloc(block, layout, 3000);
                let now = bytes() - before;
                Heap.dealloc(block, Layout::from_size_align(3000, 8).expect("a layout"));
                (now, bytes() - before)
            }
        };
        assert_eq!(grow(true), (3000, 0));
        assert_eq!(grow(false), (0, 0));
    }
}
