//! Iteration over a part of a span map, and the cursor beneath it.

use super::node::{Leaf, Node};
use crate::addr::Span;
use smallvec::SmallVec;

/// Spans and their values, ascending. Made by [`SpanMap::iter`](super::SpanMap::iter) and
/// [`SpanMap::range`](super::SpanMap::range).
#[derive(Clone)]
pub struct Iter<'a, V> {
    cursor: Cursor<'a, V>,
    last: u64,
}

impl<'a, V> Iter<'a, V> {
    pub(super) fn new(root: Option<&'a Node<V>>, within: Span) -> Self {
        Self {
            cursor: Cursor::at(root, within.first()),
            last: within.last(),
        }
    }
}

impl<'a, V> Iterator for Iter<'a, V> {
    type Item = (Span, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self
            .cursor
            .entry()
            .filter(|(span, _)| span.first() <= self.last)?;
        self.cursor.step();
        Some(entry)
    }
}

/// A place in a map: an entry, or the end.
#[derive(Clone)]
pub(super) struct Cursor<'a, V> {
    /// The nodes above the leaf and the index of the child taken in each, the root first. Four levels are some hundred thousand entries.
    path: SmallVec<[(&'a Node<V>, usize); 4]>,
    leaf: Option<(&'a Node<V>, &'a Leaf<V>, usize)>,
}

impl<'a, V> Cursor<'a, V> {
    /// At the first entry that does not end before `addr`.
    pub(super) fn at(root: Option<&'a Node<V>>, addr: u64) -> Self {
        let mut this = Self {
            path: SmallVec::new(),
            leaf: None,
        };
        if let Some(root) = root {
            this.descend(root, |node| match node {
                Node::Branch(branch) => branch.index_for(addr),
                Node::Leaf(leaf) => leaf.first_reaching(addr),
            });
        }
        this
    }

    pub(super) fn entry(&self) -> Option<(Span, &'a V)> {
        let (_, leaf, at) = self.leaf?;
        leaf.entry(at)
    }

    pub(super) fn step(&mut self) {
        if let Some((_, leaf, at)) = &mut self.leaf {
            *at += 1;
            if *at >= leaf.len() {
                self.next_leaf();
            }
        }
    }

    /// Goes down from `node` by the index that `choose` gives in each.
    fn descend(&mut self, mut node: &'a Node<V>, choose: impl Fn(&Node<V>) -> usize) {
        loop {
            let at = choose(node);
            match node {
                Node::Branch(branch) => {
                    let Some(child) = branch.child(at) else {
                        return;
                    };
                    self.push(node, at);
                    node = child;
                }
                Node::Leaf(leaf) => {
                    self.leaf = Some((node, leaf, at));
                    if at >= leaf.len() {
                        self.next_leaf();
                    }
                    return;
                }
            }
        }
    }

    fn push(&mut self, node: &'a Node<V>, at: usize) {
        self.path.push((node, at));
    }

    fn next_leaf(&mut self) {
        self.leaf = None;
        self.climb();
    }

    /// Goes on behind the last child taken.
    fn climb(&mut self) {
        while let Some((node, at)) = self.path.pop() {
            if let Node::Branch(branch) = node
                && let Some(child) = branch.child(at + 1)
            {
                self.push(node, at + 1);
                self.descend(child, |_| 0);
                return;
            }
        }
    }

    /// The nodes at whose very beginning the cursor is, the leaf first, its parent next, and so on.
    pub(super) fn begun(&self) -> impl Iterator<Item = &'a Node<V>> {
        let leaf = self
            .leaf
            .filter(|&(_, _, at)| at == 0)
            .map(|(node, ..)| node);
        let mut inside = leaf.is_some();
        let above = self.path.iter().rev().map_while(move |&(node, at)| {
            inside = inside && at == 0;
            inside.then_some(node)
        });
        leaf.into_iter().chain(above)
    }

    /// Steps over the node that is `height` levels above the leaf.
    pub(super) fn skip(&mut self, height: usize) {
        self.leaf = None;
        self.path.truncate(self.path.len().saturating_sub(height));
        self.climb();
    }
}
