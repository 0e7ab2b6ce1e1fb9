//! Many regions that come into one container at once, against the slow renderer.

use proptest::prelude::*;

use super::super::{FlatRange, Views, render_full};
use crate::addr::{Offset, Size};
use crate::topology::{Kind, Priority, RegionKey, RegionSpec, SpaceKey, Topology};

/// What a region among many is.
#[derive(Clone, Copy, Debug)]
enum What {
    Ram,
    /// With a page in it, and with callbacks of its own or not.
    Box(bool),
    /// A window on the first RAM that there is.
    Alias,
    Unmergeable,
}

#[derive(Clone, Copy, Debug)]
struct One {
    what: What,
    at: u64,
    size: u64,
    priority: i32,
    enabled: bool,
}

fn one(places: u64, overlaps: bool) -> impl Strategy<Value = One> {
    let what = prop_oneof![
        20 => Just(What::Ram),
        1 => any::<bool>().prop_map(What::Box),
        1 => Just(What::Alias),
        1 => Just(What::Unmergeable),
    ];
    let sizes = if overlaps { 0u64..60 } else { 1u64..9 };
    (what, 0..places, sizes, -1i32..2, prop::bool::weighted(0.95)).prop_map(
        |(what, at, size, priority, enabled)| One {
            what,
            at: at * 8,
            size,
            priority,
            enabled,
        },
    )
}

fn parts() -> impl Strategy<Value = Vec<Vec<One>>> {
    let part = prop_oneof![
        2 => prop::collection::vec(one(3000, false), 0..5000),
        1 => prop::collection::vec(one(400, true), 0..300),
        1 => prop::collection::vec(one(3000, true), 0..12),
    ];
    prop::collection::vec(part, 1..4)
}

struct Bench {
    topology: Topology,
    system: RegionKey,
    first: RegionKey,
    views: Views<(FlatRange, u64)>,
    made: u64,
}

impl Bench {
    /// Two spaces, one of which sees the system through a window.
    fn new(terminates: bool) -> Self {
        let mut topology = Topology::new();
        let kind = Kind::Container { terminates };
        let system = topology.insert(RegionSpec::new(kind, Size::new(20_000)));
        let system = system.unwrap();
        let first = topology.insert(RegionSpec::ram(Size::new(40))).unwrap();
        let window = RegionSpec::alias(system, Offset(100), Size::new(9000));
        let window = topology.insert(window).unwrap();
        topology.attach_root(SpaceKey(0), system).unwrap();
        topology.attach_root(SpaceKey(1), window).unwrap();
        Self {
            topology,
            system,
            first,
            views: Views::new(),
            made: 0,
        }
    }

    fn add(&mut self, one: One) -> RegionKey {
        let size = Size::new(one.size);
        let spec = match one.what {
            What::Ram => RegionSpec::ram(size),
            What::Box(terminates) => RegionSpec::new(Kind::Container { terminates }, size),
            What::Alias => RegionSpec::alias(self.first, Offset(one.at % 40), size),
            What::Unmergeable => RegionSpec {
                unmergeable: true,
                ..RegionSpec::ram(size)
            },
        };
        let enabled = one.enabled;
        let spec = RegionSpec { enabled, ..spec };
        let key = self.topology.insert(spec).unwrap();
        if let What::Box(_) = one.what {
            let inner = RegionSpec::io(Size::new(3));
            let inner = self.topology.insert(inner).unwrap();
            let added = self
                .topology
                .add_subregion(key, inner, Offset(2), Priority(0));
            added.unwrap();
        }
        let at = Offset(one.at);
        let added = self
            .topology
            .add_subregion(self.system, key, at, Priority(one.priority));
        added.unwrap();
        key
    }

    fn shown(&self, space: u64) -> Vec<(FlatRange, u64)> {
        let view = self.views.view(SpaceKey(space));
        let view = view.expect("it is attached");
        view.iter().map(|(range, value)| (range, value.1)).collect()
    }

    /// Commits, and checks views, values and what is told.
    fn commit(&mut self) {
        let pending = self.topology.take_pending();
        let made = &mut self.made;
        let changes = self.views.commit(&self.topology, pending, |range| {
            *made += 1;
            (*range, *made)
        });
        for change in changes {
            let ranges = |view: &super::super::FlatView<(FlatRange, u64)>| -> Vec<_> {
                view.iter().map(|(_, value)| *value).collect()
            };
            let (old, new) = (ranges(&change.old), ranges(&change.new));
            let lacks = |one: &[(FlatRange, u64)], other: &[(FlatRange, u64)]| {
                let other: std::collections::BTreeMap<u64, FlatRange> = other
                    .iter()
                    .map(|(range, _)| (range.span.first(), *range))
                    .collect();
                let lacks =
                    |(range, _): &&(FlatRange, u64)| other.get(&range.span.first()) != Some(range);
                one.iter().filter(lacks).copied().collect::<Vec<_>>()
            };
            assert_eq!(change.difference.removed.to_vec(), lacks(&old, &new));
            let added: Vec<_> = change.difference.added.iter().copied().collect();
            assert_eq!(added, lacks(&new, &old));
            assert_eq!(change.difference.added.len(), added.len());
        }
        for space in [0, 1] {
            let root = self.topology.root_of(SpaceKey(space));
            let shown: Vec<_> = self.shown(space).iter().map(|(range, _)| *range).collect();
            assert_eq!(shown, render_full(&self.topology, root));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn many_at_once_show_what_the_slow_renderer_says(
        parts in parts(),
        terminates in any::<bool>(),
        gone in any::<prop::sample::Index>(),
        is_early in any::<bool>(),
    ) {
        let mut bench = Bench::new(terminates);
        for part in parts {
            let mut keys = Vec::new();
            let last = part.len() / 2;
            for (at, one) in part.into_iter().enumerate() {
                keys.push(bench.add(one));
                // In the middle of it one goes, and what is there can be asked for.
                if is_early && at == last {
                    let key = keys.swap_remove(gone.index(keys.len()));
                    bench.topology.del_subregion(bench.system, key).unwrap();
                    let all: Vec<_> = bench.topology.get(bench.system).unwrap().children().collect();
                    prop_assert!(!all.contains(&key) && keys.iter().all(|key| all.contains(key)));
                }
            }
            bench.commit();
            if !keys.is_empty() {
                let key = keys[gone.index(keys.len())];
                bench.topology.del_subregion(bench.system, key).unwrap();
                bench.commit();
            }
        }
    }
}

/// The views are right also where nobody has asked for what is pending: before what waits is in its place.
#[test]
fn what_waits_shows() {
    let mut bench = Bench::new(false);
    for at in (0..200).rev() {
        let what = One {
            what: What::Ram,
            at: at * 16,
            size: 24,
            priority: 0,
            enabled: true,
        };
        bench.add(what);
    }
    let (view, _) = super::super::FlatView::empty().update(
        &bench.topology,
        Some(bench.system),
        &mut crate::topology::Damage::all(),
        |range| *range,
    );
    let shown: Vec<_> = view.iter().map(|(range, _)| range).collect();
    assert_eq!(shown.len(), 200);
    assert_eq!(shown, render_full(&bench.topology, Some(bench.system)));
}
