//! The operations whose instructions are counted: each a function that is told how often, run in a process of its own.
//!
//! What the calling thread executes is counted. The machine has no executor thread: the calling thread does its work too, so that what an
//! operation leaves behind is in its count. Only the reclaimer, which looks at readers for as long as time passes, is left out.

use crate::layout::Layout;
use crate::ours::{Board, Counting, PAGE, Plain, RAM};
use crate::random::{Pool, Random};
use memory::{Attrs, Gpa, Intent, Offset, Priority, Region, RegionApi, Size};
use qom::{Machine, ObjectOps};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

/// One operation.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Its name, in the file of counts and on the command line.
    pub name: &'static str,
    /// How often it is run in the shorter of two runs; in the longer one three times as often.
    pub rounds: u64,
    /// By how much its count may differ, as a part of it: little where nothing of it depends on other threads; more where it hands on what the
    /// reclaimer waits for, as it does more or less itself depending on whether the reclaimer is asleep.
    pub tolerance: f64,
    /// Runs it.
    pub run: fn(u64),
}

const ALONE: f64 = 0.03;
const BESIDE_OTHERS: f64 = 0.06;

/// All of them.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        name: "load, hot, guard each, 16 regions",
        rounds: 10_000,
        tolerance: ALONE,
        run: load_hot,
    },
    Operation {
        name: "store, hot, guard each, 16 regions",
        rounds: 10_000,
        tolerance: ALONE,
        run: store_hot,
    },
    Operation {
        name: "load, pool, guard held, 256 regions",
        rounds: 20_000,
        tolerance: ALONE,
        run: load_held,
    },
    Operation {
        name: "mmio read, guard each, 64 regions",
        rounds: 10_000,
        tolerance: ALONE,
        run: mmio_read,
    },
    Operation {
        name: "slice of 4 KiB, guard each",
        rounds: 10_000,
        tolerance: ALONE,
        run: slice,
    },
    Operation {
        name: "pin and unpin",
        rounds: 5_000,
        tolerance: ALONE,
        run: pin,
    },
    Operation {
        name: "mapping, opened and closed",
        rounds: 2_000,
        tolerance: BESIDE_OTHERS,
        run: mapping,
    },
    Operation {
        name: "add + remove beside 16",
        rounds: 1_000,
        tolerance: BESIDE_OTHERS,
        run: |rounds| add_remove(16, rounds),
    },
    Operation {
        name: "add + remove beside 4096",
        rounds: 1_000,
        tolerance: BESIDE_OTHERS,
        run: |rounds| add_remove(4096, rounds),
    },
    Operation {
        name: "a region more in a view of 4096, built at once",
        rounds: 4096,
        tolerance: BESIDE_OTHERS,
        run: build,
    },
    Operation {
        name: "device with 4 regions, from create to unparent",
        rounds: 300,
        tolerance: BESIDE_OTHERS,
        run: life,
    },
    Operation {
        name: "region made, added, withdrawn, finalized",
        rounds: 300,
        tolerance: BESIDE_OTHERS,
        run: withdrawal,
    },
];

/// After so many changes what they left behind is seen to.
const SETTLE_EVERY: u64 = 100;

/// A board without an executor thread, and with a reclaimer that does not look without sleeping.
fn board() -> Board {
    let machine = Machine::builder("count")
        .embedder_driven(Arc::new(|| ()))
        .grace(|grace| grace.spin = Duration::ZERO);
    Board::of(machine.build())
}

fn load_hot(rounds: u64) {
    let board = board().and_ram(Layout::compact(16));
    let pool = Pool::below(Layout::compact(16).bytes(), 4).hot();
    pool.each(0, rounds, |addr| {
        let loaded = board.space.load::<u32>(Gpa(addr), Attrs::default());
        black_box(loaded.expect("RAM"));
    });
    board.close();
}

fn store_hot(rounds: u64) {
    let board = board().and_ram(Layout::compact(16));
    let pool = Pool::below(Layout::compact(16).bytes(), 4).hot();
    pool.each(0, rounds, |addr| {
        let stored = board.space.store(Gpa(addr), 7u32, Attrs::default());
        black_box(stored).expect("RAM");
    });
    board.close();
}

fn load_held(rounds: u64) {
    let board = board().and_ram(Layout::compact(256));
    let pool = Pool::below(Layout::compact(256).bytes(), 4);
    let guard = board.space.enter();
    pool.each(0, rounds, |addr| {
        let loaded = guard.load::<u32>(Gpa(addr), Attrs::default());
        black_box(loaded.expect("RAM"));
    });
    drop(guard);
    board.close();
}

