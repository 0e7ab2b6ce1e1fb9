//! Reads and writes of 64 bytes, 4 KiB and 64 KiB of RAM, at one place and all over it.
//!
//! One place stays in the caches, so it shows what an access costs beside the copy; all over the RAM it is memory that counts.

use crate::contest::{Contest, Effort, thread};
use crate::layout::Layout;
use crate::ours::{Board, RAM, RAM_BYTES};
use crate::peers::{memcpy, vm_memory};
use crate::random::Pool;
use crate::report::{Report, Unit, Work};
use ::vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use memory::{Attrs, Gpa};
use std::hint::black_box;
use std::time::Duration;

/// The group's name.
pub(super) const NAME: &str = "bulk";
/// The RAM is in so many regions.
const REGIONS: u64 = 16;
const SIZES: [u64; 3] = [64, 4096, 65_536];
const PAIRS: [(&str, &str); 3] = [
    ("vm-memory", "ours, guard held"),
    ("vm-memory atomic", "ours, guard each"),
    ("memcpy", "ours, guard each"),
];

pub(super) fn run(effort: Effort, report: &mut Report) {
    let board = Board::with_ram(Layout::whole(REGIONS));
    let here = Here {
        board: &board,
        plain: &vm_memory::memory(Layout::whole(REGIONS)),
        atomic: &GuestMemoryAtomic::new(vm_memory::memory(Layout::whole(REGIONS))),
    };
    for size in SIZES {
        let all_over = Pool::below(RAM_BYTES, size);
        for (place, pool) in [("one place", &all_over.hot()), ("all over", &all_over)] {
            let bytes = usize::try_from(size).expect("a size of memory");
            for (what, mut contest) in [
                ("read", here.reads(pool, bytes)),
                ("write", here.writes(pool, bytes)),
            ] {
                let work = Work {
                    group: NAME,
                    work: &format!("{what}, {place}"),
                    n: size,
                    unit: Unit::Nanos,
                };
                report.outcomes(&work, &PAIRS, contest.run_alone(effort));
            }
        }
    }
    board.close();
}

#[derive(Clone, Copy)]
struct Here<'a> {
    board: &'a Board,
    plain: &'a GuestMemoryMmap,
    atomic: &'a GuestMemoryAtomic<GuestMemoryMmap>,
}

/// Copies out of the RAM, again and again.
fn reads<'a>(
    pool: &'a Pool,
    size: usize,
    read: impl Fn(u64, &mut [u8]) + 'a,
) -> impl FnMut(u64) -> Duration + 'a {
    let mut buf = vec![0; size];
    move |rounds| {
        thread(|| {
            pool.each(0, rounds, |addr| {
                read(addr, black_box(&mut buf));
                black_box(&buf);
            });
        })
    }
}

/// Copies into the RAM, again and again.
fn writes<'a>(
    pool: &'a Pool,
    size: usize,
    write: impl Fn(u64, &[u8]) + 'a,
) -> impl FnMut(u64) -> Duration + 'a {
    let data = vec![1; size];
    move |rounds| thread(|| pool.each(0, rounds, |addr| write(addr, black_box(&data))))
}

impl<'a> Here<'a> {
    fn reads(self, pool: &'a Pool, size: usize) -> Contest<'a> {
        let Self {
            board,
            plain,
            atomic,
        } = self;
        let each = move |addr, buf: &mut [u8]| {
            assert!(board.space.read(Gpa(addr), buf, Attrs::default()).is_ok());
        };
        let peer = move |addr, buf: &mut [u8]| {
            plain.read_slice(buf, GuestAddress(addr)).expect("RAM");
        };
        let shared = move |addr, buf: &mut [u8]| {
            let map = atomic.memory();
            map.read_slice(buf, GuestAddress(addr)).expect("RAM");
        };
        let mut buf = vec![0; size];
        let mut contest = Contest::new();
        contest
            .add("ours, guard each", reads(pool, size, each))
            .add("ours, guard held", move |rounds| {
                thread(|| {
                    let guard = board.space.enter();
                    pool.each(0, rounds, |addr| {
                        let read = guard.read(Gpa(addr), black_box(&mut buf), Attrs::default());
                        assert!(read.is_ok());
                        black_box(&buf);
                    });
                })
            })
            .add("vm-memory", reads(pool, size, peer))
            .add("vm-memory atomic", reads(pool, size, shared))
            .add(
                "memcpy",
                reads(pool, size, |addr, buf| memcpy::read(&RAM, addr, buf)),
            );
        contest
    }

    fn writes(self, pool: &'a Pool, size: usize) -> Contest<'a> {
        let Self {
            board,
            plain,
            atomic,
        } = self;
        let each = move |addr, data: &[u8]| {
            assert!(board.space.write(Gpa(addr), data, Attrs::default()).is_ok());
        };
        let peer = move |addr, data: &[u8]| {
            plain.write_slice(data, GuestAddress(addr)).expect("RAM");
        };
        let shared = move |addr, data: &[u8]| {
            let map = atomic.memory();
            map.write_slice(data, GuestAddress(addr)).expect("RAM");
        };
        let data = vec![1; size];
        let mut contest = Contest::new();
        contest
            .add("ours, guard each", writes(pool, size, each))
            .add("ours, guard held", move |rounds| {
                thread(|| {
                    let guard = board.space.enter();
                    pool.each(0, rounds, |addr| {
                        let written = guard.write(Gpa(addr), black_box(&data), Attrs::default());
                        assert!(written.is_ok());
                    });
                })
            })
            .add("vm-memory", writes(pool, size, peer))
            .add("vm-memory atomic", writes(pool, size, shared))
            .add(
                "memcpy",
                writes(pool, size, |addr, data| memcpy::write(&RAM, addr, data)),
            );
        contest
    }
}
