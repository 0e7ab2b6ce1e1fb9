//! The nodes of a span map.

use std::hint::black_box;
use std::ops::Range;

use super::Entries;
use super::counted::{Counted, Empty};
use super::keys::Keys;
use crate::addr::Span;

/// A leaf holds at most this many entries. A change copies a leaf with its values, so it is short.
pub(super) const LEAF: usize = 16;
/// A branch has at most this many children. A lookup searches one branch a level, so there are few.
pub(super) const BRANCH: usize = 32;

pub(super) enum Node<V> {
    Leaf(Counted<Leaf<V>>),
    Branch(Counted<Branch<V>>),
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
            Self::Leaf(leaf) => Self::Leaf(leaf.clone()),
            Self::Branch(branch) => Self::Branch(branch.clone()),
        }
    }
}

impl<V> Empty for Leaf<V> {
    const EMPTY: Self = Self {
        keys: Keys::EMPTY,
        slots: [const { None }; LEAF],
        len: 0,
    };
}

impl<V> Leaf<V> {
    /// A leaf of these entries, of which there are one to [`LEAF`].
    pub(super) fn new(entries: impl IntoIterator<Item = (Span, V)>) -> Counted<Self> {
        Counted::make(|leaf: &mut Self| {
            leaf.append(entries);
            leaf.keys.give_hints(leaf.len);
        })
    }

    /// Appends these.
    #[inline]
    fn append(&mut self, entries: impl IntoIterator<Item = (Span, V)>) {
        for (slot, entry) in self.slots[self.len..].iter_mut().zip(entries) {
            self.keys.put(self.len, entry.0.first());
            *slot = Some(entry);
            self.len += 1;
        }
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

    /// The one entry that can contain `addr`, where the node's table says it.
    #[inline]
    pub(super) fn near_at_once(&self, addr: u64) -> Option<&(Span, V)> {
        self.slots.get(self.keys.find_at_once(addr)?)?.as_ref()
    }

    /// The entry that contains `addr`, which is not `u64::MAX`.
    #[inline]
    pub(super) fn find(&self, addr: u64) -> Option<&(Span, V)> {
        let entry = self.slots[self.keys.find(addr)].as_ref()?;
        entry.0.contains(addr).then_some(entry)
    }
}

impl<V: Clone> Leaf<V> {
    /// The leaf with the entries from `begin` up to `end` replaced by these, of which none are left; at most [`LEAF`] in all.
    pub(super) fn spliced(
        &self,
        begin: usize,
        end: usize,
        entries: &mut Entries<V>,
        fetch: &impl Fn(&V) -> usize,
    ) -> Counted<Self> {
        let stay = self.slots[..begin].iter().chain(&self.slots[end..self.len]);
        fetch_all(stay.flatten().map(|(_, value)| fetch(value)));
        Counted::make(|leaf: &mut Self| {
            leaf.copy(self, 0..begin);
            leaf.append(entries.drain(..));
            leaf.copy(self, end..self.len);
            leaf.keys.give_hints(leaf.len);
        })
    }

    /// Appends some of another leaf's entries.
    fn copy(&mut self, other: &Self, entries: Range<usize>) {
        let to = self.len..self.len + entries.len();
        self.keys.copy(to.start, &other.keys, entries.clone());
        self.slots[to.clone()].clone_from_slice(&other.slots[entries]);
        self.len = to.end;
    }
}

/// Reads all counts that are about to be raised: in a large map each is a miss of the caches, and a processor waits for many reads at once, but for
/// one raised count after the other.
fn fetch_all(counts: impl Iterator<Item = usize>) {
    black_box(counts.fold(0, usize::wrapping_add));
}

impl<V> Empty for Branch<V> {
    const EMPTY: Self = Self {
        keys: Keys::EMPTY,
        children: [const { None }; BRANCH],
        len: 0,
        spans: 0,
    };
}

impl<V> Branch<V> {
    /// A branch over one to [`BRANCH`] nodes that are not empty, of one height, in order.
    pub(super) fn new(nodes: impl IntoIterator<Item = Node<V>>) -> Counted<Self> {
        Counted::make(|branch: &mut Self| {
            for (slot, node) in branch.children.iter_mut().zip(nodes) {
                branch.keys.put(branch.len, node.first());
                branch.spans += node.spans();
                branch.len += 1;
                *slot = Some(node);
            }
            branch.keys.give_hints(branch.len);
        })
    }

    /// The branch with another node, of the same height and not empty, in the place of one child.
    pub(super) fn with_child(&self, at: usize, node: Node<V>) -> Counted<Self> {
        let gone = self.child(at).map_or(0, Node::spans);
        self.fetch_counts();
        Counted::make(|branch: &mut Self| {
            branch.len = self.len;
            branch.spans = self.spans - gone + node.spans();
            branch.keys.clone_from(&self.keys);
            if node.first() != self.keys.at(at) {
                branch.keys.put(at, node.first());
                branch.keys.give_hints(self.len);
            }
            branch.children[..at].clone_from_slice(&self.children[..at]);
            branch.children[at] = Some(node);
            let behind = at + 1..self.len;
            branch.children[behind.clone()].clone_from_slice(&self.children[behind]);
        })
    }

    /// Reads the counts of the children, which are about to be raised.
    fn fetch_counts(&self) {
        fetch_all(self.children[..self.len].iter().flatten().map(Node::count));
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

    /// How many pointers there are to the node.
    fn count(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.count(),
            Self::Branch(branch) => branch.count(),
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
            (Self::Leaf(one), Self::Leaf(other)) => one.is_same(other),
            (Self::Branch(one), Self::Branch(other)) => one.is_same(other),
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
