//! A persistent map from disjoint spans of addresses to values: the shape of a published flat view.
//!
//! A [`SpanMap`] never changes. [`SpanMap::splice`] gives a new map that shares every node outside the
//! spliced part with the old one, so that a small change of a large view costs little, and readers of the
//! old view notice nothing. A lookup searches one node a level, two or three levels for some thousand
//! ranges, and counts no references.

mod counted;
mod diff;
mod iter;
mod keys;
mod node;
mod splice;

use std::fmt;

pub use iter::Iter;
use node::Node;

use crate::addr::Span;
use smallvec::SmallVec;

/// What is put in, most often one or two: a list that needs no block of memory then.
pub(crate) type Entries<V> = SmallVec<[(Span, V); 2]>;

/// A persistent, ordered map from disjoint [`Span`]s to values. Cloning it is cheap.
///
/// Any thread may read it; it is `Send` and `Sync` where its values are.
///
/// ```
/// use memory::addr::Span;
/// use memory::span_map::SpanMap;
/// let span = |first, last| Span::new(first, last).unwrap();
/// let old = SpanMap::from_sorted([(span(0, 9), "ram"), (span(20, 29), "rom")]);
/// let new = old.splice(span(5, 22), [(span(5, 9), "uart")]);
/// assert_eq!(old.get(25), Some((span(20, 29), &"rom")));
/// assert_eq!(new.get(25), None);
/// assert_eq!(new.iter().collect::<Vec<_>>(), [(span(5, 9), &"uart")]);
/// ```
pub struct SpanMap<V> {
    root: Option<Node<V>>,
    len: usize,
}

impl<V> Clone for SpanMap<V> {
    fn clone(&self) -> Self {
        Self {
            root: self.root.clone(),
            len: self.len,
        }
    }
}

impl<V> Default for SpanMap<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: fmt::Debug> fmt::Debug for SpanMap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<V> SpanMap<V> {
    /// No spans.
    pub const fn new() -> Self {
        Self { root: None, len: 0 }
    }

    /// How many spans there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The span that contains `addr`, and its value.
    ///
    /// The hot path of guest accesses: no locks, no reference counts, no branches within a node.
    #[inline]
    pub fn get(&self, addr: u64) -> Option<(Span, &V)> {
        let (span, value) = self.find(addr)?;
        Some((*span, value))
    }

    /// The same, as one place in memory: what a register can hold.
    #[expect(
        clippy::inline_always,
        reason = "a call would cost a third of a lookup, and goes through memory"
    )]
    #[inline(always)]
    pub(crate) fn find(&self, addr: u64) -> Option<&(Span, V)> {
        let mut node = self.root.as_ref()?;
        if addr == u64::MAX {
            return node.last_of_all();
        }
        loop {
            match node {
                Node::Branch(branch) => node = branch.child_for(addr)?,
                Node::Leaf(leaf) => return leaf.find(addr),
            }
        }
    }

    /// The one entry that can contain `addr`, where tables say it at once; none otherwise. Whether it does is for the caller to see. It calls
    /// nothing, so that whoever calls nothing else needs no stack.
    #[expect(clippy::inline_always, reason = "see `find`")]
    #[inline(always)]
    pub(crate) fn near_at_once(&self, addr: u64) -> Option<&(Span, V)> {
        let mut node = self.root.as_ref()?;
        loop {
            match node {
                Node::Branch(branch) => node = branch.child_at_once(addr)?,
                Node::Leaf(leaf) => return leaf.near_at_once(addr),
            }
        }
    }

    /// Every span and its value, ascending.
    pub fn iter(&self) -> Iter<'_, V> {
        self.range(Span::ALL)
    }

    /// The spans that overlap `within`, whole, and their values, ascending.
    pub fn range(&self, within: Span) -> Iter<'_, V> {
        Iter::new(self.root.as_ref(), within)
    }

    /// The last span that begins before `addr`, if any: the one that contains it if it began before,
    /// otherwise the neighbour on the left.
    pub fn before(&self, addr: u64) -> Option<(Span, &V)> {
        self.root.as_ref()?.last_at(addr.checked_sub(1)?)
    }

    /// The first span that begins behind `addr`, if any: the neighbour on the right.
    pub fn after(&self, addr: u64) -> Option<(Span, &V)> {
        let behind = Span::new(addr.checked_add(1)?, u64::MAX)?;
        self.range(behind).find(|(span, _)| span.first() > addr)
    }

    /// Whether the two are one map, sharing all nodes. Cheap; `false` says nothing about the contents.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.root, &other.root) {
            (None, None) => true,
            (Some(one), Some(other)) => one.is_same(other),
            _ => false,
        }
    }
}

impl<'a, V> IntoIterator for &'a SpanMap<V> {
    type Item = (Span, &'a V);
    type IntoIter = Iter<'a, V>;

    fn into_iter(self) -> Iter<'a, V> {
        self.iter()
    }
}

#[cfg(test)]
mod tests;
