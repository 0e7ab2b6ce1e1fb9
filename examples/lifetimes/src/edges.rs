//! The counted edges of a state, and what they say about an object that does not go: the cycle that it is on, or who holds it.

use crate::policy::{Counted, Rule, Rules};
use crate::run::target;
use crate::state::{Id, Kind, State, flag};
use crate::topology::subregion_target;

/// Why an object holds another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A user handle.
    Handle,
    /// The tree.
    Child,
    /// A region holds its owner.
    Owner,
    /// A container holds a subregion.
    Subregion,
    /// An alias holds its target.
    Target,
    /// An address space holds its root.
    Root,
    /// A view holds a leaf.
    View,
    /// A listener holds a section.
    Section,
    /// A mapping.
    Mapping,
    /// A transfer in flight.
    Transfer,
    /// Something that a grace period has yet to let go.
    Retired,
    /// A strong link.
    Link,
}

impl Reason {
    /// A word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Handle => "handle",
            Self::Child => "child",
            Self::Owner => "owner",
            Self::Subregion => "subregion",
            Self::Target => "target",
            Self::Root => "root",
            Self::View => "view",
            Self::Section => "section",
            Self::Mapping => "mapping",
            Self::Transfer => "transfer",
            Self::Retired => "grace",
            Self::Link => "link",
        }
    }
}

/// One counted edge. Of an address space or a mapping the source is its holder, whose code has to close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Edge {
    /// Who holds.
    pub from: Id,
    /// Who is held: where the count is.
    pub to: Id,
    /// Why.
    pub reason: Reason,
}

/// All counted edges of a state, under a policy; for the collector, all that it traces.
///
/// Their number into each object is its count, while nothing has gone wrong.
pub fn edges(state: &State, rules: &Rules) -> Vec<Edge> {
    let mut edges = Vec::new();
    let mut add = |from: Id, to: Id, reason: Reason| {
        if to.is_object() {
            edges.push(Edge { from, to, reason });
        }
    };
    let traced = rules.counted == Counted::Nothing;
    let counted = |region: Id| match region {
        _ if !region.is_object() => Id::NONE,
        _ if traced => region,
        _ => target(state, rules, region),
    };
    for id in State::ids().filter(|id| state.object(*id).kind != Kind::Empty) {
        let object = state.object(id);
        if object.is(flag::FINALIZED) {
            continue;
        }
        for _ in 0..object.users {
            add(Id::MACHINE, id, Reason::Handle);
        }
        if object.parent != Id::NONE {
            add(object.parent, id, Reason::Child);
        }
        if object.is(flag::HOLDS_OWNER) || traced {
            add(id, object.owner, Reason::Owner);
        }
        if object.container.is_object() {
            let sub = if traced {
                id
            } else {
                subregion_target(state, rules, object.container, id)
            };
            add(object.container, sub, Reason::Subregion);
        }
        if (rules.withdrawal().is_some() || traced) && object.alias.is_object() {
            add(id, object.alias, Reason::Target);
        }
    }
    for space in state.spaces.iter().filter(|space| space.open) {
        add(space.holder, counted(space.root), Reason::Root);
        for leaf in State::ids().filter(|id| space.view & id.bit() != 0) {
            add(space.holder, counted(leaf), Reason::View);
            if space.listens {
                add(space.holder, counted(leaf), Reason::Section);
            }
        }
    }
    for map in state.maps.iter().filter(|map| map.is_open()) {
        add(map.holder, counted(map.region), Reason::Mapping);
    }
    let transfers = state.pins.iter().zip(state.pin_holders);
    for (region, holder) in transfers.filter(|(region, _)| region.is_object()) {
        add(holder, counted(*region), Reason::Transfer);
    }
    for link in &state.links {
        add(link.from, link.to, Reason::Link);
    }
    let at_once = rules.withdrawal().is_some() && !rules.has(Rule::GraceBeforeLettingGo);
    for region in State::ids().filter(|id| state.retired & id.bit() != 0 && !at_once) {
        add(Id::MACHINE, counted(region), Reason::Retired);
    }
    edges
}

/// What keeps an object: a cycle through objects, or a chain from the machine. Empty where nothing is found.
pub fn why_alive(state: &State, rules: &Rules, id: Id) -> Vec<Edge> {
    let edges = edges(state, rules);
    // Cycles keep nothing from a collector.
    let is_cycle_enough = rules.counted != Counted::Nothing;
    // Backwards from the object, breadth first, until it is met again or the machine is.
    let mut found: Vec<(Edge, Option<usize>)> = Vec::new();
    let mut next = 0;
    let mut at = (id, None);
    loop {
        for edge in edges.iter().filter(|edge| edge.to == at.0) {
            if found
                .iter()
                .any(|(known, _)| known.from == edge.from && edge.from != id)
            {
                continue;
            }
            found.push((*edge, at.1));
            if (edge.from == id && is_cycle_enough) || !edge.from.is_object() {
                let mut chain = vec![*edge];
                let mut back = at.1;
                while let Some(index) = back {
                    let (edge, before): (Edge, Option<usize>) = found[index];
                    chain.push(edge);
                    back = before;
                }
                return chain;
            }
        }
        let Some((edge, _)) = found.get(next) else {
            return Vec::new();
        };
        at = (edge.from, Some(next));
        next += 1;
    }
}
