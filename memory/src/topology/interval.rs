//! Finds the intervals that overlap a span without looking at the others: an augmented B+tree.
//!
//! Intervals may overlap each other. They are ordered by their first address, and each link knows the
//! highest last address below it, so that a query descends only where it finds something: it costs
//! O(log n + k) for k intervals found, insertion and removal cost O(log n).

use super::{Priority, RegionKey};
use crate::addr::Span;

/// A node holds at most this many entries,
const CAPACITY: usize = 32;
/// and is joined with a neighbour when it holds fewer than these.
const MINIMUM: usize = 8;

/// One enabled subregion that covers at least one byte, at its place in its container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) span: Span,
    pub(crate) priority: Priority,
    /// When it was added: the higher the later. Unique within an index.
    pub(crate) order: u64,
    pub(crate) region: RegionKey,
}

type Rank = (u64, u64);

impl Interval {
    fn rank(&self) -> Rank {
        (self.span.first(), self.order)
    }
}

#[derive(Debug)]
struct Link {
    /// The lowest rank below.
    rank: Rank,
    /// The highest last address below.
    reach: u64,
    node: Node,
}

#[derive(Debug)]
enum Node {
    Leaf(Vec<Interval>),
    Branch(Vec<Link>),
}

/// Intervals of one container's subregions.
#[derive(Debug)]
pub(crate) struct IntervalIndex {
    root: Node,
}

impl Default for IntervalIndex {
    fn default() -> Self {
        Self {
            root: Node::Leaf(Vec::new()),
        }
    }
}

impl IntervalIndex {
    pub(crate) fn insert(&mut self, interval: Interval) {
        if let Some(right) = self.root.insert(interval) {
            let left = std::mem::replace(
                &mut self.root,
                Node::Branch(Vec::with_capacity(CAPACITY + 1)),
            );
            if let (Node::Branch(links), Some(left)) = (&mut self.root, left.into_link()) {
                links.push(left);
                links.push(right);
            }
        }
    }

    /// Takes out the interval that begins at `first` and was added as `order`.
    pub(crate) fn remove(&mut self, first: u64, order: u64) -> Option<Interval> {
        let removed = self.root.remove((first, order))?;
        while let Node::Branch(links) = &mut self.root {
            if links.len() > 1 {
                break;
            }
            self.root = links.pop().map_or(Node::Leaf(Vec::new()), |link| link.node);
        }
        Some(removed)
    }

    /// Appends every interval that overlaps `span` to `found`, by first address.
    pub(crate) fn overlapping(&self, span: Span, found: &mut Vec<Interval>) {
        self.root.overlapping(span, found);
    }
}

impl Node {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(items) => items.len(),
            Self::Branch(links) => links.len(),
        }
    }

    /// The node with the summary that its parent keeps of it; `None` where it is empty.
    fn into_link(self) -> Option<Link> {
        let (rank, reach) = self.summary()?;
        Some(Link {
            rank,
            reach,
            node: self,
        })
    }

    fn summary(&self) -> Option<(Rank, u64)> {
        match self {
            Self::Leaf(items) => {
                let reach = items.iter().map(|item| item.span.last()).max()?;
                Some((items.first()?.rank(), reach))
            }
            Self::Branch(links) => {
                let reach = links.iter().map(|link| link.reach).max()?;
                Some((links.first()?.rank, reach))
            }
        }
    }

    /// The second half of a node that became too big, taken off it.
    fn split(&mut self) -> Option<Link> {
        let half = self.len() / 2;
        let right = match self {
            Self::Leaf(items) => {
                let mut right = Vec::with_capacity(CAPACITY + 1);
                right.extend(items.drain(half..));
                Self::Leaf(right)
            }
            Self::Branch(links) => {
                let mut right = Vec::with_capacity(CAPACITY + 1);
                right.extend(links.drain(half..));
                Self::Branch(right)
            }
        };
        right.into_link()
    }

    fn insert(&mut self, interval: Interval) -> Option<Link> {
        let rank = interval.rank();
        match self {
            Self::Leaf(items) => {
                let at = items.partition_point(|item| item.rank() < rank);
                items.insert(at, interval);
            }
            Self::Branch(links) => {
                let at = child_for(links, rank);
                let link = &mut links[at];
                link.rank = link.rank.min(rank);
                link.reach = link.reach.max(interval.span.last());
                if let Some(right) = link.node.insert(interval) {
                    link.refresh();
                    links.insert(at + 1, right);
                }
            }
        }
        if self.len() > CAPACITY {
            self.split()
        } else {
            None
        }
    }

    fn remove(&mut self, rank: Rank) -> Option<Interval> {
        match self {
            Self::Leaf(items) => {
                let at = items.binary_search_by_key(&rank, Interval::rank).ok()?;
                Some(items.remove(at))
            }
            Self::Branch(links) => {
                let at = child_for(links, rank);
                let removed = links[at].node.remove(rank)?;
                if links[at].node.len() == 0 {
                    links.remove(at);
                } else {
                    links[at].refresh();
                    if links[at].node.len() < MINIMUM && links.len() > 1 {
                        join(links, at.min(links.len() - 2));
                    }
                }
                Some(removed)
            }
        }
    }

    fn overlapping(&self, span: Span, found: &mut Vec<Interval>) {
        match self {
            Self::Leaf(items) => {
                let begun = items
                    .iter()
                    .take_while(|item| item.span.first() <= span.last());
                found.extend(begun.filter(|item| item.span.last() >= span.first()));
            }
            Self::Branch(links) => {
                let begun = links.iter().take_while(|link| link.rank.0 <= span.last());
                for link in begun.filter(|link| link.reach >= span.first()) {
                    link.node.overlapping(span, found);
                }
            }
        }
    }
}

impl Link {
    fn refresh(&mut self) {
        if let Some((rank, reach)) = self.node.summary() {
            self.rank = rank;
            self.reach = reach;
        }
    }
}

/// Which link's node `rank` belongs to.
fn child_for(links: &[Link], rank: Rank) -> usize {
    links
        .partition_point(|link| link.rank <= rank)
        .saturating_sub(1)
}

/// Joins the node at `at` with the next, and halves the result where it became too big.
fn join(links: &mut Vec<Link>, at: usize) {
    let right = links.remove(at + 1);
    let left = &mut links[at];
    match (&mut left.node, right.node) {
        (Node::Leaf(items), Node::Leaf(mut more)) => items.append(&mut more),
        (Node::Branch(links), Node::Branch(mut more)) => links.append(&mut more),
        // INVARIANT: all leaves are at one depth, so neighbours are of one kind.
        (_, _) => unreachable!("neighbours in a B+tree are of one kind"),
    }
    let split = if left.node.len() > CAPACITY {
        left.node.split()
    } else {
        None
    };
    left.refresh();
    if let Some(right) = split {
        links.insert(at + 1, right);
    }
}

#[cfg(test)]
mod tests;
