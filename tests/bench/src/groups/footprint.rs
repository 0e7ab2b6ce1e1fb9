//! Bytes of the heap: for a region, for its place in a container, and for a range that an address space shows.

use crate::contest::Effort;
use crate::heap;
use crate::ours::{Board, PAGE, Plain, RAM};
use crate::peers::{vm_device, vm_memory};
use crate::report::{Report, Unit, Work};
use crate::statistics::Summary;
use ::vm_memory::GuestMemoryMmap;
use memory::{AddressSpace, Offset, Region, RegionApi, Size};
use qom::{Child, Container, ObjectOps};
use std::hint::black_box;

/// The group's name.
pub(super) const NAME: &str = "memory";
const SIZES: [u64; 3] = [256, 4096, 65_536];
/// Beyond this vm-device takes seconds to set up.
const MOST_REGISTERED: u64 = 4096;

pub(super) fn run(effort: Effort, report: &mut Report) {
    heap::count(true);
    for n in effort.sizes(&SIZES) {
        let mut file = |who: &str, bytes: i64| {
            let work = Work {
                group: NAME,
                work: "bytes of the heap, each of n",
                n,
                unit: Unit::Bytes,
            };
            #[expect(clippy::cast_precision_loss, reason = "less than 2^52")]
            let each = bytes as f64 / n as f64;
            report.figure(&work, who, Summary::exact(each));
        };
        ours(n, &mut file);
        let grown = |make: &dyn Fn() -> Box<dyn std::any::Any>| {
            let before = heap::bytes();
            let made = black_box(make());
            let bytes = heap::bytes() - before;
            drop(made);
            bytes
        };
        let regions = || -> Box<dyn std::any::Any> {
            let regions = (0..n).map(|i| vm_memory::region(i * 2 * PAGE, i % 4096 * PAGE, PAGE));
            Box::new(GuestMemoryMmap::from_regions(regions.collect()).expect("in order"))
        };
        file("vm-memory region", grown(&regions));
        if n <= MOST_REGISTERED {
            let ranges = || -> Box<dyn std::any::Any> {
                Box::new(vm_device::manager(n, true, vm_device::plain))
            };
            file("vm-device range and device", grown(&ranges));
        }
    }
    heap::count(false);
    report.note(
        NAME,
        "requested bytes, without what the allocator adds; a range in a view is beyond its region and its place".to_owned(),
    );
}

fn ours(n: u64, file: &mut dyn FnMut(&str, i64)) {
    let board = Board::new();
    // Long enough from the start, so that its growth is in none of the steps.
    let mut rams: Vec<Child<Region>> = Vec::with_capacity(usize::try_from(n).expect("a length"));
    board.settle();
    let mut last = heap::bytes();
    let mut step = |who: &str, board: &Board| {
        board.settle();
        let now = heap::bytes();
        file(who, now - last);
        last = heap::bytes();
    };
    for _ in 0..n {
        let object = board.machine.create::<Container>().expect("an object");
        let added = board.machine.root().add_child("object[*]", &object);
        added.expect("a free name");
    }
    step("object", &board);
    rams.extend((0..n).map(|_| {
        let part = RAM.slice(0, PAGE).expect("a part of the RAM");
        let region = Region::ram("ram", part).create(board.machine.root());
        region.expect("a region")
    }));
    step("RAM region", &board);
    let card = board.card();
    for _ in 0..n {
        let region = Region::io("regs", Size::new(PAGE), Plain).create(&card);
        region.expect("a region");
    }
    step("I/O region", &board);
    // A container that no space shows, then one that shows it, then another.
    let hidden = Region::container("hidden", Size::MAX).create(board.machine.root());
    let hidden = hidden.expect("a container");
    memory::transaction(&board.machine, |_| {
        for (i, region) in (0..).zip(&rams) {
            let added = hidden.add_subregion(Offset(i * 2 * PAGE), region, memory::Priority(0));
            added.expect("it is nowhere");
        }
    })
    .expect("not in a listener");
    step("place in a container", &board);
    let space = AddressSpace::open(board.machine.root(), "first", &hidden).expect("a space");
    assert_eq!(space.enter().view().len() as u64, n);
    step("range of a view", &board);
    let window = Region::alias("window", &hidden, Offset(0), Size::new(1 << 40));
    let window = window.create(board.machine.root()).expect("an alias");
    let other = AddressSpace::open(board.machine.root(), "second", &window).expect("a space");
    assert_eq!(other.enter().view().len() as u64, n);
    step("range of a second view", &board);
    drop((rams, card, space, other));
    board.close();
}
