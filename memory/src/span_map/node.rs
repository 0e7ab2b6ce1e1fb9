//! The nodes of a span map.

use std::array;
use std::sync::Arc;

use super::Entries;
use super::keys::Keys;
use crate::addr::Span;

/// A leaf holds at most this many entries. A change copies a leaf with its values, so it is short.
pub(super) const LEAF: usize = 16;
/// A branch has at most this many children. A lookup searches one branch a level, so there are few.
pub(super) const BRANCH: usize = 32;

pub(super) enum Node<V> {
    Leaf(Arc<Leaf<V>>),
    Branch(Arc<Branch<V>>),
}

/// The keys are first, as their padding is to be.
#[repr(C)]
pub(super) struct Leaf<V> {
    keys: Keys<LEAF, { 2 * LEAF }>,
    slots: [Option<(Span, V)>; LEAF],
    len: usize,
}

/// The keys are first, as their padding is to be.
#[repr(C)]
pub(super) struct Branch<V> {
    keys: Keys<BRANCH, { 2 * BRANCH }>,
    children: [Option<Node<V>>; BRANCH],
    len: usize,
    /// How many spans are below.
    spans: usize,
}

impl<V> Clone for Node<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(leaf) => Self::Leaf(Arc::clone(leaf)),
            Self::Branch(branch) => Self::Branch(Arc::clone(branch)),
        }
    }
}

impl<V> Leaf<V> {
    pub(super) fn new(entries: impl IntoIterator<Item = (Span, V)>) -> Arc<Self> {
        let mut entries = entries.into_iter().fuse();
        Self::of(array::from_fn(|_| entries.next()))
    }

