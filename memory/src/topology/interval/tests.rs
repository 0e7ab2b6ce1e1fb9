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
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let address = prop_oneof![0u64..300, Just(u64::MAX), (u64::MAX - 50)..u64::MAX];
    let length = prop_oneof![Just(0u64), 0u64..20, 0u64..400, Just(u64::MAX)];
    let step = prop_oneof![
        5 => (address.clone(), length.clone()).prop_map(|(a, l)| Step::Insert(a, l)),
        3 => any::<usize>().prop_map(Step::Remove),
        2 => (address, length).prop_map(|(a, l)| Step::Query(a, l)),
    ];
    prop::collection::vec(step, 1..900)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn finds_what_a_scan_finds(steps in steps()) {
        let mut index = IntervalIndex::default();
        let mut plain: Vec<Interval> = Vec::new();
        for (order, step) in (0u64..).zip(steps) {
            match step {
                Step::Insert(first, length) => {
                    let new = interval(first, first.saturating_add(length), order);
                    index.insert(new);
                    plain.push(new);
                }
                Step::Remove(pick) if !plain.is_empty() => {
                    let gone = plain.swap_remove(pick % plain.len());
                    prop_assert_eq!(index.remove(gone.span.first(), gone.order), Some(gone));
                    prop_assert_eq!(index.remove(gone.span.first(), gone.order), None);
                }
                Step::Remove(_) => {}
                Step::Query(first, length) => {
                    let span = Span::new(first, first.saturating_add(length)).unwrap();
                    let mut found = Vec::new();
                    index.overlapping(span, &mut found);
                    let mut expected: Vec<_> =
                        plain.iter().copied().filter(|item| item.span.overlaps(span)).collect();
                    expected.sort_by_key(Interval::rank);
                    prop_assert_eq!(found, expected);
                }
            }
            depth(&index.root);
        }
    }
}
