//! What all policies share: references, hooks, grace periods, and the check of what can still be reached.

use crate::policy::{Counted, End, Rule, Rules};
use crate::state::{
    Action, Armed, Faults, Hook, Id, Kind, Mapping, Object, Release, Space, State, flag,
};
use crate::step::{Outcome, Refusal};

/// What happened inside a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// An object was unrealized.
    Unrealized(Id),
    /// An object was withdrawn.
    Withdrawn(Id),
    /// The code of a hook of the object's began.
    Began(Hook, Id),
    /// A region left a container.
    Left {
        /// The region.
        sub: Id,
        /// The container.
        container: Id,
    },
    /// A region was to leave a container that a withdrawal had taken it out of.
    WasOut {
        /// The region.
        sub: Id,
        /// The container.
        container: Id,
    },
    /// An address space was opened in somebody's name.
    Opened {
        /// Its number.
        space: u8,
        /// Whose name.
        holder: Id,
    },
    /// An address space shows a region from now on.
    Shown {
        /// The space's number.
        space: u8,
        /// The region.
        region: Id,
    },
    /// And shows it no more. Readers may be at it until a grace period has ended.
    Hidden {
        /// The space's number.
        space: u8,
        /// The region.
        region: Id,
    },
    /// An address space was closed: it shows nothing, and nothing leads into it.
    Closed(u8),
    /// A region was mapped.
    Mapped {
        /// The mapping's number.
        map: u8,
        /// The region.
        region: Id,
    },
    /// A mapping was closed. Readers may be at what was mapped until a grace period has ended.
    Unmapped(u8),
    /// A grace period ended: whoever was reading before it has left.
    Grace,
    /// A finalizer ended.
    Finalized(Id),
    /// Something went wrong with an object.
    Fault(Faults, Id, &'static str),
    /// A call was refused, of the step itself or of code in a hook.
    Refused(Refusal),
}

/// One step in progress.
pub(crate) struct Run<'a> {
    pub(crate) s: &'a mut State,
    pub(crate) r: &'a Rules,
    pub(crate) log: Option<&'a mut Vec<Event>>,
}

