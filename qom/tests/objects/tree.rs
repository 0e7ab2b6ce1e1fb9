//! The tree: names, paths, and every refusal with its words.

use crate::probe::{LONG, Log, opened, plant, probe};
use qom::{Container, Machine, ObjectOps, TreeError, layer};

#[test]
fn paths_go_from_the_root_and_resolve() {
    let machine = Machine::new("paths");
    let log = Log::default();
    let a = plant(&machine, machine.root(), &log, "a");
    let b = plant(&machine, &a, &log, "b");
    assert_eq!(b.path().as_deref(), Some("/machine/a/b"));
    assert_eq!(
        machine.resolve("/machine/a/b").unwrap().object().id(),
        b.object().id()
    );
    assert_eq!(
        machine.resolve("//machine//a/").unwrap().object().id(),
        a.object().id()
    );
    for wrong in ["", "/", "/a", "/machine/b", "/machine/a/b/c"] {
        assert!(machine.resolve(wrong).is_none(), "{wrong}");
    }
    let loose = probe(&machine, &log, "loose");
    assert_eq!(loose.path(), None);
    let id = loose.object().id().0;
    assert_eq!(loose.describe(), format!("probe#{id}"));
    assert_eq!(layer::parent_of(b.object()).unwrap().id(), a.object().id());
    assert_eq!(layer::children_of(a.object()).len(), 1);
}

#[test]
fn a_star_takes_the_lowest_free_index() {
    let machine = Machine::new("stars");
    let log = Log::default();
    let add = |name: &str| {
        let o = probe(&machine, &log, name);
        let got = machine.root().add_child(name, &o).unwrap();
        (got.to_string(), o)
    };
    let (by_hand, two) = add("x[2]");
    let (n0, zero) = add("x[*]");
    let (n1, _one) = add("x[*]");
    let (n3, _three) = add("x[*]");
    assert_eq!([&*by_hand, &n0, &n1, &n3], ["x[2]", "x[0]", "x[1]", "x[3]"]);
    two.unparent().unwrap();
    zero.unparent().unwrap();
    assert_eq!(add("x[*]").0, "x[0]");
    assert_eq!(
        add("x[*]").0,
        "x[2]",
        "the one named by hand comes back, too"
    );
    assert_eq!(add("x[*]").0, "x[4]");
    assert_eq!(add("y[*]").0, "y[0]", "each base counts for itself");
}

#[test]
fn an_index_freed_beyond_the_counter_is_not_given_early() {
    let machine = Machine::new("far index");
    let log = Log::default();
    let add = |name: &str| {
        let o = probe(&machine, &log, name);
        (machine.root().add_child(name, &o).unwrap().to_string(), o)
    };
    let _kept = (add("x[*]"), add("x[*]"));
    let (_, far) = add("x[7]");
    far.unparent().unwrap();
    let got: Vec<_> = (0..8).map(|_| add("x[*]").0).collect();
    let expected: Vec<_> = (2..10).map(|i| format!("x[{i}]")).collect();
    assert_eq!(got, expected);
}

#[test]
fn a_refused_star_gives_its_index_back() {
    let machine = Machine::new("refused star");
    let log = Log::default();
    let a = plant(&machine, machine.root(), &log, "a");
    assert!(matches!(
        machine.root().add_child("x[*]", &a),
        Err(TreeError::HasParent { .. })
    ));
    let b = probe(&machine, &log, "b");
    assert_eq!(&*machine.root().add_child("x[*]", &b).unwrap(), "x[0]");
}

