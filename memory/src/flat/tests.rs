//! Worked examples: what shows, what is kept, what is shared, what it costs.

mod bulk;

use super::*;
use crate::addr::{Offset, Size, Span};
use crate::topology::{Damage, Kind, Priority, RegionKey, RegionSpec, SpaceKey, Topology};

fn add(
    topology: &mut Topology,
    parent: RegionKey,
    spec: RegionSpec,
    at: u64,
    priority: i32,
) -> RegionKey {
    let key = topology.insert(spec).unwrap();
    topology
        .add_subregion(parent, key, Offset(at), Priority(priority))
        .unwrap();
    key
}

fn shown(ranges: &[FlatRange]) -> Vec<(u64, RegionKey, u64)> {
    ranges
        .iter()
        .map(|range| (range.span.first(), range.region, range.offset.0))
        .collect()
}

/// QEMU's own documentation has this one.
#[test]
fn the_documented_example() {
    for terminates in [false, true] {
        let mut topology = Topology::new();
        let a = topology
            .insert(RegionSpec::container(Size::new(0x8000)))
            .unwrap();
        let c = add(&mut topology, a, RegionSpec::ram(Size::new(0x6000)), 0, 1);
        let spec = RegionSpec::new(Kind::Container { terminates }, Size::new(0x4000));
        let b = add(&mut topology, a, spec, 0x2000, 2);
        let d = add(&mut topology, b, RegionSpec::io(Size::new(0x1000)), 0, 0);
        let e = add(
            &mut topology,
            b,
            RegionSpec::io(Size::new(0x1000)),
            0x2000,
            0,
        );
        let view = render_full(&topology, Some(a));
        let expected = if terminates {
            vec![
                (0, c, 0),
                (0x2000, d, 0),
                (0x3000, b, 0x1000),
                (0x4000, e, 0),
                (0x5000, b, 0x3000),
            ]
        } else {
            vec![
                (0, c, 0),
                (0x2000, d, 0),
                (0x3000, c, 0x3000),
                (0x4000, e, 0),
                (0x5000, c, 0x5000),
            ]
        };
        assert_eq!(shown(&view), expected);
        let (incremental, _) =
            FlatView::empty().update(&topology, Some(a), &mut Damage::all(), |range| *range);
        assert_eq!(
            incremental
                .iter()
                .map(|(range, _)| range)
                .collect::<Vec<_>>(),
            view
        );
    }
}

#[test]
fn a_whole_space_with_a_hole_at_each_end() {
    let mut topology = Topology::new();
    let all = topology.insert(RegionSpec::ram(Size::MAX)).unwrap();
    let low = add(&mut topology, all, RegionSpec::io(Size::new(1)), 0, 0);
    let high = add(
        &mut topology,
        all,
        RegionSpec::io(Size::new(0x1000)),
        u64::MAX,
        0,
    );
    let view = render_full(&topology, Some(all));
    assert_eq!(
        shown(&view),
        [(0, low, 0), (1, all, 1), (u64::MAX, high, 0)]
    );
    assert_eq!(view[1].span, Span::new(1, u64::MAX - 1).unwrap());
    assert_eq!(view[2].span.size(), Size::new(1));
}

/// Punching a hole into an unmergeable range and filling it again gives one range again.
#[test]
fn an_unmergeable_range_comes_back_whole() {
    let mut topology = Topology::new();
    let root = topology.insert(RegionSpec::container(Size::MAX)).unwrap();
    let spec = RegionSpec {
        unmergeable: true,
        ..RegionSpec::ram(Size::new(0x10))
    };
    let ram = add(&mut topology, root, spec, 0, 0);
    let hole = add(&mut topology, root, RegionSpec::io(Size::new(4)), 4, 1);
    topology.attach_root(SpaceKey(0), root).unwrap();
    let mut views = Views::new();
    let pending = topology.take_pending();
    views.commit(&topology, pending, |range| *range);
    assert_eq!(views.view(SpaceKey(0)).unwrap().len(), 3);
    topology.del_subregion(root, hole).unwrap();
    let pending = topology.take_pending();
    let changes = views.commit(&topology, pending, |range| *range);
    assert_eq!(changes[0].difference.removed.len(), 3);
    assert_eq!(changes[0].difference.added.len(), 1);
    let view = views.view(SpaceKey(0)).unwrap();
    assert_eq!(
        view.iter()
            .map(|(range, _)| (range.span.size(), range.region))
            .collect::<Vec<_>>(),
        [(Size::new(0x10), ram)]
    );
}

