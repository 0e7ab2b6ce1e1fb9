//! What one change of the map costs, beside up to 65,536 siblings that stay as they are.
//!
//! A change is a transaction of its own, told to a listener in each address space. The region that changes is put at another place each time, in
//! ascending, descending or random order; its siblings were added in that order too. "Background" is the processor time that other threads use
//! afterwards for a pair of changes: waiting out grace periods, freeing what was replaced.

use crate::background::Background;
use crate::contest::{Contest, Effort, Outcome, wall};
use crate::ours::{Board, Counting, PAGE, RAM};
use crate::peers::{vm_device, vm_memory};
use crate::random::Random;
use crate::report::{Report, Unit, Work};
use ::vm_device::bus::{MmioAddress, MmioRange};
use ::vm_device::device_manager::MmioManager;
use ::vm_memory::{GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use memory::{AddressSpace, Offset, Priority, Region, RegionApi, Size};
use qom::Child;
use std::cell::RefCell;
use std::hint::black_box;
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// The group's name.
pub(super) const NAME: &str = "commit";
const SIZES: [u64; 6] = [0, 16, 256, 4096, 16_384, 65_536];
/// Beyond this vm-device takes seconds to set up: each range is compared with all before it.
const MOST_REGISTERED: u64 = 16_384;
const PAIRS: [(&str, &str); 2] = [
    ("vm-memory insert + remove", "add + remove"),
    ("vm-device in RwLock", "add + remove"),
];

/// Where siblings were added one after another, and where the region that changes goes from one change to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
    Random,
}

impl Order {
    const ALL: [Self; 3] = [Self::Ascending, Self::Descending, Self::Random];

    fn name(self) -> &'static str {
        match self {
            Self::Ascending => "ascending",
            Self::Descending => "descending",
            Self::Random => "random",
        }
    }

    /// The pages of `n` siblings: every other one.
    fn pages(self, n: u64) -> Vec<u64> {
        let mut pages: Vec<u64> = (0..n).map(|i| i * 2 * PAGE).collect();
        match self {
            Self::Ascending => {}
            Self::Descending => pages.reverse(),
            Self::Random => Random::new(n).shuffle(&mut pages),
        }
        pages
    }
}

/// Siblings, spaces with listeners, and a region of one's own.
struct Crowd {
    board: Board,
    extra: Child<Region>,
    /// Free places between the siblings, in order.
    places: Vec<u64>,
    next: usize,
}

impl Crowd {
    fn new(n: u64, order: Order, spaces: u64) -> Self {
        let board = Board::new();
        let page = |i: u64| {
            let part = RAM.slice(i % 4096 * PAGE, PAGE).expect("a part of the RAM");
            let region = Region::ram("page", part).create(board.machine.root());
            region.expect("a region")
        };
        let pages = order.pages(n);
        let regions: Vec<_> = (0..).zip(&pages).map(|(i, at)| (*at, page(i))).collect();
        board.show(&regions);
        let listen = |space: &AddressSpace| {
            let listener = space.listen(&board.holder, Counting::default());
            listener.expect("the holder is there");
        };
        if spaces == 1 {
            listen(&board.space);
        } else {
            for i in 0..spaces {
                listen(&Self::window(&board, n, i));
            }
            // It would be one more than there are to be.
            board.space.close();
        }
        let mut places: Vec<u64> = pages.iter().map(|at| at + PAGE).collect();
        if places.is_empty() {
            places.extend([PAGE, 3 * PAGE]);
        }
        let this = Self {
            extra: page(n),
            board,
            places,
            next: 0,
        };
        this.board.settle();
        this
    }

    /// One of several spaces: each sees all that is there and a little more behind it, another size each, so that no two are one view.
    fn window(board: &Board, n: u64, i: u64) -> AddressSpace {
        let size = Size::new((2 * n + 16 - i) * PAGE);
        let alias = Region::alias("window", &board.system, Offset(0), size);
        let alias = alias.create(board.machine.root()).expect("an alias");
        AddressSpace::open(board.machine.root(), "window", &alias).expect("a space")
    }

    fn place(&mut self) -> Offset {
        self.next = (self.next + 1) % self.places.len();
        Offset(self.places[self.next])
    }

    fn add(&mut self) {
        let place = self.place();
        self.board
            .system
            .add_subregion(place, &self.extra, Priority(0))
            .expect("it is nowhere");
    }

    fn remove(&self) {
        let removed = self.board.system.del_subregion(&self.extra);
        removed.expect("it is there");
    }

    /// Changes the map in some way so many times; then waits, untimed, until what was replaced is gone.
    fn timed(
        &mut self,
        rounds: u64,
        background: &Background,
        mut change: impl FnMut(&mut Self),
    ) -> Duration {
        background.of(rounds, || {
            let time = wall(|| {
                for _ in 0..rounds {
                    change(self);
                }
            });
            self.board.settle();
            time
        })
    }
}

