//! The witness finds what comes in the wrong order, also where paths are used again.

use super::*;
use memory::{Offset, Priority, RegionApi, Size};
use qom::ObjectOps;

const BLOB: &str = "/machine/gpu/blob[0]";
const RAM: &str = "/machine/gpu/blob[0]/ram[0]";

fn finalized(id: u64, path: &str, type_name: &'static str) -> MachineEvent {
    MachineEvent::Finalized {
        id: ObjectId(id),
        path: path.to_owned(),
        type_name,
    }
}

/// Regions with their owners, and what happens.
fn report(owners: &[(u64, u64)], events: &[MachineEvent]) -> Result<Finalized, String> {
    let mut notes = Notes::default();
    for &(region, owner) in owners {
        notes.made(ObjectId(region), ObjectId(owner));
    }
    for event in events {
        notes.take(event);
    }
    notes.report()
}

#[test]
fn an_owner_before_its_region_is_found() {
    let (region, owner) = (
        finalized(2, "/machine/a/bar", REGION),
        finalized(1, "/machine/a", "card"),
    );
    let good = report(&[(2, 1)], &[region.clone(), owner.clone()]).unwrap();
    assert_eq!((good.objects, good.regions, good.owners), (2, 1, 1));
    let error = report(&[(2, 1)], &[owner.clone(), region.clone()]).unwrap_err();
    assert!(error.contains("/machine/a was finalized before"), "{error}");
    let error = report(&[(2, 1)], std::slice::from_ref(&region)).unwrap_err();
    assert!(error.contains("its owner was not"), "{error}");
    let error = report(&[], &[region.clone(), owner.clone()]).unwrap_err();
    assert!(error.contains("nobody took note"), "{error}");
    let error = report(&[(2, 1)], &[region.clone(), region, owner]).unwrap_err();
    assert!(error.contains("twice"), "{error}");
}

/// The first blob goes before its region; the second, of the same path, after both regions: by paths alone all is well.
#[test]
fn a_path_that_is_used_again_hides_nothing() {
    let events = [
        finalized(4, RAM, REGION),
        finalized(1, BLOB, "blob"),
        finalized(2, RAM, REGION),
        finalized(3, BLOB, "blob"),
    ];
    let error = report(&[(2, 1), (4, 3)], &events).unwrap_err();
    assert!(error.contains("was finalized before its region"), "{error}");
    let right = report(&[(4, 1), (2, 3)], &events).unwrap();
    assert_eq!((right.regions, right.owners), (2, 2));
}

#[test]
fn the_order_is_told_as_it_was() {
    let events = [
        finalized(11, RAM, REGION),
        finalized(10, BLOB, "blob"),
        finalized(13, "/machine/gpu/blob[7]/ram[0]", REGION),
        finalized(12, "/machine/gpu/blob[7]", "blob"),
        finalized(2, "/machine/gpu/regs[0]", REGION),
        finalized(1, "/machine/gpu", "gpu"),
        // One that goes after what is above its owner.
        finalized(15, "/machine/gpu/blob[8]/ram[0]", REGION),
        finalized(14, "/machine/gpu/blob[8]", "blob"),
        finalized(3, "/machine/ram[0]", REGION),
        finalized(0, "/machine", "container"),
    ];
    let owners = [(11, 10), (13, 12), (2, 1), (15, 14), (3, 0)];
    let mut found = report(&owners, &events).unwrap();
    let order = "2 × gpu/blob[n]/ram[n] → gpu/blob[n] → gpu, 1 × gpu/regs[n] → gpu, \
                 1 × gpu → gpu/blob[n]/ram[n] → gpu/blob[n], 1 × ram[n]";
    assert_eq!(found.order(), order);
    found.add(&found.clone());
    assert!(found.order().starts_with("4 × gpu/blob[n]"), "{found:?}");
    let list = report(&owners, &events).unwrap().list();
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), events.len());
    assert!(
        lines[1].contains("#10") && lines[1].ends_with(BLOB),
        "{list}"
    );
}

#[test]
fn owners_are_known_by_looking() {
    let machine = Machine::new("witness");
    let witness = Witness::of(&machine);
    let root = machine.root();
    let system = Region::container("system", Size::MAX).create(root).unwrap();
    let space = AddressSpace::open(root, "memory", &system).unwrap();
    witness.watch(&machine, &space).unwrap();
    let owner = machine.create::<Container>().unwrap();
    root.add_child("card", &owner).unwrap();
    let bar = Region::ram_without_backing("bar", Size::new(0x1000));
    let bar = bar.create(&owner).unwrap();
    system.add_subregion(Offset(0), &bar, Priority(0)).unwrap();
    let (bar_id, owner_id) = (bar.get().unwrap().object().id(), owner.object().id());
    let known = locked(&witness.notes).owners.get(&bar_id).copied();
    assert_eq!(known, Some(owner_id));
    witness.made(&system).unwrap();
    drop((owner, space));
    machine.close(std::time::Duration::from_secs(20)).unwrap();
    let found = witness.report().unwrap();
    assert_eq!((found.regions, found.owners), (2, 2));
    assert!(
        found.order().contains("1 × card/bar[n] → card"),
        "{found:?}"
    );
}

#[test]
fn a_panic_is_found() {
    let panic = MachineEvent::Panicked {
        object: "/machine/a".to_owned(),
        what: "unrealize".to_owned(),
        message: "oops".to_owned(),
    };
    assert!(report(&[], &[panic]).unwrap_err().contains("oops"));
}
