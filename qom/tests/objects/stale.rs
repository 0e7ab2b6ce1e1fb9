//! Pointers that outlive their object: they never reach the one that took over its place.

use crate::probe::{LONG, Log, opened, plant, probe};
use qom::{Machine, ObjectOps, TreeError, layer};

#[test]
fn a_stale_pointer_does_not_reach_the_next_tenant_of_its_place() {
    let machine = Machine::new("stale");
    let log = Log::default();
    let old = probe(&machine, &log, "old");
    let stale = layer::Target::pointer(&old).unwrap();
    drop(old);
    machine.quiesce(LONG).unwrap();
    assert!(stale.is_finalized());
    let name = stale.describe();
    let new = plant(&machine, machine.root(), &log, "new");
    plant(&machine, &new, &log, "child");
    new.open(opened(&log, "h")).unwrap();
    new.set_link("peer", machine.root()).unwrap();

    assert_eq!((stale.path(), stale.describe()), (None, name));
    assert!(layer::children_of(&stale).is_empty() && layer::parent_of(&stale).is_none());
    assert!(stale.opened().is_empty());
    assert!(stale.child_named::<crate::probe::Probe>("child").is_none());
    assert!(stale.link::<qom::Container>("peer").is_none());
    assert!(matches!(stale.clear_link("peer"), Err(TreeError::Gone(_))));
    assert!(matches!(
        stale.set_link("x", &new),
        Err(TreeError::ParentWithdrawn { .. })
    ));
    assert!(matches!(
        stale.open(opened(&log, "x")),
        Err(TreeError::ParentWithdrawn { .. })
    ));
    assert!(!layer::detach(&stale));
    layer::close_opened_since(&stale, layer::opened_mark(&stale));
    assert!(stale.unparent().unwrap().is_done());

    assert_eq!(new.opened(), ["handle h"]);
    assert!(new.link::<qom::Container>("peer").is_some());
    assert!(log.of("close").is_empty() && log.of("unparent new").is_empty());
}

#[test]
fn places_are_used_again() {
    let machine = Machine::new("arena");
    let log = Log::default();
    for round in 0..50 {
        let objects: Vec<_> = (0..4)
            .map(|i| plant(&machine, machine.root(), &log, &format!("o{i}")))
            .collect();
        for object in objects {
            object.unparent().unwrap();
        }
        machine.quiesce(LONG).unwrap();
        assert_eq!(machine.counters().live_objects, 1, "round {round}");
        assert!(machine.root().children().is_empty());
    }
    assert_eq!(machine.counters().finalized, 200);
    assert_eq!(
        machine.reference_graph().nodes.len(),
        2,
        "the root and the handle to it"
    );
}