pub(super) fn run(effort: Effort, report: &mut Report) {
    for spaces in [1, 8] {
        for order in Order::ALL {
            // With eight spaces the places make the same difference as with one.
            if spaces > 1 && order != Order::Random {
                continue;
            }
            for n in effort.sizes(&SIZES) {
                // A shorter run shows the growth of one order, and of the others where they end.
                let ends = n == SIZES[1] || n == SIZES[SIZES.len() - 1];
                if effort != Effort::Full && order != Order::Random && !ends {
                    continue;
                }
                one(effort, report, n, order, spaces);
            }
        }
    }
}

fn one(effort: Effort, report: &mut Report, n: u64, order: Order, spaces: u64) {
    let crowd = RefCell::new(Crowd::new(n, order, spaces));
    let (background, other) = (Background::default(), Background::default());
    let mut contest = Contest::new();
    contest
        .add("add + remove", |rounds| {
            crowd.borrow_mut().timed(rounds, &background, |crowd| {
                crowd.add();
                crowd.remove();
            })
        })
        .add("set enabled", |rounds| {
            let mut crowd = crowd.borrow_mut();
            crowd.add();
            let mut on = true;
            let time = crowd.timed(rounds, &other, |crowd| {
                on = !on;
                crowd.extra.set_enabled(on).expect("it is there");
            });
            crowd.extra.set_enabled(true).expect("it is there");
            crowd.remove();
            time
        })
        .add("move", |rounds| {
            let mut crowd = crowd.borrow_mut();
            crowd.add();
            let time = crowd.timed(rounds, &other, |crowd| {
                let place = crowd.place();
                crowd.extra.set_address(place).expect("it is there");
            });
            crowd.remove();
            time
        });
    if spaces == 1 && order == Order::Random {
        peers(n, &mut contest);
    }
    let mut outcomes = contest.run_alone(effort);
    drop(contest);
    outcomes.push(Outcome {
        who: "background".to_owned(),
        nanos: background.nanos(),
    });
    let spaces_text = if spaces == 1 { "1 space" } else { "8 spaces" };
    let work = Work {
        group: NAME,
        work: &format!("{spaces_text}, {}", order.name()),
        n,
        unit: Unit::Micros,
    };
    report.outcomes(&work, &PAIRS, outcomes);
    crowd.into_inner().board.close();
}

/// The same of the peers: a copy of the map with one region more or less is published; a manager behind a lock gets a device more or less.
fn peers(n: u64, contest: &mut Contest<'_>) {
    let pages = (0..n).map(|i| vm_memory::region(i * 2 * PAGE, i % 4096 * PAGE, PAGE));
    // vm-memory knows no empty map: beside no siblings there is one.
    let first = vm_memory::region(1 << 40, 0, PAGE);
    let map = GuestMemoryMmap::from_regions(pages.chain([first]).collect());
    let atomic = GuestMemoryAtomic::new(map.expect("regions in order"));
    let extra = Arc::new(vm_memory::region(PAGE, 0, PAGE));
    contest.add("vm-memory insert + remove", move |rounds| {
        wall(|| {
            for _ in 0..rounds {
                let lock = atomic.lock().expect("nobody panics under it");
                let more = atomic.memory().insert_region(extra.clone());
                lock.replace(more.expect("a free place"));
                let lock = atomic.lock().expect("nobody panics under it");
                let less = atomic.memory().remove_region(GuestAddress(PAGE), PAGE);
                lock.replace(less.expect("it is there").0);
            }
        })
    });
    if n > MOST_REGISTERED {
        return;
    }
    let manager = RwLock::new(vm_device::manager(0, false, vm_device::plain));
    {
        let mut manager = manager.write().expect("nobody panics under it");
        for i in 0..n {
            let range = MmioRange::new(MmioAddress(i * 2 * PAGE), PAGE).expect("a range");
            let added = manager.register_mmio(range, vm_device::plain());
            added.expect("a free range");
        }
    }
    let mut random = Random::new(n);
    let device = vm_device::plain();
    contest.add("vm-device in RwLock", move |rounds| {
        wall(|| {
            for _ in 0..rounds {
                let base = MmioAddress(random.below(n.max(1)) * 2 * PAGE + PAGE);
                let range = MmioRange::new(base, PAGE).expect("a range");
                let mut lock = manager.write().expect("nobody panics under it");
                let added = lock.register_mmio(range, device.clone());
                added.expect("a free range");
                drop(lock);
                let mut lock = manager.write().expect("nobody panics under it");
                black_box(lock.deregister_mmio(base).expect("it is there"));
            }
        })
    });
}