impl Run<'_> {
    pub(crate) fn note(&mut self, event: Event) {
        if let Some(log) = &mut self.log {
            log.push(event);
        }
    }

    pub(crate) fn object(&mut self, id: Id) -> &mut Object {
        &mut self.s.objects[id.index()]
    }

    pub(crate) fn made(&self, id: Id) -> bool {
        id.is_object() && self.s.object(id).kind != Kind::Empty
    }

    /// Withdrawn or finalized.
    pub(crate) fn is_gone(&self, id: Id) -> bool {
        id.is_object() && self.s.object(id).flags & (flag::WITHDRAWN | flag::FINALIZED) != 0
    }

    /// After an abort nothing runs.
    pub(crate) fn is_dead(&self) -> bool {
        self.s.faults.has(Faults::ABORT)
    }

    pub(crate) fn fault(&mut self, fault: Faults, id: Id, what: &'static str) {
        self.s.faults.0 |= fault.0;
        self.note(Event::Fault(fault, id, what));
    }

    /// Uses an object, which shows whether it is still there.
    pub(crate) fn touch(&mut self, id: Id, what: &'static str) {
        if !id.is_object() || self.is_dead() {
            return;
        }
        if self.s.object(id).is(flag::FREED) {
            self.fault(Faults::USE_AFTER_FREE, id, what);
        } else if self.s.object(id).is(flag::FINALIZED) {
            self.fault(Faults::USE_AFTER_FINALIZE, id, what);
        }
    }

    /// What a reference to a region is counted on.
    pub(crate) fn target(&self, region: Id) -> Id {
        target(self.s, self.r, region)
    }

    /// A finalizer has ended. Those of the object's regions should have ended before: whichever has not outlives its owner.
    pub(crate) fn finalized(&mut self, id: Id) {
        self.object(id).flags |= flag::FINALIZED;
        let outlives =
            |region: &Id| self.s.object(*region).owner == id && self.s.object(*region).is_alive();
        let outlived = State::ids()
            .filter(outlives)
            .fold(0, |mask, region| mask | region.bit());
        self.s.outlived |= outlived;
        self.note(Event::Finalized(id));
    }

    /// Takes a count on an object.
    pub(crate) fn reference(&mut self, id: Id) {
        if !id.is_object() || self.is_dead() {
            return;
        }
        self.touch(id, "referenced");
        self.object(id).count += 1;
    }

    /// Drops a count, and the object with the last one where the policy ends objects so.
    pub(crate) fn release(&mut self, id: Id) {
        if !id.is_object() || self.is_dead() {
            return;
        }
        if self.s.object(id).is(flag::FREED) {
            self.fault(Faults::USE_AFTER_FREE, id, "released");
            return;
        }
        if self.s.object(id).count == 0 {
            self.fault(Faults::ABORT, id, "released more often than referenced");
            return;
        }
        self.object(id).count -= 1;
        if self.s.object(id).count == 0 && self.r.end == End::Count {
            self.finalize_counted(id);
        }
    }

    /// Drops a user handle.
    pub(crate) fn drop_handle(&mut self, id: Id) {
        self.object(id).users -= 1;
        let object = self.s.object(id);
        if object.users == 0 && object.parent == Id::NONE && self.r.has(Rule::WithdrawUnparented) {
            self.withdraw(id);
        }
        self.release(id);
    }

    /// Takes an object out of the tree, by the policy's way.
    pub(crate) fn unparent(&mut self, id: Id) {
        match self.r.end {
            End::Count | End::Collector => self.delete_child(id),
            End::Withdrawal(_) => self.withdraw(id),
        }
    }

    /// Unrealizes a device that is realized; false where its hook panicked.
    pub(crate) fn unrealize(&mut self, id: Id) -> bool {
        if !self.s.object(id).is(flag::REALIZED) {
            return true;
        }
        self.object(id).flags &= !flag::REALIZED;
        self.note(Event::Unrealized(id));
        self.run_hook(id, Hook::Unrealize)
    }

    /// Runs the code of a hook; false where it panicked, which it does before anything else: the worst that it can do.
    pub(crate) fn run_hook(&mut self, id: Id, hook: Hook) -> bool {
        if matches!(self.s.object(id).kind, Kind::Device | Kind::Plain) {
            self.note(Event::Began(hook, id));
        }
        let armed = |action: Action| {
            Some(Armed {
                object: id,
                hook,
                action,
            })
        };
        if self.s.hooks.contains(&armed(Action::Panic)) {
            return false;
        }
        for entry in self
            .s
            .hooks
            .into_iter()
            .flatten()
            .filter(|entry| (entry.object, entry.hook) == (id, hook))
        {
            match entry.action {
                Action::Detach { container, sub } => {
                    if let Outcome::Refused(refusal) = self.detach(container, sub) {
                        self.note(Event::Refused(refusal));
                    }
                }
                Action::Unparent(other) => {
                    if self.s.object(other).parent != Id::NONE {
                        self.unparent(other);
                    }
                }
                Action::Panic => {}
            }
        }
        let release = match hook {
            Hook::Unrealize => Release::Unrealize,
            Hook::Finalize => Release::Finalize,
        };
        self.close_all(id, Some(release));
        if hook == Hook::Unrealize {
            self.leave_foreign_containers(id);
        }
        true
    }

    /// Closes what is open in a name: what the holder's own code closes at that point, or everything.
    pub(crate) fn close_all(&mut self, holder: Id, release: Option<Release>) {
        for index in (0..self.s.maps.len()).rev() {
            let Mapping {
                holder: whose,
                release: when,
                ..
            } = self.s.maps[index];
            if self.s.maps[index].is_open()
                && whose == holder
                && release.is_none_or(|release| release == when)
            {
                self.unmap(u8::try_from(index).unwrap_or(0));
            }
        }
        for index in (0..self.s.spaces.len()).rev() {
            let Space {
                open,
                holder: whose,
                release: when,
                ..
            } = self.s.spaces[index];
            if open && whose == holder && release.is_none_or(|release| release == when) {
                self.close(u8::try_from(index).unwrap_or(0));
            }
        }
    }

    /// The bus takes a device's regions out of its own containers at unrealize, as PCI and sysbus code does.
    fn leave_foreign_containers(&mut self, id: Id) {
        for region in State::ids() {
            let Object {
                owner, container, ..
            } = *self.s.object(region);
            if owner == id && container.is_object() && self.s.object(container).owner != id {
                self.detach(container, region);
            }
        }
    }

    /// Retires the count on a region: readers may be at it until a grace period has passed.
    pub(crate) fn retire(&mut self, region: Id) {
        if !region.is_object() || self.is_dead() {
            return;
        }
        let at_once = self.r.withdrawal().is_some() && !self.r.has(Rule::GraceBeforeLettingGo);
        let twice = self.s.retired & region.bit() != 0;
        self.s.retired |= region.bit();
        if at_once || twice {
            let target = self.target(region);
            self.release(target);
        }
    }

    /// Takes the count on a region for a view: one that was retired and is not let go yet, or a new one.
    pub(crate) fn show(&mut self, region: Id) {
        let at_once = self.r.withdrawal().is_some() && !self.r.has(Rule::GraceBeforeLettingGo);
        if self.s.retired & region.bit() != 0 && !at_once {
            self.s.retired &= !region.bit();
            return;
        }
        let target = self.target(region);
        self.reference(target);
    }

    /// A grace period ends.
    pub(crate) fn grace(&mut self) -> Outcome {
        let retired = std::mem::take(&mut self.s.retired);
        let mut changed = retired != 0;
        for space in &mut self.s.spaces {
            changed |= space.dying;
            if space.dying {
                *space = Space::EMPTY;
            }
        }
        if changed {
            self.note(Event::Grace);
        }
        let at_once = self.r.withdrawal().is_some() && !self.r.has(Rule::GraceBeforeLettingGo);
        if !at_once {
            for region in members(retired) {
                let target = self.target(region);
                self.release(target);
            }
        }
        if changed {
            Outcome::Done
        } else {
            Outcome::Nothing
        }
    }

    /// Everything that a reader, a transfer, a mapping or a listener can get at must be there, and its owner, whose callbacks run.
    pub(crate) fn check_reachable(&mut self) {
        if self.is_dead() {
            return;
        }
        if self
            .s
            .objects
            .iter()
            .all(|object| !object.is(flag::FINALIZED))
        {
            return;
        }
        let mut reach = self.s.retired;
        for space in &self.s.spaces {
            reach |= space.view;
        }
        let maps = self.s.maps.iter().map(|map| map.region);
        for region in maps.chain(self.s.pins).filter(|id| id.is_object()) {
            reach |= region.bit();
        }
        for region in members(reach) {
            self.touch(region, "still within reach");
            let owner = self.s.object(region).owner;
            if owner.is_object() && owner != region && !self.s.object(region).is(flag::FINALIZED) {
                self.touch(owner, "whose region is still within reach");
            }
        }
    }
}

/// The objects of a mask.
pub(crate) fn members(mut mask: u16) -> impl Iterator<Item = Id> {
    std::iter::from_fn(move || {
        let next = u8::try_from(mask.trailing_zeros())
            .ok()
            .filter(|_| mask != 0)?;
        mask &= mask - 1;
        Some(Id(next))
    })
}

/// What a reference to a region is counted on, under a policy.
pub(crate) fn target(state: &State, rules: &Rules, region: Id) -> Id {
    let owner = state.object(region).owner;
    match rules.counted {
        Counted::Owner => owner,
        Counted::Region if owner != Id::NONE => region,
        Counted::Region | Counted::Nothing => Id::NONE,
    }
}
