//! What a withdrawal does to regions, views, mappings and pins, on a small machine.

use memory::{
    AddressSpace, Attrs, Backing, BackingCounter, FnOps, Gpa, Intent, Listener, MapError, Mapping,
    MemTxError, Offset, Priority, Region, RegionApi, RegionError, Size,
};
use qom::layer::Target;
use qom::{Child, Container, Init, Machine, ObjectImpl, ObjectOps, Ref, RootObject};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(10);

struct Card {
    object: RootObject,
    bar: Child<Region>,
    regs: Child<Region>,
    ram: Child<Region>,
    bytes: BackingCounter,
    calls: AtomicU32,
}

qom::object_type! { Card("test-card") { object: RootObject } }

impl ObjectImpl for Card {
    fn init(cx: &mut Init<'_>) -> Self {
        let bytes = BackingCounter::new();
        let bar = Region::container("bar", Size::new(0x4000))
            .create(cx.object())
            .unwrap();
        let regs = Region::io(
            "regs",
            Size::new(0x1000),
            FnOps::<Card> {
                read: |card, access| {
                    card.calls.fetch_add(1, Ordering::Relaxed);
                    Ok(access.offset)
                },
                write: |_, _, _| Ok(()),
            },
        )
        .create(cx.object())
        .unwrap();
        let backing = Backing::anonymous_in(0x2000, &bytes).unwrap();
        let ram = Region::ram("ram", backing).create(cx.object()).unwrap();
        // Same owner: allowed in init.
        bar.add_subregion(Offset(0), &regs, Priority(0)).unwrap();
        bar.add_subregion(Offset(0x1000), &ram, Priority(0))
            .unwrap();
        Self {
            object: cx.parent(),
            bar,
            regs,
            ram,
            bytes,
            calls: AtomicU32::new(0),
        }
    }
}

struct Board {
    machine: Machine,
    system: Child<Region>,
    space: AddressSpace,
    log: Arc<Mutex<Vec<String>>>,
    _log: qom::Subscription,
}

fn board(name: &str) -> Board {
    let machine = Machine::new(name);
    let system = Region::container("system", Size::MAX)
        .create(machine.root())
        .unwrap();
    let space = AddressSpace::open(machine.root(), "memory", &system).unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let sink = log.clone();
    let subscription = machine.subscribe(move |event| {
        if let qom::MachineEvent::Finalized { path, .. } = event {
            sink.lock().unwrap().push(path.clone());
        }
    });
    Board {
        machine,
        system,
        space,
        log,
        _log: subscription,
    }
}

fn plug(board: &Board, name: &str, at: u64) -> Ref<Card> {
    let card = board.machine.create::<Card>().unwrap();
    board.machine.root().add_child(name, &card).unwrap();
    board
        .system
        .add_subregion(Offset(at), &card.bar, Priority(0))
        .unwrap();
    card
}

#[test]
fn an_unplugged_card_is_a_hole_at_once_and_goes_after_its_regions() {
    let b = board("hole");
    let card = plug(&b, "card", 0x10000);
    let bytes = card.bytes.clone();
    assert_eq!(
        b.space.load::<u32>(Gpa(0x10010), Attrs::default()),
        Ok(0x10)
    );
    b.space
        .store::<u64>(Gpa(0x11000), 42, Attrs::default())
        .unwrap();
    assert_eq!(b.space.load::<u64>(Gpa(0x11000), Attrs::default()), Ok(42));
    let weak = card.downgrade();
    assert!(card.unparent().unwrap().is_done());
    assert_eq!(
        b.space.load::<u32>(Gpa(0x10010), Attrs::default()),
        Err(MemTxError::DECODE)
    );
    assert_eq!(
        b.space.load::<u64>(Gpa(0x11000), Attrs::default()),
        Err(MemTxError::DECODE)
    );
    assert_eq!(card.calls.load(Ordering::Relaxed), 1);
    drop(card);
    b.machine.wait_finalized(&weak, LONG).unwrap();
    b.machine.quiesce(LONG).unwrap();
    assert_eq!(bytes.bytes(), 0, "no byte of backing is left");
    let log = b.log.lock().unwrap().clone();
    assert_eq!(log.len(), 4, "{log:?}");
    assert_eq!(
        log.last().map(String::as_str),
        Some("/machine/card"),
        "{log:?}"
    );
}

