//! Weak and child handles: when they come back to life.

use crate::probe::{LONG, Log, Probe, plant, probe};
use qom::layer::{self, Hold, Holder, Reason};
use qom::{Child, Machine, ObjectOps, WeakRef};

#[test]
fn a_parent_or_a_handle_lets_a_weak_handle_come_back() {
    let machine = Machine::new("weak");
    let log = Log::default();
    let loose = probe(&machine, &log, "loose");
    let weak = loose.downgrade();
    assert_eq!(weak.get().unwrap().name, "loose");
    let a = plant(&machine, machine.root(), &log, "a");
    let (weak_a, child_a): (WeakRef<Probe>, Child<Probe>) = (a.downgrade(), a.child());
    drop(a);
    assert_eq!(weak_a.get().unwrap().name, "a", "the tree keeps it");
    assert_eq!(child_a.get().unwrap().name, "a");
    assert_eq!(
        child_a.downgrade().get().unwrap().object().counts().users(),
        1
    );
}

#[test]
fn storage_alone_does_not() {
    let machine = Machine::new("storage");
    let log = Log::default();
    let loose = probe(&machine, &log, "loose");
    let weak = loose.downgrade();
    let hold = Hold::new(
        &layer::Target::pointer(&loose).unwrap(),
        Reason("pin"),
        Holder::named("io"),
    )
    .unwrap();
    drop(loose);
    let error = weak.get().unwrap_err();
    assert_eq!(
        error.state, "withdrawn",
        "withdrawn with the last handle, though it lives"
    );
    machine.quiesce(LONG).unwrap();
    assert_eq!(
        (log.count("unparent loose"), log.count("finalize loose")),
        (1, 0)
    );
    let pointer = layer::Target::pointer(hold.object()).unwrap();
    drop(hold);
    machine.quiesce(LONG).unwrap();
    assert_eq!(log.count("finalize loose"), 1);
    assert_eq!(weak.get().unwrap_err().state, "finalized");
    assert!(Hold::new(&pointer, Reason("late"), Holder::Outside).is_none());
    drop(pointer);
    machine.quiesce(LONG).unwrap();
    let error = weak.get().unwrap_err();
    assert_eq!(error.to_string(), "probe is gone");
    assert_eq!(format!("{weak:?}"), "WeakRef(gone probe)");
}

#[test]
fn a_withdrawn_object_gives_no_handles_though_others_hold_some() {
    let machine = Machine::new("withdrawn");
    let log = Log::default();
    let a = plant(&machine, machine.root(), &log, "a");
    let (weak, second) = (a.downgrade(), a.clone());
    a.unparent().unwrap();
    assert_eq!(
        weak.get().unwrap_err().to_string(),
        "/machine/a (withdrawn) is withdrawn"
    );
    drop(a);
    assert_eq!(second.clone().name, "a", "who has a handle can copy it");
    assert_eq!(log.count("finalize a"), 0);
    drop(second);
    machine.quiesce(LONG).unwrap();
    assert_eq!(log.count("finalize a"), 1);
    assert!(WeakRef::<Probe>::default().get().is_err());
}
