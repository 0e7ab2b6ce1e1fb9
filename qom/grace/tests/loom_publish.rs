//! Loom models of the protocol: the code that domains run, with the asymmetric barrier replaced by full fences on both sides.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p qom-grace --release --test loom_publish`
//!
//! Each model has a twin with one thing done wrong, and that twin must fail: a model that finds nothing proves nothing.
//! "Freed" is a write to a loom cell that readers read, so that loom reports the race whatever the values are.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{Ordering, fence};
use loom::thread;
use qom_grace::protocol::{Clock, PointerCell, Word};

/// A value behind a published pointer.
struct Value(UnsafeCell<u32>);

/// What is read through a pointer after its value was freed.
const FREED: u32 = 0;

struct World {
    clock: Clock,
    words: [Word; 2],
    values: [Value; 2],
    shown: PointerCell<Value>,
}

#[expect(unsafe_code, reason = "loom's cells are reached by raw pointers")]
mod shared {
    use super::{UnsafeCell, Value, World};

    // SAFETY: loom checks every access to the cells, which is what the models are for.
    unsafe impl Sync for World {}
    // SAFETY: as above.
    unsafe impl Send for World {}

    pub(super) fn read(value: *const Value) -> u32 {
        // SAFETY: the values live as long as the world; loom checks the access.
        unsafe { (*value).0.with(|value| *value) }
    }

    pub(super) fn write(cell: &UnsafeCell<u32>, to: u32) {
        // SAFETY: as above.
        cell.with_mut(|value| unsafe { *value = to });
    }
}

impl World {
    fn new() -> Arc<Self> {
        let mut world = Arc::new(Self {
            clock: Clock::new(),
            words: [Word::new(), Word::new()],
            values: [Value(UnsafeCell::new(1)), Value(UnsafeCell::new(2))],
            shown: PointerCell::new(std::ptr::null_mut()),
        });
        let first = std::ptr::from_ref(&world.values[0]).cast_mut();
        world.shown.swap(first);
        let _ = &mut world;
        world
    }

    fn value(&self, number: usize) -> *mut Value {
        std::ptr::from_ref(&self.values[number]).cast_mut()
    }

    /// A read section; `sections` of them in a row.
    fn read(&self, reader: usize, sections: usize) {
        for _ in 0..sections {
            self.words[reader].enter(&self.clock);
            let seen = self.shown.load();
            assert_ne!(shared::read(seen), FREED);
            self.words[reader].exit();
        }
    }

    /// A grace period, as the engine runs it.
    fn grace(&self, readers: usize) {
        let target = self.clock.advance();
        fence(Ordering::SeqCst);
        self.wait(readers, target);
    }

    fn wait(&self, readers: usize, target: u64) {
        for word in &self.words[..readers] {
            while !word.has_passed(target) {
                thread::yield_now();
            }
        }
    }

    fn free(&self, number: usize) {
        shared::write(&self.values[number].0, FREED);
    }
}

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

