//! Ways to 4 KiB of RAM: borrowed from a view, pinned for an I/O, mapped in somebody's name; by one thread and by two at once.

use crate::contest::{Contest, Effort, thread};
use crate::layout::Layout;
use crate::ours::{Board, PAGE};
use crate::peers::vm_memory;
use crate::random::Pool;
use crate::report::{Report, Unit, Work};
use crate::threads::together;
use ::vm_memory::{
    GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryBackend, GuestMemoryMmap,
};
use memory::{Gpa, Intent};
use std::hint::black_box;
use std::time::Duration;

/// The group's name.
pub(super) const NAME: &str = "map";
/// The RAM is in so many regions.
const REGIONS: u64 = 16;
const PAIRS: [(&str, &str); 3] = [
    ("vm-memory slice", "slice, guard held"),
    ("vm-memory atomic slice", "slice, guard each"),
    ("vm-memory atomic, map kept", "pin"),
];

pub(super) fn run(effort: Effort, report: &mut Report) {
    let layout = Layout::compact(REGIONS);
    let board = Board::with_ram(layout);
    let plain = vm_memory::memory(layout);
    let atomic = GuestMemoryAtomic::new(vm_memory::memory(layout));
    let pages = Pool::below(layout.bytes(), PAGE);
    for threads in [1, 2] {
        let ways = Ways {
            board: &board,
            plain: &plain,
            atomic: &atomic,
            pages: &pages,
        };
        let mut contest = ways.contest(threads);
        let outcomes = match threads {
            1 => contest.run_alone(effort),
            _ => contest.run(effort),
        };
        let work = Work {
            group: NAME,
            work: "4 KiB of RAM, by threads",
            n: threads as u64,
            unit: Unit::Nanos,
        };
        report.outcomes(&work, &PAIRS, outcomes);
    }
    board.close();
}

/// What the ways lead through.
#[derive(Clone, Copy)]
struct Ways<'a> {
    board: &'a Board,
    plain: &'a GuestMemoryMmap,
    atomic: &'a GuestMemoryAtomic<GuestMemoryMmap>,
    pages: &'a Pool,
}

/// Goes over the pages with something that each thread has for itself. By the clock of each thread.
fn timed<S>(
    threads: usize,
    rounds: u64,
    pages: &Pool,
    begin: impl Fn() -> S + Sync,
    access: impl Fn(&S, u64) + Sync,
) -> Duration {
    let run = |number: usize| {
        let own = begin();
        pages.each(number as u64 * 1000, rounds, |page| access(&own, page));
    };
    if threads == 1 {
        thread(|| run(0))
    } else {
        together(threads, run).used
    }
}

/// Where the bytes are, so that nothing of the way to them can be left out.
fn reached(bytes: *const u8) {
    black_box(bytes);
}

impl<'a> Ways<'a> {
    fn contest(self, threads: usize) -> Contest<'a> {
        let mut contest = Contest::new();
        self.ours(threads, &mut contest);
        self.peers(threads, &mut contest);
        contest
    }

    fn ours(self, threads: usize, contest: &mut Contest<'a>) {
        let Self { board, pages, .. } = self;
        let (space, holder) = (&board.space, &board.holder);
        contest
            .add("slice, guard each", move |rounds| {
                let access = |(): &(), page| {
                    let guard = space.enter();
                    let bytes = guard.view().slice(Gpa(page), PAGE).expect("RAM");
                    reached(bytes.as_ptr());
                };
                timed(threads, rounds, pages, || (), access)
            })
            .add("slice, guard held", move |rounds| {
                let access = |guard: &memory::SpaceGuard<'_>, page| {
                    let bytes = guard.view().slice(Gpa(page), PAGE).expect("RAM");
                    reached(bytes.as_ptr());
                };
                timed(threads, rounds, pages, || space.enter(), access)
            })
            .add("pin", move |rounds| {
                let access = |(): &(), page| {
                    let pin = space.pin(holder, Gpa(page), PAGE, Intent::ReadWrite);
                    reached(pin.expect("RAM").bytes().as_ptr());
                };
                timed(threads, rounds, pages, || (), access)
            })
            .add("mapping", move |rounds| {
                let access = |(): &(), page| {
                    let mapping = space.map(holder, Gpa(page), PAGE, Intent::ReadWrite);
                    let mapping = mapping.expect("RAM");
                    black_box(mapping.len());
                    let _ = black_box(mapping.unmap(PAGE).expect("it is mapped"));
                };
                timed(threads, rounds, pages, || (), access)
            });
    }

    fn peers(self, threads: usize, contest: &mut Contest<'a>) {
        let Self {
            plain,
            atomic,
            pages,
            ..
        } = self;
        let size = usize::try_from(PAGE).expect("a size of memory");
        contest
            .add("vm-memory slice", move |rounds| {
                let access = |(): &(), page| {
                    let slice = plain.get_slice(GuestAddress(page), size).expect("RAM");
                    reached(slice.ptr_guard().as_ptr());
                };
                timed(threads, rounds, pages, || (), access)
            })
            .add("vm-memory atomic slice", move |rounds| {
                let access = |(): &(), page| {
                    let map = atomic.memory();
                    let slice = map.get_slice(GuestAddress(page), size).expect("RAM");
                    reached(slice.ptr_guard().as_ptr());
                };
                timed(threads, rounds, pages, || (), access)
            })
            .add("vm-memory atomic, map kept", move |rounds| {
                let access = |(): &(), page| {
                    // What an I/O in flight keeps: the whole map.
                    let map = atomic.memory().into_inner();
                    let slice = map.get_slice(GuestAddress(page), size).expect("RAM");
                    reached(slice.ptr_guard().as_ptr());
                };
                timed(threads, rounds, pages, || (), access)
            });
    }
}