#[test]
fn values_stay_with_ranges_that_stay() {
    let mut topology = Topology::new();
    let root = topology.insert(RegionSpec::container(Size::MAX)).unwrap();
    for page in 0..1000 {
        add(
            &mut topology,
            root,
            RegionSpec::io(Size::new(0x100)),
            page * 0x1000,
            0,
        );
    }
    topology.attach_root(SpaceKey(0), root).unwrap();
    let mut views = Views::new();
    let mut made = 0;
    let pending = topology.take_pending();
    let mut value = |range: &FlatRange| {
        made += 1;
        (*range, made)
    };
    views.commit(&topology, pending, &mut value);
    let before: Vec<_> = views
        .view(SpaceKey(0))
        .unwrap()
        .iter()
        .map(|(range, &v)| (range, v))
        .collect();
    add(
        &mut topology,
        root,
        RegionSpec::io(Size::new(0x100)),
        0x5800,
        0,
    );
    let pending = topology.take_pending();
    let changes = views.commit(&topology, pending, &mut value);
    assert_eq!(made, 1001);
    let (new, _) = *changes[0].difference.added.iter().next().unwrap();
    let after: Vec<_> = views
        .view(SpaceKey(0))
        .unwrap()
        .iter()
        .map(|(range, &v)| (range, v))
        .collect();
    assert_eq!(
        after
            .iter()
            .filter(|(range, _)| *range != new)
            .copied()
            .collect::<Vec<_>>(),
        before
    );
}

/// A thousand bus masters see system memory: one view, rendered once; switching one off parts it.
#[test]
fn bus_masters_share_one_view() {
    let mut topology = Topology::new();
    let system = topology.insert(RegionSpec::container(Size::MAX)).unwrap();
    add(
        &mut topology,
        system,
        RegionSpec::ram(Size::new(0x1000)),
        0,
        0,
    );
    add(
        &mut topology,
        system,
        RegionSpec::ram(Size::new(0x1000)),
        0x8000,
        0,
    );
    topology.attach_root(SpaceKey(0), system).unwrap();
    let windows: Vec<_> = (1..=1000)
        .map(|space| {
            let master = topology.insert(RegionSpec::container(Size::MAX)).unwrap();
            let window = RegionSpec {
                enabled: false,
                ..RegionSpec::alias(system, Offset(0), Size::MAX)
            };
            topology.attach_root(SpaceKey(space), master).unwrap();
            add(&mut topology, master, window, 0, 0)
        })
        .collect();
    let mut views = Views::new();
    let mut made = 0;
    let mut commit = |topology: &mut Topology, views: &mut Views<FlatRange>| {
        let pending = topology.take_pending();
        let changes = views.commit(topology, pending, |range| {
            made += 1;
            *range
        });
        (changes, made)
    };
    assert_eq!(commit(&mut topology, &mut views).1, 2);
    assert!(views.view(SpaceKey(1000)).unwrap().is_empty());

    for &window in &windows {
        topology.set_enabled(window, true).unwrap();
    }
    let (changes, made) = commit(&mut topology, &mut views);
    assert_eq!((changes.len(), made), (1000, 2));
    assert!(
        changes
            .iter()
            .all(|change| change.difference.added.len() == 2)
    );
    let is_shared = |views: &Views<FlatRange>, space| {
        views
            .view(SpaceKey(space))
            .unwrap()
            .is_same(views.view(SpaceKey(0)).unwrap())
    };
    assert!((1..=1000).all(|space| is_shared(&views, space)));

    add(
        &mut topology,
        system,
        RegionSpec::io(Size::new(0x10)),
        0x4000,
        0,
    );
    let (changes, made) = commit(&mut topology, &mut views);
    assert_eq!((changes.len(), made), (1001, 3));
    assert!(
        changes
            .windows(2)
            .all(|pair| std::sync::Arc::ptr_eq(&pair[0].difference, &pair[1].difference))
    );

    topology.set_enabled(windows[4], false).unwrap();
    let (changes, _) = commit(&mut topology, &mut views);
    assert_eq!(
        (
            changes.len(),
            changes[0].space,
            changes[0].difference.removed.len()
        ),
        (1, SpaceKey(5), 3)
    );
    assert!(is_shared(&views, 6));
}

