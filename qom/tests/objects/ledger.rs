//! The ledger: who holds, why, from where; cycles; renderings.

use crate::probe::{LONG, Log, SHORT, plant, probe};
use qom::layer::{self, Hold, Holder, Reason};
use qom::{
    ClassInit, Init, Machine, MachineHandle, NodeKind, ObjectImpl, ObjectOps, Property, Ref,
    RootObject,
};
use std::panic::Location;
use std::sync::Mutex;

fn machine(recording: bool) -> Machine {
    Machine::builder("ledger").recording(recording).build()
}

#[test]
fn the_answer_names_holder_reason_and_place() {
    let machine = machine(true);
    let log = Log::default();
    let a = plant(&machine, machine.root(), &log, "a");
    let b = plant(&machine, machine.root(), &log, "b");
    let link_line = line!() + 1;
    b.set_link("peer", &a).unwrap();
    let kept = Hold::new(a.object(), Reason("view"), Holder::Outside).unwrap();
    let io = || Holder::named("io of disk 3");
    let pin_line = line!() + 1;
    let pin = kept.beside(Reason("pin"), io, Location::caller());
    drop(kept);
    let why = machine.why_alive(a.object());
    assert!(why.is_alive());
    assert_eq!(why.counts, (4, 1), "handle, parent, link, pin");
    let text = why.to_string();
    assert!(
        text.starts_with("/machine/a is alive: 4 counted, 1 of them user handles"),
        "{text}"
    );
    assert!(
        text.contains(&format!(
            "io of disk 3 [pin] at {}:{pin_line} → /machine/a",
            file!()
        )),
        "{text}"
    );
    let graph = machine.reference_graph();
    let place_of = |reason: &str| {
        graph
            .edges
            .iter()
            .find(|e| e.reason.0 == reason)
            .and_then(|e| e.place)
            .map(std::panic::Location::line)
    };
    assert_eq!(place_of("link"), Some(link_line));
    assert!(
        why.holders()
            .iter()
            .any(|h| h.starts_with("io of disk 3 [pin]")),
        "{:?}",
        why.holders()
    );
    drop(pin);
    assert_eq!(machine.why_alive(a.object()).counts, (3, 1));
}

#[test]
fn all_places_of_user_handles_are_named() {
    let machine = machine(true);
    let log = Log::default();
    let first = line!() + 1;
    let a = probe(&machine, &log, "a");
    let _second = a.clone();
    let text = machine.why_alive(a.object()).to_string();
    for line in [first, first + 1] {
        assert!(text.contains(&format!("{}:{line}", file!())), "{text}");
    }
    assert!(text.contains("handles outside (2) [user handle]"), "{text}");
}

/// As many as there are: what is counted can be added up from the text.
#[test]
fn parallel_edges_are_told_once_with_their_number() {
    let machine = machine(true);
    let log = Log::default();
    let a = plant(&machine, machine.root(), &log, "a");
    let views = Holder::named("flat views");
    let first = Hold::new(a.object(), Reason("view"), views.clone()).unwrap();
    let told = || machine.why_alive(a.object()).to_string();
    assert!(told().contains("flat views [view] at "), "{}", told());
    let _second = Hold::new(a.object(), Reason("view"), views.clone()).unwrap();
    let _other = Hold::new(a.object(), Reason("copy"), views).unwrap();
    let text = told();
    assert!(text.contains("flat views (2) [view] at "), "{text}");
    assert!(!text.contains("(1) (1)"), "handles say it already: {text}");
    drop(first);
    assert!(told().contains("flat views [view] at "), "{}", told());
}

