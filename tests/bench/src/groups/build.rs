//! A whole view in one transaction: thousands of regions are put into an empty container at once.
//!
//! Told apart: making the regions; adding them and committing; and opening another address space on what is there, with a listener, which
//! renders it from nothing.

use crate::contest::{Effort, Outcome, wall};
use crate::cpu;
use crate::ours::{Board, Counting, PAGE, Plain};
use crate::peers::{vm_device, vm_memory};
use crate::random::Random;
use crate::report::{Report, Unit, Work};
use crate::statistics::Samples;
use ::vm_memory::{GuestMemoryMmap, GuestRegionMmap};
use memory::{AddressSpace, Region, Size};
use std::hint::black_box;
use std::time::Duration;

/// The group's name.
pub(super) const NAME: &str = "build";
const SIZES: [u64; 3] = [256, 4096, 65_536];
/// Beyond this vm-device takes seconds: each range is compared with all before it.
const MOST_REGISTERED: u64 = 4096;
const PAIRS: [(&str, &str); 2] = [
    ("vm-memory from_regions", "add and commit"),
    ("vm-device register", "add and commit"),
];

pub(super) fn run(effort: Effort, report: &mut Report) {
    for n in effort.sizes(&SIZES) {
        let samples = effort.samples().div_ceil(if n > 10_000 { 6 } else { 1 });
        // One more, first, which counts as the warm-up.
        let runs: Vec<Vec<_>> = (0..=samples)
            .map(|_| [&ours(n)[..], &peers(n)].concat())
            .collect();
        let work = Work {
            group: NAME,
            work: "a view of n regions",
            n,
            unit: Unit::Millis,
        };
        report.outcomes(&work, &PAIRS, outcomes(&runs[1..]));
    }
}

/// The runs, stage by stage.
fn outcomes(runs: &[Vec<(&'static str, Duration)>]) -> Vec<Outcome> {
    let stages = runs[0].iter().enumerate();
    let outcome = |(stage, (who, _)): (usize, &(&str, Duration))| Outcome {
        who: (*who).to_owned(),
        nanos: Samples::new(
            runs.iter()
                .map(|run| run[stage].1.as_secs_f64() * 1e9)
                .collect(),
        ),
    };
    stages.map(outcome).collect()
}

/// Every other page, in no order, so that no two ranges can become one and no order helps.
fn places(n: u64) -> Vec<u64> {
    let mut places: Vec<u64> = (0..n).map(|i| i * 2 * PAGE).collect();
    Random::new(n).shuffle(&mut places);
    places
}

fn ours(n: u64) -> [(&'static str, Duration); 3] {
    let board = Board::new();
    let listener = board.space.listen(&board.holder, Counting::default());
    listener.expect("the holder is there");
    let (places, owner) = (places(n), board.card());
    let mut regions = Vec::new();
    // The machine's threads are there already.
    let _stay = cpu::Stay::on_the_quickest();
    let made = wall(|| {
        regions.extend(places.iter().map(|place| {
            let region = Region::io("page", Size::new(PAGE), Plain).create(&owner);
            (*place, region.expect("a region"))
        }));
    });
    let added = wall(|| board.show(&regions));
    assert_eq!(board.space.enter().view().len() as u64, n);
    // Not the same root, or it would be the same view.
    let root = Region::alias(
        "window",
        &board.system,
        memory::Offset(0),
        Size::new(1 << 40),
    )
    .create(board.machine.root())
    .expect("an alias");
    let opened = wall(|| {
        let space = AddressSpace::open(board.machine.root(), "second", &root).expect("a space");
        let listener = space.listen(&board.holder, Counting::default());
        listener.expect("the holder is there");
        black_box(space);
    });
    drop((regions, owner));
    board.close();
    [
        ("make regions", made),
        ("add and commit", added),
        ("open a space on them", opened),
    ]
}

fn peers(n: u64) -> Vec<(&'static str, Duration)> {
    let regions: Vec<GuestRegionMmap> = (0..n)
        .map(|i| vm_memory::region(i * 2 * PAGE, i % 4096 * PAGE, PAGE))
        .collect();
    let memory = wall(|| {
        black_box(GuestMemoryMmap::from_regions(regions).expect("in order"));
    });
    let mut times = vec![("vm-memory from_regions", memory)];
    if n <= MOST_REGISTERED {
        let device = wall(|| {
            black_box(vm_device::manager(n, false, vm_device::plain));
        });
        times.push(("vm-device register", device));
    }
    times
}
