//! Making objects and unmaking them: the order of the hooks of one object's levels.

use crate::probe::{LONG, SHORT};
use parking_lot::Mutex;
use qom::{Child, CreateError, Init, Machine, ObjectImpl, ObjectOps, RootObject, TreeError, layer};
use std::collections::HashMap;

/// What happened in the machine of that name.
static LOGS: Mutex<Option<HashMap<String, Vec<&'static str>>>> = Mutex::new(None);

fn say(machine: &str, what: &'static str) {
    let mut logs = LOGS.lock();
    let logs = logs.get_or_insert_default();
    logs.entry(machine.to_owned()).or_default().push(what);
}

fn said(machine: &str) -> Vec<&'static str> {
    let mut logs = LOGS.lock();
    logs.get_or_insert_default()
        .get(machine)
        .cloned()
        .unwrap_or_default()
}

macro_rules! level {
    ($ty:ident($name:literal), $field:ident: $parent:ty) => {
        struct $ty {
            $field: $parent,
            machine: String,
        }
        qom::object_type! { $ty($name) { $field: $parent } }
        impl ObjectImpl for $ty {
            fn init(cx: &mut Init<'_>) -> Self {
                let $field = cx.parent();
                let machine = cx.object().machine_name().to_owned();
                say(&machine, concat!("init ", $name));
                if machine.ends_with(concat!("init panics ", $name)) {
                    panic!("no {}", $name);
                }
                Self { $field, machine }
            }
            fn post_init(&self) {
                say(&self.machine, concat!("post-init ", $name));
                assert!(
                    !self.machine.ends_with(concat!("late panic of ", $name)),
                    "too late"
                );
            }
            fn unparent(&self) {
                say(&self.machine, concat!("unparent ", $name));
            }
            fn finalize(&self) {
                say(&self.machine, concat!("finalize ", $name));
            }
        }
    };
}
level!(Base("creation-base"), object: RootObject);
level!(Middle("creation-middle"), base: Base);
level!(Leaf("creation-leaf"), middle: Middle);

#[test]
fn init_goes_from_root_to_leaf_and_all_else_from_leaf_to_root_once() {
    let machine = Machine::new("creation order");
    let leaf = machine.create::<Leaf>().unwrap();
    machine.root().add_child("leaf", &leaf).unwrap();
    let weak = leaf.downgrade();
    leaf.unparent().unwrap();
    leaf.unparent().unwrap();
    drop(leaf);
    machine.wait_finalized(&weak, LONG).unwrap();
    let expected: Vec<String> = [
        ("init", ["base", "middle", "leaf"]),
        ("post-init", ["leaf", "middle", "base"]),
        ("unparent", ["leaf", "middle", "base"]),
        ("finalize", ["leaf", "middle", "base"]),
    ]
    .iter()
    .flat_map(|(what, levels)| levels.map(|l| format!("{what} creation-{l}")))
    .collect();
    assert_eq!(said("creation order"), expected);
}

/// Makes children, and then fails where the machine's name says so.
struct Nest {
    object: RootObject,
    egg: Child<Leaf>,
}
qom::object_type! { Nest("creation-nest") { object: RootObject } }
impl ObjectImpl for Nest {
    fn init(cx: &mut Init<'_>) -> Self {
        let object = cx.parent();
        let egg = cx.child::<Leaf>("egg[*]").expect("the first egg");
        let second = cx.child::<Leaf>("egg[*]").expect("the second egg");
        assert_ne!(egg.path(), Some(String::new()));
        assert_eq!(second.get().unwrap().object().counts().users(), 1);
        let taken = cx.child::<Leaf>("egg[0]").unwrap_err();
        assert!(
            matches!(&taken, CreateError::Place { source: TreeError::NameTaken { name, .. }, .. } if name == "egg[0]"),
            "{taken}"
        );
        assert!(cx.child::<RootObject>("abstract").is_err());
        assert!(
            !cx.object().machine_name().ends_with("nest falls"),
            "the nest falls"
        );
        Self { object, egg }
    }
}