#[test]
fn without_recording_counts_are_shown_though_unnamed() {
    let machine = machine(false);
    assert!(!machine.is_recording());
    let log = Log::default();
    let a = plant(&machine, machine.root(), &log, "a");
    let b = a.clone();
    let text = machine.why_alive(a.object()).to_string();
    assert!(
        text.contains("2 user handles, not recorded [user handle]"),
        "{text}"
    );
    let kept = Hold::new(a.object(), Reason("view"), Holder::Outside).unwrap();
    assert_eq!(layer::unnamed(a.object(), Reason("pin")), 0);
    let unasked = || unreachable!("not asked while nothing is recorded");
    let pin = kept.beside(Reason("pin"), unasked, Location::caller());
    drop(kept);
    assert_eq!(layer::unnamed(a.object(), Reason("pin")), 1);
    let text = machine.why_alive(a.object()).to_string();
    assert!(
        text.contains("3 counts, not recorded (2 user handles; pins, snapshots)"),
        "{text}"
    );
    machine.set_recording(true);
    let line = line!() + 1;
    let c = a.clone();
    let text = machine.why_alive(a.object()).to_string();
    assert!(
        text.contains(&format!("[user handle] at {}:{line}", file!())),
        "{text}"
    );
    assert!(
        text.contains("3 counts, not recorded"),
        "what was there before stays as it was: {text}"
    );
    drop((b, c, pin));
}

#[test]
fn two_objects_that_link_each_other_are_a_cycle_until_they_are_withdrawn() {
    let machine = machine(true);
    let log = Log::default();
    let (a, b) = (
        plant(&machine, machine.root(), &log, "a"),
        plant(&machine, machine.root(), &log, "b"),
    );
    a.set_link("peer", &b).unwrap();
    b.set_link("peer", &a).unwrap();
    let why = machine.why_alive(a.object());
    assert_eq!(why.cycles.len(), 1);
    let text = why.to_string();
    assert!(
        text.contains("cycle: /machine/a → /machine/b → /machine/a")
            || text.contains("cycle: /machine/b → /machine/a → /machine/b"),
        "{text}"
    );
    let dot = machine.reference_graph().to_dot();
    assert_eq!(dot.matches("color=red").count(), 2, "{dot}");
    let (weak_a, weak_b) = (a.downgrade(), b.downgrade());
    a.unparent().unwrap();
    drop((a, b));
    machine
        .wait_finalized(&weak_a, SHORT)
        .expect_err("the other one still links to it");
    weak_b.unparent().unwrap();
    machine.wait_finalized(&weak_a, LONG).unwrap();
    machine.wait_finalized(&weak_b, LONG).unwrap();
    assert!(machine.reference_graph().cycles().is_empty());
}

#[test]
fn an_object_that_links_itself_is_a_cycle_of_one() {
    let machine = machine(true);
    let log = Log::default();
    let a = probe(&machine, &log, "a");
    a.set_link("me", &a).unwrap();
    let why = machine.why_alive(a.object());
    assert_eq!(why.cycles.len(), 1);
    assert_eq!(why.cycles[0].len(), 1);
    drop(a);
    machine.quiesce(LONG).unwrap();
    assert_eq!(
        log.count("finalize a"),
        1,
        "withdrawn with its last handle, which cuts the link"
    );
}

#[test]
fn dot_shows_kinds_and_escapes_labels() {
    let machine = machine(true);
    let log = Log::default();
    let a = plant(&machine, machine.root(), &log, "a");
    let hold = Hold::new(
        &layer::Target::pointer(&a).unwrap(),
        Reason("view"),
        Holder::named("the \"system\" view"),
    )
    .unwrap();
    a.unparent().unwrap();
    let graph = machine.reference_graph();
    let dot = graph.to_dot();
    assert!(
        dot.starts_with("digraph references {") && dot.trim_end().ends_with('}'),
        "{dot}"
    );
    for part in [
        "shape=doubleoctagon, label=\"/machine\\ncontainer\"",
        "style=dashed, label=\"/machine/a\\nprobe\"",
        "shape=ellipse, label=\"the \\\"system\\\" view\"",
        "label=\"view\"",
        "shape=note",
    ] {
        assert!(dot.contains(part), "{part} in {dot}");
    }
    let kinds: Vec<_> = graph.nodes.iter().map(|n| n.kind).collect();
    assert!(kinds.contains(&NodeKind::Withdrawn(a.object().id())));
    assert_eq!(
        machine
            .why_alive(a.object())
            .to_dot()
            .matches(" -> ")
            .count(),
        2,
        "handle and view; the parent is gone"
    );
    let leftovers = machine.leftovers();
    assert_eq!(leftovers.len(), 1);
    assert_eq!(leftovers[0].object, "/machine/a");
    drop(hold);
}

