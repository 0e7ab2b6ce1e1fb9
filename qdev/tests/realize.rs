//! What is left of a realize that fails: nothing, at whichever station of the hierarchy it failed and however.

use memory::{
    AddressSpace, Attrs, Backing, Commit, Gpa, Intent, Listener, ListenerHandle, Mapping, Offset,
    Priority, Region, RegionApi, Section, Size,
};
use qdev::{Device, DeviceError, DeviceImpl, DeviceOps, RealizeContext, RealizeError};
use qom::{Child, Container, Init, Machine, ObjectImpl, ObjectOps, Ref};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(10);
const PAGE: u64 = 0x1000;

/// What the subclass's realize does once it has opened everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Well,
    InError,
    InPanic,
    Withdrawn,
}

/// The base type: opens a space of its own and shows a region.
struct Slot {
    device: Device,
    bar: Child<Region>,
    fails: Mutex<bool>,
    log: Mutex<Vec<&'static str>>,
    space: Mutex<Option<AddressSpace>>,
}

qdev::device_type! { Slot("roll-back-slot") { device: Device } }

impl ObjectImpl for Slot {
    fn init(cx: &mut Init<'_>) -> Self {
        let bar = Region::container("bar", Size::new(PAGE))
            .create(cx.object())
            .unwrap();
        Self {
            device: cx.parent(),
            bar,
            fails: Mutex::default(),
            log: Mutex::default(),
            space: Mutex::default(),
        }
    }
}

impl DeviceImpl for Slot {
    fn realize(&self, cx: &RealizeContext<'_>) -> Result<(), DeviceError> {
        lock(&self.log).push("slot realized");
        let system = system(cx.machine().resolve("/machine/system[0]"));
        let space = AddressSpace::open(cx.object(), "slot", &system).unwrap();
        *lock(&self.space) = Some(space);
        system
            .add_subregion(Offset(0), &self.bar, Priority(0))
            .unwrap();
        if *lock(&self.fails) {
            return Err(DeviceError::Property {
                property: "slot",
                reason: "taken".into(),
            });
        }
        Ok(())
    }

    fn unrealize(&self) {
        lock(&self.log).push("slot unrealized");
        // What was opened is still there for an unrealize to use.
        let open = lock(&self.space).take().is_some_and(|s| !s.is_closed());
        lock(&self.log).push(if open { "space open" } else { "space closed" });
    }
}

/// Listens, and counts what it hears.
#[derive(Default)]
struct Ear;

impl Listener for Ear {
    type Owner = Card;
    fn region_add(&self, card: &Card, _: &Commit<'_>, _: Section<'_>) {
        card.heard.fetch_add(1, Relaxed);
    }
}

/// The subclass: opens a space, a mapping and a listener, and puts three regions into containers of others.
struct Card {
    slot: Slot,
    regs: Child<Region>,
    vram: Child<Region>,
    /// The owner of another region of the card.
    bank: Child<Container>,
    ends: Mutex<Ends>,
    heard: AtomicU32,
    opened: Mutex<Vec<(AddressSpace, Mapping, ListenerHandle)>>,
    /// A container of somebody who has no parent, and so no path.
    elsewhere: Mutex<Option<Child<Region>>>,
}

qdev::device_type! { Card("roll-back-card") { slot: Slot } }

impl ObjectImpl for Card {
    fn init(cx: &mut Init<'_>) -> Self {
        let ram = |name, owner: &qom::Object| {
            let backing = Backing::anonymous(PAGE).unwrap();
            Region::ram(name, backing).create(owner).unwrap()
        };
        let (regs, vram) = (ram("regs", cx.object()), ram("vram", cx.object()));
        let bank = cx.child::<Container>("bank").unwrap();
        Region::ram("banked", Backing::anonymous(PAGE).unwrap())
            .create(&bank)
            .unwrap();
        Self {
            slot: cx.parent(),
            regs,
            vram,
            bank,
            ends: Mutex::new(Ends::Well),
            heard: AtomicU32::new(0),
            opened: Mutex::default(),
            elsewhere: Mutex::default(),
        }
    }
}

impl DeviceImpl for Card {
    fn realize(&self, cx: &RealizeContext<'_>) -> Result<(), DeviceError> {
        let log = &self.slot.log;
        lock(log).push("card realized");
        let machine = cx.machine();
        let system = system(machine.resolve("/machine/system[0]"));
        let space = AddressSpace::open(cx.object(), "dma", &system).unwrap();
        let mapping = space
            .map(cx.object(), Gpa(0x8000), 64, Intent::ReadWrite)
            .unwrap();
        let listener = space.listen(cx.object(), Ear).unwrap();
        lock(&self.opened).push((space, mapping, listener));
        // Into a container of another, into its own, and a region of its own child.
        let banked: Child<Region> = self.bank.child_named("banked[0]").unwrap();
        system
            .add_subregion(Offset(2 * PAGE), &self.vram, Priority(0))
            .unwrap();
        system
            .add_subregion(Offset(3 * PAGE), &banked, Priority(0))
            .unwrap();
        // Before the realize it was in the container at page 5.
        if let Some(before) = machine.resolve("/machine/before[0]") {
            let before = before.cast::<Region>().unwrap().child();
            before.del_subregion(&self.regs).unwrap();
            system
                .add_subregion(Offset(4 * PAGE), &self.regs, Priority(0))
                .unwrap();
        }
        if let Some(elsewhere) = &*lock(&self.elsewhere) {
            elsewhere
                .add_subregion(Offset(0), &self.regs, Priority(0))
                .unwrap();
        }
        let ends = *lock(&self.ends);
        match ends {
            Ends::Well => Ok(()),
            Ends::InError => Err(DeviceError::Property {
                property: "vram",
                reason: "too small".into(),
            }),
            Ends::InPanic => panic!("planned panic in realize"),
            Ends::Withdrawn => {
                self.slot.device.handle().unparent().unwrap();
                Ok(())
            }
        }
    }

