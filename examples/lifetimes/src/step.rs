//! The steps of a modelled machine, and what one step does under the rules of a policy.

use crate::policy::{Counted, OwnerEdge, Rule, Rules};
use crate::run::{Event, Run};
use crate::state::{
    Action, Armed, Faults, Hook, Id, Kind, Link, Mapping, Object, Release, State, flag,
};

/// One step: what a user, a device's code or the machine does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// `object_new`: the object is made, init and all; the user has a handle.
    Make(Id, Kind),
    /// The object is being made: `instance_init` runs until [`Step::InitDone`].
    Init(Id, Kind),
    /// `instance_init` ends.
    InitDone(Id),
    /// A region is made as a child of `parent`.
    Region {
        /// The region.
        region: Id,
        /// Container or leaf.
        kind: Kind,
        /// Its tree parent; nobody where it is only embedded.
        parent: Id,
        /// Its owner.
        owner: Id,
        /// The object in whose allocation it lies; nobody where it has one of its own.
        storage: Id,
    },
    /// The object joins the tree, the user's handle goes, and a device is realized.
    Plug {
        /// The object.
        object: Id,
        /// Its parent.
        parent: Id,
    },
    /// The object leaves the tree (`object_unparent`); a device is unrealized first.
    Unparent(Id),
    /// The author of a plain owner unparents its region where the policy gives regions a count of their own, as that series asks
    /// for; everywhere else that is forbidden or needless, and nothing happens.
    UnparentAsAsked(Id),
    /// A region is given another parent.
    Reparent {
        /// The region.
        region: Id,
        /// The new parent.
        to: Id,
    },
    /// The user takes another handle.
    Take(Id),
    /// The user drops a handle.
    Drop(Id),
    /// A region joins a container.
    Nest {
        /// The region.
        sub: Id,
        /// The container.
        container: Id,
    },
    /// A region leaves a container.
    Detach {
        /// The region.
        sub: Id,
        /// The container.
        container: Id,
    },
    /// A leaf becomes a window on another region.
    Alias {
        /// The leaf.
        alias: Id,
        /// What it shows.
        target: Id,
    },
    /// An address space is opened in a name.
    Open {
        /// Its number.
        space: u8,
        /// The root region.
        root: Id,
        /// In whose name.
        holder: Id,
        /// Who closes it.
        release: Release,
    },
    /// The user closes an address space.
    Close(u8),
    /// Its destruction is queued a second time, on the same node.
    FreeNode(u8),
    /// A listener that refers to sections is registered.
    Listen(u8),
    /// The listener leaves.
    Unlisten(u8),
    /// A region is mapped in a name.
    Map {
        /// The mapping's number.
        map: u8,
        /// The region.
        region: Id,
        /// In whose name.
        holder: Id,
        /// Who closes it.
        release: Release,
    },
    /// The user, or a completion, closes a mapping.
    Unmap(u8),
    /// A transfer to a region begins.
    Pin {
        /// The transfer's number.
        pin: u8,
        /// The region.
        region: Id,
        /// In whose name.
        holder: Id,
    },
    /// It completes.
    Complete(u8),
    /// A strong link is set.
    Link(u8, Id, Id),
    /// The link is cleared.
    Unlink(u8),
    /// A hook gets a piece of code.
    Arm(Armed),
    /// A grace period ends: every reader has left what was retired before.
    Grace,
    /// The executor runs the finalizer of an object that nothing holds (withdrawal).
    Finalize(Id),
    /// The collector runs (tracing).
    Collect,
}

/// Why a step was refused; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// A party is withdrawn or gone.
    Withdrawn,
    /// The object is still in init, and nothing of it reaches outside.
    DuringInit,
    /// The object has a parent, or had one.
    HasParent,
    /// A region's owner is its parent: no other can be named, and none has none.
    OwnerIsParent,
    /// The region is in a container, which it leaves first.
    Contained,
    /// The region is not in that container.
    NotContained,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was done.
    Done,
    /// There was nothing to do: a party was never made, or the step was done before.
    Nothing,
    /// It was refused, and nothing changed.
    Refused(Refusal),
}

