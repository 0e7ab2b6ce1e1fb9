//! The protocol on real threads with plain values behind the pointer, for a race detector.
//!
//! ```text
//! RUSTFLAGS="--cfg holdfast_plain_atomics -Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
//!     cargo +nightly test -p qom-grace --target x86_64-unknown-linux-gnu --test plain_atomics
//! ```
//!
//! Nothing here goes through the standard library's locks, which a detector only understands when the standard library
//! itself was built for it. What it still reports then is the test harness's; `TSAN_OPTIONS=suppressions=FILE` with the lines
//! `race:test::` and `race:std::thread` leaves that out.
#![cfg(all(holdfast_plain_atomics, not(loom)))]
#![expect(
    unsafe_code,
    reason = "unprotected accesses are what the detector is to judge"
)]

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

use qom_grace::protocol::{Clock, PointerCell, Word};

const VALUES: usize = 4;
const ROUNDS: usize = 20_000;

struct World {
    clock: Clock,
    words: [Word; 2],
    values: [UnsafeCell<u64>; VALUES],
    shown: PointerCell<UnsafeCell<u64>>,
    stop: AtomicBool,
}

// SAFETY: that the accesses to the values do not race is what is being tested.
unsafe impl Sync for World {}

#[test]
fn values_are_written_again_only_when_no_reader_looks() {
    let world = World {
        clock: Clock::new(),
        words: [Word::new(), Word::new()],
        values: std::array::from_fn(|_| UnsafeCell::new(1)),
        shown: PointerCell::new(std::ptr::null_mut()),
        stop: AtomicBool::new(false),
    };
    let value = |number: usize| std::ptr::from_ref(&world.values[number % VALUES]).cast_mut();
    world.shown.swap(value(0));
    std::thread::scope(|scope| {
        let world = &world;
        for word in &world.words {
            scope.spawn(move || {
                while !world.stop.load(Ordering::Relaxed) {
                    word.enter(&world.clock);
                    let seen = world.shown.load();
                    // SAFETY: the value is in the world; the section keeps it from being written.
                    assert_ne!(unsafe { *(*seen).get() }, 0);
                    word.exit();
                }
            });
        }
        for round in 1..=ROUNDS {
            world.shown.swap(value(round));
            let target = world.clock.advance();
            while !world.words.iter().all(|word| word.has_passed(target)) {
                std::thread::yield_now();
            }
            let old = value(round - 1);
            // SAFETY: nobody shows the old value, and all who might have seen it have left.
            unsafe {
                *(*old).get() = 0;
                *(*old).get() = round as u64 + 1;
            }
        }
        world.stop.store(true, Ordering::Relaxed);
    });
}
