//! Containers, aliases, address spaces, views, listeners, mappings and transfers: what each takes a reference on, and when it lets go.

use crate::policy::{Rule, Rules, SameOwner};
use crate::run::{Event, Run, members, target};
use crate::state::{Faults, Id, Kind, Mapping, OBJECTS, Release, Space, State, flag};
use crate::step::{Outcome, Refusal, refuses_during_init};

/// What a container counts for a subregion, under a policy.
pub(crate) fn subregion_target(state: &State, rules: &Rules, container: Id, sub: Id) -> Id {
    let owner = state.object(sub).owner;
    if owner.is_object() && state.object(container).owner == owner {
        match rules.same_owner {
            SameOwner::AsAnyOther => {}
            SameOwner::Nothing => return Id::NONE,
            SameOwner::Subregion => return sub,
        }
    }
    target(state, rules, sub)
}

impl Run<'_> {
    /// Whether the region, or the object that it belongs to, is withdrawn or gone.
    pub(crate) fn refuses(&self, parties: [Id; 2]) -> bool {
        self.r.has(Rule::RefuseWithdrawn) && parties.into_iter().any(|id| self.is_gone(id))
    }

    fn is_in_init(&self, id: Id) -> bool {
        let mut at = id;
        while at.is_object() {
            if self.s.object(at).is(flag::IN_INIT) {
                return refuses_during_init(self.r);
            }
            at = self.s.object(at).parent;
        }
        false
    }

    pub(crate) fn nest(&mut self, container: Id, sub: Id) -> Outcome {
        if !self.made(container) || !self.made(sub) {
            return Outcome::Nothing;
        }
        if self.refuses([container, sub]) {
            return Outcome::Refused(Refusal::Withdrawn);
        }
        let own = self.s.object(container).owner == self.s.object(sub).owner;
        if !own && (self.is_in_init(sub) || self.is_in_init(container)) {
            return Outcome::Refused(Refusal::DuringInit);
        }
        if self.r.withdrawal().is_some() && self.s.object(sub).container.is_object() {
            return Outcome::Refused(Refusal::Contained);
        }
        self.touch(container, "takes a subregion");
        self.touch(sub, "joins a container");
        if self.s.object(sub).container.is_object() {
            self.fault(Faults::ABORT, sub, "joins a second container");
            return Outcome::Done;
        }
        let counted = subregion_target(self.s, self.r, container, sub);
        self.reference(counted);
        self.object(sub).container = container;
        self.update_views();
        Outcome::Done
    }

    pub(crate) fn detach(&mut self, container: Id, sub: Id) -> Outcome {
        if self.is_dead() || !self.made(container) || !self.made(sub) {
            return Outcome::Nothing;
        }
        if self.r.withdrawal().is_some() && self.s.object(sub).container != container {
            // Taking out what a withdrawal took out is done already, whether its finalizer has run by now or not.
            return if self.is_gone(sub) || self.is_gone(container) {
                self.note(Event::WasOut { sub, container });
                Outcome::Nothing
            } else {
                Outcome::Refused(Refusal::NotContained)
            };
        }
        self.touch(container, "loses a subregion");
        self.touch(sub, "leaves its container");
        if self.s.object(sub).container != container {
            self.fault(Faults::ABORT, sub, "leaves a container that it is not in");
            return Outcome::Done;
        }
        self.take_out(sub);
        self.update_views();
        Outcome::Done
    }

    /// Ends the edge from a container, without rendering.
    pub(crate) fn take_out(&mut self, sub: Id) {
        let container = std::mem::replace(&mut self.object(sub).container, Id::NONE);
        self.note(Event::Left { sub, container });
        let counted = subregion_target(self.s, self.r, container, sub);
        self.release(counted);
    }

    pub(crate) fn set_alias(&mut self, alias: Id, to: Id) -> Outcome {
        if !self.made(alias) || !self.made(to) {
            return Outcome::Nothing;
        }
        if self.refuses([alias, to]) {
            return Outcome::Refused(Refusal::Withdrawn);
        }
        self.touch(to, "shown by an alias");
        self.object(alias).alias = to;
        if self.r.withdrawal().is_some() {
            self.reference(to);
        }
        self.update_views();
        Outcome::Done
    }

    pub(crate) fn open(&mut self, space: u8, root: Id, holder: Id, release: Release) -> Outcome {
        if !self.made(root) || (holder.is_object() && !self.made(holder)) {
            return Outcome::Nothing;
        }
        if self.refuses([root, holder]) {
            return Outcome::Refused(Refusal::Withdrawn);
        }
        if self.is_in_init(holder) || self.is_in_init(root) {
            return Outcome::Refused(Refusal::DuringInit);
        }
        self.touch(root, "becomes a root");
        let counted = self.target(root);
        self.reference(counted);
        self.s.spaces[usize::from(space)] = Space {
            open: true,
            root,
            holder,
            release,
            ..Space::EMPTY
        };
        self.note(Event::Opened { space, holder });
        self.update_views();
        Outcome::Done
    }

    /// Closes an address space: the view is let go after a grace period, and so is the root, but under withdrawal: there the root is
    /// what the view is made from, and only the leaves are what a reader can be at.
    pub(crate) fn close(&mut self, space: u8) -> Outcome {
        let Space {
            open,
            root,
            view,
            listens,
            ..
        } = self.s.spaces[usize::from(space)];
        if !open || self.is_dead() {
            return Outcome::Nothing;
        }
        if listens {
            if self.r.withdrawal().is_none() {
                self.fault(
                    Faults::ABORT,
                    root,
                    "destroyed while a listener is registered",
                );
                return Outcome::Done;
            }
            self.unlisten(space);
        }
        let slot = &mut self.s.spaces[usize::from(space)];
        (slot.open, slot.view, slot.dying) = (false, 0, true);
        self.note_closed(space, view);
        for leaf in members(view) {
            self.retire(leaf);
        }
        if self.r.withdrawal().is_some() {
            self.release(root);
        } else {
            self.retire(root);
        }
        Outcome::Done
    }

    /// An address space that showed these ends.
    pub(crate) fn note_closed(&mut self, space: u8, view: u16) {
        for region in members(view) {
            self.note(Event::Hidden { space, region });
        }
        self.note(Event::Closed(space));
    }

    /// The queued end of an address space is overwritten: the count on its root is never dropped, and nobody is there to drop it.
    pub(crate) fn lose_root(&mut self, space: u8) {
        let root = std::mem::replace(&mut self.s.spaces[usize::from(space)], Space::EMPTY).root;
        if root.is_object() {
            self.s.retired &= !root.bit();
        }
    }

    pub(crate) fn listen(&mut self, space: u8) -> Outcome {
        let Space {
            open,
            view,
            listens,
            ..
        } = self.s.spaces[usize::from(space)];
        if !open || listens {
            return Outcome::Nothing;
        }
        self.s.spaces[usize::from(space)].listens = true;
        for leaf in members(view) {
            let counted = self.target(leaf);
            self.reference(counted);
        }
        Outcome::Done
    }

    pub(crate) fn unlisten(&mut self, space: u8) -> Outcome {
        let Space { view, listens, .. } = self.s.spaces[usize::from(space)];
        if !listens {
            return Outcome::Nothing;
        }
        self.s.spaces[usize::from(space)].listens = false;
        for leaf in members(view) {
            let counted = self.target(leaf);
            self.release(counted);
        }
        Outcome::Done
    }

    pub(crate) fn map(&mut self, map: u8, mapping: Mapping) -> Outcome {
        let Mapping { region, holder, .. } = mapping;
        if !self.made(region) || (holder.is_object() && !self.made(holder)) {
            return Outcome::Nothing;
        }
        if self.refuses([region, holder]) {
            return Outcome::Refused(Refusal::Withdrawn);
        }
        if self.is_in_init(holder) || self.is_in_init(region) {
            return Outcome::Refused(Refusal::DuringInit);
        }
        self.touch(region, "mapped");
        let counted = self.target(region);
        self.reference(counted);
        self.s.maps[usize::from(map)] = mapping;
        self.note(Event::Mapped { map, region });
        Outcome::Done
    }

    /// Closes a mapping: at once where the policy counts so, after a grace period under withdrawal, whose mappings are read in sections.
    pub(crate) fn unmap(&mut self, map: u8) -> Outcome {
        let Mapping { region, .. } = self.s.maps[usize::from(map)];
        if !region.is_object() || self.is_dead() {
            return Outcome::Nothing;
        }
        self.s.maps[usize::from(map)] = Mapping::EMPTY;
        self.note(Event::Unmapped(map));
        if self.r.withdrawal().is_some() {
            self.retire(region);
        } else {
            self.touch(region, "unmapped");
            let counted = self.target(region);
            self.release(counted);
        }
        Outcome::Done
    }

    pub(crate) fn pin(&mut self, pin: u8, region: Id, holder: Id) -> Outcome {
        if !self.made(region) || (holder.is_object() && !self.made(holder)) {
            return Outcome::Nothing;
        }
        if self.refuses([region, holder]) {
            return Outcome::Refused(Refusal::Withdrawn);
        }
        self.touch(region, "pinned");
        let counted = self.target(region);
        self.reference(counted);
        self.s.pins[usize::from(pin)] = region;
        self.s.pin_holders[usize::from(pin)] = holder;
        Outcome::Done
    }

    pub(crate) fn complete(&mut self, pin: u8) -> Outcome {
        let region = std::mem::replace(&mut self.s.pins[usize::from(pin)], Id::NONE);
        self.s.pin_holders[usize::from(pin)] = Id::NONE;
        if !region.is_object() {
            return Outcome::Nothing;
        }
        self.touch(region, "completed");
        let counted = self.target(region);
        self.release(counted);
        Outcome::Done
    }

    /// Renders every open address space, and exchanges the counts of leaves that came and went.
    pub(crate) fn update_views(&mut self) {
        for index in 0..self.s.spaces.len() {
            let Space {
                open,
                root,
                view: old,
                listens,
                ..
            } = self.s.spaces[index];
            if !open || self.is_dead() {
                continue;
            }
            let mut view = 0;
            self.render(root, 0, &mut view);
            let space = u8::try_from(index).unwrap_or(0);
            for leaf in members(view & !old) {
                self.note(Event::Shown {
                    space,
                    region: leaf,
                });
                self.show(leaf);
                if listens {
                    let counted = self.target(leaf);
                    self.reference(counted);
                }
            }
            self.s.spaces[index].view = view;
            for leaf in members(old & !view) {
                self.note(Event::Hidden {
                    space,
                    region: leaf,
                });
                if listens {
                    let counted = self.target(leaf);
                    self.release(counted);
                }
                self.retire(leaf);
            }
        }
    }

    fn render(&mut self, region: Id, depth: usize, view: &mut u16) {
        if !region.is_object() || depth > OBJECTS {
            return;
        }
        let object = *self.s.object(region);
        if !object.is_alive() {
            self.touch(region, "rendered");
            return;
        }
        if object.alias != Id::NONE {
            self.render(object.alias, depth + 1, view);
            return;
        }
        match object.kind {
            Kind::Container => {
                for sub in State::ids() {
                    if self.s.object(sub).container == region {
                        self.render(sub, depth + 1, view);
                    }
                }
            }
            Kind::Leaf => *view |= region.bit(),
            Kind::Empty | Kind::Device | Kind::Plain => {}
        }
    }
}
