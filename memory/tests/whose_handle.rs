//! Whose code took a handle: a callback is its owner's, whatever was entered before it, and what is entered in it is its own.

use memory::{
    Access, AddressSpace, Attrs, Gpa, MemTxError, Offset, Priority, Region, RegionApi, RegionOps,
    Size,
};
use qom::layer::create_with;
use qom::{Child, Container, Init, Machine, ObjectImpl, ObjectOps, Ref, RootObject};
use std::sync::{Arc, Mutex};

type Act = Box<dyn FnOnce() + Send>;

/// Does what it is told to: when it is made, and when its register is written.
struct Doer {
    object: RootObject,
    register: Child<Region>,
    when_made: Mutex<Option<Act>>,
    when_written: Mutex<Option<Act>>,
}

qom::object_type! { Doer("whose-handle-doer") { object: RootObject } }

fn run(act: &Mutex<Option<Act>>) {
    let act = act.lock().unwrap().take();
    if let Some(act) = act {
        act();
    }
}

impl ObjectImpl for Doer {
    fn init(cx: &mut Init<'_>) -> Self {
        let register = Region::io("register", Size::new(4), OnWrite);
        Self {
            register: register.create(cx.object()).unwrap(),
            object: cx.parent(),
            when_made: Mutex::default(),
            when_written: Mutex::default(),
        }
    }

    fn post_init(&self) {
        run(&self.when_made);
    }
}

struct OnWrite;

impl RegionOps for OnWrite {
    type Owner = Doer;
    fn read(&self, _: &Doer, _: Access) -> Result<u64, MemTxError> {
        Ok(0)
    }
    fn write(&self, doer: &Doer, _: Access, _: u64) -> Result<(), MemTxError> {
        run(&doer.when_written);
        Ok(())
    }
}

/// What takes handles to somebody, from wherever it is called.
#[derive(Clone)]
struct Taker {
    of: Child<Container>,
    kept: Arc<Mutex<Vec<Ref<Container>>>>,
}

impl Taker {
    fn take(&self) {
        self.kept.lock().unwrap().push(self.of.get().unwrap());
    }

    /// Whose code took what is kept, in order.
    fn told(&self, machine: &Machine) -> Vec<Option<String>> {
        let graph = machine.reference_graph();
        let of = graph.find(self.of.get().unwrap().object().id());
        let handles = graph.edges.iter().filter(|edge| {
            Some(edge.to) == of && edge.place.is_some_and(|place| place.file() == file!())
        });
        let mut told: Vec<_> = handles.map(|edge| edge.taken_by.clone()).collect();
        told.sort();
        told
    }
}

fn made_to(machine: &Machine, name: &str, act: impl FnOnce() + Send + 'static) {
    let act: Act = Box::new(act);
    let made = create_with(machine.handle(), None, |cx| Doer {
        when_made: Mutex::new(Some(act)),
        ..Doer::init(cx)
    });
    machine.root().add_child(name, &made.unwrap()).unwrap();
}

#[test]
fn the_innermost_hook_or_callback_is_told() {
    let machine = Machine::builder("whose").recording(true).build();
    let root = machine.root();
    let found = machine.create::<Container>().unwrap();
    root.add_child("found", &found).unwrap();
    let taker = Taker {
        of: found.child(),
        kept: Arc::default(),
    };
    drop(found);
    let system = Region::container("system", Size::MAX).create(root).unwrap();
    let space = AddressSpace::open(root, "memory", &system).unwrap();
    let called = machine.create::<Doer>().unwrap();
    root.add_child("called", &called).unwrap();
    let at = Offset(0x1000);
    system
        .add_subregion(at, &called.register, Priority(0))
        .unwrap();
    let ring = move || space.store(Gpa(at.0), 1_u32, Attrs::default()).unwrap();

    let own = taker.clone();
    *called.when_written.lock().unwrap() = Some(Box::new(move || own.take()));
    ring();
    // The test's own look at it is nobody's.
    let by = |name: &str| Some(format!("/machine/{name}"));
    assert_eq!(taker.told(&machine), [by("called")]);

    // A hook whose access is a callback, in which another object is made; and back again.
    let machine = Arc::new(machine);
    let (in_callback, inner, in_hook) = (taker.clone(), taker.clone(), taker.clone());
    let makes = machine.clone();
    *called.when_written.lock().unwrap() = Some(Box::new(move || {
        in_callback.take();
        made_to(&makes, "inner", move || inner.take());
        in_callback.take();
    }));
    made_to(&machine, "outer", move || {
        in_hook.take();
        ring();
        in_hook.take();
    });
    let expected = ["called", "called", "called", "inner", "outer", "outer"];
    assert_eq!(taker.told(&machine), expected.map(by));
}
