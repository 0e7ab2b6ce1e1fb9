//! What stays within bounds, and between whom no edge comes to be: under a reader that never leaves, in deep topologies, across machines.

use memory::{
    AddressSpace, Attrs, Backing, Gpa, Intent, Listener, MapError, Offset, Priority, Region,
    RegionApi, RegionError, Size,
};
use qom::{Child, Container, Machine, ObjectOps};
use std::time::Duration;

const MIB: u64 = 1 << 20;

struct Rig {
    machine: Machine,
    system: Child<Region>,
    space: AddressSpace,
}

/// A machine that waits a moment for readers and lets 8 MiB be retired.
fn rig(name: &str) -> Rig {
    let machine = Machine::builder(name)
        .grace(|grace| {
            grace.retired_bytes_limit = 8 * MIB;
            grace.limit_wait = Duration::from_millis(5);
        })
        .build();
    let system = Region::container("system", Size::MAX)
        .create(machine.root())
        .unwrap();
    let space = AddressSpace::open(machine.root(), "memory", &system).unwrap();
    Rig {
        machine,
        system,
        space,
    }
}

/// A thread that reads and does not leave before it is told to.
fn parked(space: &AddressSpace) -> (std::thread::JoinHandle<()>, std::sync::mpsc::Sender<()>) {
    let (leave, told) = std::sync::mpsc::channel();
    let (here, entered) = std::sync::mpsc::channel();
    let space = space.clone();
    let thread = std::thread::spawn(move || {
        let _section = space.enter();
        here.send(()).unwrap();
        let _ = told.recv();
    });
    entered.recv().unwrap();
    (thread, leave)
}

#[test]
fn the_memory_of_withdrawn_regions_counts_until_readers_have_left() {
    let rig = rig("ram");
    let (reader, leave) = parked(&rig.space);
    let mut round = 0;
    let mut cycle = || -> Result<(), RegionError> {
        let backing = Backing::anonymous(MIB).unwrap();
        let ram = Region::ram("ram", backing).create(rig.machine.root())?;
        let added = rig.system.add_subregion(Offset(0), &ram, Priority(0));
        round += 1;
        // Whether a view shows it or not when it is withdrawn.
        let hidden = match round % 3 {
            0 => Ok(()),
            1 => rig.system.del_subregion(&ram),
            _ => ram.set_enabled(false),
        };
        ram.unparent().unwrap();
        added.and(hidden)
    };
    let done = (0..100).take_while(|_| cycle().is_ok()).count();
    assert!((8..=9).contains(&done), "{done} regions of 1 MiB");
    let error = cycle().unwrap_err();
    assert!(matches!(error, RegionError::Overloaded { .. }), "{error}");
    leave.send(()).unwrap();
    reader.join().unwrap();
    rig.machine.quiesce(Duration::from_secs(10)).unwrap();
    cycle().unwrap();
    rig.machine.quiesce(Duration::from_secs(10)).unwrap();
    assert_eq!(rig.machine.domain().counters().retired_bytes, 0);
}

#[test]
fn slices_of_memory_that_stays_do_not_count() {
    let rig = rig("slices");
    let (reader, leave) = parked(&rig.space);
    let whole = Backing::anonymous(64 * MIB).unwrap();
    for _ in 0..100 {
        let slice = whole.slice(0, 32 * MIB).unwrap();
        let ram = Region::ram("ram", slice)
            .create(rig.machine.root())
            .unwrap();
        rig.system
            .add_subregion(Offset(0), &ram, Priority(0))
            .unwrap();
        ram.unparent().unwrap();
    }
    let retired = rig.machine.domain().counters().retired_bytes;
    assert!((1..MIB).contains(&retired), "{retired} bytes: views only");
    leave.send(()).unwrap();
    reader.join().unwrap();
}

struct Answering;

impl memory::RegionOps for Answering {
    type Owner = Container;
    fn read(&self, _: &Container, _: memory::Access) -> Result<u64, memory::MemTxError> {
        Ok(7)
    }
    fn write(&self, _: &Container, _: memory::Access, _: u64) -> Result<(), memory::MemTxError> {
        Ok(())
    }
}

#[test]
fn bounce_buffers_that_readers_may_still_look_at_count() {
    let rig = rig("bounce");
    let io = Region::io("io", Size::new(0x1000), Answering)
        .create(rig.machine.root())
        .unwrap();
    rig.system
        .add_subregion(Offset(0), &io, Priority(0))
        .unwrap();
    let (reader, leave) = parked(&rig.space);
    let map = || {
        rig.space
            .map(rig.machine.root(), Gpa(0), 0x1000, Intent::Read)
    };
    let mut rounds = 0;
    let error = loop {
        match map() {
            Ok(mapping) => mapping.unmap_shared(0).map(drop).unwrap(),
            Err(error) => break error,
        }
        rounds += 1;
        assert!(rounds < 10_000, "without bound");
    };
    assert!(matches!(error, MapError::Overloaded { .. }), "{error}");
    assert!(rounds >= 8 * MIB / 0x1000, "{rounds} buffers");
    leave.send(()).unwrap();
    reader.join().unwrap();
    rig.machine.quiesce(Duration::from_secs(10)).unwrap();
    map().unwrap();
}