#[test]
fn a_reader_in_a_section_keeps_what_it_sees() {
    let b = board("reader");
    let card = plug(&b, "card", 0);
    let weak = card.downgrade();
    let bytes = card.bytes.clone();
    let guard = b.space.enter();
    let slice = guard.view().slice(Gpa(0x1000), 16).unwrap();
    // Inside the section: steps 0 and 1 at once, the rest on the executor.
    let ticket = card.unparent().unwrap();
    drop(card);
    slice.store_u64(0, 7).unwrap();
    assert_eq!(slice.load_u64(0), Some(7));
    assert_eq!(
        guard.load::<u32>(Gpa(0x10), Attrs::default()),
        Err(MemTxError::DECODE)
    );
    // The executor may have been faster; then there is nothing to wait for.
    let waited = ticket.wait(LONG);
    assert!(ticket.is_done() || matches!(waited, Err(qom::WaitError::Forbidden { .. })));
    assert!(b.machine.quiesce(LONG).is_err());
    assert_ne!(bytes.bytes(), 0);
    drop(guard);
    b.machine.wait_finalized(&weak, LONG).unwrap();
    b.machine.quiesce(LONG).unwrap();
    assert_eq!(bytes.bytes(), 0);
}

#[test]
fn a_mapping_ends_with_its_region_and_a_pin_does_not() {
    let b = board("mapping");
    let card = plug(&b, "card", 0);
    let weak = card.downgrade();
    let peer = b.machine.create::<Container>().unwrap();
    b.machine.root().add_child("peer", &peer).unwrap();
    let mapping = b
        .space
        .map(&peer, Gpa(0x1000), 0x100, Intent::ReadWrite)
        .unwrap();
    let idle = b
        .space
        .map(&peer, Gpa(0x1100), 0x100, Intent::Read)
        .unwrap();
    let pin = mapping.pin(0, 8).unwrap();
    pin.bytes().store_u64(0, 99).unwrap();
    card.unparent().unwrap();
    drop(card);
    let guard = b.space.enter();
    assert!(matches!(
        mapping.bytes(&guard),
        Err(MapError::Withdrawn { .. })
    ));
    assert!(matches!(
        idle.unmap_shared(0),
        Err(MapError::Withdrawn { .. })
    ));
    drop(guard);
    let late = b
        .machine
        .wait_finalized(&weak, Duration::from_millis(200))
        .unwrap_err()
        .to_string();
    assert!(
        late.contains("pin (I/O in flight)") || late.contains("not recorded"),
        "{late}"
    );
    assert_eq!(pin.bytes().load_u64(0), Some(99));
    drop(pin);
    b.machine.wait_finalized(&weak, LONG).unwrap();
    assert!(peer.opened().is_empty());
}

/// Maps one byte of a card's memory whenever a commit begins.
struct MapsAtBegin {
    space: AddressSpace,
    came: Arc<Mutex<Vec<Result<Mapping, MapError>>>>,
}

impl Listener for MapsAtBegin {
    type Owner = Container;
    fn begin(&self, owner: &Container) {
        let mapped = self.space.map(owner, Gpa(0x1000), 1, Intent::Read);
        self.came.lock().unwrap().push(mapped);
    }
}

/// The worst moment for a map, without luck: a withdrawal has taken the region's list of mappings and not yet published the view that does not
/// show the region. That is when listeners are told that its commit begins; so one of them maps.
#[test]
fn a_map_that_comes_after_the_mark_and_before_the_hole_is_refused() {
    let b = board("late map");
    let card = plug(&b, "card", 0);
    let weak = card.downgrade();
    let peer = b.machine.create::<Container>().unwrap();
    b.machine.root().add_child("peer", &peer).unwrap();
    let came = Arc::new(Mutex::new(Vec::new()));
    let maps = MapsAtBegin {
        space: b.space.clone(),
        came: came.clone(),
    };
    let listener = b.space.listen(&peer, maps).unwrap();
    came.lock().unwrap().clear();
    // Shown, and there.
    drop(b.space.map(&peer, Gpa(0x1000), 1, Intent::Read).unwrap());
    card.unparent().unwrap();
    drop(card);
    // Before the executor's second look at the region, if there is one.
    let mapped = came.lock().unwrap().remove(0);
    let error = match mapped {
        Ok(mapping) => panic!("{mapping:?} is of a withdrawn region"),
        Err(error) => error,
    };
    assert!(matches!(error, MapError::Withdrawn { .. }), "{error}");
    assert!(
        error.to_string().contains("/machine/card/ram[0]"),
        "{error}"
    );
    listener.close();
    assert_eq!(peer.opened(), [""; 0], "nothing is left of it");
    assert_eq!(memory::counters(&b.machine).open_mappings, 0);
    b.machine.wait_finalized(&weak, LONG).unwrap();
}

