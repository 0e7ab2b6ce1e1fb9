//! What the driver of a scenario shares with the hooks of the objects in it: who is who, what is open, what is armed, what has happened.

use super::refusal::Typed;
use crate::checker::Checker;
use crate::run::Event;
use crate::scenario::Cast;
use crate::state::{Action, Armed, HOOKS, Hook, Id, LINKS, MAPS, OBJECTS, PINS, Release, SPACES};
use crate::step::Refusal;
use memory::{AddressSpace, ListenerHandle, Mapping, Pin, Region, RegionApi};
use qom::layer::{Pointer, Target};
use qom::{Gone, Machine, MachineEvent, Object, ObjectId, ObjectOps, Subscription};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

/// An object of the machine that plays a part.
#[derive(Clone)]
pub(crate) struct Actor {
    name: Arc<str>,
    pub(crate) id: ObjectId,
    pub(crate) object: Weak<Object>,
    /// A leaf that became a window on something: the alias that is in its place.
    pub(crate) window: Option<Weak<Object>>,
    /// Its bytes have been given back; set by their last drop.
    pub(crate) bytes_gone: Arc<AtomicBool>,
    pub(crate) finalized: bool,
}

impl Actor {
    pub(crate) fn new(name: &str, object: &Object) -> Self {
        Self {
            name: name.into(),
            id: object.id(),
            object: qom::layer::weak(object),
            window: None,
            bytes_gone: Arc::default(),
            finalized: false,
        }
    }

    /// What stands for it in containers.
    pub(crate) fn shown(&self) -> Result<Pointer, Gone> {
        match &self.window {
            Some(window) => self.upgrade(window),
            None => self.pointer(),
        }
    }

    pub(crate) fn pointer(&self) -> Result<Pointer, Gone> {
        self.upgrade(&self.object)
    }

    fn upgrade(&self, object: &Weak<Object>) -> Result<Pointer, Gone> {
        object.upgrade().ok_or_else(|| Gone {
            object: self.name.to_string(),
            state: "gone",
        })
    }
}

/// An address space of the scenario.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) space: AddressSpace,
    pub(crate) holder: Id,
    pub(crate) release: Release,
}

/// A mapping of the scenario.
#[derive(Clone)]
pub(crate) struct Mapped {
    pub(crate) mapping: Arc<Mapping>,
    pub(crate) region: Id,
    pub(crate) holder: Id,
    pub(crate) release: Release,
}

/// Something that happened, as [`super::Report::moments`] tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    /// As in the model.
    Did(Event),
    Refused(Refusal, String),
    Panicked(String),
    /// A device reads a descriptor that the guest has written: where it is, and which address it names.
    Fetched(Id, [u64; 2]),
    /// Something that must not be.
    Wrong(Wrong, String),
}

/// What must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// An error that nothing in the model stands for, or a panic that nobody asked for.
    Unexpected,
    /// Finalized twice.
    Twice,
    /// A finalized object was used, or could be.
    UseAfterFinalize,
    /// Somebody was finalized in whose name an address space is open.
    Orphan,
    /// An owner was finalized before its region.
    Order,
}

/// Everything that is shared.
#[derive(Default)]
pub(crate) struct Set {
    pub(crate) cast: Cast,
    pub(crate) actors: [Option<Actor>; OBJECTS],
    /// The owners of regions.
    pub(crate) owners: [Option<Id>; OBJECTS],
    pub(crate) spaces: [Option<Opened>; SPACES],
    pub(crate) listeners: [Option<ListenerHandle>; SPACES],
    pub(crate) maps: [Option<Mapped>; MAPS],
    pub(crate) pins: [Option<(Pin, Id)>; PINS],
    pub(crate) links: [Option<(Id, Id)>; LINKS],
    pub(crate) armed: [Option<Armed>; HOOKS],
    pub(crate) log: Vec<Happened>,
    /// Holds the log against what the crates promise of the order of ends.
    pub(crate) checker: Checker,
    /// Who was marked when it was looked last.
    pub(crate) marked: u16,
    /// When the finalizers of each ended: once, where all is well.
    pub(crate) ends: [Vec<Instant>; OBJECTS],
    /// Unparented inside a hook: their withdrawals end after it.
    pub(crate) leaving: Vec<Id>,
}