/// A sibling that covers nothing ends the shortcut, and its going restores it, though nothing is seen:
/// also for spaces that come by way of aliases and containers.
#[test]
fn sharing_follows_what_nobody_sees() {
    let mut topology = Topology::new();
    let ram = RegionSpec::ram(Size::new(0x1000));
    let inner = topology.insert(ram).unwrap();
    let mut roots = vec![inner];
    let outer = topology.insert(RegionSpec::container(Size::MAX)).unwrap();
    add(
        &mut topology,
        outer,
        RegionSpec::alias(inner, Offset(0), Size::MAX),
        0,
        0,
    );
    roots.push(outer);
    for around in [
        RegionSpec::alias(outer, Offset(0), Size::MAX),
        RegionSpec::container(Size::MAX),
    ] {
        roots.push(topology.insert(around).unwrap());
    }
    topology
        .add_subregion(roots[3], roots[2], Offset(0), Priority(0))
        .unwrap();
    let nothing = add(
        &mut topology,
        outer,
        RegionSpec {
            size: Size::ZERO,
            ..ram
        },
        0,
        0,
    );
    for (space, &root) in (0..).zip(&roots) {
        topology.attach_root(SpaceKey(space), root).unwrap();
    }
    let mut views = Views::new();
    let mut commit = |topology: &mut Topology| {
        let pending = topology.take_pending();
        views.commit(topology, pending, |range| *range);
        let view = |space| views.view(SpaceKey(space)).cloned();
        let first = view(0).unwrap();
        let shared: Vec<bool> = (1..)
            .map_while(view)
            .map(|one| one.is_same(&first))
            .collect();
        let outers: Vec<_> = (1..).map_while(view).collect();
        assert!(outers.windows(2).all(|pair| pair[0].is_same(&pair[1])));
        assert!(shared.windows(2).all(|pair| pair[0] == pair[1]));
        shared[0]
    };
    assert!(!commit(&mut topology));
    for (space, by_enabling) in [(4, true), (5, false)] {
        if by_enabling {
            topology.set_enabled(nothing, false).unwrap();
        } else {
            topology.del_subregion(outer, nothing).unwrap();
        }
        assert!(commit(&mut topology));
        if by_enabling {
            topology.set_enabled(nothing, true).unwrap();
        } else {
            topology
                .add_subregion(outer, nothing, Offset(0), Priority(0))
                .unwrap();
        }
        commit(&mut topology);
        // Whoever comes to the same view root later shares with those that came to it unseen.
        topology.attach_root(SpaceKey(space), outer).unwrap();
        commit(&mut topology);
        // What changes from here on they see each for themselves.
        topology.set_nonvolatile(inner, by_enabling).unwrap();
        assert!(!commit(&mut topology));
    }
}

