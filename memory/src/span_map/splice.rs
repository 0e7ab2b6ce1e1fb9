//! Building maps: from nothing, and from another map with a part replaced.

use super::node::{BRANCH, Branch, LEAF, Leaf, Node};
use super::{Entries, SpanMap};
use crate::addr::Span;

impl<V> SpanMap<V> {
    /// The map of these entries.
    ///
    /// # Panics
    ///
    /// Where they do not ascend or overlap.
    pub fn from_sorted(entries: impl IntoIterator<Item = (Span, V)>) -> Self {
        let entries: Vec<_> = entries.into_iter().collect();
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
        Self::from_nodes(leaves(checked))
    }

    fn from_nodes(mut nodes: Vec<Node<V>>) -> Self {
        while nodes.len() > 1 {
            nodes = branches(nodes);
        }
        Self::from_root(nodes.pop())
    }

    fn from_root(mut root: Option<Node<V>>) -> Self {
        // A branch over one node is no use at the top.
        while let Some(Node::Branch(branch)) = &root
            && branch.len() == 1
        {
            root = branch.child(0).cloned();
        }
        let len = root.as_ref().map_or(0, Node::spans);
        Self { root, len }
    }
}

impl<V: Clone> SpanMap<V> {
    /// This map with every entry that overlaps `span` replaced by `replacement`. What lies apart from
    /// `span` is shared with the new map; it costs O(log n + k) for k entries replaced or put in.
    ///
    /// # Panics
    ///
    /// Where the replacement does not ascend, overlaps itself, or overlaps an entry that stays.
    #[must_use]
    pub fn splice(&self, span: Span, replacement: impl IntoIterator<Item = (Span, V)>) -> Self {
        self.spliced(span, replacement.into_iter().collect(), &|_| 0)
    }

    /// The same, with a list that is there already. `fetch` reads what the clone of a value writes: its count.
    pub(crate) fn spliced(
        &self,
        span: Span,
        mut entries: Entries<V>,
        fetch: &impl Fn(&V) -> usize,
    ) -> Self {
        check(&entries);
        let Some(root) = &self.root else {
            return Self::from_nodes(leaves(entries));
        };
        if let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) {
            self.check_apart(span, first.hull(*last));
        }
        match replace(root, span, &mut entries, fetch) {
            Nodes::None => Self::new(),
            Nodes::One(node) => Self::from_root(Some(node)),
            Nodes::Many(nodes) => Self::from_nodes(nodes),
        }
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

/// The node with the entries that overlap `span` replaced by these, of which none are left, as nodes of its height.
fn replace<V: Clone>(
    node: &Node<V>,
    span: Span,
    entries: &mut Entries<V>,
    fetch: &impl Fn(&V) -> usize,
) -> Nodes<V> {
    match node {
        Node::Leaf(leaf) => {
            let begin = leaf.first_reaching(span.first());
            let end = leaf.last_beginning(span.last()).max(begin);
            match begin + entries.len() + (leaf.len() - end) {
                0 => Nodes::None,
                1..=LEAF => Nodes::One(Node::Leaf(leaf.spliced(begin, end, entries, fetch))),
                len => {
                    let stay = |range: std::ops::Range<usize>| {
                        range.filter_map(|at| {
                            leaf.entry(at).map(|(span, value)| (span, value.clone()))
                        })
                    };
                    let mut all = Vec::with_capacity(len);
                    all.extend(stay(0..begin));
                    all.extend(entries.drain(..));
                    all.extend(stay(end..leaf.len()));
                    Nodes::Many(leaves(all))
                }
            }
        }
        Node::Branch(branch) => {
            let left = branch.index_for(span.first());
            let right = branch.index_for(span.last());
            let first = match branch.child(left) {
                Some(child) => replace(child, span, entries, fetch),
                None => Nodes::None,
            };
            let first = match first {
                // The common case: a change within one child, which stays one that can stand alone.
                Nodes::One(node) if left == right && (branch.len() == 1 || !node.is_small()) => {
                    return Nodes::One(Node::Branch(branch.with_child(left, node)));
                }
                first => first,
            };
            let mut nodes: Vec<Node<V>> = Vec::with_capacity(BRANCH + 2);
            nodes.extend((0..left).filter_map(|at| branch.child(at).cloned()));
            let from = nodes.len();
            first.append_to(&mut nodes);
            if right > left
                && let Some(child) = branch.child(right)
            {
                replace(child, span, &mut Entries::new(), fetch).append_to(&mut nodes);
            }
            let to = nodes.len();
            nodes.extend((right + 1..branch.len()).filter_map(|at| branch.child(at).cloned()));
            join_small(&mut nodes, from, to);
            Nodes::Many(branches(nodes))
        }
    }
}

/// Joins nodes from `from` up to `to` that have become too small with a neighbour.
fn join_small<V: Clone>(nodes: &mut Vec<Node<V>>, from: usize, to: usize) {
    let mut at = to.min(nodes.len());
    while at > from {
        at -= 1;
        if nodes.len() > 1 && nodes[at].is_small() {
            let left = if at + 1 < nodes.len() { at } else { at - 1 };
            let joined = join(&nodes[left], &nodes[left + 1]);
            nodes.splice(left..left + 2, joined);
        }
    }
}

/// Two neighbours as one node, or as two of equal width.
fn join<V: Clone>(left: &Node<V>, right: &Node<V>) -> Vec<Node<V>> {
    match (left, right) {
        (Node::Leaf(left), Node::Leaf(right)) => {
            let entries = [left, right].into_iter().flat_map(|leaf| {
                (0..leaf.len())
                    .filter_map(|at| leaf.entry(at).map(|(span, value)| (span, value.clone())))
            });
            leaves(entries.collect::<Vec<_>>())
        }
        (Node::Branch(left), Node::Branch(right)) => {
            let mut nodes: Vec<_> = [left, right]
                .into_iter()
                .flat_map(|branch| (0..branch.len()).filter_map(|at| branch.child(at).cloned()))
                .collect();
            // An only child may have stayed too small for want of a neighbour.
            let len = nodes.len();
            join_small(&mut nodes, 0, len);
            branches(nodes)
        }
        // INVARIANT: all leaves are at one depth, so neighbours are of one kind.
        _ => unreachable!("neighbours in a B+tree are of one kind"),
    }
}

/// The entries as leaves of equal width, as few as possible.
fn leaves<V>(
    entries: impl IntoIterator<IntoIter: ExactSizeIterator<Item = (Span, V)>>,
) -> Vec<Node<V>> {
    evenly(entries, LEAF, |part| Node::Leaf(Leaf::new(part)))
}

/// Branches of equal width over the nodes, as few as possible.
fn branches<V>(nodes: Vec<Node<V>>) -> Vec<Node<V>> {
    evenly(nodes, BRANCH, |part| Node::Branch(Branch::new(part)))
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
