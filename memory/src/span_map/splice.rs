//! Building maps: from nothing, and from another map with a part replaced.
#![expect(unsafe_code, reason = "what a change replaces is said by the change")]
// Soundness: a change is told of each node that it replaces once the node in its place has been made of it, and reads it no more. Each node of the old map is
// met once: as one of those on the ways to the two ends of what is replaced, as what is below none of the two, between them (`retire_all`), or as what
// is joined with a neighbour, which takes it off the list of those that stay. Where a check fails, or a value's `clone` panics, the change has no end: what it has made
// is leaked, and the old map stays as it was.

use super::node::{BRANCH, Branch, LEAF, Leaf, Node};
use super::versions::{Dated, Part};
use super::{Entries, Keep, SpanMap};
use crate::addr::Span;

type Change<'a, V> = super::versions::Change<'a, Node<V>>;

impl<V> SpanMap<V> {
    /// The map of these entries.
    ///
    /// # Panics
    ///
    /// Where they do not ascend or overlap.
    pub fn from_sorted(entries: impl IntoIterator<Item = (Span, V)>) -> Self {
        let entries: Vec<_> = entries.into_iter().collect();
        check(&entries);
        Self::from_ascending(entries)
    }

    /// The same, of as many entries as are said beforehand: each goes into its node when it comes.
    pub(crate) fn from_ascending(
        entries: impl IntoIterator<IntoIter: ExactSizeIterator<Item = (Span, V)>>,
    ) -> Self {
        let mut before: Option<Span> = None;
        let checked = entries.into_iter().inspect(|&(span, _)| {
            if let Some(left) = before {
                check_order(left, span);
            }
            before = Some(span);
        });
        let mut change = Change::first();
        let born = change.number();
        let nodes = leaves(
            born,
            checked.map(|(span, value)| (span, Dated::new(born, value))),
        );
        Self::from_nodes(&mut change, nodes)
    }

    fn from_nodes(change: &mut Change<'_, V>, mut nodes: Vec<Node<V>>) -> Self {
        while nodes.len() > 1 {
            nodes = branches(change.number(), nodes);
        }
        match nodes.pop() {
            Some(root) => Self::from_root(change, root),
            None => Self::new(),
        }
    }

    fn from_root(change: &mut Change<'_, V>, mut root: Node<V>) -> Self {
        // A branch over one node is no use at the top.
        while let Node::Branch(branch) = root
            && branch.len() == 1
            && let Some(&child) = branch.child(0)
        {
            // SAFETY: it is the root of what has been made, and its child is from now on.
            unsafe { change.retire(root) };
            root = child;
        }
        Self {
            root: Some(root),
            len: root.spans(),
            version: Some(change.finish(root)),
        }
    }
}

impl<V: Clone> SpanMap<V> {
    /// This map with every entry that overlaps `span` replaced by `replacement`. What lies apart from
    /// `span` is shared with the new map; it costs O(log n + k) for k entries replaced or put in.
    /// That holds for the newest of the maps that came from one another and are still there; of an older one all is copied.
    ///
    /// # Panics
    ///
    /// Where the replacement does not ascend, overlaps itself, or overlaps an entry that stays.
    #[must_use]
    pub fn splice(&self, span: Span, replacement: impl IntoIterator<Item = (Span, V)>) -> Self {
        self.spliced(span, replacement.into_iter().collect(), Keep::CLONES)
    }

