//! A real machine that takes the model's steps: what each is in the product's own calls.
//!
//! What is driven exactly: every call of a user's or a device's, and, since the machine has no thread of its own, when the executor runs; since a
//! reader stays in its section, when a grace period ends (in a world that is [unread](World::unread) they end by themselves). What the product does by itself: the executor runs finalizers in the order in which
//! the objects were let go, where the model lets any be the next; so [`Step::Finalize`] has it run whatever waits. Where an object without a
//! parent is dropped its hooks are the executor's too; here the dropper waits for them, as the model's does.

mod memory;
mod objects;

use super::PATIENCE;
use super::reader::Reader;
use super::refusal::Typed;
use super::stage::{Actor, Happened, Set, Stage, Wrong};
use crate::run::Event;
use crate::scenario::Cast;
use crate::state::{Id, Mapping, OBJECTS, State};
use crate::step::{Outcome, Step};
use ::memory::{BackingCounter, Offset, Region, RegionKind};
use qom::layer::{Pointer, Target};
use qom::{Machine, ObjectOps, Ref, RootObject, Subscription};
use std::sync::Arc;

/// The size of a leaf.
const PAGE: u64 = 0x1000;

/// Where a region is put in whatever contains it: so that no two leaves meet, however they are nested.
pub(crate) fn offset_of(id: Id, region: &Region) -> Offset {
    let place = u64::from(id.0) + 1;
    match region.kind() {
        RegionKind::Container => Offset(place << 32),
        _ => Offset(place * PAGE),
    }
}

/// The first word of a leaf's bytes.
pub(crate) fn tag(id: Id) -> u32 {
    0xC0DE_0000 | u32::from(id.0)
}

/// What a step came to: done, nothing to do, or refused by a typed error.
type Taken = Result<Outcome, Box<dyn Typed>>;

fn refused(error: impl Typed + 'static) -> Box<dyn Typed> {
    Box::new(error)
}

/// The steps that are taken one after the other: its number, itself, and the list from it on. What a device does in its init it does inside the one step.
pub(crate) fn turns(steps: &[Step]) -> impl Iterator<Item = (usize, Step, &[Step])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (number, rest) = (at, steps.get(at..)?);
        let step = *rest.first()?;
        let inside = match step {
            Step::Init(id, _) => rest.iter().position(|step| *step == Step::InitDone(id)),
            _ => None,
        };
        at += 1 + inside.unwrap_or(0);
        Some((number, step, rest))
    })
}

/// A machine on which a scenario is played.
pub(crate) struct World {
    pub(crate) stage: Arc<Stage>,
    reader: Option<Reader>,
    _events: Subscription,
    handles: [Vec<Ref<RootObject>>; OBJECTS],
    /// Regions whose first use makes them aliases: they are made by that.
    later: Vec<Id>,
    /// Whether a look at a region that is to be mapped is followed by a grace period where nothing else waits for one, and so leaves no trace.
    pub(crate) leaves_no_trace: bool,
    /// The region that was looked at last, where the look is retired with what else is.
    pub(crate) looked_at: Option<Id>,
    /// Bytes behind regions.
    pub(crate) bytes: BackingCounter,
    /// Who may stay.
    stays: Vec<Id>,
    /// What could not end.
    left: Vec<Set>,
    base: u64,
    pub(crate) machine: Machine,
}

impl World {
    /// A machine with nothing in it, and a reader in its section: a grace period ends when a step says so.
    pub(crate) fn new(name: &str) -> Self {
        let mut world = Self::build(name, true);
        world.reader = Some(Reader::enter(world.machine.handle()));
        world
    }

    /// A machine with nothing in it that nobody reads: its grace periods end by themselves.
    pub(crate) fn unread(name: &str) -> Self {
        Self::build(name, false)
    }

    fn build(name: &str, is_watched: bool) -> Self {
        let machine = Machine::builder(name)
            .recording(true)
            .embedder_driven(Arc::new(|| {}))
            .build();
        let stage = Arc::new(Stage::new(is_watched));
        let events = Stage::subscribe(&stage, &machine);
        Self {
            stage,
            reader: None,
            _events: events,
            handles: Default::default(),
            later: Vec::new(),
            leaves_no_trace: true,
            looked_at: None,
            bytes: BackingCounter::default(),
            stays: Vec::new(),
            left: Vec::new(),
            base: machine.counters().live_objects,
            machine,
        }
    }

    /// Who is in what follows, and all of its steps.
    pub(crate) fn cast(&mut self, cast: Cast, steps: &[Step]) {
        self.stage.set().cast = cast;
        self.later = State::ids()
            .filter(|id| steps.iter().find_map(|step| first_use(*step, *id)) == Some(true))
            .collect();
    }

