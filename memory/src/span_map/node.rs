//! The nodes of a span map.
#![expect(
    unsafe_code,
    reason = "to free a node is to free its block; copies of a leaf have copies of its values"
)]
// Soundness: nothing is freed here but at the word of whoever calls `Node::free`. A leaf drops no values: what is read from one bit by bit (`dated`, `lend`) is a
// copy that nothing drops by itself, in a leaf or on its way (`Dated`); `versions` says who drops the last one. That copies of a value stay equal is the word of who
// made the `Keep`.

use std::mem::ManuallyDrop;
use std::ops::Range;
use std::ptr;

use super::block::{Block, Empty};
use super::keys::Keys;
use super::versions::{Dated, Part};
use super::{Entries, Keep};
use crate::addr::Span;

/// A leaf holds at most this many entries. A change copies a leaf with its values, so it is short.
pub(super) const LEAF: usize = 16;
/// A branch has at most this many children. A lookup searches one branch a level, so there are few.
pub(super) const BRANCH: usize = 32;

pub(super) enum Node<V> {
    Leaf(Block<Leaf<V>>),
    Branch(Block<Branch<V>>),
}

/// The keys are first: a lookup begins there.
#[repr(C)]
pub(super) struct Leaf<V> {
    keys: Keys<LEAF, { 2 * LEAF }>,
    slots: ManuallyDrop<[Option<(Span, V)>; LEAF]>,
    len: usize,
    /// For which versions the values were put in.
    born: [u32; LEAF],
}

/// The keys are first: a lookup begins there.
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
        *self
    }
}

impl<V> Copy for Node<V> {}

impl<V> Part for Node<V> {
    type Value = V;

    fn born(self) -> u32 {
        match self {
            Self::Leaf(leaf) => leaf.born(),
            Self::Branch(branch) => branch.born(),
        }
    }

    fn each_below(self, found: &mut dyn FnMut(Self)) {
        if let Self::Branch(branch) = self {
            for &child in branch.children[..branch.len].iter().flatten() {
                found(child);
            }
        }
    }

    fn each_value(self, found: &mut dyn FnMut(Dated<V>)) {
        if let Self::Leaf(leaf) = self {
            for at in 0..leaf.len {
                found(leaf.dated(at));
            }
        }
    }

    unsafe fn free(self) {
        // SAFETY: the caller's word.
        unsafe {
            match self {
                Self::Leaf(leaf) => leaf.free(),
                Self::Branch(branch) => branch.free(),
            }
        }
    }
}

impl<V> Clone for Branch<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Branch<V> {}

impl<V> Empty for Leaf<V> {
    const EMPTY: Self = Self {
        keys: Keys::EMPTY,
        slots: ManuallyDrop::new([const { None }; LEAF]),
        len: 0,
        born: [0; LEAF],
    };
}

impl<V> Leaf<V> {
    /// A leaf of these entries, of which there are one to [`LEAF`].
    pub(super) fn new(
        born: u32,
        entries: impl IntoIterator<Item = (Span, Dated<V>)>,
    ) -> Block<Self> {
        Block::make(born, |leaf: &mut Self| {
            leaf.append(entries);
            leaf.keys.give_hints(leaf.len);
        })
    }

    /// Appends these.
    #[inline]
    fn append(&mut self, entries: impl IntoIterator<Item = (Span, Dated<V>)>) {
        let from = self.len;
        for (slot, (span, value)) in self.slots[from..].iter_mut().zip(entries) {
            self.keys.put(self.len, span.first());
            self.born[self.len] = value.born();
            // SAFETY: a leaf drops nothing.
            *slot = Some((span, unsafe { value.into_inner() }));
            self.len += 1;
        }
    }

    /// A copy of a value, one of the first [`len`](Self::len).
    pub(super) fn dated(&self, at: usize) -> Dated<V> {
        let (_, value) = self.slots[at].as_ref().expect("one of the first");
        // SAFETY: the value is there; see the head of the file for the copy.
        Dated::new(self.born[at], unsafe { ptr::read(value) })
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
        born: u32,
        begin: usize,
        end: usize,
        entries: &mut Entries<V>,
        keep: Keep<V>,
    ) -> Block<Self> {
        Block::make(born, |leaf: &mut Self| {
            leaf.copy(self, 0..begin, born, keep);
            let new = entries.drain(..);
            leaf.append(new.map(|(span, value)| (span, Dated::new(born, value))));
            leaf.copy(self, end..self.len, born, keep);
            leaf.keys.give_hints(leaf.len);
        })
    }

    /// Appends some of another leaf's entries.
    fn copy(&mut self, other: &Self, entries: Range<usize>, born: u32, keep: Keep<V>) {
        if !keep.is_by_bits() {
            return self.append(entries.map(|at| other.keep(at, born, keep)));
        }
        let to = self.len..self.len + entries.len();
        self.keys.copy(to.start, &other.keys, entries.clone());
        self.born[to.clone()].copy_from_slice(&other.born[entries.clone()]);
        let (from, slots) = (&other.slots[entries], &mut self.slots[to.clone()]);
        // SAFETY: both have as many slots, of two leaves; see the head of the file for the copies.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), slots.as_mut_ptr(), from.len()) };
        self.len = to.end;
    }

    /// One of the first [`len`](Self::len) entries, for another leaf, which is made for the version of this number.
    pub(super) fn keep(&self, at: usize, born: u32, keep: Keep<V>) -> (Span, Dated<V>) {
        let (span, value) = self.slots[at].as_ref().expect("one of the first");
        let kept = if keep.is_by_bits() {
            self.dated(at)
        } else {
            Dated::new(born, value.clone())
        };
        (*span, kept)
    }
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
    pub(super) fn new(born: u32, nodes: impl IntoIterator<Item = Node<V>>) -> Block<Self> {
        Block::make(born, |branch: &mut Self| {
            for (slot, node) in branch.children.iter_mut().zip(nodes) {
                branch.keys.put(branch.len, node.first());
                branch.spans += node.spans();
                branch.len += 1;
                *slot = Some(node);
            }
            branch.keys.give_hints(branch.len);
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

impl<V> Block<Branch<V>> {
    /// The branch with another node, of the same height and not empty, in the place of one child.
    pub(super) fn with_child(self, born: u32, at: usize, node: Node<V>) -> Self {
        self.changed(born, |branch| {
            let gone = branch.children[at].replace(node);
            branch.spans = branch.spans - gone.map_or(0, |gone| gone.spans()) + node.spans();
            if node.first() != branch.keys.at(at) {
                branch.keys.put(at, node.first());
                branch.keys.give_hints(branch.len);
            }
        })
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
            (Self::Leaf(one), Self::Leaf(other)) => one.is_same(*other),
            (Self::Branch(one), Self::Branch(other)) => one.is_same(*other),
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