/// Two threads that know nothing of each other: whoever has a mapping when the withdrawal has returned has one that has ended.
#[test]
fn no_mapping_survives_a_withdrawal_that_it_races_with() {
    let b = board("race");
    let peer = b.machine.create::<Container>().unwrap();
    b.machine.root().add_child("peer", &peer).unwrap();
    for round in 0..60 {
        let card = plug(&b, "card", 0);
        let weak = card.downgrade();
        let started = Barrier::new(2);
        let kept = std::thread::scope(|s| {
            let mapper = s.spawn(|| {
                started.wait();
                let mut kept = Vec::new();
                loop {
                    match b.space.map(&peer, Gpa(0x1000), 8, Intent::ReadWrite) {
                        Ok(mapping) => kept.push(mapping),
                        Err(MapError::NotRam { .. }) => return kept,
                        // It is still shown.
                        Err(error) => assert!(matches!(error, MapError::Withdrawn { .. })),
                    }
                    // The youngest are those that matter.
                    if kept.len() > 64 {
                        kept.drain(..32);
                    }
                }
            });
            started.wait();
            std::thread::sleep(Duration::from_micros(10 * (round % 16)));
            card.unparent().unwrap();
            mapper.join().unwrap()
        });
        let open = kept.iter().filter(|m| m.is_open()).count();
        assert_eq!(open, 0, "of {} in round {round}", kept.len());
        drop((card, kept));
        b.machine.wait_finalized(&weak, LONG).unwrap();
    }
}

/// How a mapping ends under a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Unmapped,
    HolderWithdrawn,
    RegionWithdrawn,
}

/// No view shows the region, nobody has a handle to it and it is withdrawn: the reader's section alone keeps what the mapping has lent to it.
#[test]
fn a_section_keeps_what_it_reads_through_a_mapping_that_ends() {
    for end in [End::Unmapped, End::HolderWithdrawn, End::RegionWithdrawn] {
        let b = board("lent");
        let card = plug(&b, "card", 0);
        let (bytes, weak) = (card.bytes.clone(), card.ram.get().unwrap().downgrade());
        let peer = b.machine.create::<Container>().unwrap();
        b.machine.root().add_child("peer", &peer).unwrap();
        let mapping = b
            .space
            .map(&peer, Gpa(0x1000), 16, Intent::ReadWrite)
            .unwrap();
        card.bar.del_subregion(&card.ram).unwrap();
        // The views that showed it are gone.
        b.machine.quiesce(LONG).unwrap();

        let guard = b.space.enter();
        assert!(guard.view().find(Gpa(0x1000)).is_none());
        let lent = mapping.bytes(&guard).unwrap();
        lent.store_u64(8, 0x5eed).unwrap();
        match end {
            End::Unmapped => assert!(mapping.unmap_shared(0).unwrap().is_ok()),
            End::HolderWithdrawn => drop(peer.unparent().unwrap()),
            End::RegionWithdrawn => {}
        }
        card.unparent().unwrap();
        drop(card);
        let waited = std::thread::scope(|s| {
            // This thread may not wait, in its section; another one may.
            let waiter = s.spawn(|| {
                let _ = b.machine.wait_finalized(&weak, Duration::from_millis(100));
            });
            waiter.join()
        });
        waited.unwrap();
        assert!(mapping.bytes(&guard).is_err(), "{end:?}: it has ended");
        // Asked before the bytes are read, which might not be there.
        assert!(weak.pointer().is_ok_and(|ram| !ram.is_finalized()));
        assert_eq!(bytes.bytes(), 0x2000, "{end:?}: they are there");
        assert_eq!(lent.load_u64(8), Some(0x5eed), "{end:?}");
        drop(guard);
        b.machine.wait_finalized(&weak, LONG).unwrap();
        b.machine.quiesce(LONG).unwrap();
        assert_eq!(bytes.bytes(), 0, "{end:?}");
    }
}

