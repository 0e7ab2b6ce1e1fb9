//! The tracing collector: what no root reaches is finalized, in no particular order: here in that in which it was made, so that an owner comes before a
//! region that goes with it. A collector may take any order; that it may take this one is what the model has to show.

use crate::policy::End;
use crate::run::{Event, Run};
use crate::state::{
    Action, Faults, Hook, Id, Kind, MAPS, Mapping, Release, SPACES, Space, State, flag,
};
use crate::step::Outcome;

impl Run<'_> {
    /// Collects once.
    pub(crate) fn collect(&mut self) -> Outcome {
        if self.r.end != End::Collector {
            return Outcome::Nothing;
        }
        let reached = self.reached();
        let batch = State::ids()
            .filter(|id| self.made(*id) && self.s.object(*id).is_alive() && reached & id.bit() == 0)
            .fold(0, |batch, id| batch | id.bit());
        if batch == 0 {
            return Outcome::Nothing;
        }
        let members = || State::ids().filter(move |id| batch & id.bit() != 0);
        for id in members() {
            self.collect_one(id, batch);
        }
        for id in members() {
            self.forget_edges(id);
            self.object(id).flags |= flag::FINALIZING;
            self.object(id).count = 0;
            self.finalized(id);
        }
        self.update_views();
        Outcome::Done
    }

    /// Runs what a finalizer does, and notes where it touches another member of its batch.
    fn collect_one(&mut self, id: Id, batch: u16) {
        let meets = |other: Id| other.is_object() && other != id && batch & other.bit() != 0;
        let mut met = None;
        let panics = self.s.hooks.iter().flatten().any(|armed| {
            (armed.object, armed.hook, armed.action) == (id, Hook::Finalize, Action::Panic)
        });
        if panics {
            return;
        }
        for armed in self
            .s
            .hooks
            .iter()
            .flatten()
            .filter(|armed| (armed.object, armed.hook) == (id, Hook::Finalize))
        {
            if let Action::Detach { container, sub } = armed.action {
                met = met.or([container, sub].into_iter().find(|other| meets(*other)));
            }
        }
        for map in self
            .s
            .maps
            .iter()
            .filter(|map| map.holder == id && map.release == Release::Finalize)
        {
            met = met.or(Some(map.region).filter(|other| meets(*other)));
        }
        for space in
            self.s.spaces.iter().filter(|space| {
                space.open && space.holder == id && space.release == Release::Finalize
            })
        {
            met = met.or(Some(space.root).filter(|other| meets(*other)));
        }
        if let Some(other) = met {
            self.fault(
                Faults::USE_AFTER_FINALIZE,
                other,
                "touched by a finalizer of the same collection",
            );
            return;
        }
        self.run_hook(id, Hook::Finalize);
    }

    fn forget_edges(&mut self, id: Id) {
        self.drop_links(id);
        for other in State::ids() {
            if self.s.object(other).container == id {
                self.object(other).container = Id::NONE;
            }
        }
        self.object(id).container = Id::NONE;
        self.object(id).parent = Id::NONE;
        for map in 0..MAPS {
            let was = self.s.maps[map];
            if was.holder == id {
                self.s.maps[map] = Mapping::EMPTY;
                if was.is_open() {
                    self.note(Event::Unmapped(u8::try_from(map).unwrap_or(0)));
                }
            }
        }
        for space in 0..SPACES {
            let Space {
                holder, open, view, ..
            } = self.s.spaces[space];
            if holder == id {
                self.s.spaces[space] = Space::EMPTY;
                if open {
                    self.note_closed(u8::try_from(space).unwrap_or(0), view);
                }
            }
        }
    }

    /// What the roots reach: the tree, user handles, what the machine has open, transfers, and what readers may still be at.
    fn reached(&self) -> u16 {
        let mut reached = self.s.retired;
        let add = |mask: &mut u16, id: Id| {
            if id.is_object() {
                *mask |= id.bit();
            }
        };
        for id in State::ids().filter(|id| self.made(*id)) {
            if self.s.object(id).users > 0 || self.s.object(id).parent == Id::MACHINE {
                add(&mut reached, id);
            }
        }
        for region in self.s.pins {
            add(&mut reached, region);
        }
        loop {
            let before = reached;
            for id in State::ids().filter(|id| self.made(*id)) {
                let object = self.s.object(id);
                if reached & id.bit() != 0 {
                    if object.kind != Kind::Empty {
                        add(&mut reached, object.owner);
                        add(&mut reached, object.alias);
                        add(&mut reached, object.storage);
                    }
                } else if [object.parent, object.container]
                    .into_iter()
                    .any(|by| by.is_object() && reached & by.bit() != 0)
                {
                    add(&mut reached, id);
                }
            }
            let holds = |mask: u16, holder: Id| !holder.is_object() || mask & holder.bit() != 0;
            for map in self.s.maps.iter().filter(|map| map.is_open()) {
                // A completion is on its way, whoever asked for it.
                if map.release == Release::Completion || holds(reached, map.holder) {
                    add(&mut reached, map.region);
                }
            }
            for space in self.s.spaces.iter().filter(|space| space.open) {
                if holds(reached, space.holder) {
                    add(&mut reached, space.root);
                    reached |= space.view;
                }
            }
            for link in &self.s.links {
                if link.from.is_object() && reached & link.from.bit() != 0 {
                    add(&mut reached, link.to);
                }
            }
            if reached == before {
                return reached;
            }
        }
    }
}