    /// The same, with a list that is there already.
    pub(crate) fn spliced(&self, span: Span, mut entries: Entries<V>, keep: Keep<V>) -> Self {
        check(&entries);
        let (Some(root), Some(version)) = (&self.root, &self.version) else {
            return Self::from_ascending(entries);
        };
        if let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) {
            self.check_apart(span, first.hull(*last));
        }
        let Some(mut change) = version.begin() else {
            return self.rebuilt(span, entries);
        };
        match replace(root, span, &mut entries, keep, &mut change) {
            // Nothing of it is in the new map, which begins anew.
            Nodes::None => Self::new(),
            Nodes::One(node) => Self::from_root(&mut change, node),
            Nodes::Many(nodes) => Self::from_nodes(&mut change, nodes),
        }
    }

    /// The same, with nothing shared.
    #[cold]
    fn rebuilt(&self, span: Span, entries: Entries<V>) -> Self {
        let stay = self.iter().filter(|(own, _)| !own.overlaps(span));
        let mut all: Vec<_> = stay.map(|(own, value)| (own, value.clone())).collect();
        if let Some(&(first, _)) = entries.first() {
            let at = all.partition_point(|(own, _)| own.first() < first.first());
            all.splice(at..at, entries);
        }
        Self::from_ascending(all)
    }

    /// That `new` fits between the entries that stay when those that overlap `span` go.
    fn check_apart(&self, span: Span, new: Span) {
        // Most often the replacement lies within what goes, and its neighbours need not be asked for.
        let ends = [span.first(), span.last()].map(|addr| self.get(addr).map(|(gone, _)| gone));
        let gone = ends.into_iter().flatten().fold(span, Span::hull);
        if gone.covers(new) {
            return;
        }
        let left = self.before(gone.first()).map(|(left, _)| left);
        let right = self.after(gone.last()).map(|(right, _)| right);
        for stays in [left, right].into_iter().flatten() {
            let apart = if stays.first() < gone.first() {
                stays.last() < new.first()
            } else {
                new.last() < stays.first()
            };
            assert!(
                apart,
                "the replacement {new:?} overlaps or passes {stays:?}, which stays"
            );
        }
    }
}

fn check<V>(entries: &[(Span, V)]) {
    for pair in entries.windows(2) {
        check_order(pair[0].0, pair[1].0);
    }
}

fn check_order(left: Span, right: Span) {
    assert!(
        left.last() < right.first(),
        "{left:?} is not before {right:?}"
    );
}

/// What is there instead of one node: most often one node, which needs no list.
enum Nodes<V> {
    None,
    One(Node<V>),
    Many(Vec<Node<V>>),
}

impl<V> Nodes<V> {
    fn append_to(self, nodes: &mut Vec<Node<V>>) {
        match self {
            Self::None => {}
            Self::One(node) => nodes.push(node),
            Self::Many(more) => nodes.extend(more),
        }
    }
}

/// The node with the entries that overlap `span` replaced by these, of which none are left, as nodes of its height. The change is told of it.
fn replace<V: Clone>(
    node: &Node<V>,
    span: Span,
    entries: &mut Entries<V>,
    keep: Keep<V>,
    change: &mut Change<'_, V>,
) -> Nodes<V> {
    let born = change.number();
    let nodes = match node {
        Node::Leaf(leaf) => {
            let begin = leaf.first_reaching(span.first());
            let end = leaf.last_beginning(span.last()).max(begin);
            let nodes = match begin + entries.len() + (leaf.len() - end) {
                0 => Nodes::None,
                1..=LEAF => {
                    let leaf = leaf.spliced(born, begin, end, entries, keep);
                    Nodes::One(Node::Leaf(leaf))
                }
                len => {
                    let mut all = Vec::with_capacity(len);
                    all.extend((0..begin).map(|at| leaf.keep(at, born, keep)));
                    let new = entries.drain(..);
                    all.extend(new.map(|(span, value)| (span, Dated::new(born, value))));
                    all.extend((end..leaf.len()).map(|at| leaf.keep(at, born, keep)));
                    Nodes::Many(leaves(born, all))
                }
            };
            let gone = if keep.is_by_bits() {
                begin..end
            } else {
                0..leaf.len()
            };
            for at in gone {
                // SAFETY: no leaf that has been made has a copy of it.
                unsafe { change.retire_value(leaf.dated(at)) };
            }
            nodes
        }
        Node::Branch(branch) => {
            let left = branch.index_for(span.first());
            let right = branch.index_for(span.last());
            let first = match branch.child(left) {
                Some(child) => replace(child, span, entries, keep, change),
                None => Nodes::None,
            };
            match first {
                // The common case: a change within one child, which stays one that can stand alone.
                Nodes::One(node) if left == right && (branch.len() == 1 || !node.is_small()) => {
                    Nodes::One(Node::Branch(branch.with_child(born, left, node)))
                }
                first => {
                    let mut nodes: Vec<Node<V>> = Vec::with_capacity(BRANCH + 2);
                    nodes.extend((0..left).filter_map(|at| branch.child(at)));
                    let from = nodes.len();
                    first.append_to(&mut nodes);
                    for &between in (left + 1..right).filter_map(|at| branch.child(at)) {
                        retire_all(between, change);
                    }
                    if right > left
                        && let Some(child) = branch.child(right)
                    {
                        replace(child, span, &mut Entries::new(), keep, change)
                            .append_to(&mut nodes);
                    }
                    let to = nodes.len();
                    nodes.extend((right + 1..branch.len()).filter_map(|at| branch.child(at)));
                    join_small(&mut nodes, from, to, keep, change);
                    Nodes::Many(branches(born, nodes))
                }
            }
        }
    };
    // SAFETY: other nodes are in its place.
    unsafe { change.retire(*node) };
    nodes
}