/// How long it takes until so many mappings of one region, all in one name, are ended.
fn time_to_end(many: u64, end: fn(Ref<Card>, Vec<Mapping>)) -> Duration {
    let b = board("many");
    let card = plug(&b, "card", 0);
    let peer = b.machine.create::<Container>().unwrap();
    b.machine.root().add_child("peer", &peer).unwrap();
    let map = |at| b.space.map(&peer, Gpa(at), 1, Intent::Read).unwrap();
    let mappings: Vec<Mapping> = (0..many).map(|n| map(0x1000 + n % 0x2000)).collect();
    let start = Instant::now();
    end(card, mappings);
    let took = start.elapsed();
    assert_eq!(memory::counters(&b.machine).open_mappings, 0);
    assert!(peer.opened().is_empty());
    took
}

/// Eight times 5,000 mappings take about as long as 40,000 do at once. Were each one's end in proportion to how many there are, it would be an
/// eighth. Both sides take equally long where all is well, so a busy machine slows both down; and of each the best of a few counts.
#[test]
fn the_end_of_many_mappings_takes_time_in_proportion() {
    let unmapped: fn(Ref<Card>, Vec<Mapping>) = |_, mappings| {
        // Oldest first.
        for mapping in mappings {
            assert!(mapping.unmap(0).unwrap().is_ok());
        }
    };
    let withdrawn: fn(Ref<Card>, Vec<Mapping>) = |card, mappings| {
        card.unparent().unwrap();
        assert!(mappings.iter().all(|m| !m.is_open()));
    };
    for (name, end) in [("unmapped", unmapped), ("withdrawn", withdrawn)] {
        let (mut apart, mut at_once) = (Duration::MAX, Duration::MAX);
        let proportional = (0..5).any(|_| {
            apart = apart.min((0..8).map(|_| time_to_end(5_000, end)).sum());
            at_once = at_once.min(time_to_end(40_000, end));
            at_once < apart * 3
        });
        assert!(proportional, "{name}: {apart:?} apart, {at_once:?} at once");
    }
}

#[test]
fn a_never_parented_card_leaves_no_trace() {
    let b = board("introspect");
    let live = b.machine.counters().live_objects;
    let card = b.machine.create::<Card>().unwrap();
    let weak = card.downgrade();
    assert_eq!(b.machine.counters().live_objects, live + 4);
    drop(card);
    b.machine.wait_finalized(&weak, LONG).unwrap();
    b.machine.quiesce(LONG).unwrap();
    assert_eq!(b.machine.counters().live_objects, live);
}

#[test]
fn withdrawn_regions_take_no_edges_and_leave_containers_quietly() {
    let b = board("edges");
    let card = plug(&b, "card", 0);
    let alias = Region::alias("window", &card.ram, Offset(0), Size::new(0x1000))
        .create(b.machine.root())
        .unwrap();
    b.system
        .add_subregion(Offset(0x20000), &alias, Priority(0))
        .unwrap();
    assert!(b.space.load::<u8>(Gpa(0x20000), Attrs::default()).is_ok());
    // Kept, so that it is withdrawn and not finalized below.
    let _regs = card.regs.get().unwrap();
    card.unparent().unwrap();
    assert_eq!(
        b.space.load::<u8>(Gpa(0x20000), Attrs::default()),
        Err(MemTxError::DECODE)
    );
    let again = b
        .system
        .add_subregion(Offset(0), &card.regs, Priority(0))
        .unwrap_err();
    assert!(matches!(again, RegionError::Withdrawn { .. }), "{again}");
    assert!(
        again.to_string().contains("/machine/card/regs[0]"),
        "{again}"
    );
    b.system.del_subregion(&card.bar).unwrap();
    card.bar.del_subregion(&card.regs).unwrap();
    assert!(AddressSpace::open(b.machine.root(), "late", &card.bar).is_err());
}

#[test]
fn a_machine_closes_with_everything_plugged() {
    let b = board("close");
    let weak = {
        let card = plug(&b, "card", 0);
        card.downgrade()
    };
    let Board { machine, .. } = b;
    machine.close(LONG).map_err(|(_, e)| e).unwrap();
    assert!(weak.get().is_err(), "the card went with its machine");
}