#[test]
fn every_refusal_names_both_parties() {
    let machine = Machine::new("one");
    let log = Log::default();
    let other = Machine::new("two");
    let (a, b) = (
        plant(&machine, machine.root(), &log, "a"),
        plant(&machine, machine.root(), &log, "b"),
    );
    let ab = plant(&machine, &a, &log, "ab");
    let loose = probe(&machine, &log, "loose");
    let (loose_name, foreign) = (loose.describe(), other.create::<Container>().unwrap());
    let words = |r: Result<std::sync::Arc<str>, TreeError>| r.unwrap_err().to_string();

    assert_eq!(
        words(a.add_child("ab", &loose)),
        "/machine/a already has a child `ab`"
    );
    assert_eq!(
        words(b.add_child("x", &ab)),
        "/machine/a/ab cannot be added to /machine/b: its parent is /machine/a"
    );
    assert_eq!(
        words(ab.add_child("x", &a)),
        "/machine/a cannot be added to /machine/a/ab, which is below it"
    );
    assert_eq!(
        words(a.add_child("x", &a)),
        "/machine/a cannot be added to /machine/a, which is below it"
    );
    for bad in ["", "x/y", "/"] {
        assert_eq!(
            words(a.add_child(bad, &loose)),
            format!("`{bad}` is no legal child name under /machine/a")
        );
    }
    let foreign_name = foreign.describe();
    assert_eq!(
        words(a.add_child("x", &foreign)),
        format!("{foreign_name} of machine `two` cannot join /machine/a of machine `one`")
    );
    let link = a.set_link("l", &foreign).unwrap_err();
    assert_eq!(
        link.to_string(),
        format!("{foreign_name} of machine `two` cannot join /machine/a of machine `one`")
    );

    b.unparent().unwrap();
    assert_eq!(
        words(b.add_child("x", &loose)),
        format!("/machine/b (withdrawn) is withdrawn and takes no `x` ({loose_name})")
    );
    assert_eq!(
        words(a.add_child("x", &b)),
        "/machine/b (withdrawn) is withdrawn and cannot be added to /machine/a"
    );
    let refused = b.open(opened(&log, "late")).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "/machine/b (withdrawn) is withdrawn and takes no `handle late`"
    );
    let refused = b.set_link("peer", &a).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "/machine/b (withdrawn) is withdrawn and takes no `link peer`"
    );
    let refused = a.set_link("peer", &b).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "/machine/b (withdrawn) is withdrawn and cannot be added to /machine/a"
    );
    assert!(a.link::<crate::probe::Probe>("peer").is_none());

    let gone = b.child();
    let weak = b.downgrade();
    drop(b);
    machine.wait_finalized(&weak, LONG).unwrap();
    machine.quiesce(LONG).unwrap();
    let refused = gone.unparent().unwrap_err();
    assert_eq!(refused.to_string(), "probe is gone");
    let listener = layer::enter(layer::Place::Listener);
    let refused = a.unparent().unwrap_err();
    assert_eq!(
        refused.to_string(),
        "/machine/a cannot be unparented from a listener"
    );
    drop(listener);
    assert!(!a.object().is_withdrawn());
}

#[test]
fn links_are_typed_replaced_and_cleared() {
    let machine = Machine::new("links");
    let log = Log::default();
    let (a, b, c) = (
        plant(&machine, machine.root(), &log, "a"),
        plant(&machine, machine.root(), &log, "b"),
        plant(&machine, machine.root(), &log, "c"),
    );
    a.set_link("peer", &b).unwrap();
    assert_eq!(a.link::<crate::probe::Probe>("peer").unwrap().name, "b");
    assert!(a.link::<Container>("peer").is_none(), "of another type");
    assert_eq!(b.object().counts().storage(), 3, "handle, parent, link");
    a.set_link("peer", &c).unwrap();
    assert_eq!(b.object().counts().storage(), 2);
    a.clear_link("peer").unwrap();
    assert_eq!(c.object().counts().storage(), 2);
    a.clear_link("peer").unwrap();
    a.set_link("self", &a).unwrap();
    let weak = a.downgrade();
    a.unparent().unwrap();
    drop(a);
    machine.wait_finalized(&weak, LONG).unwrap();
}

#[test]
fn a_detached_object_is_as_before_it_had_a_parent() {
    let machine = Machine::new("detach");
    let log = Log::default();
    let a = plant(&machine, machine.root(), &log, "a");
    let pointer = layer::Target::pointer(&a).unwrap();
    assert!(layer::detach(&pointer));
    assert!(!layer::detach(&pointer));
    assert_eq!((a.path(), a.object().is_withdrawn()), (None, false));
    machine.root().add_child("again", &a).unwrap();
    let weak = a.downgrade();
    drop(a);
    assert!(!layer::detach(&pointer), "nobody would keep it");
    assert_eq!(weak.path().as_deref(), Some("/machine/again"));
    assert!(log.of("unparent").is_empty());
}