/// Takes one step under a policy's rules.
///
/// What goes wrong is noted in [`State::faults`]; after an abort nothing happens any more.
pub fn apply(state: &mut State, step: Step, rules: &Rules) -> Outcome {
    apply_logged(state, step, rules, None)
}

/// As [`apply`], and notes what happened in a log.
pub fn apply_logged(
    state: &mut State,
    step: Step,
    rules: &Rules,
    log: Option<&mut Vec<Event>>,
) -> Outcome {
    if state.faults.has(Faults::ABORT) {
        return Outcome::Nothing;
    }
    let mut run = Run {
        s: state,
        r: rules,
        log,
    };
    let outcome = take(&mut run, step);
    if let Outcome::Refused(refusal) = outcome {
        run.note(Event::Refused(refusal));
    }
    run.check_reachable();
    outcome
}

fn take(run: &mut Run<'_>, step: Step) -> Outcome {
    match step {
        Step::Make(id, kind) => make(run, id, kind, 0),
        Step::Init(id, kind) => make(run, id, kind, flag::IN_INIT),
        Step::InitDone(id) => {
            run.object(id).flags &= !flag::IN_INIT;
            Outcome::Done
        }
        Step::Region {
            region,
            kind,
            parent,
            owner,
            storage,
        } => make_region(run, region, kind, parent, owner, storage),
        Step::Plug { object, parent } => plug(run, object, parent),
        Step::Unparent(id) => {
            if !run.made(id) || run.s.object(id).parent == Id::NONE {
                return Outcome::Nothing;
            }
            run.unparent(id);
            Outcome::Done
        }
        Step::UnparentAsAsked(id) => {
            if run.r.owner_edge != OwnerEdge::FromUnparent {
                return Outcome::Nothing;
            }
            run.unparent(id);
            Outcome::Done
        }
        Step::Reparent { region, to } => reparent(run, region, to),
        Step::Take(id) => {
            run.reference(id);
            run.object(id).users += 1;
            Outcome::Done
        }
        Step::Drop(id) => {
            if run.s.object(id).users == 0 {
                return Outcome::Nothing;
            }
            run.drop_handle(id);
            Outcome::Done
        }
        Step::Nest { sub, container } => run.nest(container, sub),
        Step::Detach { sub, container } => run.detach(container, sub),
        Step::Alias { alias, target } => run.set_alias(alias, target),
        Step::Open {
            space,
            root,
            holder,
            release,
        } => run.open(space, root, holder, release),
        Step::Close(space) => run.close(space),
        Step::FreeNode(space) => free_node(run, space),
        Step::Listen(space) => run.listen(space),
        Step::Unlisten(space) => run.unlisten(space),
        Step::Map {
            map,
            region,
            holder,
            release,
        } => run.map(
            map,
            Mapping {
                region,
                holder,
                release,
            },
        ),
        Step::Unmap(map) => run.unmap(map),
        Step::Pin {
            pin,
            region,
            holder,
        } => run.pin(pin, region, holder),
        Step::Complete(pin) => run.complete(pin),
        Step::Link(link, from, to) => link_up(run, link, Link { from, to }),
        Step::Unlink(link) => run.unlink(usize::from(link)),
        Step::Arm(armed) => {
            if let Some(free) = run.s.hooks.iter_mut().find(|hook| hook.is_none()) {
                *free = Some(armed);
                return Outcome::Done;
            }
            Outcome::Nothing
        }
        Step::Grace => run.grace(),
        Step::Finalize(id) => run.finalize_queued(id),
        Step::Collect => run.collect(),
    }
}

fn make(run: &mut Run<'_>, id: Id, kind: Kind, flags: u8) -> Outcome {
    *run.object(id) = Object {
        kind,
        flags,
        count: 1,
        users: 1,
        ..Object::EMPTY
    };
    Outcome::Done
}

