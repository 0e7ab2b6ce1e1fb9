//! Withdrawal, step by step, and the executor's finalizers.
//!
//! 0. mark: the subtree is marked, and every region in it holds its owner;
//! 1. retract: regions leave containers, aliases to them become holes, address spaces rooted at them empty, mappings of them close;
//! 2. close: object by object, children before parents and younger siblings first: unrealize, what is open in its name, links;
//! 3. release: the tree edges go.
//!
//! Each rule is asked for by its name ([`Rule`]), so that a test can switch it off.

use crate::policy::{OwnerEdge, Rule};
use crate::run::{Event, Run};
use crate::state::{Hook, Id, Mapping, OBJECTS, Object, State, flag};
use crate::step::Outcome;

impl Run<'_> {
    /// Withdraws an object and all below it; once.
    pub(crate) fn withdraw(&mut self, top: Id) {
        if self.s.object(top).is(flag::WITHDRAWN) {
            return;
        }
        let mut subtree = [Id::NONE; OBJECTS];
        let mut len = 0;
        for id in State::ids() {
            if self.s.object(id).is_alive() && !self.is_gone(id) && self.s.is_below(id, top) {
                subtree[len] = id;
                len += 1;
            }
        }
        let subtree = &mut subtree[..len];
        self.mark(subtree);
        self.retract(subtree);
        subtree.sort_unstable_by_key(|id| std::cmp::Reverse((self.depth(*id), *id)));
        for id in subtree.iter().copied() {
            let panicked = !self.unrealize(id);
            if panicked && !self.r.has(Rule::CatchPanics) {
                return;
            }
            if self.r.has(Rule::CloseOpened) {
                self.close_all(id, None);
            }
            if self.r.has(Rule::CutLinks) {
                self.drop_links(id);
            }
        }
        for id in subtree.iter().copied() {
            if std::mem::replace(&mut self.object(id).parent, Id::NONE) != Id::NONE {
                self.release(id);
            }
        }
    }

    fn depth(&self, id: Id) -> usize {
        let parent = self.s.object(id).parent;
        if parent.is_object() {
            1 + self.depth(parent)
        } else {
            0
        }
    }

    fn mark(&mut self, subtree: &[Id]) {
        for id in subtree.iter().copied() {
            self.object(id).flags |= flag::WITHDRAWN;
            self.note(Event::Withdrawn(id));
            let Object { kind, owner, .. } = *self.s.object(id);
            let holds = self.r.owner_edge == OwnerEdge::FromWithdrawal
                && self.r.has(Rule::OwnerBecomesStrong);
            if kind.is_region() && owner.is_object() && holds {
                self.reference(owner);
                self.object(id).flags |= flag::HOLDS_OWNER;
            }
        }
    }

    fn retract(&mut self, subtree: &[Id]) {
        for region in subtree.iter().copied() {
            if !self.s.object(region).kind.is_region() {
                continue;
            }
            if self.r.has(Rule::RetractContainers) {
                if self.s.object(region).container.is_object() {
                    self.take_out(region);
                }
                for sub in State::ids() {
                    if self.s.object(sub).container == region {
                        self.take_out(sub);
                    }
                }
            }
            if self.r.has(Rule::RetractAliases) {
                self.cut_alias(region);
                for alias in State::ids() {
                    if self.s.object(alias).alias == region {
                        self.cut_alias(alias);
                    }
                }
            }
            if self.r.has(Rule::RetractSpaces) {
                for index in 0..self.s.spaces.len() {
                    if self.s.spaces[index].open && self.s.spaces[index].root == region {
                        self.s.spaces[index].root = Id::NONE;
                        self.release(region);
                    }
                }
            }
            if self.r.has(Rule::RetractMappings) {
                for index in 0..self.s.maps.len() {
                    if self.s.maps[index].region == region {
                        self.s.maps[index] = Mapping::EMPTY;
                        self.note(Event::Unmapped(u8::try_from(index).unwrap_or(0)));
                        self.retire(region);
                    }
                }
            }
        }
        self.update_views();
    }

    fn cut_alias(&mut self, alias: Id) {
        if self.s.object(alias).alias.is_object() {
            let to = std::mem::replace(&mut self.object(alias).alias, Id::HOLE);
            self.release(to);
        }
    }

    /// The executor runs one finalizer; any object that nothing holds may be the next.
    pub(crate) fn finalize_queued(&mut self, id: Id) -> Outcome {
        let object = self.s.object(id);
        if self.r.withdrawal().is_none() || object.count != 0 || !object.is_alive() {
            return Outcome::Nothing;
        }
        self.object(id).flags |= flag::FINALIZING;
        self.run_hook(id, Hook::Finalize);
        // What is left of its edges; all of them are gone already unless a rule is switched off.
        self.drop_links(id);
        for child in State::ids() {
            if self.s.object(child).parent == id {
                self.object(child).parent = Id::NONE;
                self.release(child);
            }
            if self.s.object(child).container == id {
                self.take_out(child);
            }
        }
        self.cut_alias(id);
        self.finalized(id);
        if self.s.object(id).is(flag::HOLDS_OWNER) {
            self.object(id).flags &= !flag::HOLDS_OWNER;
            let owner = self.s.object(id).owner;
            self.release(owner);
        }
        Outcome::Done
    }
}
