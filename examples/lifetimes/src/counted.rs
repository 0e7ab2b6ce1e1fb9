//! How objects end by their counts alone, in QEMU's order: who drops the last count runs the finalizer, there and then.
//!
//! The order inside a finalizer is QOM's: children are deleted first, unparent callbacks and all, so that regions die before their
//! owner's own code runs; then links, the class's finalizer, the assertion that nobody revived the object, and the storage.

use crate::policy::{Counted, OwnerEdge};
use crate::run::Run;
use crate::state::{Faults, Hook, Id, Kind, Link, Object, State, flag};
use crate::step::Outcome;

impl Run<'_> {
    /// Takes an object out of the tree: the unparent callback, then the tree's count.
    pub(crate) fn delete_child(&mut self, id: Id) {
        if self.is_dead() {
            return;
        }
        self.object(id).parent = Id::NONE;
        let Object { kind, owner, .. } = *self.s.object(id);
        if kind.is_region() && self.r.owner_edge == OwnerEdge::FromUnparent && owner.is_object() {
            self.reference(owner);
            self.object(id).flags |= flag::HOLDS_OWNER;
        }
        if kind == Kind::Device {
            self.unrealize(id);
            if self.r.unparents_regions {
                for region in State::ids() {
                    if self.s.object(region).parent == id && self.s.object(region).kind.is_region()
                    {
                        self.delete_child(region);
                    }
                }
            }
        }
        self.release(id);
    }

    /// The last count is gone.
    pub(crate) fn finalize_counted(&mut self, id: Id) {
        if self.s.object(id).is(flag::FINALIZING) {
            if !self.r.finalizes_once {
                self.fault(
                    Faults::DOUBLE_FINALIZE,
                    id,
                    "finalized inside its own finalizer",
                );
            }
            return;
        }
        self.object(id).flags |= flag::FINALIZING;
        for child in State::ids() {
            if self.s.object(child).parent == id {
                self.delete_child(child);
            }
        }
        if self.s.object(id).kind.is_region() {
            self.finalize_region(id);
        }
        self.drop_links(id);
        self.run_hook(id, Hook::Finalize);
        if self.is_dead() {
            return;
        }
        self.finalized(id);
        if self.s.object(id).count != 0 {
            self.fault(Faults::ABORT, id, "is referenced when its finalizer ends");
            return;
        }
        if self.s.object(id).storage == Id::NONE {
            self.free(id);
        }
        if self.s.object(id).is(flag::HOLDS_OWNER) {
            self.object(id).flags &= !flag::HOLDS_OWNER;
            let owner = self.s.object(id).owner;
            self.release(owner);
        }
    }

    fn finalize_region(&mut self, id: Id) {
        let Object {
            owner, container, ..
        } = *self.s.object(id);
        if container.is_object() {
            if self.r.detaches_itself && self.s.object(container).owner == owner {
                self.detach(container, id);
            } else {
                self.fault(Faults::ABORT, id, "finalized inside a container");
                return;
            }
        }
        for sub in State::ids() {
            if self.s.object(sub).container == id {
                self.detach(id, sub);
            }
        }
    }

    /// Drops the strong links of an object.
    pub(crate) fn drop_links(&mut self, id: Id) {
        for index in 0..self.s.links.len() {
            if self.s.links[index].from == id {
                self.unlink(index);
            }
        }
    }

    /// Drops one link.
    pub(crate) fn unlink(&mut self, index: usize) -> Outcome {
        let none = Link {
            from: Id::NONE,
            to: Id::NONE,
        };
        let Link { to, .. } = std::mem::replace(&mut self.s.links[index], none);
        if !to.is_object() {
            return Outcome::Nothing;
        }
        if self.r.counted != Counted::Nothing {
            self.release(to);
        }
        Outcome::Done
    }

    fn free(&mut self, id: Id) {
        self.object(id).flags |= flag::FREED;
        for inner in State::ids() {
            if self.s.object(inner).storage == id && self.made(inner) {
                if self.s.object(inner).is_alive() {
                    self.fault(
                        Faults::USE_AFTER_FREE,
                        inner,
                        "lives in storage that is freed",
                    );
                }
                self.free(inner);
            }
        }
    }
}
