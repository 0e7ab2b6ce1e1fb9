//! The map against a plain vector, its shape, and what it shares.

use std::sync::Arc;

use proptest::prelude::*;

use super::node::{BRANCH, LEAF};
use super::*;

fn span(first: u64, last: u64) -> Span {
    Span::new(first, last).unwrap()
}

/// Every node within its bounds, all leaves at one depth, summaries right.
fn check_shape<V>(map: &SpanMap<V>) {
    fn depth<V>(node: &Node<V>, root: bool) -> usize {
        assert!(root || !node.is_small());
        match node {
            Node::Leaf(leaf) => {
                assert!((1..=LEAF).contains(&leaf.len()));
                1
            }
            Node::Branch(branch) => {
                assert!((2..=BRANCH).contains(&branch.len()));
                let children: Vec<_> = (0..branch.len())
                    .map(|at| branch.child(at).unwrap())
                    .collect();
                assert_eq!(
                    node.spans(),
                    children.iter().map(|child| child.spans()).sum::<usize>()
                );
                for (at, child) in children.iter().enumerate() {
                    assert_eq!(branch.index_for(child.first()), at);
                }
                let depths: Vec<_> = children.iter().map(|child| depth(child, false)).collect();
                assert!(depths.iter().all(|&depth| depth == depths[0]));
                depths[0] + 1
            }
        }
    }
    assert_eq!(map.root.as_ref().map_or(0, Node::spans), map.len());
    if let Some(root) = &map.root {
        depth(root, true);
    }
}

fn plain(map: &SpanMap<u32>) -> Vec<(Span, u32)> {
    map.iter().map(|(span, &value)| (span, value)).collect()
}

#[derive(Clone, Debug)]
struct Splice {
    span: Span,
    /// Lengths and gaps of what goes in, as far as it fits.
    pieces: Vec<(u64, u64)>,
}

fn splices() -> impl Strategy<Value = Vec<Splice>> {
    let first = prop_oneof![
        0u64..6000,
        Just(0),
        Just(u64::MAX),
        (u64::MAX - 3000)..u64::MAX
    ];
    let length = prop_oneof![4 => 0u64..30, 2 => 0u64..1000, 1 => 0u64..8000, 1 => Just(u64::MAX)];
    let pieces = prop_oneof![
        3 => prop::collection::vec((0u64..4, 0u64..4), 0..6),
        1 => prop::collection::vec((0u64..4, 0u64..4), 0..1500),
    ];
    let one = (first, length, pieces).prop_map(|(first, length, pieces)| Splice {
        span: span(first, first.saturating_add(length)),
        pieces,
    });
    prop::collection::vec(one, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn behaves_as_a_vector(splices in splices()) {
        let mut map = SpanMap::new();
        let mut model: Vec<(Span, u32)> = Vec::new();
        for (round, splice) in (0u32..).zip(splices) {
            let mut entries = Vec::new();
            let mut at = Some(splice.span.first());
            for (gap, length) in splice.pieces {
                let Some(first) = at.and_then(|at| at.checked_add(gap)) else { break };
                let Some(last) = first.checked_add(length).filter(|&last| last <= splice.span.last()) else { break };
                entries.push((span(first, last), round));
                at = last.checked_add(1);
            }
            let old = map.clone();
            let old_model = model.clone();
            map = old.splice(splice.span, entries.clone());
            model.retain(|(own, _)| !own.overlaps(splice.span));
            model.extend(entries);
            model.sort_unstable();

            check_shape(&map);
            prop_assert_eq!(&plain(&map), &model);
            prop_assert_eq!(&plain(&old), &old_model);
            let ends = model.iter().flat_map(|(own, _)| [own.first(), own.last()]).chain([splice.span.first()]);
            for addr in ends.flat_map(|a| [a, a.saturating_sub(1), a.saturating_add(1)]).chain([0, u64::MAX]).take(400) {
                let own = model.iter().find(|(own, _)| own.contains(addr)).copied();
                prop_assert_eq!(map.get(addr).map(|(span, &value)| (span, value)), own);
                // What is found at once contains the address, or nothing does.
                if let Some(&(near, value)) = map.near_at_once(addr) {
                    prop_assert_eq!(near.contains(addr).then_some((near, value)), own);
                }
                let left = model.iter().rfind(|(own, _)| own.first() < addr).copied();
                prop_assert_eq!(map.before(addr).map(|(span, &value)| (span, value)), left);
                let right = model.iter().find(|(own, _)| own.first() > addr).copied();
                prop_assert_eq!(map.after(addr).map(|(span, &value)| (span, value)), right);
            }
            let part: Vec<_> = map.range(splice.span).map(|(span, &value)| (span, value)).collect();
            let expected: Vec<_> = model.iter().filter(|(own, _)| own.overlaps(splice.span)).copied().collect();
            prop_assert_eq!(part, expected);

            let (mut gone, mut new) = (Vec::new(), Vec::new());
            old.diff(&map, |one, other| one == other, |before, after| {
                gone.extend(before.map(|(span, &value)| (span, value)));
                new.extend(after.map(|(span, &value)| (span, value)));
            });
            let expected: Vec<_> = old_model.iter().filter(|entry| !model.contains(entry)).copied().collect();
            prop_assert_eq!(gone, expected);
            let expected: Vec<_> = model.iter().filter(|entry| !old_model.contains(entry)).copied().collect();
            prop_assert_eq!(new, expected);
            prop_assert_eq!(plain(&SpanMap::from_sorted(model.clone())), model.clone());
        }
    }
}

#[test]
fn a_splice_shares_what_it_does_not_touch() {
    let value = Arc::new(());
    let old = SpanMap::from_sorted(
        (0..4096u64).map(|page| (span(page * 16, page * 16 + 7), Arc::clone(&value))),
    );
    let before = Arc::strong_count(&value);
    let new = old.splice(span(0x8000, 0x8007), []);
    assert_eq!(new.len(), 4095);
    let copied = Arc::strong_count(&value) - before;
    assert!(copied <= 2 * LEAF, "{copied} values were copied");
    let mut compared = 0;
    let mut differences = 0;
    old.diff(
        &new,
        |_, _| {
            compared += 1;
            true
        },
        |_, _| differences += 1,
    );
    assert_eq!(differences, 1);
    assert!(compared <= 2 * LEAF, "{compared} values were compared");
}

#[test]
#[should_panic(expected = "which stays")]
fn a_replacement_over_a_neighbour_is_refused() {
    let map = SpanMap::from_sorted([(span(0, 9), 0), (span(20, 29), 1)]);
    let _ = map.splice(span(10, 12), [(span(10, 20), 2)]);
}

#[test]
#[should_panic(expected = "which stays")]
fn a_replacement_elsewhere_is_refused() {
    let map = SpanMap::from_sorted([(span(10, 19), 0), (span(20, 29), 1)]);
    let _ = map.splice(span(30, 32), [(span(0, 2), 2)]);
}

#[test]
#[should_panic(expected = "is not before")]
fn entries_ascend() {
    let _ = SpanMap::from_sorted([(span(5, 9), 0), (span(0, 4), 1)]);
}
