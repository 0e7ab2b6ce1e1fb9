//! The nodes of a span map, and the search within one.

use std::array;
use std::sync::Arc;

use crate::addr::Span;

/// A node holds at most this many entries. Each change copies one node a level, each lookup searches
/// one: 32 keeps the tree shallow and the copy short.
pub(super) const CAPACITY: usize = 32;
/// A node beside another that holds fewer than these is joined with it.
pub(super) const MINIMUM: usize = 8;

pub(super) enum Node<V> {
    Leaf(Arc<Leaf<V>>),
    Branch(Arc<Branch<V>>),
}

/// The first addresses of a node's entries, ascending; `u64::MAX` behind the last.
#[derive(Clone)]
#[repr(align(64))]
struct Keys([u64; CAPACITY]);

pub(super) struct Leaf<V> {
    keys: Keys,
    slots: [Option<(u64, V)>; CAPACITY],
    len: usize,
}

pub(super) struct Branch<V> {
    keys: Keys,
    children: [Option<Node<V>>; CAPACITY],
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

impl Keys {
    fn new(firsts: impl Iterator<Item = u64>) -> Self {
        let mut keys = Self([u64::MAX; CAPACITY]);
        for (key, first) in keys.0.iter_mut().zip(firsts) {
            *key = first;
        }
        keys
    }

    /// How many keys are not above `addr`. Two steps, each a count without branches: which eight, then
    /// where in them; eight keys are one cache line.
    #[inline]
    fn not_above(&self, addr: u64) -> usize {
        let keys = &self.0;
        let eights = usize::from(keys[8] <= addr)
            + usize::from(keys[16] <= addr)
            + usize::from(keys[24] <= addr);
        let begin = eights * 8;
        let eight: &[u64; 8] = keys[begin..begin + 8].first_chunk().unwrap_or(&[0; 8]);
        begin
            + eight
                .iter()
                .map(|&key| usize::from(key <= addr))
                .sum::<usize>()
    }
}

impl<V> Leaf<V> {
    pub(super) fn new(entries: impl IntoIterator<Item = (Span, V)>) -> Arc<Self> {
        let mut keys = Keys([u64::MAX; CAPACITY]);
        let mut slots = array::from_fn(|_| None);
        let mut len = 0;
        for ((key, slot), (span, value)) in keys.0.iter_mut().zip(&mut slots).zip(entries) {
            *key = span.first();
            *slot = Some((span.last(), value));
            len += 1;
        }
        Arc::new(Self { keys, slots, len })
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
        self.keys.not_above(addr).min(self.len)
    }

    #[inline]
    pub(super) fn entry(&self, at: usize) -> Option<(Span, &V)> {
        let (last, value) = self.slots.get(at)?.as_ref()?;
        Some((Span::new(self.keys.0[at], *last)?, value))
    }

    #[inline]
    pub(super) fn get(&self, addr: u64) -> Option<(Span, &V)> {
        // An unused slot is found only for the address u64::MAX: its key is that.
        let at = self.keys.not_above(addr).min(self.len).wrapping_sub(1);
        let (last, value) = self.slots.get(at)?.as_ref()?;
        if addr <= *last {
            Some((Span::new(self.keys.0[at], *last)?, value))
        } else {
            None
        }
    }
}

impl<V> Branch<V> {
    /// A branch over up to [`CAPACITY`] nodes that are not empty, of one height, in order.
    pub(super) fn new(nodes: impl IntoIterator<Item = Node<V>>) -> Arc<Self> {
        let mut children = array::from_fn(|_| None);
        let mut len = 0;
        let mut spans = 0;
        for (child, node) in children.iter_mut().zip(nodes) {
            spans += node.spans();
            *child = Some(node);
            len += 1;
        }
        let keys = Keys::new(
            children
                .iter()
                .map_while(|child| Some(child.as_ref()?.first())),
        );
        Arc::new(Self {
            keys,
            children,
            len,
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
    #[inline]
    pub(super) fn index_for(&self, addr: u64) -> usize {
        self.keys.not_above(addr).min(self.len).saturating_sub(1)
    }

    #[inline]
    pub(super) fn child_for(&self, addr: u64) -> Option<&Node<V>> {
        self.children.get(self.index_for(addr))?.as_ref()
    }
}

impl<V> Node<V> {
    /// The first address of the first entry below.
    pub(super) fn first(&self) -> u64 {
        match self {
            Self::Leaf(leaf) => leaf.keys.0[0],
            Self::Branch(branch) => branch.keys.0[0],
        }
    }

    /// How many entries there are below.
    pub(super) fn spans(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len,
            Self::Branch(branch) => branch.spans,
        }
    }

    /// How many entries the node itself has.
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len,
            Self::Branch(branch) => branch.len,
        }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Leaf(one), Self::Leaf(other)) => Arc::ptr_eq(one, other),
            (Self::Branch(one), Self::Branch(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// The last entry that begins at or before `addr`.
    pub(super) fn last_at(&self, addr: u64) -> Option<(Span, &V)> {
        let mut node = self;
        loop {
            match node {
                Self::Branch(branch) => node = branch.child_for(addr)?,
                Self::Leaf(leaf) => return leaf.entry(leaf.last_beginning(addr).checked_sub(1)?),
            }
        }
    }
}
