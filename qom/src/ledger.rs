//! The reference ledger: who keeps whom alive, and why.
//!
//! Every object carries the list of its incoming counted edges; [`Graph`] is the picture of a whole machine made from them,
//! and [`WhyAlive`] the part of it that explains one object.

mod explain;
mod graph;
mod render;

pub use explain::WhyAlive;
pub use graph::{Graph, GraphEdge, GraphNode, NodeKind};

use crate::context;
use crate::object::{Object, ObjectId};
use crate::opened::HandleOn;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::num::NonZeroU32;
use std::panic::Location;
use std::sync::{Arc, Weak};

/// Why an edge exists. Layers declare constants of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reason(pub &'static str);

impl Reason {
    /// A user handle.
    pub const USER_HANDLE: Self = Self("user handle");
    /// Parent to child.
    pub const CHILD: Self = Self("child");
    /// A strong link.
    pub const LINK: Self = Self("link");
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// Who holds.
#[derive(Clone, Debug)]
pub enum Holder {
    /// An object.
    Object(Weak<Object>),
    /// Something that is no object: a view, a pin, a table.
    Named(Arc<str>),
    /// Code outside the machine: a stack, a thread, a field.
    Outside,
    /// Code of an object's, on its stack, or in a field that nobody but it knows.
    Code(ObjectId),
}

impl Holder {
    /// The object as a holder.
    pub fn object(object: &Object) -> Self {
        Self::Object(object.weak())
    }
    /// Whoever's code the calling thread runs as a holder.
    pub(crate) fn code() -> Self {
        context::running().map_or(Self::Outside, Self::Code)
    }
    /// Something with a name as a holder.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self::Named(name.into())
    }
}

/// One incoming edge.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) reason: Reason,
    pub(crate) holder: Holder,
    pub(crate) place: Option<&'static Location<'static>>,
}

impl Object {
    /// The edges with a name: its own list, and what is opened on it. Takes the tree lock.
    pub(crate) fn named_edges(&self) -> Vec<Edge> {
        let mut edges = self.edges.all();
        let opened: Vec<(Holder, Arc<dyn HandleOn>)> = {
            let tree = self.machine_inner().tree.lock();
            let opened = tree.opened_on(self.key);
            let named = opened.map(|(holder, handle)| (Holder::object(holder), handle.clone()));
            named.collect()
        };
        edges.extend(opened.into_iter().map(|(holder, handle)| {
            let (reason, place) = handle.edge();
            Edge {
                reason,
                holder,
                place: Some(place),
            }
        }));
        edges
    }
}

/// Names an edge in its object's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EdgeId(NonZeroU32);

impl EdgeId {
    fn at(index: usize) -> Self {
        // The counts of an object stop far below 2^32 (`counts.rs`), so the index and one fit.
        let number = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
        Self(number.unwrap_or(NonZeroU32::MAX))
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }

    /// It as a number that is not zero.
    pub(crate) fn number(self) -> u32 {
        self.0.get()
    }

    /// The one of a number.
    #[inline]
    pub(crate) fn numbered(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }
}

/// The incoming edges of one object that have a name.
#[derive(Debug, Default)]
pub(crate) struct Edges(Mutex<EdgeList>);

/// Most objects have one edge or two at a time.
#[derive(Debug, Default)]
struct EdgeList {
    slots: SmallVec<[Slot; 2]>,
    free: Option<EdgeId>,
}

#[derive(Debug)]
enum Slot {
    Taken(Edge),
    /// And the next free one.
    Free(Option<EdgeId>),
}

impl EdgeList {
    fn take(&mut self, id: EdgeId) -> Option<Slot> {
        let slot = self.slots.get_mut(id.index())?;
        matches!(slot, Slot::Taken(_))
            .then(|| std::mem::replace(slot, Slot::Free(self.free.replace(id))))
    }
}

impl Edges {
    /// Looks at where an edge would be added. What it says does not matter.
    #[inline]
    pub(crate) fn look(&self) -> bool {
        self.0.is_locked()
    }

    pub(crate) fn add(
        &self,
        reason: Reason,
        holder: Holder,
        place: Option<&'static Location<'static>>,
    ) -> EdgeId {
        let edge = Slot::Taken(Edge {
            reason,
            holder,
            place,
        });
        let mut list = self.0.lock();
        let Some(id) = list.free else {
            list.slots.push(edge);
            return EdgeId::at(list.slots.len() - 1);
        };
        if let Slot::Free(next) = std::mem::replace(&mut list.slots[id.index()], edge) {
            list.free = next;
        }
        id
    }

    pub(crate) fn remove(&self, id: EdgeId) {
        let gone = self.0.lock().take(id);
        // Outside the lock: the holder's weak pointer may be the last thing that keeps its block of memory.
        drop(gone);
    }

    pub(crate) fn all(&self) -> Vec<Edge> {
        let list = self.0.lock();
        let taken = list.slots.iter().filter_map(|slot| match slot {
            Slot::Taken(edge) => Some(edge.clone()),
            Slot::Free(_) => None,
        });
        taken.collect()
    }
}