    /// Takes one step. A device that is in init takes all steps up to the end of that: `rest` begins with its [`Step::Init`].
    pub(crate) fn take(&mut self, step: Step, rest: &[Step]) -> Outcome {
        let taken = self.try_take(step, rest);
        self.finish_leaving();
        match taken {
            Ok(outcome) => outcome,
            Err(error) => match self.stage.refused(&*error) {
                Some(refusal) => Outcome::Refused(refusal),
                None => Outcome::Nothing,
            },
        }
    }

    fn try_take(&mut self, step: Step, rest: &[Step]) -> Taken {
        match step {
            Step::Make(id, kind) | Step::Init(id, kind) => {
                self.make(id, kind, rest);
                Ok(Outcome::Done)
            }
            Step::Region {
                region,
                kind,
                parent,
                owner,
                ..
            } => self.make_region(region, kind, parent, owner),
            Step::Plug { object, parent } => self.plug(object, parent),
            Step::Unparent(id) => self.unparent(id),
            Step::Reparent { region, to } => self.reparent(region, to),
            Step::Take(id) => self.take_handle(id),
            Step::Drop(id) => Ok(self.drop_handle(id)),
            Step::Nest { sub, container } => self.nest(sub, container),
            Step::Detach { sub, container } => self.detach(sub, container),
            Step::Alias { alias, target } => self.alias(alias, target),
            Step::Open {
                space,
                root,
                holder,
                release,
            } => self.open(space, root, holder, release),
            // There is no node to queue a second time; the nearest call is to close again, which is a no-op.
            Step::Close(space) | Step::FreeNode(space) => Ok(self.close(space)),
            Step::Listen(space) => self.listen(space),
            Step::Unlisten(space) => Ok(self.unlisten(space)),
            Step::Map {
                map,
                region,
                holder,
                release,
            } => self.map(
                map,
                Mapping {
                    region,
                    holder,
                    release,
                },
            ),
            Step::Unmap(map) => self.unmap(map),
            Step::Pin {
                pin,
                region,
                holder,
            } => self.pin(pin, region, holder),
            Step::Complete(pin) => Ok(self.complete(pin)),
            Step::Link(link, from, to) => self.link(link, from, to),
            Step::Unlink(link) => self.unlink(link),
            Step::Arm(armed) => {
                let mut set = self.stage.set();
                match set.armed.iter_mut().find(|free| free.is_none()) {
                    Some(free) => *free = Some(armed),
                    None => return Ok(Outcome::Nothing),
                }
                Ok(Outcome::Done)
            }
            Step::Grace => {
                self.grace();
                Ok(Outcome::Done)
            }
            Step::InitDone(_) => Ok(Outcome::Done),
            Step::Finalize(_) => {
                self.run_executor();
                Ok(Outcome::Done)
            }
            // Of other policies: what one asks of the authors of owners that are no devices, and a collector.
            Step::UnparentAsAsked(_) | Step::Collect => Ok(Outcome::Nothing),
        }
    }

    /// Has the executor do whatever waits for it.
    pub(crate) fn run_executor(&self) {
        while self.machine.run_pending(usize::MAX) > 0 {}
    }

    /// A grace period ends, and what it held up is dropped.
    pub(crate) fn grace(&mut self) {
        self.pass();
        self.run_executor();
    }

    /// A grace period ends; what it held up waits for the executor.
    fn pass(&self) {
        match &self.reader {
            Some(reader) => {
                self.stage.observe();
                let holds_up = self.machine.counters().grace.retired_items > 0;
                reader.pass();
                let mut set = self.stage.set();
                // As in the model: of one that nothing waits for nobody can tell.
                if holds_up || set.checker.is_waiting() {
                    set.push(Happened::Did(Event::Grace));
                }
            }
            None => {
                let domain = self.machine.domain();
                domain.barrier(Some(PATIENCE)).expect("nobody reads");
            }
        }
    }

    /// Withdrawals that began in hooks end after them.
    fn finish_leaving(&self) {
        loop {
            let leaving = std::mem::take(&mut self.stage.set().leaving);
            if leaving.is_empty() {
                return;
            }
            for id in leaving {
                self.finish_withdrawal(id);
            }
        }
    }

    /// Waits for the end of an object's withdrawal, which is asked for again: only the waiting is left.
    fn finish_withdrawal(&self, id: Id) {
        let Some(Ok(object)) = self.stage.actor(id).map(|actor| actor.pointer()) else {
            return;
        };
        if object.is_withdrawn() && !object.unparent().is_ok_and(|ticket| ticket.is_done()) {
            let name = self.stage.name(id);
            let what = format!("the withdrawal of {name} does not end");
            self.stage.note(Happened::Wrong(Wrong::Unexpected, what));
        }
    }