    /// A leaf of these entries, which come before whatever is `None`.
    fn of(slots: [Option<(Span, V)>; LEAF]) -> Arc<Self> {
        let first = slots.each_ref().map(|slot| match slot {
            Some((span, _)) => span.first(),
            None => u64::MAX,
        });
        let len = slots.iter().take_while(|slot| slot.is_some()).count();
        Arc::new(Self {
            keys: Keys::new(first, len),
            slots,
            len,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The first entry that does not end before `addr`, as an index.
    pub(super) fn first_reaching(&self, addr: u64) -> usize {
        let at = self.last_beginning(addr);
        usize::from(
            at > 0
                && self
                    .entry(at - 1)
                    .is_none_or(|(span, _)| span.last() < addr),
        ) + at.saturating_sub(1)
    }

    /// How many entries begin at or before `addr`.
    pub(super) fn last_beginning(&self, addr: u64) -> usize {
        (self.keys.last_not_above(addr) + usize::from(self.keys.at(0) <= addr)).min(self.len)
    }

    #[inline]
    pub(super) fn entry(&self, at: usize) -> Option<(Span, &V)> {
        let (span, value) = self.slots.get(at)?.as_ref()?;
        Some((*span, value))
    }

    /// The same where the node's table says it.
    #[inline]
    pub(super) fn find_at_once(&self, addr: u64) -> Option<&(Span, V)> {
        let entry = self.slots.get(self.keys.find_at_once(addr)?)?.as_ref()?;
        entry.0.contains(addr).then_some(entry)
    }

    /// The entry that contains `addr`, which is not `u64::MAX`.
    #[inline]
    pub(super) fn find(&self, addr: u64) -> Option<&(Span, V)> {
        let entry = self.slots[self.keys.find(addr)].as_ref()?;
        entry.0.contains(addr).then_some(entry)
    }
}

impl<V: Clone> Leaf<V> {
    /// The leaf with the entries from `begin` up to `end` replaced by these; at most [`LEAF`] in all.
    pub(super) fn spliced(&self, begin: usize, end: usize, entries: Entries<V>) -> Arc<Self> {
        let mut slots = self.slots.clone();
        let behind = begin + entries.len();
        match behind.checked_sub(end) {
            Some(more) => slots[end..].rotate_right(more),
            None => {
                slots[behind..end].fill(None);
                slots[behind..].rotate_left(end - behind);
            }
        }
        for (slot, entry) in slots[begin..].iter_mut().zip(entries) {
            *slot = Some(entry);
        }
        Self::of(slots)
    }
}

impl<V> Branch<V> {
    /// A branch over up to [`BRANCH`] nodes that are not empty, of one height, in order.
    pub(super) fn new(nodes: impl IntoIterator<Item = Node<V>>) -> Arc<Self> {
        let mut nodes = nodes.into_iter().fuse();
        let children: [Option<Node<V>>; BRANCH] = array::from_fn(|_| nodes.next());
        let first = children
            .each_ref()
            .map(|child| child.as_ref().map_or(u64::MAX, Node::first));
        let len = children.iter().take_while(|child| child.is_some()).count();
        Arc::new(Self {
            keys: Keys::new(first, len),
            spans: children.iter().flatten().map(Node::spans).sum(),
            children,
            len,
        })
    }

    /// The branch with another node, of the same height and not empty, in the place of one child.
    pub(super) fn with_child(&self, at: usize, node: Node<V>) -> Arc<Self> {
        let gone = self.child(at).map_or(0, Node::spans);
        let spans = self.spans - gone + node.spans();
        let keys = if node.first() == self.keys.at(at) {
            self.keys.clone()
        } else {
            self.keys.with(at, node.first(), self.len)
        };
        let mut children = self.children.clone();
        children[at] = Some(node);
        Arc::new(Self {
            keys,
            children,
            len: self.len,
            spans,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn child(&self, at: usize) -> Option<&Node<V>> {
        self.children.get(at)?.as_ref()
    }

    /// The index of the child that contains `addr` if any does.
    pub(super) fn index_for(&self, addr: u64) -> usize {
        self.keys.last_not_above(addr).min(self.len - 1)
    }

    /// The same where the node's table says it.
    #[inline]
    pub(super) fn child_at_once(&self, addr: u64) -> Option<&Node<V>> {
        self.children.get(self.keys.find_at_once(addr)?)?.as_ref()
    }

    /// The child that contains `addr`, which is not `u64::MAX`, if any does.
    #[inline]
    pub(super) fn child_for(&self, addr: u64) -> Option<&Node<V>> {
        self.children[self.keys.find(addr)].as_ref()
    }
}

impl<V> Node<V> {
    /// The first address of the first entry below.
    pub(super) fn first(&self) -> u64 {
        match self {
            Self::Leaf(leaf) => leaf.keys.at(0),
            Self::Branch(branch) => branch.keys.at(0),
        }
    }

    /// How many entries there are below.
    pub(super) fn spans(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len,
            Self::Branch(branch) => branch.spans,
        }
    }

    /// Whether the node is filled so little that it is to be joined with a neighbour.
    pub(super) fn is_small(&self) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.len < LEAF / 4,
            Self::Branch(branch) => branch.len < BRANCH / 4,
        }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Leaf(one), Self::Leaf(other)) => Arc::ptr_eq(one, other),
            (Self::Branch(one), Self::Branch(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// The entry that contains the last address of all: one that most lookups are not for, and that no key is above.
    #[cold]
    pub(super) fn last_of_all(&self) -> Option<&(Span, V)> {
        let mut node = self;
        loop {
            match node {
                Self::Branch(branch) => node = branch.child(branch.len - 1)?,
                Self::Leaf(leaf) => {
                    let entry = leaf.slots.get(leaf.len - 1)?.as_ref()?;
                    return (entry.0.last() == u64::MAX).then_some(entry);
                }
            }
        }
    }

    /// The last entry that begins at or before `addr`.
    pub(super) fn last_at(&self, addr: u64) -> Option<(Span, &V)> {
        let mut node = self;
        loop {
            match node {
                Self::Branch(branch) => node = branch.child(branch.index_for(addr))?,
                Self::Leaf(leaf) => return leaf.entry(leaf.last_beginning(addr).checked_sub(1)?),
            }
        }
    }
}