impl Set {
    /// Address spaces and mappings that are open in the name of somebody who is finalized.
    pub(crate) fn left_open(&self) -> usize {
        let is_gone = |id: Id| {
            let actor = self.actors.get(id.index()).and_then(Option::as_ref);
            actor.is_some_and(|actor| actor.finalized)
        };
        let spaces = self.spaces.iter().flatten();
        let spaces = spaces.filter(|opened| !opened.space.is_closed() && is_gone(opened.holder));
        let maps = self.maps.iter().flatten();
        let maps = maps.filter(|mapped| mapped.mapping.is_open() && is_gone(mapped.holder));
        spaces.count() + maps.count()
    }

    pub(crate) fn name(&self, id: Id) -> String {
        match self.cast.name(id) {
            "" => format!("object{}", id.0),
            name => name.to_owned(),
        }
    }
}

/// The stage: the set, behind a lock that is held while nobody is called.
#[derive(Default)]
pub(crate) struct Stage {
    set: Mutex<Set>,
    /// It is looked what happens between calls ([`Self::observe`]).
    is_watched: bool,
}

impl Stage {
    /// Notes who is finalized and what panics in a machine, for as long as the result is kept.
    pub(crate) fn subscribe(stage: &Arc<Self>, machine: &Machine) -> Subscription {
        let stage = stage.clone();
        machine.subscribe(move |event| match event {
            MachineEvent::Finalized { id, .. } => stage.finalized(*id),
            MachineEvent::Panicked {
                object,
                what,
                message,
            } => {
                stage.note(Happened::Panicked(format!("{object}: {what}: {message}")));
            }
            _ => {}
        })
    }

    pub(crate) fn new(is_watched: bool) -> Self {
        Self {
            is_watched,
            ..Self::default()
        }
    }

    pub(crate) const fn is_watched(&self) -> bool {
        self.is_watched
    }