#[test]
fn what_is_gone_is_said_to_be_gone() {
    let machine = machine(true);
    let log = Log::default();
    let a = probe(&machine, &log, "a");
    let name = a.describe();
    let pointer = layer::Target::pointer(&a).unwrap();
    drop(a);
    machine.quiesce(LONG).unwrap();
    let why = machine.why_alive(&pointer);
    assert!(!why.is_alive());
    assert_eq!(
        why.to_string(),
        format!("{name} is not alive: nothing keeps it")
    );
}

/// Keeps a handle to whoever it finds under `found` when it is complete, and lets go of it when it is unparented.
struct Keeper {
    object: RootObject,
    machine: MachineHandle,
    kept: Mutex<Vec<Ref>>,
}
qom::object_type! { Keeper("keeper") { object: RootObject } }
impl ObjectImpl for Keeper {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            machine: layer::machine_of(cx.object()),
            object: cx.parent(),
            kept: Mutex::default(),
        }
    }
    fn post_init(&self) {
        let found = self.machine.resolve("/machine/found").unwrap();
        self.kept.lock().unwrap().push(found);
    }
    fn unparent(&self) {
        self.kept.lock().unwrap().clear();
    }
    fn class_init(class: &mut ClassInit<'_>) {
        class.property(
            Property::new::<String>("keep").set(|keeper: &Self, path: String| {
                let found = keeper.machine.resolve(&path).ok_or("nobody")?;
                keeper.kept.lock().unwrap().push(found);
                Ok(())
            }),
        );
    }
}

#[test]
fn so_is_one_that_a_propertys_setter_took_and_who_is_gone_is_told_by_a_number() {
    let machine = machine(true);
    let found = plant(&machine, machine.root(), &Log::default(), "found");
    let keeper = machine.create::<Keeper>().unwrap();
    machine.root().add_child("keeper", &keeper).unwrap();
    keeper.kept.lock().unwrap().clear();
    let keep = || keeper.object().set_property("keep", "/machine/found");
    keep().unwrap();
    let text = machine.why_alive(found.object()).to_string();
    let by = ", taken in the code of ";
    assert!(text.contains(&format!("{by}/machine/keeper")), "{text}");
    // What it took is somebody else's by now.
    let lost = keeper.kept.lock().unwrap().pop();
    let (id, weak) = (keeper.object().id(), keeper.downgrade());
    keeper.unparent().unwrap();
    drop(keeper);
    machine.wait_finalized(&weak, LONG).unwrap();
    let text = machine.why_alive(found.object()).to_string();
    assert!(
        text.contains(&format!("{by}#{}, which is gone", id.0)),
        "{text}"
    );
    drop(lost);
}

#[test]
fn a_handle_that_an_objects_code_took_is_told_with_the_object() {
    let machine = machine(true);
    let found = plant(&machine, machine.root(), &Log::default(), "found");
    let why = || machine.why_alive(found.object()).to_string();
    let keeper = machine.create::<Keeper>().unwrap();
    machine.root().add_child("keeper", &keeper).unwrap();
    let text = why();
    assert!(
        text.contains(", taken in the code of /machine/keeper"),
        "{text}"
    );
    let graph = machine.reference_graph();
    let taken = |by: Option<&str>| {
        let edges = graph.edges.iter();
        edges.filter(|e| e.taken_by.as_deref() == by).count()
    };
    assert_eq!(taken(Some("/machine/keeper")), 1, "the one in its field");
    assert!(taken(None) > 1, "the test's own are nobody's");
    keeper.unparent().unwrap();
    let text = why();
    assert!(!text.contains("taken in"), "{text}");
}