#[test]
fn the_ledger_names_mappings_always_and_pins_while_it_records_and_where_they_are_made() {
    let b = board("ledger");
    let _card = plug(&b, "card", 0);
    let peer = b.machine.create::<Container>().unwrap();
    b.machine.root().add_child("peer", &peer).unwrap();
    let ram = b
        .space
        .enter()
        .view()
        .find(Gpa(0x1000))
        .map(|(_, leaf)| leaf.region().unwrap().pointer().unwrap());
    let ram = ram.unwrap();
    let why = || b.machine.why_alive(&ram).to_string();
    let at = |line: u32| format!("at {}:{line} ", file!());

    let mapped = line!() + 1;
    let mapping = b.space.map(&peer, Gpa(0x1000), 0x100, Intent::ReadWrite);
    let mapping = mapping.unwrap();
    let text = why();
    assert!(
        text.contains(&format!("/machine/peer [mapping] {}", at(mapped))),
        "{text}"
    );
    let unrecorded = mapping.pin(0, 8).unwrap();
    assert_eq!(memory::counters(&b.machine).live_pins, 1);
    b.machine.set_recording(true);
    let pinned = [line!() + 2, line!() + 3];
    let pins = [
        b.space.pin(&peer, Gpa(0x1000), 8, Intent::Read).unwrap(),
        mapping.pin(0, 8).unwrap(),
    ];
    let text = why();
    let places = pinned.map(|line| at(line).trim_start_matches("at ").trim_end().to_owned());
    let named = "I/O of /machine/peer (3) [pin (I/O in flight)] at ";
    assert!(
        text.contains(named) && places.iter().all(|place| text.contains(place)),
        "{text}"
    );
    assert_eq!(memory::counters(&b.machine).live_pins, 3);

    // Ended, with a reader about: what kept the bytes is still there, under another name.
    let guard = b.space.enter();
    assert!(mapping.bytes(&guard).is_ok());
    assert!(mapping.unmap_shared(0).unwrap().is_ok());
    let text = why();
    assert!(
        text.contains("readers of what was mapped [closed mapping]") && !text.contains("[mapping]"),
        "{text}"
    );
    assert_eq!(memory::counters(&b.machine).live_pins, 3);
    drop(guard);
    drop((pins, unrecorded, mapping));
    b.machine.quiesce(LONG).unwrap();
    assert!(!why().contains("closed mapping"));
    assert_eq!(memory::counters(&b.machine).live_pins, 0);
}

#[test]
fn a_finalizer_that_somebody_calls_by_name_takes_nothing() {
    use qom::ObjectImpl;
    let b = board("by name");
    let card = plug(&b, "card", 0);
    let weak = card.downgrade();
    let pin = b.space.pin(&card, Gpa(0x1000), 8, Intent::ReadWrite);
    let pin = pin.unwrap();
    pin.bytes().store_u64(0, 7).unwrap();
    pin.region().unwrap().finalize();
    assert!(pin.region().unwrap().backing().is_some());
    assert_eq!(pin.bytes().load_u64(0), Some(7));
    card.unparent().unwrap();
    drop(card);
    pin.region().unwrap().finalize();
    assert_eq!(pin.bytes().load_u64(0), Some(7));
    drop(pin);
    b.machine.wait_finalized(&weak, LONG).unwrap();
}

#[test]
fn a_mapping_names_its_parties_as_they_are_called_when_it_ends() {
    let b = board("names");
    let card = plug(&b, "card", 0);
    let peer = b.machine.create::<Container>().unwrap();
    let mapped = b.space.map(&peer, Gpa(0x1000), 8, Intent::Read).unwrap();
    // Somebody looks before the holder has a place.
    assert!(format!("{mapped:?}").contains("container#"), "{mapped:?}");
    b.machine.root().add_child("peer", &peer).unwrap();
    assert!(
        format!("{mapped:?}").contains("/machine/peer"),
        "{mapped:?}"
    );
    card.unparent().unwrap();
    let error = mapped.bytes(&b.space.enter()).unwrap_err().to_string();
    assert!(
        error.contains("/machine/card/ram[0]") && error.contains("/machine/peer"),
        "{error}"
    );
}