fn mmio_read(rounds: u64) {
    let board = board().and_cards::<Plain>(64, false);
    let mut random = Random::new(64);
    let pool = Pool::of(|| random.below(64) * PAGE + 8);
    pool.each(0, rounds, |addr| {
        let read = board.space.load::<u32>(Gpa(addr), Attrs::default());
        black_box(read.expect("somebody is there"));
    });
    board.close();
}

fn slice(rounds: u64) {
    let board = board().and_ram(Layout::compact(16));
    Pool::below(Layout::compact(16).bytes(), PAGE).each(0, rounds, |addr| {
        let guard = board.space.enter();
        let bytes = guard.view().slice(Gpa(addr), PAGE).expect("RAM");
        black_box(bytes.as_ptr());
    });
    board.close();
}

fn pin(rounds: u64) {
    let board = board().and_ram(Layout::compact(16));
    Pool::below(Layout::compact(16).bytes(), PAGE).each(0, rounds, |addr| {
        let pin = board
            .space
            .pin(&board.holder, Gpa(addr), PAGE, Intent::ReadWrite);
        black_box(pin.expect("RAM").bytes().as_ptr());
    });
    board.close();
}

fn mapping(rounds: u64) {
    let board = board().and_ram(Layout::compact(16));
    let pool = Pool::below(Layout::compact(16).bytes(), PAGE);
    for done in 0..rounds {
        pool.each(done, 1, |addr| {
            let mapping = board
                .space
                .map(&board.holder, Gpa(addr), PAGE, Intent::ReadWrite);
            black_box(mapping.expect("RAM").len());
        });
        if done % SETTLE_EVERY == 0 {
            board.settle();
        }
    }
    board.close();
}

fn add_remove(siblings: u64, rounds: u64) {
    let board = board();
    let page = |i: u64| {
        let part = RAM.slice(i % 4096 * PAGE, PAGE).expect("a part of the RAM");
        let region = Region::ram("page", part).create(board.machine.root());
        region.expect("a region")
    };
    let mut places: Vec<u64> = (0..siblings).map(|i| i * 2 * PAGE).collect();
    Random::new(siblings).shuffle(&mut places);
    let regions: Vec<_> = (0..).zip(&places).map(|(i, at)| (*at, page(i))).collect();
    board.show(&regions);
    let listener = board.space.listen(&board.holder, Counting::default());
    listener.expect("the holder is there");
    let extra = page(0);
    board.settle();
    for (done, place) in (0..rounds).zip(places.iter().cycle()) {
        let added = board
            .system
            .add_subregion(Offset(place + PAGE), &extra, Priority(0));
        added.expect("it is nowhere");
        board.system.del_subregion(&extra).expect("it is there");
        if done % SETTLE_EVERY == 0 {
            board.settle();
        }
    }
    board.close();
}

/// Adds and renders as many regions as there are rounds, at random places, in one transaction.
fn build(rounds: u64) {
    let board = board();
    let mut places: Vec<u64> = (0..rounds).map(|i| i * 2 * PAGE).collect();
    Random::new(rounds).shuffle(&mut places);
    let regions: Vec<_> = places
        .into_iter()
        .map(|at| {
            let part = RAM.slice(at / 2 % (4096 * PAGE), PAGE);
            let part = part.expect("a part of the RAM");
            let region = Region::ram("page", part).create(board.machine.root());
            (at, region.expect("a region"))
        })
        .collect();
    board.show(&regions);
    board.close();
}

fn life(rounds: u64) {
    let board = board();
    for done in 0..rounds {
        let card = board.card();
        let regions: Vec<_> = (0..4)
            .map(|i| {
                let region = Region::io("regs", Size::new(PAGE), Plain).create(&card);
                (i * PAGE, region.expect("a region"))
            })
            .collect();
        board.show(&regions);
        card.unparent().expect("it is there");
        drop(card);
        if done % SETTLE_EVERY == 0 {
            board.settle();
        }
    }
    board.close();
}

fn withdrawal(rounds: u64) {
    let board = board();
    for done in 0..rounds {
        let card = board.card();
        let region = Region::io("regs", Size::new(PAGE), Plain).create(&card);
        board.show(&[(0, region.expect("a region"))]);
        card.unparent().expect("it is there");
        drop(card);
        if done % SETTLE_EVERY == 0 {
            board.settle();
        }
    }
    board.close();
}