fn make_region(
    run: &mut Run<'_>,
    region: Id,
    kind: Kind,
    parent: Id,
    owner: Id,
    storage: Id,
) -> Outcome {
    if run.r.withdrawal().is_some() && (owner != parent || owner == Id::NONE) {
        return Outcome::Refused(Refusal::OwnerIsParent);
    }
    if parent.is_object() && (!run.made(parent) || run.is_gone(parent)) {
        return Outcome::Refused(Refusal::Withdrawn);
    }
    *run.object(region) = Object {
        kind,
        owner,
        parent,
        storage,
        count: 1,
        ..Object::EMPTY
    };
    if run.r.owner_edge == OwnerEdge::Always && owner.is_object() {
        run.reference(owner);
        run.object(region).flags |= flag::HOLDS_OWNER;
    }
    Outcome::Done
}

fn plug(run: &mut Run<'_>, id: Id, parent: Id) -> Outcome {
    if run.s.object(id).parent != Id::NONE {
        return Outcome::Refused(Refusal::HasParent);
    }
    if run.is_gone(id) || (parent.is_object() && run.is_gone(parent)) {
        return Outcome::Refused(Refusal::Withdrawn);
    }
    run.object(id).parent = parent;
    run.object(id).flags |= flag::PLUGGED;
    run.reference(id);
    if run.s.object(id).kind == Kind::Device {
        run.object(id).flags |= flag::REALIZED;
    }
    run.drop_handle(id);
    Outcome::Done
}

/// The owner stays who it was: in QEMU nothing changes it, and the storage stays with it.
fn reparent(run: &mut Run<'_>, region: Id, to: Id) -> Outcome {
    if !run.made(region) {
        return Outcome::Nothing;
    }
    if run.r.withdrawal().is_some() {
        return Outcome::Refused(Refusal::HasParent);
    }
    run.reference(region);
    run.unparent(region);
    run.object(region).parent = to;
    Outcome::Done
}

fn free_node(run: &mut Run<'_>, space: u8) -> Outcome {
    let dying = run.s.spaces[usize::from(space)].dying;
    // A handle's end is queued by its close, which does nothing the second time: there is no node.
    if run.r.withdrawal().is_some() {
        return Outcome::Nothing;
    }
    // The callback that was queued is overwritten, so what it was to let go is never let go.
    if dying {
        run.lose_root(space);
    }
    Outcome::Done
}

fn link_up(run: &mut Run<'_>, link: u8, to: Link) -> Outcome {
    if run.refuses([to.from, to.to]) {
        return Outcome::Refused(Refusal::Withdrawn);
    }
    if run.r.counted != Counted::Nothing {
        run.reference(to.to);
    }
    run.s.links[usize::from(link)] = to;
    Outcome::Done
}

impl Step {
    /// Whether it ends somebody: unplugs, drops, or gives away. With the first of them an unplug begins.
    pub const fn ends_somebody(self) -> bool {
        matches!(
            self,
            Self::Unparent(_) | Self::Drop(_) | Self::Reparent { .. }
        )
    }

    /// Whether it takes anything away: somebody, or an edge. What comes before the first of them is the graph as it was built.
    pub const fn takes_away(self) -> bool {
        self.ends_somebody()
            || matches!(
                self,
                Self::UnparentAsAsked(_)
                    | Self::Detach { .. }
                    | Self::Close(_)
                    | Self::FreeNode(_)
                    | Self::Unlisten(_)
                    | Self::Unlink(_)
                    | Self::Unmap(_)
                    | Self::Complete(_)
            )
    }

    /// Code in a hook that takes a region out of a container.
    pub const fn detach_in(hook: Hook, object: Id, sub: Id, container: Id) -> Self {
        Self::Arm(Armed {
            object,
            hook,
            action: Action::Detach { container, sub },
        })
    }

    /// A panic in a hook.
    pub const fn panic_in(hook: Hook, object: Id) -> Self {
        Self::Arm(Armed {
            object,
            hook,
            action: Action::Panic,
        })
    }
}

/// Whether init's refusals hold.
pub(crate) const fn refuses_during_init(rules: &Rules) -> bool {
    rules.has(Rule::RefuseDuringInit)
}
