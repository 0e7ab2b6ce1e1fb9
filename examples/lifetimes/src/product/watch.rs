//! The order in which things happen on the crates: what nobody is called for is seen before the next thing that somebody is called for.
//!
//! A hook and a finalizer are calls. That an object is marked, that an address space shows a region no more, or that it is closed, is not: so before any call is noted
//! it is looked whether that has happened, and noted first. Between two notes no scenario has code of its own, so that each stands where it belongs; only what happens between the
//! same two calls is in an order of the look: marks, the ends of mappings, then what spaces show no more and their ends, then what they show.
//!
//! All of it goes to a [`Checker`](crate::checker::Checker) as it is noted. A world that nobody looks at step by step has no time for it, and checks
//! the finalizers alone.

use super::stage::{Actor, Happened, Set, Stage, Wrong};
use crate::checker::Broken;
use crate::run::{Event, members};
use crate::state::{Id, MAPS, OBJECTS, SPACES, State};

impl Stage {
    /// Notes whatever has happened since the last look that nobody was called for.
    pub(crate) fn observe(&self) {
        if !self.is_watched() {
            return;
        }
        let (actors, spaces, maps) = {
            let set = self.set();
            (set.actors.clone(), set.spaces.clone(), set.maps.clone())
        };
        let is_marked = |actor: &Actor| actor.pointer().is_ok_and(|object| object.is_withdrawn());
        let marked = mask(|id| actors[id.index()].as_ref().is_some_and(is_marked));
        let mut views = [None; SPACES];
        for (view, opened) in views.iter_mut().zip(&spaces) {
            let Some(opened) = opened.as_ref().filter(|opened| !opened.space.is_closed()) else {
                continue;
            };
            let guard = opened.space.enter();
            let mut shown = 0;
            for (_, leaf) in guard.view().ranges() {
                let region = leaf.region().map(qom::Object::id);
                shown |= mask(|id| {
                    let actor = actors[id.index()].as_ref();
                    actor.is_some_and(|actor| Some(actor.id) == region)
                });
            }
            *view = Some(shown);
        }
        let maps = maps.map(|mapped| mapped.is_some_and(|mapped| mapped.mapping.is_open()));
        self.set().see(marked, views, maps);
    }
}

/// The objects of which something is true.
fn mask(mut is: impl FnMut(Id) -> bool) -> u16 {
    let all = State::ids().filter(|id| is(*id));
    all.fold(0, |mask, id| mask | id.bit())
}

impl Set {
    /// What is so now: who is marked, what each address space shows that is open, which mappings are open.
    fn see(&mut self, marked: u16, views: [Option<u16>; SPACES], maps: [bool; MAPS]) {
        for id in members(marked & !self.marked) {
            self.push(Happened::Did(Event::Withdrawn(id)));
        }
        self.marked |= marked;
        for (at, is_open) in maps.into_iter().enumerate() {
            if self.checker.is_mapped(at) && !is_open {
                let map = u8::try_from(at).unwrap_or(0);
                self.push(Happened::Did(Event::Unmapped(map)));
            }
        }
        for (at, view) in views.into_iter().enumerate() {
            let (was_open, shown) = (self.checker.is_open(at), self.checker.shown_by(at));
            let space = u8::try_from(at).unwrap_or(0);
            for region in members(shown & !view.unwrap_or(0)) {
                self.push(Happened::Did(Event::Hidden { space, region }));
            }
            if was_open && view.is_none() {
                self.push(Happened::Did(Event::Closed(space)));
            }
            // What was opened is noted by whoever opened it.
            for region in members(view.unwrap_or(0) & !shown).filter(|_| was_open) {
                self.push(Happened::Did(Event::Shown { space, region }));
            }
        }
    }

    /// Adds to the log, and tells the checker.
    pub(crate) fn push(&mut self, happened: Happened) {
        if let Happened::Did(event) = happened {
            let mut owners: [Option<Id>; OBJECTS] = self.owners;
            for (owner, actor) in owners.iter_mut().zip(&self.actors) {
                // It may be one that is made later.
                *owner = owner.filter(|_| actor.is_some());
            }
            self.checker.tell(event, &owners);
        }
        self.log.push(happened);
    }

    /// The promise about the order of ends that was broken first: what it comes to, and in words.
    pub(crate) fn broken_order(&self) -> Option<(Wrong, String)> {
        let broken = self.checker.broken()?;
        let wrong = match broken {
            Broken::Twice(_) => Wrong::Twice,
            Broken::OwnerFirst { .. } => Wrong::Order,
            Broken::InReach(_) | Broken::ShownByClosed { .. } => Wrong::UseAfterFinalize,
            Broken::HolderFirst { .. } => Wrong::Orphan,
        };
        Some((wrong, broken.show(|id| self.name(id))))
    }
}
