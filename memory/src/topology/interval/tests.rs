//! The index against a plain list of intervals.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;

fn interval(first: u64, last: u64, order: u64) -> Interval {
    Interval {
        span: Span::new(first, last).unwrap(),
        priority: Priority(0),
        order,
        region: RegionKey {
            index: 0,
            generation: NonZeroU32::MIN,
        },
    }
}

fn depth(node: &Node) -> usize {
    match node {
        Node::Leaf(items) => {
            assert!(items.len() <= CAPACITY);
            1
        }
        Node::Branch(links) => {
            assert!(links.len() <= CAPACITY);
            let depths: Vec<_> = links.iter().map(|link| depth(&link.node)).collect();
            assert!(
                depths.windows(2).all(|pair| pair[0] == pair[1]),
                "uneven {depths:?}"
            );
            for link in links {
                assert_eq!(link.node.summary(), Some((link.rank, link.reach)));
            }
            depths[0] + 1
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, u64),
    Remove(usize),
    Query(u64, u64),
    Settle,
}

fn steps(removals: u32) -> impl Strategy<Value = Vec<Step>> {
    let address = prop_oneof![0u64..300, Just(u64::MAX), (u64::MAX - 50)..u64::MAX];
    let length = prop_oneof![Just(0u64), 0u64..20, 0u64..400, Just(u64::MAX)];
    let step = prop_oneof![
        5 => (address.clone(), length.clone()).prop_map(|(a, l)| Step::Insert(a, l)),
        removals => any::<usize>().prop_map(Step::Remove),
        1 => Just(Step::Settle),
        2 => (address, length).prop_map(|(a, l)| Step::Query(a, l)),
    ];
    prop::collection::vec(step, 1..900)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn finds_what_a_scan_finds(steps in prop_oneof![steps(3), steps(0)]) {
        let mut index = IntervalIndex::new();
        let mut plain: Vec<Interval> = Vec::new();
        let mut told = false;
        for (order, step) in (0u64..).zip(steps) {
            match step {
                Step::Insert(first, length) => {
                    let new = interval(first, first.saturating_add(length), order);
                    let tells = index.insert(new);
                    plain.push(new);
                    told |= tells;
                    prop_assert!(told || index.waiting.is_empty(), "it waits and nobody knows");
                    prop_assert!(!tells || index.unsettled);
                }
                Step::Remove(pick) if !plain.is_empty() => {
                    let gone = plain.swap_remove(pick % plain.len());
                    prop_assert_eq!(index.remove(gone.span.first(), gone.order), Some(gone));
                    prop_assert_eq!(index.remove(gone.span.first(), gone.order), None);
                }
                Step::Remove(_) => {}
                Step::Settle => {
                    index.settle();
                    told = false;
                    prop_assert!(index.waiting.is_empty());
                }
                Step::Query(first, length) => {
                    let span = Span::new(first, first.saturating_add(length)).unwrap();
                    let mut found = Vec::new();
                    index.overlapping(span, &mut |some| found.extend_from_slice(some));
                    let mut expected: Vec<_> =
                        plain.iter().copied().filter(|item| item.span.overlaps(span)).collect();
                    expected.sort_by_key(Interval::rank);
                    prop_assert_eq!(found, expected);
                }
            }
            depth(&index.root);
            prop_assert_eq!(index.len + index.waiting.len(), plain.len());
        }
    }

    /// Beside few and beside many, in any order, with some that begin together.
    #[test]
    fn what_comes_at_once_is_put_in_at_once(
        old in prop::collection::vec(0u64..2000, 0..700),
        new in prop::collection::vec(0u64..2000, 0..700),
    ) {
        let mut index = IntervalIndex::new();
        let mut plain = Vec::new();
        for part in [old, new] {
            for first in part {
                let new = interval(first, first + first % 7, plain.len() as u64);
                index.insert(new);
                plain.push(new);
            }
            index.settle();
            depth(&index.root);
            prop_assert!(index.waiting.is_empty());
        }
        let mut found = Vec::new();
        index.overlapping(Span::ALL, &mut |some| found.extend_from_slice(some));
        let mut expected = plain.clone();
        expected.sort_by_key(Interval::rank);
        prop_assert_eq!(&found, &expected);
        for gone in plain {
            prop_assert_eq!(index.remove(gone.span.first(), gone.order), Some(gone));
            depth(&index.root);
        }
        prop_assert_eq!(index.len, 0);
    }
}

fn widths(node: &Node, is_root: bool, widths_of: &mut Vec<usize>) {
    if !is_root {
        widths_of.push(node.len());
    }
    if let Node::Branch(links) = node {
        for link in links {
            widths(&link.node, false, widths_of);
        }
    }
}

/// Room for the next ones, and not more nodes than an index that grew has.
#[test]
fn what_is_built_is_neither_full_nor_empty() {
    for len in [33, 100, 577, 10_000] {
        let mut index = IntervalIndex::new();
        for at in 0..len {
            index.insert(interval(at * 7919 % 100_003, u64::MAX, at));
        }
        index.settle();
        let mut found = Vec::new();
        widths(&index.root, true, &mut found);
        assert!(
            found
                .iter()
                .all(|width| (BUILT / 2..=BUILT).contains(width)),
            "{found:?}"
        );
    }
}