/// Two readers, one writer that replaces the value and frees the old one after a grace period.
fn publish_and_retire(write: fn(&World)) {
    explore(move || {
        let world = World::new();
        let readers: Vec<_> = (0..2)
            .map(|reader| {
                let world = Arc::clone(&world);
                thread::spawn(move || world.read(reader, 1))
            })
            .collect();
        write(&world);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn a_reader_in_a_section_sees_no_freed_value() {
    publish_and_retire(|world| {
        world.shown.swap(world.value(1));
        world.grace(2);
        world.free(0);
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn freeing_without_a_grace_period_is_found() {
    publish_and_retire(|world| {
        world.shown.swap(world.value(1));
        world.free(0);
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_missing_heavy_barrier_is_found() {
    publish_and_retire(|world| {
        world.shown.swap(world.value(1));
        let target = world.clock.advance();
        world.wait(2, target);
        world.free(0);
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_grace_period_before_the_swap_is_found() {
    publish_and_retire(|world| {
        world.grace(2);
        world.shown.swap(world.value(1));
        world.free(0);
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn moving_the_clock_before_the_swap_is_found() {
    publish_and_retire(|world| {
        let target = world.clock.advance();
        world.shown.swap(world.value(1));
        fence(Ordering::SeqCst);
        world.wait(2, target);
        world.free(0);
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn moving_the_clock_after_the_look_is_found() {
    publish_and_retire(|world| {
        world.shown.swap(world.value(1));
        fence(Ordering::SeqCst);
        // Everybody passes a target that the clock shows already.
        world.wait(2, world.clock.now());
        world.clock.advance();
        world.free(0);
    });
}

/// One reader that enters again and again, and a writer whose grace period falls somewhere in between.
fn again(read: fn(&World), sections: usize) {
    explore(move || {
        let world = World::new();
        let reader = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                for _ in 0..sections {
                    read(&world);
                }
            })
        };
        world.shown.swap(world.value(1));
        world.grace(1);
        world.free(0);
        reader.join().unwrap();
    });
}

#[test]
fn a_section_right_after_another_covers_for_neither() {
    again(|world| world.read(0, 1), 2);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn looking_outside_a_section_is_found() {
    again(
        |world| {
            let seen = world.shown.load();
            world.words[0].enter(&world.clock);
            assert_ne!(shared::read(seen), FREED);
            world.words[0].exit();
        },
        1,
    );
}

#[test]
#[should_panic(expected = "Causality violation")]
fn using_after_the_section_is_found() {
    again(
        |world| {
            world.words[0].enter(&world.clock);
            let seen = world.shown.load();
            world.words[0].exit();
            assert_ne!(shared::read(seen), FREED);
        },
        1,
    );
}

/// A section that copies the new value of the clock before the barrier was issued.
///
/// Loom switches threads at accesses and not at fences, so in [`World::grace`] the clock's move and the barrier are one step: no section begins
/// between them, and what the clock's own ordering (W1) is for is never needed. Here the reclaimer takes a look in between.
#[test]
fn a_section_that_begins_between_clock_and_barrier_sees_the_swap() {
    explore(|| {
        let world = World::new();
        let reader = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.read(0, 1))
        };
        world.shown.swap(world.value(1));
        let target = world.clock.advance();
        let _ = world.words[0].section();
        fence(Ordering::SeqCst);
        world.wait(1, target);
        world.free(0);
        reader.join().unwrap();
    });
}

/// The clock moves after the swap, but whoever moves it has not seen the swap: its new value brings nothing with it.
#[test]
#[should_panic(expected = "Causality violation")]
fn a_clock_that_does_not_bring_the_swap_is_found() {
    explore(|| {
        let world = World::new();
        let swapped = Arc::new(loom::sync::atomic::AtomicBool::new(false));
        let reader = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.read(0, 1))
        };
        let mover = {
            let (world, swapped) = (Arc::clone(&world), Arc::clone(&swapped));
            thread::spawn(move || {
                swapped
                    .load(Ordering::Relaxed)
                    .then(|| world.clock.advance())
            })
        };
        world.shown.swap(world.value(1));
        swapped.store(true, Ordering::Relaxed);
        if let Some(target) = mover.join().unwrap() {
            fence(Ordering::SeqCst);
            world.wait(1, target);
            world.free(0);
        }
        reader.join().unwrap();
    });
}

/// The writer retires, the reclaimer is another thread: what is handed over is seen.
#[test]
fn a_grace_period_of_another_thread_counts() {
    explore(|| {
        let world = World::new();
        let queue = Arc::new(loom::sync::Mutex::new(false));
        let reader = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.read(0, 1))
        };
        let writer = {
            let (world, queue) = (Arc::clone(&world), Arc::clone(&queue));
            thread::spawn(move || {
                world.shown.swap(world.value(1));
                *queue.lock().unwrap() = true;
            })
        };
        let handed = *queue.lock().unwrap();
        if handed {
            world.grace(1);
            world.free(0);
        }
        reader.join().unwrap();
        writer.join().unwrap();
    });
}
