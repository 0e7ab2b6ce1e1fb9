//! Finds the intervals that overlap a span without looking at the others: an augmented B+tree.
//!
//! Intervals may overlap each other. They are ordered by their first address, and each link knows the
//! highest last address below it, so that a query descends only where it finds something: it costs
//! O(log n + k) for k intervals found, insertion and removal cost O(log n).
//!
//! Where many come one after the other, without a query or a removal in between, the first few are inserted at once and the others
//! wait on a list. They go in together, in order, when the index is [settled](IntervalIndex::settle): where they are many beside
//! those that are there, the nodes are built anew, in place of looking for each one's leaf among many that are in no cache.

use super::{Priority, RegionKey};
use crate::addr::Span;

/// A node holds at most this many entries,
const CAPACITY: usize = 32;
/// and is joined with a neighbour when it holds fewer than these.
const MINIMUM: usize = 8;
/// Nodes that are built get at most this many: as many as the nodes of an index that grew one by one have, or little more, so that it
/// takes no more memory; and the next that comes finds room.
const BUILT: usize = 24;
/// So many newcomers go in at once before the next ones wait: a list for a few would cost more than it saves.
const AT_ONCE: usize = 8;

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
    /// How many are in the nodes.
    len: usize,
    /// How many of them came since the index was settled, less those that went.
    lately: usize,
    /// Those that are not in the nodes yet, in no order.
    waiting: Vec<Interval>,
    /// INVARIANT: set where any wait, so that whoever made it has to call `settle` only then, and is told once.
    unsettled: bool,
}

impl IntervalIndex {
    /// No intervals.
    pub(crate) const fn new() -> Self {
        Self {
            root: Node::Leaf(Vec::new()),
            len: 0,
            lately: 0,
            waiting: Vec::new(),
            unsettled: false,
        }
    }

    /// Puts one in. Whether it is the first that waits for [`settle`](Self::settle); until that is called queries are slow, and right.
    pub(crate) fn insert(&mut self, interval: Interval) -> bool {
        if self.lately < AT_ONCE {
            self.lately += 1;
            self.insert_now(interval);
            return false;
        }
        self.waiting.push(interval);
        !std::mem::replace(&mut self.unsettled, true)
    }

    /// Puts in those that wait.
    pub(crate) fn settle(&mut self) {
        self.take_in();
        self.unsettled = false;
    }

    fn take_in(&mut self) {
        self.lately = 0;
        let mut new = std::mem::take(&mut self.waiting);
        new.sort_unstable_by_key(Interval::rank);
        // To build costs a look at all; to insert, a way down for each.
        if new.len() > CAPACITY && new.len() * 4 > self.len {
            self.len += new.len();
            let old = std::mem::replace(&mut self.root, Node::Leaf(Vec::new()));
            self.root = built(old, new, self.len);
        } else {
            for interval in new {
                self.insert_now(interval);
            }
        }
    }

    fn insert_now(&mut self, interval: Interval) {
        self.len += 1;
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
        if !self.waiting.is_empty() {
            self.take_in();
        }
        let removed = self.root.remove((first, order))?;
        self.len -= 1;
        self.lately = self.lately.saturating_sub(1);
        while let Node::Branch(links) = &mut self.root {
            if links.len() > 1 {
                break;
            }
            self.root = links.pop().map_or(Node::Leaf(Vec::new()), |link| link.node);
        }
        Some(removed)
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0 && self.waiting.is_empty()
    }

    /// Hands out every interval that overlaps `span`, by first address, some at a time: those that are together in memory.
    pub(crate) fn overlapping(&self, span: Span, found: &mut impl FnMut(&[Interval])) {
        if self.waiting.is_empty() {
            return self.root.overlapping(span, found);
        }
        let waiting = self.waiting.iter().filter(|new| new.span.overlaps(span));
        let mut all: Vec<Interval> = waiting.copied().collect();
        self.root
            .overlapping(span, &mut |some| all.extend_from_slice(some));
        all.sort_unstable_by_key(Interval::rank);
        found(&all);
    }
}

/// A tree of `len` intervals: those below `old`, and the new ones, which ascend.
fn built(old: Node, new: Vec<Interval>, len: usize) -> Node {
    let mut leaves = Vec::with_capacity(len.div_ceil(BUILT));
    let mut old = old.into_intervals().peekable();
    let mut new = new.into_iter().peekable();
    evenly(len, |width| {
        let mut leaf = Vec::with_capacity(CAPACITY + 1);
        leaf.extend((0..width).map_while(|_| match (old.peek(), new.peek()) {
            (Some(one), Some(other)) if one.rank() < other.rank() => old.next(),
            (Some(_), None) => old.next(),
            _ => new.next(),
        }));
        leaves.extend(Node::Leaf(leaf).into_link());
    });
    while leaves.len() > 1 {
        let mut below = leaves.into_iter();
        let mut above = Vec::with_capacity(below.len().div_ceil(BUILT));
        evenly(below.len(), |width| {
            let mut links = Vec::with_capacity(CAPACITY + 1);
            links.extend(below.by_ref().take(width));
            above.extend(Node::Branch(links).into_link());
        });
        leaves = above;
    }
    leaves
        .pop()
        .map_or(Node::Leaf(Vec::new()), |link| link.node)
}

/// The widths of as few nodes as possible over `len` items, none of them wider than others by more than one.
fn evenly(len: usize, mut node: impl FnMut(usize)) {
    let parts = len.div_ceil(BUILT);
    for part in 0..parts {
        node((part + 1) * len / parts - part * len / parts);
    }
}

impl Node {
    /// What is below, in order.
    fn into_intervals(self) -> impl Iterator<Item = Interval> {
        let mut next = vec![self];
        let leaves = std::iter::from_fn(move || {
            loop {
                match next.pop()? {
                    Self::Leaf(items) => return Some(items),
                    Self::Branch(links) => {
                        next.extend(links.into_iter().rev().map(|link| link.node));
                    }
                }
            }
        });
        leaves.flatten()
    }

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

    fn overlapping(&self, span: Span, found: &mut impl FnMut(&[Interval])) {
        match self {
            Self::Leaf(items) => {
                let begun = items.partition_point(|item| item.span.first() <= span.last());
                let reaches = |item: &Interval| item.span.last() >= span.first();
                let Some(from) = items[..begun].iter().position(reaches) else {
                    return;
                };
                let items = &items[from..begun];
                if items[1..].iter().all(reaches) {
                    return found(items);
                }
                for some in items.chunk_by(|one, next| reaches(one) == reaches(next)) {
                    if reaches(&some[0]) {
                        found(some);
                    }
                }
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
