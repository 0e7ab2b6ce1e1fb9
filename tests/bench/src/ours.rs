//! The machines that are measured: RAM in many regions, callbacks in many regions, as a user of the crates would set them up.

use crate::layout::Layout;
use memory::{
    Access, AddressSpace, Backing, Commit, Listener, MemTxError, Offset, Priority, Region,
    RegionApi, RegionOps, Section, Size,
};
use qom::{Child, Container, Init, Machine, ObjectImpl, ObjectOps, Ref, RootObject};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

/// A page, in bytes.
pub const PAGE: u64 = 4096;
/// How much RAM there is.
pub const RAM_BYTES: u64 = 256 << 20;
/// Longer than anything takes that works.
pub const LONG: Duration = Duration::from_mins(1);

/// The bytes that ours and the peers show: one and the same memory.
pub static RAM: LazyLock<Backing> =
    LazyLock::new(|| Backing::anonymous(RAM_BYTES).expect("memory for the RAM"));

/// Touches all of it, or the first who comes by pays for the pages.
pub fn touch_ram() {
    RAM.bytes().fill(0, RAM_BYTES, 1).expect("all of it");
}

/// A machine with a container and an address space rooted at it.
#[derive(Debug)]
pub struct Board {
    /// The machine.
    pub machine: Machine,
    /// The container.
    pub system: Child<Region>,
    /// What is seen from it.
    pub space: AddressSpace,
    /// Somebody in whose name things are opened.
    pub holder: Ref<Container>,
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

impl Board {
    /// Nothing in it.
    pub fn new() -> Self {
        Self::of(Machine::new("bench"))
    }

    /// The same in a machine of the caller's.
    pub fn of(machine: Machine) -> Self {
        let system = Region::container("system", Size::MAX)
            .create(machine.root())
            .expect("a container");
        let space = AddressSpace::open(machine.root(), "memory", &system).expect("a space");
        let holder = machine.create::<Container>().expect("a holder");
        machine
            .root()
            .add_child("holder", &holder)
            .expect("a free name");
        Self {
            machine,
            system,
            space,
            holder,
        }
    }

    /// RAM.
    pub fn with_ram(layout: Layout) -> Self {
        Self::new().and_ram(layout)
    }

    /// The same in a board of the caller's.
    #[must_use]
    pub fn and_ram(self, layout: Layout) -> Self {
        let regions = layout.parts().map(|part| {
            let bytes = RAM.slice(part.offset, part.len);
            let region = Region::ram("ram", bytes.expect("a part of the RAM"));
            let region = region.create(self.machine.root());
            (part.place, region.expect("a region"))
        });
        self.show(&regions.collect::<Vec<_>>());
        assert_eq!(self.space.enter().view().len() as u64, layout.regions());
        self
    }

    /// `n` pages of callbacks side by side: all of one owner's, or each of its own owner's.
    pub fn with_cards<O: RegionOps<Owner = Card> + Default>(n: u64, an_owner_each: bool) -> Self {
        Self::new().and_cards::<O>(n, an_owner_each)
    }

    /// The same in a board of the caller's.
    #[must_use]
    pub fn and_cards<O: RegionOps<Owner = Card> + Default>(
        self,
        n: u64,
        an_owner_each: bool,
    ) -> Self {
        let board = self;
        let mut card = board.card();
        let mut regions = Vec::new();
        for i in 0..n {
            if an_owner_each && i > 0 {
                card = board.card();
            }
            let region = Region::io("regs", Size::new(PAGE), O::default());
            regions.push((i * PAGE, region.create(&card).expect("a region")));
        }
        board.show(&regions);
        assert_eq!(board.space.enter().view().len() as u64, n);
        board
    }

    /// A device with one register, and no regions yet.
    pub fn card(&self) -> Ref<Card> {
        let card = self.machine.create::<Card>().expect("a card");
        let added = self.machine.root().add_child("card[*]", &card);
        added.expect("a free name");
        card
    }

    /// Adds regions at their places, in one transaction.
    pub fn show(&self, regions: &[(u64, Child<Region>)]) {
        memory::transaction(&self.machine, |_| {
            for (place, region) in regions {
                self.system
                    .add_subregion(Offset(*place), region, Priority(0))
                    .expect("a free region");
            }
        })
        .expect("not in a listener");
    }

    /// Waits until nothing is left to do.
    pub fn settle(&self) {
        self.machine
            .quiesce(LONG)
            .expect("nobody reads, so all of it ends");
    }

    /// Closes the machine.
    pub fn close(self) {
        drop(self.holder);
        if let Err((_, error)) = self.machine.close(LONG) {
            panic!("{error}");
        }
    }
}

/// A device with one register.
#[derive(Debug)]
pub struct Card {
    object: RootObject,
    /// The register of those that need no lock.
    pub value: AtomicU64,
    /// The register of those that take one.
    pub locked: Mutex<u64>,
}

qom::object_type! { Card("bench-card") { object: RootObject } }

impl ObjectImpl for Card {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
            value: AtomicU64::new(7),
            locked: Mutex::new(7),
        }
    }
}

/// Callbacks that read and write the register without a lock.
#[derive(Debug, Default)]
pub struct Plain;

impl RegionOps for Plain {
    type Owner = Card;
    fn read(&self, card: &Card, _: Access) -> Result<u64, MemTxError> {
        Ok(card.value.load(Ordering::Relaxed))
    }
    fn write(&self, card: &Card, _: Access, value: u64) -> Result<(), MemTxError> {
        card.value.store(value, Ordering::Relaxed);
        Ok(())
    }
}

/// Callbacks that take the device's lock.
#[derive(Debug, Default)]
pub struct Locked;

impl RegionOps for Locked {
    type Owner = Card;
    fn read(&self, card: &Card, _: Access) -> Result<u64, MemTxError> {
        Ok(*card.locked.lock().expect("nobody panics under it"))
    }
    fn write(&self, card: &Card, _: Access, value: u64) -> Result<(), MemTxError> {
        *card.locked.lock().expect("nobody panics under it") = value;
        Ok(())
    }
}

/// Counts what it is told of, as the least that a listener can do.
#[derive(Debug, Default)]
pub struct Counting {
    told: AtomicU64,
}

impl Listener for Counting {
    type Owner = Container;
    fn region_add(&self, _: &Container, _: &Commit<'_>, _: Section<'_>) {
        self.told.fetch_add(1, Ordering::Relaxed);
    }
    fn region_del(&self, _: &Container, _: &Commit<'_>, _: Section<'_>) {
        self.told.fetch_add(1, Ordering::Relaxed);
    }
}
