//! The map against a plain vector, its shape, and what it shares.

use std::sync::{Arc, Weak};

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

/// What may be done to maps of one origin, and which of those that are kept it is done to.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The newest gets this many entries in place of those in the span.
    Splice(Span, u64),
    /// The newest is kept besides.
    Keep,
    /// A kept one gets them, and becomes the newest; the one before goes.
    Fork(usize, Span, u64),
    /// A kept one goes.
    Forget(usize),
    /// The newest goes, and a kept one is the newest.
    Back(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let within = (0u64..4000, prop_oneof![8 => 0u64..40, 1 => 0u64..4000]);
    let within = within.prop_map(|(first, len)| span(first, first + len));
    let few = prop_oneof![8 => 0u64..4, 1 => 0u64..400];
    let step = prop_oneof![
        8 => (within.clone(), few.clone()).prop_map(|(span, n)| Step::Splice(span, n)),
        3 => Just(Step::Keep),
        1 => (any::<usize>(), within, few).prop_map(|(at, span, n)| Step::Fork(at, span, n)),
        3 => any::<usize>().prop_map(Step::Forget),
        1 => any::<usize>().prop_map(Step::Back),
    ];
    prop::collection::vec(step, 1..80)
}

/// The map with `n` new values at the begin of `within`, as far as they fit. Each is noted.
fn changed(map: &Held, within: Span, n: u64, made: &mut Vec<Weak<u64>>, keep: Kept) -> Held {
    let entries: Vec<_> = (within.first()..=within.last())
        .take(usize::try_from(n).unwrap())
        .map(|at| {
            let value = Arc::new(at);
            made.push(Arc::downgrade(&value));
            (span(at, at), value)
        })
        .collect();
    let mut model = map.1.clone();
    model.retain(|(own, _)| !own.overlaps(within));
    model.extend(
        entries
            .iter()
            .map(|(own, value)| (*own, Arc::downgrade(value))),
    );
    model.sort_unstable_by_key(|(own, _)| *own);
    (map.0.spliced(within, entries.into(), keep), model)
}

type Kept = Keep<Arc<u64>>;

#[expect(unsafe_code, reason = "the tests are of both ways")]
const fn by_bits() -> Kept {
    // SAFETY: the bytes of an `Arc` do not change.
    unsafe { Keep::by_bits() }
}

/// A map, and what is in it.
type Held = (SpanMap<Arc<u64>>, Vec<(Span, Weak<u64>)>);

/// Each value that is in a map is there; each other is gone, as soon as the last map that had it.
fn check_values<'a>(held: impl Iterator<Item = &'a Held>, made: &[Weak<u64>]) {
    let mut expected = Vec::new();
    for (map, model) in held {
        check_shape(map);
        assert_eq!(map.len(), model.len());
        for ((own, value), (also, weak)) in map.iter().zip(model) {
            assert_eq!((own, own.first()), (*also, **value));
            assert!(std::ptr::eq(Arc::as_ptr(value), weak.as_ptr()));
            expected.push(weak.as_ptr());
        }
    }
    expected.sort_unstable();
    expected.dedup();
    let there = made.iter().filter(|weak| weak.strong_count() > 0);
    let mut there: Vec<_> = there.map(Weak::as_ptr).collect();
    there.sort_unstable();
    assert_eq!(there, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_no_map_has_is_gone(steps in steps(), clones: bool) {
        let keep = if clones { Keep::CLONES } else { by_bits() };
        let mut made = Vec::new();
        let mut newest = changed(&(SpanMap::new(), Vec::new()), span(0, 4000), 1500, &mut made, keep);
        let mut kept: Vec<Held> = Vec::new();
        for step in steps {
            match step {
                Step::Splice(within, n) => newest = changed(&newest, within, n, &mut made, keep),
                Step::Keep => kept.push(newest.clone()),
                Step::Fork(at, within, n) if !kept.is_empty() => {
                    newest = changed(&kept[at % kept.len()], within, n, &mut made, keep);
                }
                Step::Forget(at) if !kept.is_empty() => drop(kept.swap_remove(at % kept.len())),
                Step::Back(at) if !kept.is_empty() => newest = kept.swap_remove(at % kept.len()),
                _ => {}
            }
            check_values(kept.iter().chain([&newest]), &made);
        }
        drop((newest, kept));
        check_values([].iter(), &made);
    }
}

#[test]
fn maps_may_go_in_any_thread_while_others_are_made() {
    let mut made = Vec::new();
    let mut newest = changed(
        &(SpanMap::new(), Vec::new()),
        span(0, 1999),
        2000,
        &mut made,
        by_bits(),
    );
    let (send, receive) = std::sync::mpsc::sync_channel::<Held>(64);
    let receive = std::sync::Mutex::new(receive);
    std::thread::scope(|scope| {
        for keeps in [1, 7, 40] {
            let receive = &receive;
            scope.spawn(move || {
                let mut kept = std::collections::VecDeque::new();
                loop {
                    let next = receive.lock().unwrap().recv();
                    let Ok((map, _)) = next else { break };
                    assert!(map.iter().all(|(own, value)| own.first() == **value));
                    kept.push_back(map);
                    if kept.len() > keeps {
                        kept.pop_front();
                    }
                }
            });
        }
        for round in 0..3000u64 {
            let at = round * 7919 % 2000;
            newest = changed(&newest, span(at, at), 1, &mut made, by_bits());
            send.send(newest.clone()).unwrap();
        }
        drop(send);
    });
    check_values([newest].iter(), &made);
}

#[test]
fn a_change_that_panics_leaves_the_map_as_it_was() {
    struct Once(std::cell::Cell<bool>);
    impl Clone for Once {
        fn clone(&self) -> Self {
            assert!(!self.0.replace(false), "as it was told");
            Self(std::cell::Cell::new(false))
        }
    }
    let once = |panics| Once(std::cell::Cell::new(panics));
    let old = SpanMap::from_sorted((0..40u64).map(|at| (span(at * 4, at * 4), once(at == 20))));
    let change = || old.splice(span(84, 84), []);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(change))
        .err()
        .expect("a panic");
    assert_eq!((old.len(), change().len(), old.len()), (40, 39, 40));
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
