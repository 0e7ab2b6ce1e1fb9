//! Random lives of the objects of a few machines: whatever is done in whatever order, each object is withdrawn once and finalized once,
//! owners after what they own, and nothing is left.

use parking_lot::Mutex;
use proptest::collection::vec;
use proptest::prelude::*;
use qom::layer::{self, Hold, Holder, Reason};
use qom::{
    CreateError, Handle, Init, Machine, MachineEvent, ObjectImpl, ObjectOps, Ref, RootObject,
    Ticket, WeakRef,
};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);
const MACHINES: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Op {
    Create { machine: usize, panics: u8 },
    CreateUnder { parent: usize, panics: u8 },
    AddChild { parent: usize, child: usize },
    AddToRoot { object: usize },
    Unparent { object: usize },
    UnparentAsync { object: usize },
    Drop { handle: usize },
    Clone { handle: usize },
    Upgrade { object: usize },
    Link { from: usize, to: usize, name: usize },
    ClearLink { from: usize, name: usize },
    Open { object: usize, panics: bool },
    Hold { object: usize },
    Release { hold: usize },
    Retire { hold: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let n = || 0..64usize;
    prop_oneof![
        3 => (0..MACHINES, 0..8u8).prop_map(|(machine, panics)| Op::Create { machine, panics }),
        3 => (n(), 0..8u8).prop_map(|(parent, panics)| Op::CreateUnder { parent, panics }),
        4 => (n(), n()).prop_map(|(parent, child)| Op::AddChild { parent, child }),
        3 => n().prop_map(|object| Op::AddToRoot { object }),
        2 => n().prop_map(|object| Op::Unparent { object }),
        2 => n().prop_map(|object| Op::UnparentAsync { object }),
        4 => n().prop_map(|handle| Op::Drop { handle }),
        1 => n().prop_map(|handle| Op::Clone { handle }),
        1 => n().prop_map(|object| Op::Upgrade { object }),
        2 => (n(), n(), 0..3usize).prop_map(|(from, to, name)| Op::Link { from, to, name }),
        1 => (n(), 0..3usize).prop_map(|(from, name)| Op::ClearLink { from, name }),
        2 => (n(), any::<bool>()).prop_map(|(object, panics)| Op::Open { object, panics }),
        1 => n().prop_map(|object| Op::Hold { object }),
        1 => n().prop_map(|hold| Op::Release { hold }),
        1 => n().prop_map(|hold| Op::Retire { hold }),
    ]
}

/// What happened to one object.
#[derive(Clone, Debug, Default)]
struct Life {
    unparented: Vec<u64>,
    finalized: Vec<u64>,
    opened: u32,
    closed: u32,
    dropped: u32,
    parent: Option<usize>,
}

#[derive(Clone, Default)]
struct Lives(Arc<Mutex<(u64, HashMap<usize, Life>)>>);

impl Lives {
    fn change(&self, id: usize, f: impl FnOnce(&mut Life, u64)) {
        let mut lives = self.0.lock();
        lives.0 += 1;
        let now = lives.0;
        f(lives.1.entry(id).or_default(), now);
    }
}

/// Bits of `panics`.
const IN_UNPARENT: u8 = 1;
const IN_FINALIZE: u8 = 2;
const IN_DROP: u8 = 4;

struct Thing {
    object: RootObject,
    id: usize,
    panics: u8,
    lives: Lives,
    parent: OnceLock<WeakRef<Thing>>,
    owner: Mutex<Option<Hold>>,
}

qom::object_type! { Thing("random-thing") { object: RootObject }, install |class: &mut qom::ClassInit<'_>| { class.layer(&OWNED); } }

/// A region's rule, in small: from its withdrawal on it keeps its parent.
static OWNED: layer::LayerHooks = layer::LayerHooks {
    name: "owned",
    mark: Some(|object| {
        // Under the tree lock: the parent was noted when the object was placed.
        if let Some(thing) = object.instance::<Thing>() {
            let owner = thing
                .parent
                .get()
                .and_then(|p| layer::Target::pointer(p).ok());
            if let Some(owner) = owner {
                *thing.owner.lock() = Hold::new(&owner, Reason("owner"), Holder::object(object));
            }
        }
    }),
    retract: None,
    close: None,
};

impl ObjectImpl for Thing {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
            id: usize::MAX,
            panics: 0,
            lives: Lives::default(),
            parent: OnceLock::new(),
            owner: Mutex::default(),
        }
    }
    fn unparent(&self) {
        self.lives
            .change(self.id, |life, now| life.unparented.push(now));
        assert!(self.panics & IN_UNPARENT == 0, "in unparent");
    }
    fn finalize(&self) {
        self.lives
            .change(self.id, |life, now| life.finalized.push(now));
        drop(self.owner.lock().take());
        assert!(self.panics & IN_FINALIZE == 0, "in finalize");
    }
}

