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
use std::time::Duration;

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
                report.outcomes(&work, &PAIRS, contest.run_alone(effort));
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
            over(addresses, rounds, |addr| {
                let loaded = space.load::<u32>(Gpa(addr), Attrs::default());
                black_box(loaded.expect("RAM"));
            })
        })
        .add("ours, reader each", move |rounds| {
            over(addresses, rounds, |addr| {
                let loaded = reader.enter().load::<u32>(Gpa(addr), Attrs::default());
                black_box(loaded.expect("RAM"));
            })
        })
        .add("ours, guard held", move |rounds| {
            let guard = space.enter();
            over(addresses, rounds, |addr| {
                let loaded = guard.load::<u32>(Gpa(addr), Attrs::default());
                black_box(loaded.expect("RAM"));
            })
        })
        .add("vm-memory", move |rounds| {
            over(addresses, rounds, |addr| {
                let loaded = plain.read_obj::<u32>(GuestAddress(addr));
                black_box(loaded.expect("RAM"));
            })
        })
        .add("vm-memory atomic", move |rounds| {
            over(addresses, rounds, |addr| {
                let loaded = atomic.memory().read_obj::<u32>(GuestAddress(addr));
                black_box(loaded.expect("RAM"));
            })
        })
        .add("raw", move |rounds| {
            over(addresses, rounds, |addr| {
                black_box(raw.load_u32(layout.offset(addr)).expect("RAM"));
            })
        });
    contest
}

/// What is stored; the compiler does not know it.
#[inline]
fn value() -> u32 {
    black_box(0x0102_0304)
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
    let mut contest = Contest::new();
    contest
        .add("ours, guard each", move |rounds| {
            over(addresses, rounds, |addr| {
                let stored = space.store(Gpa(addr), value(), Attrs::default());
                stored.expect("RAM");
            })
        })
        .add("ours, reader each", move |rounds| {
            over(addresses, rounds, |addr| {
                let stored = reader.enter().store(Gpa(addr), value(), Attrs::default());
                stored.expect("RAM");
            })
        })
        .add("ours, guard held", move |rounds| {
            let guard = space.enter();
            over(addresses, rounds, |addr| {
                let stored = guard.store(Gpa(addr), value(), Attrs::default());
                stored.expect("RAM");
            })
        })
        .add("vm-memory", move |rounds| {
            over(addresses, rounds, |addr| {
                let stored = plain.write_obj(value(), GuestAddress(addr));
                stored.expect("RAM");
            })
        })
        .add("vm-memory atomic", move |rounds| {
            over(addresses, rounds, |addr| {
                let stored = atomic.memory().write_obj(value(), GuestAddress(addr));
                stored.expect("RAM");
            })
        })
        .add("raw", move |rounds| {
            over(addresses, rounds, |addr| {
                let stored = raw.store_u32(layout.offset(addr), value());
                stored.expect("RAM");
            })
        });
    contest
}

/// Visits so many addresses; by the thread's clock.
#[inline]
fn over(addresses: &Pool, rounds: u64, visit: impl FnMut(u64)) -> Duration {
    thread(|| addresses.each(0, rounds, visit))
}