#[test]
fn an_init_may_make_children_that_the_tree_keeps() {
    let machine = Machine::new("nest");
    let nest = machine.create::<Nest>().unwrap();
    machine.root().add_child("nest", &nest).unwrap();
    assert_eq!(nest.egg.path().as_deref(), Some("/machine/nest/egg[0]"));
    let names: Vec<_> = nest.children().iter().map(|(n, _)| n.to_string()).collect();
    assert_eq!(names, ["egg[0]", "egg[1]"]);
    assert_eq!(nest.egg.get().unwrap().object().counts().users(), 1);
    machine
        .close(SHORT)
        .map_err(|(_, e)| e)
        .expect_err("a handle is left");
    drop(nest);
}

#[test]
fn of_a_panicking_init_nothing_is_left() {
    let machine = Machine::new("the nest falls");
    let error = machine.create::<Nest>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "init of `creation-nest` panicked: the nest falls"
    );
    machine.quiesce(LONG).unwrap();
    assert_eq!(machine.counters().live_objects, 1, "only the root");
    let said = said("the nest falls");
    let eggs = said.iter().filter(|s| **s == "finalize creation-leaf");
    assert_eq!(
        eggs.count(),
        3,
        "those placed and the one that was not: {said:?}"
    );
}

#[test]
fn of_a_panic_in_the_middle_of_a_hierarchy_nothing_is_left() {
    let name = "init panics creation-middle";
    let machine = Machine::new(name);
    let error = machine.create::<Leaf>().unwrap_err();
    assert!(error.to_string().contains("no creation-middle"), "{error}");
    machine.quiesce(LONG).unwrap();
    assert_eq!(said(name), ["init creation-base", "init creation-middle"]);
    assert_eq!(machine.counters().live_objects, 1);
}

#[test]
fn of_a_panicking_post_init_nothing_is_left() {
    let name = "late panic of creation-middle";
    let machine = Machine::new(name);
    let error = machine.create::<Leaf>().unwrap_err();
    assert!(
        matches!(
            &error,
            CreateError::Panicked {
                type_name: "creation-middle",
                ..
            }
        ),
        "{error}"
    );
    machine.quiesce(LONG).unwrap();
    assert_eq!(machine.counters().live_objects, 1);
    let said = said(name);
    assert!(
        said.contains(&"finalize creation-base"),
        "its init had run: {said:?}"
    );
    assert!(!said.contains(&"post-init creation-base"), "{said:?}");
}

#[test]
fn a_new_object_that_cannot_be_placed_goes() {
    let machine = Machine::new("unplaced");
    let first = machine.create::<Leaf>().unwrap();
    machine.root().add_child("leaf", &first).unwrap();
    let root = layer::Target::pointer(machine.root()).unwrap();
    let error =
        layer::create_with::<Leaf>(&machine, Some((&root, "leaf")), Leaf::init).unwrap_err();
    let source = std::error::Error::source(&error)
        .expect("keeps its source")
        .to_string();
    assert_eq!(source, "/machine already has a child `leaf`");
    machine.quiesce(LONG).unwrap();
    assert_eq!(machine.counters().live_objects, 2);
}

#[test]
fn init_is_a_hook_and_its_object_opens_nothing() {
    struct Eager {
        object: RootObject,
    }
    qom::object_type! { Eager("creation-eager") { object: RootObject } }
    impl ObjectImpl for Eager {
        fn init(cx: &mut Init<'_>) -> Self {
            assert_eq!(layer::innermost(), Some(layer::Place::Hook));
            let log = crate::probe::Log::default();
            let error = cx
                .object()
                .open(crate::probe::opened(&log, "early"))
                .unwrap_err();
            assert!(
                matches!(&error, TreeError::DuringInit { what, .. } if what == "handle early"),
                "{error}"
            );
            Self {
                object: cx.parent(),
            }
        }
        fn post_init(&self) {
            let log = crate::probe::Log::default();
            let error = self.open(crate::probe::opened(&log, "early")).unwrap_err();
            assert!(error.to_string().contains("is still in init"), "{error}");
        }
    }
    let machine = Machine::new("eager");
    let eager = machine.create::<Eager>().unwrap();
    assert_eq!(layer::innermost(), None);
    let log = crate::probe::Log::default();
    assert!(eager.open(crate::probe::opened(&log, "in time")).is_ok());
    assert_eq!(eager.opened(), ["handle in time"]);
}