    fn unrealize(&self) {
        lock(&self.slot.log).push("card unrealized");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn system(found: Option<Ref>) -> Child<Region> {
    found.unwrap().cast::<Region>().unwrap().child()
}

struct Board {
    machine: Machine,
    system: Child<Region>,
    space: AddressSpace,
}

fn board(name: &str) -> Board {
    let machine = Machine::new(name);
    let system = Region::container("system", Size::MAX)
        .create(machine.root())
        .unwrap();
    let space = AddressSpace::open(machine.root(), "memory", &system).unwrap();
    let ram = Region::ram("ram", Backing::anonymous(PAGE).unwrap())
        .create(machine.root())
        .unwrap();
    system
        .add_subregion(Offset(0x8000), &ram, Priority(0))
        .unwrap();
    Board {
        machine,
        system,
        space,
    }
}

impl Board {
    /// What is on show: what a guest would find, page by page.
    fn shown(&self) -> Vec<u64> {
        (0..9)
            .filter(|page| {
                self.space
                    .load::<u8>(Gpa(page * PAGE), Attrs::default())
                    .is_ok()
            })
            .collect()
    }

    fn end(self, card: Ref<Card>) {
        card.unparent().unwrap();
        drop(card);
        let Self { machine, .. } = self;
        machine.close(LONG).map_err(|(_, e)| e).unwrap();
    }
}

fn card(board: &Board, ends: Ends) -> Ref<Card> {
    let card = board.machine.create::<Card>().unwrap();
    *lock(&card.ends) = ends;
    card
}

fn container_of(region: &Child<Region>) -> Option<String> {
    region.info().unwrap().container
}

/// Nothing of the attempt is there: neither for the device, nor for its neighbours, nor for a guest.
#[track_caller]
fn nothing_is_left(board: &Board, card: &Ref<Card>, opened_before: &[&str]) {
    assert!(!card.is_realized());
    assert_eq!(card.opened(), opened_before);
    let banked: Child<Region> = card.bank.child_named("banked[0]").unwrap();
    for region in [&card.slot.bar, &card.regs, &card.vram, &banked] {
        assert_eq!(container_of(region), None, "{}", region.describe());
    }
    assert_eq!(board.shown(), [8]);
    for (space, mapping, _) in &*lock(&card.opened) {
        assert!(space.is_closed() && !mapping.is_open());
        assert_eq!(mapping.pin(0, 1).is_ok(), mapping.is_open());
    }
    // Nobody listens any more.
    let heard = card.heard.load(Relaxed);
    let late = Region::ram("late", Backing::anonymous(PAGE).unwrap())
        .create(board.machine.root())
        .unwrap();
    board
        .system
        .add_subregion(Offset(0), &late, Priority(0))
        .unwrap();
    assert_eq!(board.shown(), [0, 8]);
    board.system.del_subregion(&late).unwrap();
    late.unparent().unwrap();
    assert_eq!(card.heard.load(Relaxed), heard);
    assert_eq!(memory::counters(&board.machine).open_mappings, 0);
}

#[test]
fn a_failed_subclass_is_rolled_back_and_may_try_again() {
    for ends in [Ends::InError, Ends::InPanic] {
        let b = board("fails");
        let card = card(&b, ends);
        b.machine.root().add_child("card", &card).unwrap();
        // What was open before stays open.
        let before = AddressSpace::open(&card, "before", &b.system).unwrap();
        let error = card.realize().unwrap_err();
        match (&error, ends) {
            (
                RealizeError::Failed {
                    device, type_name, ..
                },
                Ends::InError,
            )
            | (
                RealizeError::Panicked {
                    device, type_name, ..
                },
                Ends::InPanic,
            ) => assert_eq!(
                (device.as_str(), *type_name),
                ("/machine/card", "roll-back-card")
            ),
            _ => panic!("{ends:?}: {error:?}"),
        }
        // The base, which was realized, is unrealized once, with what it opened still there; the subclass is not.
        assert_eq!(
            *lock(&card.slot.log),
            [
                "slot realized",
                "card realized",
                "slot unrealized",
                "space open"
            ]
        );
        nothing_is_left(&b, &card, &["address space `before`"]);
        assert!(!before.is_closed());
        assert_eq!(card.path().as_deref(), Some("/machine/card"));

        lock(&card.slot.log).clear();
        *lock(&card.ends) = Ends::Well;
        card.realize().unwrap();
        assert!(card.is_realized());
        assert_eq!(b.shown(), [2, 3, 8]);
        assert_eq!(
            container_of(&card.slot.bar).as_deref(),
            Some("/machine/system[0]")
        );
        assert_eq!(card.opened().len(), 5, "{:?}", card.opened());
        assert_eq!(*lock(&card.slot.log), ["slot realized", "card realized"]);
        lock(&card.slot.log).clear();
        card.unrealize().unwrap();
        assert_eq!(
            *lock(&card.slot.log),
            ["card unrealized", "slot unrealized", "space open"]
        );
        assert_eq!(card.opened(), ["address space `before`"]);
        b.end(card);
    }
}

#[test]
fn a_failed_base_stops_the_rest() {
    let b = board("base");
    let card = card(&b, Ends::Well);
    b.machine.root().add_child("card", &card).unwrap();
    *lock(&card.slot.fails) = true;
    let error = card.realize().unwrap_err();
    assert!(
        matches!(&error, RealizeError::Failed { type_name, .. } if *type_name == "roll-back-slot"),
        "{error:?}"
    );
    assert_eq!(*lock(&card.slot.log), ["slot realized"]);
    nothing_is_left(&b, &card, &[]);
    b.end(card);
}

#[test]
fn a_region_that_was_shown_before_is_not_taken_out_and_one_that_moved_does_not_stay() {
    for moves in [false, true] {
        let b = board("shown");
        let card = card(&b, Ends::InError);
        b.machine.root().add_child("card", &card).unwrap();
        let name = if moves { "before" } else { "elsewhere" };
        let before = Region::container(name, Size::new(PAGE))
            .create(b.machine.root())
            .unwrap();
        b.system
            .add_subregion(Offset(5 * PAGE), &before, Priority(0))
            .unwrap();
        before
            .add_subregion(Offset(0), &card.regs, Priority(0))
            .unwrap();
        assert_eq!(b.shown(), [5, 8]);
        card.realize().unwrap_err();
        if moves {
            assert_eq!(container_of(&card.regs), None);
            assert_eq!(b.shown(), [8]);
        } else {
            assert_eq!(
                container_of(&card.regs).as_deref(),
                Some("/machine/elsewhere[0]")
            );
            assert_eq!(b.shown(), [5, 8]);
        }
        b.end(card);
    }
}

#[test]
fn an_implicit_parent_goes_with_a_failed_realize_and_comes_with_a_good_one() {
    let b = board("home");
    let card = card(&b, Ends::InPanic);
    let error = card.realize().unwrap_err();
    assert!(
        matches!(&error, RealizeError::Panicked { message, device, .. }
            if message == "planned panic in realize" && device == "/machine/unattached/device[0]"),
        "{error:?}"
    );
    assert_eq!(card.path(), None);
    assert!(!card.object().is_withdrawn());
    nothing_is_left(&b, &card, &[]);
    *lock(&card.ends) = Ends::Well;
    card.realize().unwrap();
    assert_eq!(
        card.path().as_deref(),
        Some("/machine/unattached/device[0]")
    );
    b.end(card);
}

#[test]
fn a_device_that_is_withdrawn_by_its_own_realize_is_not_realized() {
    let b = board("withdrawn");
    let card = card(&b, Ends::Withdrawn);
    b.machine.root().add_child("card", &card).unwrap();
    let error = card.realize().unwrap_err();
    assert!(matches!(error, RealizeError::Withdrawn { .. }), "{error:?}");
    assert_eq!(b.shown(), [8]);
    b.machine.quiesce(LONG).unwrap();
    assert!(!card.is_realized() && card.opened().is_empty());
    let log = lock(&card.slot.log).clone();
    assert_eq!(
        log[..4],
        [
            "slot realized",
            "card realized",
            "card unrealized",
            "slot unrealized"
        ],
        "{log:?}"
    );
    assert_eq!(log.len(), 5, "unrealized once: {log:?}");
    for (space, mapping, _) in &*lock(&card.opened) {
        assert!(space.is_closed() && !mapping.is_open());
    }
    b.end(card);
}

#[test]
fn a_failed_realize_takes_its_regions_out_of_containers_without_a_path() {
    let b = board("pathless");
    let card = card(&b, Ends::InError);
    b.machine.root().add_child("card", &card).unwrap();
    let other = b.machine.create::<Container>().unwrap();
    let elsewhere = Region::container("elsewhere", Size::new(PAGE))
        .create(&other)
        .unwrap();
    assert_eq!(elsewhere.path(), None);
    *lock(&card.elsewhere) = Some(elsewhere);
    assert!(card.realize().is_err());
    nothing_is_left(&b, &card, &[]);
    assert!(card.regs.contained_in().unwrap().is_none());
    drop(other);
    b.end(card);
}
