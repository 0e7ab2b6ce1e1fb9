//! Loads and stores of 32 bits from RAM in 1 to 65,536 regions.
//!
//! The bytes are the same whatever the number of regions, and the same for the peers: what differs is the way to them. "Raw" is a load from the
//! bytes themselves, so it shows what the loop and the caches cost.

use crate::contest::{Contest, Effort, thread};
use crate::layout::Layout;
use crate::ours::{Board, RAM};
use crate::peers::vm_memory;
use crate::random::Pool;
use crate::report::{Report, Unit, Work};
use ::vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic};
use memory::{Attrs, Gpa};
use std::hint::black_box;

/// The group's name.
pub(super) const NAME: &str = "load-store";
/// Numbers of regions.
const SIZES: [u64; 5] = [1, 16, 256, 4096, 65_536];
/// Peers, and with whom of ours they are compared: a shared map that is asked each time with a guard each time.
const PAIRS: [(&str, &str); 2] = [
    ("vm-memory", "ours, guard held"),
    ("vm-memory atomic", "ours, guard each"),
];

pub(super) fn run(effort: Effort, report: &mut Report) {
    for n in effort.sizes(&SIZES) {
        let layout = Layout::compact(n);
        let board = Board::with_ram(layout);
        let plain = vm_memory::memory(layout);
        let atomic = GuestMemoryAtomic::new(vm_memory::memory(layout));
        let random = Pool::below(layout.bytes(), 4);
        let hot = random.hot();
        for (place, addresses) in [("hot", &hot), ("pool", &random)] {
            for (what, mut contest) in [
                ("load", loads(layout, &board, &plain, &atomic, addresses)),
                ("store", stores(layout, &board, &plain, &atomic, addresses)),
            ] {
                let work = Work {
                    group: NAME,
                    work: &format!("{what}, {place}"),
                    n,
                    unit: Unit::Nanos,
                };
                report.outcomes(&work, &PAIRS, contest.run(effort));
            }
        }
        board.close();
    }
}

type Plain = ::vm_memory::GuestMemoryMmap;
type Atomic = GuestMemoryAtomic<Plain>;

fn loads<'a>(
    layout: Layout,
    board: &'a Board,
    plain: &'a Plain,
    atomic: &'a Atomic,
    addresses: &'a Pool,
) -> Contest<'a> {
    let space = &board.space;
    let reader = space.reader();
    let raw = RAM.bytes();
    let mut contest = Contest::new();
    contest
        .add("ours, guard each", move |rounds| {
            thread(|| {
                addresses.each(0, rounds, |addr| {
                    black_box(
                        space
                            .load::<u32>(Gpa(addr), Attrs::default())
                            .is_ok_and(seen),
                    );
                });
            })
        })
        .add("ours, reader each", move |rounds| {
            thread(|| {
                addresses.each(0, rounds, |addr| {
                    let loaded = reader.enter().load::<u32>(Gpa(addr), Attrs::default());
                    black_box(loaded.is_ok_and(seen));
                });
            })
        })
        .add("ours, guard held", move |rounds| {
            thread(|| {
                let guard = space.enter();
                addresses.each(0, rounds, |addr| {
                    black_box(
                        guard
                            .load::<u32>(Gpa(addr), Attrs::default())
                            .is_ok_and(seen),
                    );
                });
            })
        })
        .add("vm-memory", move |rounds| {
            thread(|| {
                addresses.each(0, rounds, |addr| {
                    black_box(plain.read_obj::<u32>(GuestAddress(addr)).is_ok_and(seen));
                });
            })
        })
        .add("vm-memory atomic", move |rounds| {
            thread(|| {
                addresses.each(0, rounds, |addr| {
                    let loaded = atomic.memory().read_obj::<u32>(GuestAddress(addr));
                    black_box(loaded.is_ok_and(seen));
                });
            })
        })
        .add("raw", move |rounds| {
            thread(|| {
                addresses.each(0, rounds, |addr| {
                    black_box(raw.load_u32(layout.offset(addr)).is_some_and(seen));
                });
            })
        });
    contest
}

/// Uses a loaded value; true.
#[inline]
fn seen(value: u32) -> bool {
    black_box(value);
    true
}

fn stores<'a>(
    layout: Layout,
    board: &'a Board,
    plain: &'a Plain,
    atomic: &'a Atomic,
    addresses: &'a Pool,
) -> Contest<'a> {
    let space = &board.space;
    let reader = space.reader();
    let raw = RAM.bytes();
    let value = || black_box(0x0102_0304_u32);
    let mut contest = Contest::new();
    contest
        .add("ours, guard each", move |rounds| {
            thread(|| {
                addresses.each(0, rounds, |addr| {
                    black_box(space.store(Gpa(addr), value(), Attrs::default()).is_ok());
                });
            })
        })
        .add("ours, reader each", move |rounds| {
            thread(|| {
                addresses.each(0, rounds, |addr| {
                    let stored = reader.enter().store(Gpa(addr), value(), Attrs::default());
                    black_box(stored.is_ok());
                });
            })
        })
        .add("ours, guard held", move |rounds| {
            thread(|| {
                let guard = space.enter();
                addresses.each(0, rounds, |addr| {
                    black_box(guard.store(Gpa(addr), value(), Attrs::default()).is_ok());
                });
            })
        })
        .add("vm-memory", move |rounds| {
            thread(|| {
                addresses.each(0, rounds, |addr| {
                    black_box(plain.write_obj(value(), GuestAddress(addr)).is_ok());
                });
            })
        })
        .add("vm-memory atomic", move |rounds| {
            thread(|| {
                addresses.each(0, rounds, |addr| {
                    let stored = atomic.memory().write_obj(value(), GuestAddress(addr));
                    black_box(stored.is_ok());
                });
            })
        })
        .add("raw", move |rounds| {
            thread(|| {
                addresses.each(0, rounds, |addr| {
                    black_box(raw.store_u32(layout.offset(addr), value()).is_ok());
                });
            })
        });
    contest
}