    pub(crate) fn set(&self) -> MutexGuard<'_, Set> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn actor(&self, id: Id) -> Option<Actor> {
        let set = self.set();
        set.actors.get(id.index()).cloned().flatten()
    }

    pub(crate) fn name(&self, id: Id) -> String {
        self.set().name(id)
    }

    pub(crate) fn note(&self, happened: Happened) {
        self.observe();
        self.set().push(happened);
    }

    /// Notes an error as the refusal that it is, and gives that.
    pub(crate) fn refused(&self, error: &dyn Typed) -> Option<Refusal> {
        let refusal = error.refusal();
        self.note(match refusal {
            Some(refusal) => Happened::Refused(refusal, error.to_string()),
            None => Happened::Wrong(Wrong::Unexpected, error.to_string()),
        });
        refusal
    }

    /// Which object of the scenario a machine's object is.
    pub(crate) fn id_of(&self, object: ObjectId) -> Option<Id> {
        let set = self.set();
        let at = set
            .actors
            .iter()
            .position(|actor| actor.as_ref().is_some_and(|actor| actor.id == object))?;
        u8::try_from(at).ok().map(Id)
    }

    /// An object has been finalized.
    pub(crate) fn finalized(&self, object: ObjectId) {
        let Some(id) = self.id_of(object) else {
            return;
        };
        let name = self.name(id);
        self.observe();
        let mut set = self.set();
        let Some(actor) = &mut set.actors[id.index()] else {
            return;
        };
        let again = std::mem::replace(&mut actor.finalized, true);
        set.ends[id.index()].push(Instant::now());
        set.push(if again {
            Happened::Wrong(Wrong::Twice, format!("{name} is finalized twice"))
        } else {
            Happened::Did(Event::Finalized(id))
        });
    }

    pub(crate) fn is_finalized(&self, id: Id) -> bool {
        self.actor(id).is_some_and(|actor| actor.finalized)
    }

    /// Whether the bytes of a region have been given back.
    pub(crate) fn is_without_bytes(&self, id: Id) -> bool {
        // ORDERING: Acquire pairs with the Release of whoever dropped the bytes.
        self.actor(id)
            .is_some_and(|actor| actor.bytes_gone.load(Ordering::Acquire))
    }

    /// Takes a region out of a container.
    ///
    /// # Errors
    ///
    /// As the product's.
    pub(crate) fn detach(&self, container: Id, sub: Id) -> Result<(), memory::RegionError> {
        let (Some(container), Some(sub)) = (self.actor(container), self.actor(sub)) else {
            return Ok(());
        };
        match (container.pointer(), sub.shown()) {
            (Ok(container), Ok(sub)) => region(&container)?.del_subregion(region(&sub)?),
            // As with every handle: what is gone was withdrawn before, and taken out by that.
            _ => Ok(()),
        }
    }

    /// The code of a hook: what is armed, then what its author closes there.
    ///
    /// # Panics
    ///
    /// Where that is armed; before anything else, which is the worst that it can do.
    pub(crate) fn run_hook(&self, me: Id, hook: Hook) {
        self.note(Happened::Did(Event::Began(hook, me)));
        let armed = self.set().armed;
        let actions: Vec<Action> = armed
            .into_iter()
            .flatten()
            .filter(|armed| (armed.object, armed.hook) == (me, hook))
            .map(|armed| armed.action)
            .collect();
        if actions.contains(&Action::Panic) {
            // Without the panic hook, which would print it.
            std::panic::resume_unwind(Box::new(format!("armed, in {hook:?}")));
        }
        for action in actions {
            match action {
                Action::Detach { container, sub } => {
                    if let Err(error) = self.detach(container, sub) {
                        self.refused(&error);
                    }
                }
                Action::Unparent(other) => self.unparent_in_hook(other),
                Action::Panic => {}
            }
        }
        self.close_own(me, hook);
        if hook == Hook::Unrealize {
            self.leave_foreign_containers(me);
        }
    }

    fn unparent_in_hook(&self, other: Id) {
        let Some(Ok(object)) = self.actor(other).map(|actor| actor.pointer()) else {
            return;
        };
        if let Err(error) = object.unparent() {
            self.refused(&error);
        }
        self.set().leaving.push(other);
    }

    /// What the author of a device closes in a hook. All of it may be closed already, by the withdrawal: that is fine.
    fn close_own(&self, me: Id, hook: Hook) {
        let when = match hook {
            Hook::Unrealize => Release::Unrealize,
            Hook::Finalize => Release::Finalize,
        };
        let (maps, spaces) = {
            let set = self.set();
            (set.maps.clone(), set.spaces.clone())
        };
        for mapped in maps.into_iter().flatten().rev() {
            if mapped.holder == me && mapped.release == when {
                let _ended_before = mapped.mapping.unmap_shared(0);
            }
        }
        for opened in spaces.into_iter().flatten().rev() {
            if opened.holder == me && opened.release == when {
                opened.space.close();
            }
        }
    }

    /// The bus takes a device's regions out of its own containers at unrealize, as PCI and sysbus code does.
    fn leave_foreign_containers(&self, me: Id) {
        let (actors, owners) = {
            let set = self.set();
            (set.actors.clone(), set.owners)
        };
        for (actor, owner) in actors.iter().zip(owners) {
            let Some(Ok(object)) = actor
                .as_ref()
                .filter(|_| owner == Some(me))
                .map(Actor::shown)
            else {
                continue;
            };
            let left = region(&object).and_then(|sub| {
                let Ok(Some(container)) = sub.contained_in() else {
                    return Ok(());
                };
                let foreign = container
                    .pointer()
                    .ok()
                    .and_then(|c| Some(c.instance::<Region>()?.owner().id() != sub.owner().id()));
                if foreign == Some(true) {
                    return container.del_subregion(sub);
                }
                Ok(())
            });
            if let Err(error) = left {
                self.refused(&error);
            }
        }
    }
}

/// The region that an object is.
///
/// # Errors
///
/// It is none.
pub(crate) fn region(object: &Object) -> Result<&Region, memory::RegionError> {
    object
        .instance::<Region>()
        .ok_or_else(|| memory::RegionError::WrongKind {
            region: object.describe(),
            wanted: "region",
        })
}