impl Drop for Thing {
    fn drop(&mut self) {
        self.lives.change(self.id, |life, _| life.dropped += 1);
        assert!(self.panics & IN_DROP == 0, "in drop");
    }
}

struct Opened {
    id: usize,
    panics: bool,
    lives: Lives,
}

impl Handle for Opened {
    fn close(&self) {
        self.lives.change(self.id, |life, _| life.closed += 1);
        assert!(!self.panics, "in close");
    }
    fn describe(&self) -> String {
        format!("something of {}", self.id)
    }
}

#[derive(Default)]
struct World {
    machines: Vec<Machine>,
    lives: Lives,
    /// All objects ever made, with their machines.
    objects: Vec<(usize, WeakRef<Thing>)>,
    handles: Vec<Ref<Thing>>,
    holds: Vec<(usize, Hold)>,
    tickets: Vec<Ticket>,
}

/// One of a list, if it is not empty.
fn pick<T>(list: &[T], at: usize) -> Option<usize> {
    (!list.is_empty()).then(|| at % list.len())
}

impl World {
    fn object(&self, at: usize) -> Option<WeakRef<Thing>> {
        pick(&self.objects, at).map(|i| self.objects[i].1.clone())
    }

    fn create(
        &mut self,
        machine: usize,
        parent: Option<&WeakRef<Thing>>,
        panics: u8,
    ) -> Result<Ref<Thing>, CreateError> {
        let (id, lives) = (self.objects.len(), self.lives.clone());
        let pointer = parent.and_then(|p| layer::Target::pointer(p).ok());
        let place = pointer.as_ref().map(|p| (p, "made[*]"));
        let made = layer::create_with(self.machines[machine].handle(), place, |cx| Thing {
            object: cx.parent(),
            id,
            panics,
            lives,
            parent: OnceLock::new(),
            owner: Mutex::default(),
        });
        let weak = made.as_ref().map(Ref::downgrade).unwrap_or_default();
        self.objects.push((machine, weak));
        made
    }

    fn placed(&self, child: &Ref<Thing>, parent: &WeakRef<Thing>) {
        // Between the two nobody can have withdrawn it: only this thread does such things.
        if let Ok(parent_ref) = parent.get() {
            let _ = child.parent.set(parent.clone());
            self.lives
                .change(child.id, |life, _| life.parent = Some(parent_ref.id));
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Create { machine, panics } => {
                let made = self
                    .create(machine, None, panics)
                    .expect("nothing is against it");
                self.handles.push(made);
            }
            Op::CreateUnder { parent, panics } => {
                let Some(at) = pick(&self.objects, parent) else {
                    return;
                };
                let (machine, parent) = self.objects[at].clone();
                // Without a living parent nothing is made.
                if parent.get().is_ok()
                    && let Ok(made) = self.create(machine, Some(&parent), panics)
                {
                    self.placed(&made, &parent);
                    self.handles.push(made);
                }
            }
            Op::AddChild { parent, child } => {
                let (Some(parent), Some(child)) = (self.object(parent), self.object(child)) else {
                    return;
                };
                if let Ok(child) = child.get()
                    && parent.add_child("c[*]", &child).is_ok()
                {
                    self.placed(&child, &parent);
                }
            }
            Op::AddToRoot { object } => {
                let Some(at) = pick(&self.objects, object) else {
                    return;
                };
                let (machine, object) = &self.objects[at];
                let _ = self.machines[*machine].root().add_child("o[*]", object);
            }
            Op::Unparent { object } => {
                if let Some(Ok(ticket)) = self.object(object).map(|o| o.unparent()) {
                    assert!(ticket.is_done(), "this thread may wait");
                }
            }
            Op::UnparentAsync { object } => {
                self.tickets
                    .extend(self.object(object).and_then(|o| o.unparent_async().ok()));
            }
            Op::Drop { handle } => {
                if let Some(at) = pick(&self.handles, handle) {
                    drop(self.handles.swap_remove(at));
                }
            }
            Op::Clone { handle } => {
                if let Some(at) = pick(&self.handles, handle) {
                    self.handles.push(self.handles[at].clone());
                }
            }
            Op::Upgrade { object } => {
                self.handles
                    .extend(self.object(object).and_then(|o| o.get().ok()));
            }
            Op::Link { from, to, name } => {
                if let (Some(from), Some(to)) = (self.object(from), self.object(to)) {
                    let _ = from.set_link(&format!("l{name}"), &to);
                }
            }
            Op::ClearLink { from, name } => {
                if let Some(from) = self.object(from) {
                    let _ = from.clear_link(&format!("l{name}"));
                }
            }
            Op::Open { object, panics } => {
                let Some(at) = pick(&self.objects, object) else {
                    return;
                };
                let (id, lives) = (at, self.lives.clone());
                let handle = Arc::new(Opened { id, panics, lives });
                if self.objects[at].1.open(handle).is_ok() {
                    self.lives.change(id, |life, _| life.opened += 1);
                }
            }
            Op::Hold { .. } | Op::Release { .. } | Op::Retire { .. } => self.run_hold(op),
        }
    }