    fn pointer(&self, id: Id) -> Option<Result<Pointer, qom::Gone>> {
        if id == Id::MACHINE {
            return Some(self.machine.root().pointer());
        }
        Some(self.stage.actor(id)?.pointer())
    }

    /// Whom a scenario leaves alone: the machine's own regions, and where it says who must be gone, everybody else.
    pub(crate) fn leave_alone(&mut self, gone: &[Id]) {
        self.stays.clear();
        if !gone.is_empty() {
            self.stays
                .extend(State::ids().filter(|id| !gone.contains(id)));
        }
    }

    /// The objects that the scenario leaves alone, and that are not finalized.
    fn staying(&self) -> Vec<Actor> {
        let set = self.stage.set();
        let stays =
            |id: Id| set.owners[id.index()] == Some(Id::MACHINE) || self.stays.contains(&id);
        let all = State::ids().zip(&set.actors);
        all.filter(|(id, _)| stays(*id))
            .filter_map(|(_, actor)| actor.clone())
            .filter(|actor| !actor.finalized)
            .collect()
    }

    /// Objects that are not finalized and should be.
    pub(crate) fn live_objects(&self) -> u64 {
        // Regions without an owner have a home, which stays.
        let home = u64::from(self.machine.resolve("/machine/unattached").is_some());
        let staying = self.staying().len() as u64;
        let live = self.machine.counters().live_objects;
        live.saturating_sub(self.base + home + staying)
    }

    /// Address spaces and mappings that are open in the name of somebody who is finalized, of this scenario and of those before.
    pub(crate) fn left_open(&self) -> u64 {
        let before = self.left.iter().map(Set::left_open);
        let now = self.stage.set().left_open();
        (before.sum::<usize>() + now) as u64
    }

    /// What the scenario left alone goes, and another can begin; whoever is left of it stays as he is.
    pub(crate) fn move_on(&mut self) {
        let spaces = self.stage.set().spaces.clone();
        let mut was_there = false;
        for opened in spaces.into_iter().flatten() {
            if opened.holder == Id::MACHINE {
                opened.space.close();
                was_there = true;
            }
        }
        for actor in self.staying() {
            if let Ok(object) = actor.pointer() {
                let _withdrawn_before = object.unparent();
                was_there = true;
            }
        }
        // A grace period is most of a cycle's time.
        if was_there || self.live_objects() > 0 {
            self.grace();
        }
        let set = std::mem::take(&mut *self.stage.set());
        let is_left = set.actors.iter().flatten().any(|actor| !actor.finalized);
        if is_left || set.left_open() > 0 {
            self.left.push(set);
        }
    }

    /// Everything of the scenario's that is left goes, the machine's own regions too; says how many objects stay all the same.
    pub(crate) fn clear(&mut self) -> u64 {
        for handles in &mut self.handles {
            handles.clear();
        }
        let actors = {
            let mut set = self.stage.set();
            let pins = std::mem::take(&mut set.pins);
            let actors = set.actors.clone();
            drop(set);
            drop(pins);
            actors
        };
        for actor in actors.iter().flatten() {
            if let Ok(object) = actor.pointer() {
                let _withdrawn_before = object.unparent();
            }
        }
        self.grace();
        self.move_on();
        self.left.clear();
        self.grace();
        self.live_objects()
    }

    /// Ends the machine; how many objects were left of the scenario. With such the machine would wait for them, so it ends by itself.
    pub(crate) fn end(mut self) -> u64 {
        let left = self.clear();
        self.reader = None;
        if left > 0 {
            return left;
        }
        match self.machine.close(PATIENCE) {
            Ok(()) => 0,
            Err((machine, _)) => machine.counters().live_objects.max(1),
        }
    }
}

/// Of a step that uses a region: whether that makes it an alias. None where the step does not use it.
fn first_use(step: Step, id: Id) -> Option<bool> {
    match step {
        Step::Alias { alias, .. } if alias == id => Some(true),
        Step::Nest { sub, .. } if sub == id => Some(false),
        Step::Map { region, .. } | Step::Pin { region, .. } if region == id => Some(false),
        Step::Open { root, .. } if root == id => Some(false),
        Step::Alias { target, .. } if target == id => Some(false),
        Step::Link(_, from, to) if from == id || to == id => Some(false),
        Step::Unparent(region) | Step::Reparent { region, .. } if region == id => Some(false),
        _ => None,
    }
}