/// A space that joins a view takes over ranges that merged with what it had.
#[test]
fn joining_a_view_tells_of_ranges_that_merge_at_the_edge() {
    let mut topology = Topology::new();
    let ram = topology.insert(RegionSpec::ram(Size::new(0x3000))).unwrap();
    let system = topology.insert(RegionSpec::container(Size::MAX)).unwrap();
    topology
        .add_subregion(system, ram, Offset(0), Priority(0))
        .unwrap();
    add(
        &mut topology,
        system,
        RegionSpec::io(Size::new(0x10)),
        0x1_0000,
        0,
    );
    let own = topology.insert(RegionSpec::container(Size::MAX)).unwrap();
    add(
        &mut topology,
        own,
        RegionSpec::alias(system, Offset(0), Size::MAX),
        0,
        0,
    );
    let covers =
        [0, 0x1000].map(|at| add(&mut topology, own, RegionSpec::io(Size::new(0x800)), at, 1));
    topology.attach_root(SpaceKey(0), system).unwrap();
    topology.attach_root(SpaceKey(1), own).unwrap();
    let mut views = Views::new();
    let pending = topology.take_pending();
    views.commit(&topology, pending, |range| *range);
    for cover in covers {
        topology.del_subregion(own, cover).unwrap();
    }
    let pending = topology.take_pending();
    let changes = views.commit(&topology, pending, |range| *range);
    assert_eq!(changes.len(), 1);
    let ends = |list: &[FlatRange]| -> Vec<(u64, u64)> {
        list.iter()
            .map(|range| (range.span.first(), range.span.last()))
            .collect()
    };
    let gone = [
        (0, 0x7ff),
        (0x800, 0xfff),
        (0x1000, 0x17ff),
        (0x1800, 0x2fff),
    ];
    assert_eq!(ends(&changes[0].difference.removed), gone);
    let added: Vec<_> = changes[0].difference.added.iter().copied().collect();
    assert_eq!(ends(&added), [(0, 0x2fff)]);
}

/// Two windows side by side show one range, but of unmergeable memory two.
#[test]
fn windows_side_by_side_merge_unless_forbidden() {
    for unmergeable in [false, true] {
        let mut topology = Topology::new();
        let spec = RegionSpec {
            unmergeable,
            ..RegionSpec::ram(Size::new(0x2000))
        };
        let ram = topology.insert(spec).unwrap();
        let root = topology.insert(RegionSpec::container(Size::MAX)).unwrap();
        topology.attach_root(SpaceKey(0), root).unwrap();
        let mut views = Views::new();
        for at in [0, 0x1000] {
            add(
                &mut topology,
                root,
                RegionSpec::alias(ram, Offset(at), Size::new(0x1000)),
                at,
                0,
            );
            let pending = topology.take_pending();
            views.commit(&topology, pending, |range| *range);
        }
        let ranges = if unmergeable { 2 } else { 1 };
        assert_eq!(render_full(&topology, Some(root)).len(), ranges);
        assert_eq!(views.view(SpaceKey(0)).unwrap().len(), ranges);
    }
}

/// What is hidden is not looked into, however much of it there is.
#[test]
fn a_deep_stack_of_hidden_regions_is_not_entered() {
    let mut topology = Topology::new();
    let root = topology.insert(RegionSpec::container(Size::MAX)).unwrap();
    // Each level shows the next twice, below a page that hides all of it.
    let mut below = topology.insert(RegionSpec::ram(Size::new(0x1000))).unwrap();
    for _ in 0..18 {
        let level = topology
            .insert(RegionSpec::container(Size::new(0x1000)))
            .unwrap();
        for _ in 0..2 {
            add(
                &mut topology,
                level,
                RegionSpec::alias(below, Offset(0), Size::MAX),
                0,
                0,
            );
        }
        below = level;
    }
    topology
        .add_subregion(root, below, Offset(0), Priority(0))
        .unwrap();
    let page = add(&mut topology, root, RegionSpec::io(Size::new(0x1000)), 0, 1);
    let start = std::time::Instant::now();
    for _ in 0..1000 {
        let (view, _) =
            FlatView::empty().update(&topology, Some(root), &mut Damage::all(), |range| *range);
        assert_eq!(
            view.iter()
                .map(|(range, _)| range.region)
                .collect::<Vec<_>>(),
            [page]
        );
    }
    // A thousand times 2^18 visits would take minutes.
    assert!(start.elapsed().as_secs() < 20);
}
