//! A model of how the thread that closes a mapping finds that nobody else looks at its block of memory, which it then uses again.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p memory --release --test loom_block`
//!
//! The count is the standard library's, which loom cannot take the place of: the model has a count of its own, with the orderings that the
//! standard one is documented to have (a pointer is given up with `Release`, `Arc::strong_count` is a relaxed load). The contents are a loom
//! cell, so that loom reports a change that is not behind every reader.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering, fence};
use loom::thread;

struct Block {
    pointers: AtomicUsize,
    contents: UnsafeCell<u32>,
}

/// One thread has the block's two pointers, and `others` threads one more each, with which they look at it. Whether the block was used again, and
/// whether it was left alone, in some interleaving.
fn close_against_lookers(others: usize, is_all: fn(&Block) -> bool) -> [bool; 2] {
    let seen = std::sync::Arc::new([const { std::sync::atomic::AtomicBool::new(false) }; 2]);
    let came = seen.clone();
    loom::model(move || {
        let block = Arc::new(Block {
            pointers: AtomicUsize::new(2 + others),
            contents: UnsafeCell::new(7),
        });
        let lookers: Vec<_> = (0..others)
            .map(|_| {
                let block = block.clone();
                thread::spawn(move || {
                    block.contents.with(|_| ());
                    block.pointers.fetch_sub(1, Ordering::Release);
                })
            })
            .collect();
        let is_left_alone = !is_all(&block);
        came[usize::from(is_left_alone)].store(true, Ordering::Relaxed);
        if !is_left_alone {
            // Emptied, and filled again by the same thread.
            block.contents.with_mut(|_| ());
            block.contents.with_mut(|_| ());
        }
        for looker in lookers {
            looker.join().unwrap();
        }
    });
    [0, 1].map(|n| seen[n].load(Ordering::Relaxed))
}

fn two_and_a_fence(block: &Block) -> bool {
    let is_all = block.pointers.load(Ordering::Relaxed) == 2;
    fence(Ordering::Acquire);
    is_all
}

#[test]
fn a_block_is_used_again_behind_everybody_who_looked_at_it() {
    assert_eq!(close_against_lookers(0, two_and_a_fence), [true, false]);
    for others in [1, 2] {
        assert_eq!(close_against_lookers(others, two_and_a_fence), [true; 2]);
    }
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_look_at_the_count_without_a_fence_is_noticed() {
    close_against_lookers(1, |block| block.pointers.load(Ordering::Relaxed) == 2);
}

#[test]
#[should_panic(expected = "onc")]
fn a_look_that_forgets_one_pointer_is_noticed() {
    close_against_lookers(1, |block| {
        let is_all = block.pointers.load(Ordering::Relaxed) <= 3;
        fence(Ordering::Acquire);
        is_all
    });
}