#[test]
fn a_bounce_buffer_for_nobody_is_given_back() {
    let rig = rig("bounce");
    rig.space.set_bounce_limit(8);
    let device = Region::io("device", Size::new(0x1000), Answering);
    let device = device.create(rig.machine.root()).unwrap();
    let added = rig.system.add_subregion(Offset(0), &device, Priority(0));
    added.unwrap();
    let [late, user] = ["late", "user"].map(|name| {
        let made = rig.machine.create::<Container>().unwrap();
        rig.machine.root().add_child(name, &made).unwrap();
        made
    });
    late.unparent().unwrap();
    let map = |holder| rig.space.map(holder, Gpa(0), 8, Intent::Write);
    let error = map(&late).unwrap_err().to_string();
    assert!(error.contains("/machine/late"), "{error}");
    let bounced = map(&user).unwrap();
    assert_eq!((bounced.len(), bounced.is_bounced()), (8, true));
}

#[test]
fn snapshots_are_of_one_machine_and_not_for_who_is_withdrawn() {
    let (one, other) = (rig("one"), rig("other"));
    let error = one.space.snapshot(other.machine.root()).unwrap_err();
    let RegionError::OtherMachine {
        machine,
        other_machine,
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((&**machine, &**other_machine), ("one", "other"));
    let holder = one.machine.create::<Container>().unwrap();
    one.machine.root().add_child("holder", &holder).unwrap();
    holder.unparent().unwrap();
    let error = one.space.snapshot(&holder).unwrap_err();
    assert!(matches!(error, RegionError::Withdrawn { .. }), "{error}");
}

#[test]
fn a_pin_for_reading_gives_no_backing_to_write_to() {
    let rig = rig("pins");
    let ram = Region::ram("ram", Backing::memfd("ram", 0x1000).unwrap())
        .create(rig.machine.root())
        .unwrap();
    rig.system
        .add_subregion(Offset(0), &ram, Priority(0))
        .unwrap();
    for (intent, writable) in [
        (Intent::Read, false),
        (Intent::Write, true),
        (Intent::ReadWrite, true),
    ] {
        let pin = rig
            .space
            .pin(rig.machine.root(), Gpa(0), 8, intent)
            .unwrap();
        assert_eq!(pin.bytes().is_writable(), writable, "{intent:?}");
        assert_eq!(pin.backing().is_writable(), writable, "{intent:?}");
        assert_eq!(
            pin.backing().bytes().write(0, b"x").is_ok(),
            writable,
            "{intent:?}"
        );
        let mapping = rig
            .space
            .map(rig.machine.root(), Gpa(0), 8, intent)
            .unwrap();
        let pin = mapping.pin(0, 4).unwrap();
        assert_eq!(pin.backing().is_writable(), writable, "{intent:?}");
    }
}

#[test]
fn a_deep_topology_is_written_out_on_a_small_stack() {
    const DEPTH: usize = 3000;
    let text = std::thread::Builder::new()
        .stack_size(128 << 10)
        .spawn(|| {
            let rig = rig("deep");
            let mut outer = rig.system.clone();
            let transaction = memory::transaction(rig.machine.handle(), |_| {
                for _ in 0..DEPTH {
                    let inner = Region::container("c", Size::MAX).create(rig.machine.root())?;
                    outer.add_subregion(Offset(0), &inner, Priority(0))?;
                    outer = inner;
                }
                Ok::<(), RegionError>(())
            });
            transaction.unwrap().unwrap();
            memory::mtree(rig.machine.handle())
        })
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(
        text.lines().filter(|line| line.ends_with(": c")).count(),
        DEPTH
    );
}

struct NoPriority;

impl Listener for NoPriority {
    type Owner = Container;
    fn priority(&self) -> i32 {
        panic!("no priority")
    }
}

impl Drop for NoPriority {
    fn drop(&mut self) {
        panic!("no end")
    }
}

#[test]
fn a_listener_that_panics_when_it_is_asked_is_registered_all_the_same() {
    let rig = rig("priority");
    let handle = rig.space.listen(rig.machine.root(), NoPriority).unwrap();
    handle.close();
    rig.space
        .store::<u8>(Gpa(0), 0, Attrs::default())
        .unwrap_err();
}
