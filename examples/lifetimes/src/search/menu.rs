//! What may happen next in a search: the menu, and which of it a user or the machine can do in a state.
//!
//! A mapping is closed by its holder's code: at the point that the search's habit says, or earlier, while the holder stays as it is. Else by a withdrawal, or by
//! nobody: winding up has no unmap, as what a device's code did not come to nobody else does for it ([`super::WIND_UP`]).

use super::{B, Breadth, C, D0, D1, M, N, NAMED, S, Size, V};
use crate::policy::{End, Rules};
use crate::state::{Hook, Id, Kind, Release, State, flag};
use crate::step::Step;

/// What may happen next, all of it; [`is_enabled`] says what may in a given state.
pub fn menu(rules: &Rules, size: Size) -> Vec<Step> {
    let Size { habit, breadth, .. } = size;
    let core = breadth == Breadth::Core;
    let mut menu = Vec::new();
    for object in [D0, D1] {
        menu.push(Step::Plug {
            object,
            parent: Id::MACHINE,
        });
        menu.push(Step::Unparent(object));
        menu.push(Step::Drop(object));
    }
    menu.push(Step::Unparent(V));
    if !core {
        menu.push(Step::Take(D0));
    }
    let nests = [(C, S), (M, C), (N, S), (B, C), (M, S), (N, C), (B, S)];
    for (sub, container) in nests.into_iter().take(if core { 4 } else { 7 }) {
        menu.push(Step::Nest { sub, container });
        menu.push(Step::Detach { sub, container });
    }
    menu.extend(
        [M, B]
            .into_iter()
            .take(if core { 1 } else { 2 })
            .map(|target| Step::Alias { alias: N, target }),
    );
    let opens = [
        (C, D0, habit),
        (C, D1, habit),
        (S, D0, habit),
        (C, Id::MACHINE, Release::Completion),
    ];
    for (root, holder, release) in opens.into_iter().take(if core { 2 } else { 4 }) {
        menu.push(Step::Open {
            space: NAMED,
            root,
            holder,
            release,
        });
    }
    menu.push(Step::Close(NAMED));
    let maps = [(M, D0), (N, D0), (M, D1), (B, D1), (B, D0), (N, D1)];
    for (region, holder) in maps.into_iter().take(if core { 4 } else { 6 }) {
        menu.extend([0, 1].map(|map| Step::Map {
            map,
            region,
            holder,
            release: habit,
        }));
    }
    menu.extend([0, 1].map(Step::Unmap));
    menu.extend(
        [M, B, N]
            .into_iter()
            .take(if core { 2 } else { 3 })
            .map(|region| Step::Pin {
                pin: 0,
                region,
                // In one name always: who it is decides nothing but whether it is refused, which mappings show.
                holder: Id::MACHINE,
            }),
    );
    menu.push(Step::Complete(0));
    let links = [(D0, D1), (V, D0), (D0, M), (D1, D0)];
    menu.extend(
        links
            .into_iter()
            .take(if core { 3 } else { 4 })
            .map(|(from, to)| Step::Link(0, from, to)),
    );
    menu.push(Step::Unlink(0));
    let panics = [Hook::Unrealize, Hook::Finalize];
    menu.extend(
        panics
            .into_iter()
            .take(if core { 1 } else { 2 })
            .map(|hook| Step::panic_in(hook, D0)),
    );
    menu.push(Step::Grace);
    match rules.end {
        End::Count => {}
        End::Collector => menu.push(Step::Collect),
        End::Withdrawal(_) => menu.extend([D0, D1, V, C, M, N, B].map(Step::Finalize)),
    }
    menu
}

/// Whether a user, who needs a name for what he acts on, or the machine can take a step now.
pub fn is_enabled(state: &State, step: Step, rules: &Rules) -> bool {
    let named = |id: Id| !id.is_object() || state.is_named(id);
    let loose = |id: Id| state.object(id).parent == Id::NONE && state.object(id).users > 0;
    match step {
        Step::Plug { object, .. } => loose(object) && !state.object(object).is(flag::PLUGGED),
        Step::Take(object) => state.object(object).users == 0 && named(object),
        Step::Drop(object) => loose(object),
        Step::Unparent(id) => state.object(id).parent != Id::NONE && named(id),
        Step::Nest { sub, container } => {
            // A second container is an assertion of QEMU's, which its callers keep out of; the withdrawal answers it with an error.
            let may_be_contained = rules.withdrawal().is_some();
            (may_be_contained || state.object(sub).container == Id::NONE)
                && named(sub)
                && named(container)
        }
        Step::Detach { sub, container } => {
            state.object(sub).container == container && named(sub) && named(container)
        }
        Step::Alias { alias, target } => {
            state.object(alias).alias == Id::NONE && named(alias) && named(target)
        }
        Step::Open {
            space,
            root,
            holder,
            release,
        } => {
            let slot = state.spaces[usize::from(space)];
            !slot.open && !slot.dying && named(root) && may_open(state, holder, release)
        }
        Step::Close(space) => {
            let slot = state.spaces[usize::from(space)];
            slot.open && named(slot.holder)
        }
        Step::Map {
            map,
            region,
            holder,
            release,
        } => {
            // The first free number: the others are the same by symmetry.
            state.maps.iter().position(|map| !map.is_open()) == Some(usize::from(map))
                && may_map(state, region, holder, release)
        }
        Step::Unmap(map) => {
            let slot = state.maps[usize::from(map)];
            slot.is_open() && (slot.release == Release::Completion || named(slot.holder))
        }
        Step::Pin { pin, region, .. } => !state.pins[usize::from(pin)].is_object() && named(region),
        Step::Complete(pin) => state.pins[usize::from(pin)].is_object(),
        Step::Link(link, from, to) => {
            !state.links[usize::from(link)].to.is_object() && named(from) && named(to)
        }
        Step::Unlink(link) => {
            state.links[usize::from(link)].to.is_object()
                && named(state.links[usize::from(link)].from)
        }
        Step::Arm(armed) => state.hooks[0].is_none() && named(armed.object),
        Step::Grace => state.retired != 0 || state.spaces.iter().any(|space| space.dying),
        Step::Finalize(id) => {
            state.object(id).kind != Kind::Empty
                && state.object(id).count == 0
                && !state.object(id).is(flag::FINALIZED)
        }
        Step::Collect => true,
        _ => false,
    }
}

/// Whether somebody can map a region in a name, whatever number the mapping gets.
pub(super) fn may_map(state: &State, region: Id, holder: Id, release: Release) -> bool {
    state.is_named(region) && may_open(state, holder, release)
}

/// What unrealize closes is opened since realize, as the authors of devices have it; the rest at any time.
fn may_open(state: &State, holder: Id, release: Release) -> bool {
    !holder.is_object()
        || state.is_named(holder)
            && (release != Release::Unrealize || state.object(holder).is(flag::REALIZED))
}