/// Tells the change of a node that nothing is in the place of, and of all below.
fn retire_all<V>(node: Node<V>, change: &mut Change<'_, V>) {
    node.each_below(&mut |below| retire_all(below, change));
    // SAFETY: nothing of what is there stays.
    node.each_value(&mut |value| unsafe { change.retire_value(value) });
    // SAFETY: as above.
    unsafe { change.retire(node) };
}

/// Joins nodes from `from` up to `to` that have become too small with a neighbour.
fn join_small<V: Clone>(
    nodes: &mut Vec<Node<V>>,
    from: usize,
    to: usize,
    keep: Keep<V>,
    change: &mut Change<'_, V>,
) {
    let mut at = to.min(nodes.len());
    while at > from {
        at -= 1;
        if nodes.len() > 1 && nodes[at].is_small() {
            let left = if at + 1 < nodes.len() { at } else { at - 1 };
            let joined = join(nodes[left], nodes[left + 1], keep, change);
            nodes.splice(left..left + 2, joined);
        }
    }
}

/// Two neighbours as one node, or as two of equal width. The change is told of both.
fn join<V: Clone>(
    left: Node<V>,
    right: Node<V>,
    keep: Keep<V>,
    change: &mut Change<'_, V>,
) -> Vec<Node<V>> {
    let born = change.number();
    let joined = match (left, right) {
        (Node::Leaf(left), Node::Leaf(right)) => {
            let entries = [&left, &right]
                .into_iter()
                .flat_map(|leaf| (0..leaf.len()).map(|at| leaf.keep(at, born, keep)));
            leaves(born, entries.collect::<Vec<_>>())
        }
        (Node::Branch(left), Node::Branch(right)) => {
            let mut nodes: Vec<_> = [&left, &right]
                .into_iter()
                .flat_map(|branch| (0..branch.len()).filter_map(|at| branch.child(at).copied()))
                .collect();
            // An only child may have stayed too small for want of a neighbour.
            let len = nodes.len();
            join_small(&mut nodes, 0, len, keep, change);
            branches(born, nodes)
        }
        // INVARIANT: all leaves are at one depth, so neighbours are of one kind.
        _ => unreachable!("neighbours in a B+tree are of one kind"),
    };
    for node in [left, right] {
        if !keep.is_by_bits() {
            // SAFETY: the joined leaves have clones of it.
            node.each_value(&mut |value| unsafe { change.retire_value(value) });
        }
        // SAFETY: the joined nodes are in its place, and the caller takes it off its list.
        unsafe { change.retire(node) };
    }
    joined
}

/// The entries as leaves of equal width, as few as possible.
fn leaves<V>(
    born: u32,
    entries: impl IntoIterator<IntoIter: ExactSizeIterator<Item = (Span, Dated<V>)>>,
) -> Vec<Node<V>> {
    evenly(entries, LEAF, |part| Node::Leaf(Leaf::new(born, part)))
}

/// Branches of equal width over the nodes, as few as possible.
fn branches<V>(born: u32, nodes: Vec<Node<V>>) -> Vec<Node<V>> {
    evenly(nodes, BRANCH, |part| Node::Branch(Branch::new(born, part)))
}

/// As few nodes as possible over the items, each of as many as the others, at most `most`.
fn evenly<I: ExactSizeIterator, N>(
    items: impl IntoIterator<IntoIter = I>,
    most: usize,
    mut node: impl FnMut(std::iter::Take<&mut I>) -> N,
) -> Vec<N> {
    let mut items = items.into_iter();
    let len = items.len();
    let parts = len.div_ceil(most);
    (0..parts)
        .map(|part| {
            node(
                items
                    .by_ref()
                    .take((part + 1) * len / parts - part * len / parts),
            )
        })
        .collect()
}