    fn run_hold(&mut self, op: Op) {
        match op {
            Op::Hold { object } => {
                let Some(at) = pick(&self.objects, object) else {
                    return;
                };
                let (machine, object) = &self.objects[at];
                if let Ok(pointer) = layer::Target::pointer(object)
                    && let Some(hold) = Hold::new(&pointer, Reason("pin"), Holder::Outside)
                {
                    self.holds.push((*machine, hold));
                }
            }
            Op::Release { hold } => {
                if let Some(at) = pick(&self.holds, hold) {
                    drop(self.holds.swap_remove(at));
                }
            }
            Op::Retire { hold } => {
                if let Some(at) = pick(&self.holds, hold) {
                    let (machine, hold) = self.holds.swap_remove(at);
                    self.machines[machine].retire(64, "hold", hold);
                }
            }
            _ => unreachable!("not about holds"),
        }
    }

    /// Lets go of everything and sees all objects end.
    fn end(mut self, events: &Mutex<HashMap<u64, u32>>) -> Result<(), TestCaseError> {
        self.handles.clear();
        self.holds.clear();
        for ticket in &self.tickets {
            ticket.wait(LONG).expect("withdrawals end");
        }
        for machine in &self.machines {
            for (_, child) in machine.root().children() {
                let _ticket = child.unparent().expect("outside of everything");
            }
        }
        for machine in self.machines.drain(..) {
            machine.quiesce(LONG).expect("nobody holds anything");
            let leftovers: Vec<_> = machine
                .leftovers()
                .iter()
                .map(ToString::to_string)
                .collect();
            prop_assert_eq!(
                machine.counters().live_objects,
                1,
                "only the root: {:?}",
                leftovers
            );
            prop_assert!(machine.reference_graph().cycles().is_empty());
            machine
                .close(LONG)
                .map_err(|(_, e)| e)
                .expect("nothing is in the way");
        }
        let lives = self.lives.0.lock();
        for (id, (_, weak)) in self.objects.iter().enumerate() {
            let life = lives.1.get(&id).cloned().unwrap_or_default();
            prop_assert_eq!(life.finalized.len(), 1, "{} finalized once", id);
            prop_assert_eq!(life.unparented.len(), 1, "{} withdrawn once", id);
            prop_assert_eq!(life.dropped, 1);
            prop_assert!(life.unparented[0] < life.finalized[0]);
            prop_assert_eq!(life.opened, life.closed, "{} closes what it opens", id);
            prop_assert!(weak.get().is_err());
            if let Some(parent) = life.parent.and_then(|p| lives.1.get(&p)) {
                prop_assert!(
                    life.unparented[0] < parent.unparented[0],
                    "children are withdrawn first"
                );
                prop_assert!(
                    life.finalized[0] < parent.finalized[0],
                    "owners go after what they own"
                );
            }
        }
        prop_assert!(
            events.lock().values().all(|n| *n == 1),
            "one event for each end"
        );
        Ok(())
    }
}

fn play(ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut world = World::default();
    let events: Arc<Mutex<HashMap<u64, u32>>> = Arc::default();
    for i in 0..MACHINES {
        let mut builder = Machine::builder(&format!("random {i}"));
        if i == 1 {
            builder = builder.embedder_driven(Arc::new(|| {}));
        }
        let (machine, ends) = (builder.build(), events.clone());
        std::mem::forget(machine.subscribe(move |e| {
            if let MachineEvent::Finalized { id, .. } = e {
                *ends.lock().entry(id.0).or_default() += 1;
            }
        }));
        world.machines.push(machine);
    }
    for op in ops {
        world.run(op);
    }
    world.end(&events)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_life_ends_once_and_in_order(ops in vec(op(), 1..120)) {
        // Hundreds of panics on purpose: their messages say nothing.
        static QUIET: std::sync::Once = std::sync::Once::new();
        QUIET.call_once(|| {
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                let text = info.payload().downcast_ref::<&str>().copied().unwrap_or_default();
                if !["in unparent", "in finalize", "in drop", "in close"].contains(&text) {
                    usual(info);
                }
            }));
        });
        play(ops)?;
    }
}
