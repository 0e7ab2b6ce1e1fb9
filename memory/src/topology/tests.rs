//! Refusals, edges both ways, the notified rule, damage, retraction.

use super::*;
use crate::addr::{Offset, Size, Span};

const ROOT: SpaceKey = SpaceKey(7);

fn container(topology: &mut Topology) -> RegionKey {
    topology.insert(RegionSpec::container(Size::MAX)).unwrap()
}

fn ram(topology: &mut Topology, size: u64) -> RegionKey {
    topology.insert(RegionSpec::ram(Size::new(size))).unwrap()
}

fn alias(topology: &mut Topology, target: RegionKey, offset: u64, size: u64) -> RegionKey {
    topology
        .insert(RegionSpec::alias(target, Offset(offset), Size::new(size)))
        .unwrap()
}

fn add(
    topology: &mut Topology,
    parent: RegionKey,
    child: RegionKey,
    at: u64,
) -> Result<(), TopologyError> {
    topology.add_subregion(parent, child, Offset(at), Priority(0))
}

fn damage(topology: &mut Topology, root: RegionKey) -> Vec<Span> {
    let pending = topology.take_pending();
    let damage = pending.roots().find(|&(key, _)| key == root);
    damage
        .map(|(_, damage)| damage.clone().spans().to_vec())
        .unwrap_or_default()
}

fn span(first: u64, last: u64) -> Span {
    Span::new(first, last).unwrap()
}

#[test]
fn a_key_outlives_nobody() {
    let mut topology = Topology::new();
    let old = ram(&mut topology, 1);
    topology.remove(old).unwrap();
    let new = ram(&mut topology, 1);
    assert_eq!(old.index, new.index);
    let unknown = Err(TopologyError::UnknownRegion { region: old });
    assert_eq!(topology.set_enabled(old, false), unknown);
    assert_eq!(add(&mut topology, new, old, 0), unknown);
    assert_eq!(topology.del_subregion(new, old), unknown);
    assert_eq!(topology.attach_root(ROOT, old), unknown);
    assert_eq!(topology.remove(old), unknown);
    assert_eq!(
        topology
            .insert(RegionSpec::alias(old, Offset(0), Size::MAX))
            .map(drop),
        unknown
    );
    assert_eq!(RegionKey::from_bits(new.to_bits()), Some(new));
    assert_eq!(topology.keys().collect::<Vec<_>>(), [new]);
}

#[test]
fn loops_are_refused_by_name() {
    let mut topology = Topology::new();
    let [a, b, c] = [(); 3].map(|()| container(&mut topology));
    add(&mut topology, a, b, 0).unwrap();
    add(&mut topology, b, c, 0).unwrap();
    assert_eq!(
        add(&mut topology, c, a, 0),
        Err(TopologyError::ContainerLoop {
            child: a,
            parent: c
        })
    );
    assert_eq!(
        add(&mut topology, a, a, 0),
        Err(TopologyError::ContainerLoop {
            child: a,
            parent: a
        })
    );
    let twice = TopologyError::AlreadyContained {
        child: c,
        parent: a,
        container: b,
    };
    assert_eq!(add(&mut topology, a, c, 0), Err(twice));
    assert_eq!(
        topology.del_subregion(a, c),
        Err(TopologyError::NotContained {
            child: c,
            parent: a,
            container: Some(b)
        })
    );

    // c sees a through an alias of an alias: nothing of that may go below a's own subregions.
    let window = alias(&mut topology, a, 0, 0x1000);
    let window = alias(&mut topology, window, 0, 0x1000);
    assert_eq!(
        add(&mut topology, c, window, 0),
        Err(TopologyError::AliasLoop {
            child: window,
            parent: c
        })
    );
    let other = container(&mut topology);
    add(&mut topology, other, window, 0).unwrap();
    assert_eq!(
        add(&mut topology, c, other, 0),
        Err(TopologyError::AliasLoop {
            child: other,
            parent: c
        })
    );
    topology.del_subregion(other, window).unwrap();
    add(&mut topology, c, other, 0).unwrap();
}

#[test]
fn exponential_aliases_hit_a_limit_that_names_the_region() {
    let mut topology = Topology::new();
    let mut below = ram(&mut topology, 0x1000);
    let mut refused = None;
    for _ in 0..64 {
        let level = container(&mut topology);
        for at in [0, 0x1000] {
            let window =
                match topology.insert(RegionSpec::alias(below, Offset(0), Size::new(0x1000))) {
                    Ok(window) => window,
                    Err(error) => {
                        refused = Some((level, error));
                        break;
                    }
                };
            if let Err(error) = add(&mut topology, level, window, at) {
                refused = Some((level, error));
                break;
            }
        }
        if refused.is_some() {
            break;
        }
        below = level;
    }
    let (level, error) = refused.unwrap();
    let TopologyError::TooManyPaths {
        region,
        paths,
        limit,
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!((region, limit), (level, Topology::MAX_PATHS));
    assert!(paths > limit);
    // What was refused has changed nothing, and what is there can be rendered.
    assert_eq!(topology.get(level).unwrap().children().count(), 1);
    assert_eq!(crate::flat::render_full(&topology, None), []);
}

#[test]
fn paths_are_counted_both_ways() {
    let mut topology = Topology::new();
    let [low, mid, top] = [(); 3].map(|()| container(&mut topology));
    let windows = [0, 0x1000].map(|at| {
        let window = alias(&mut topology, low, 0, 0x1000);
        add(&mut topology, mid, window, at).unwrap();
        window
    });
    add(&mut topology, top, mid, 0).unwrap();
    let paths = |topology: &Topology| [low, mid, top].map(|key| topology.get(key).unwrap().paths);
    assert_eq!(paths(&topology), [1, 5, 6]);
    let page = ram(&mut topology, 0x1000);
    add(&mut topology, low, page, 0).unwrap();
    assert_eq!(paths(&topology), [2, 7, 8]);
    topology.retract(&[windows[0]]);
    assert_eq!(paths(&topology), [2, 4, 5]);
    topology.retract(&[low]);
    assert_eq!(paths(&topology), [1, 2, 3]);
    topology.remove(windows[1]).unwrap();
    assert_eq!(paths(&topology), [1, 1, 2]);
}

#[test]
fn damage_is_what_can_be_seen_where() {
    let mut topology = Topology::new();
    let root = container(&mut topology);
    let bus = topology
        .insert(RegionSpec::container(Size::new(0x1000)))
        .unwrap();
    let window = alias(&mut topology, bus, 0x800, 0x400);
    let page = ram(&mut topology, 0x1000);
    topology.attach_root(ROOT, root).unwrap();
    add(&mut topology, root, bus, 0x1_0000).unwrap();
    add(&mut topology, root, window, 0x2_0000).unwrap();
    topology.take_pending();

    // At 0x700 of the bus: all of the window, and clipped by the bus's end.
    add(&mut topology, bus, page, 0x700).unwrap();
    let seen = [span(0x1_0700, 0x1_0fff), span(0x2_0000, 0x2_03ff)];
    assert_eq!(damage(&mut topology, root), seen);
    topology.set_address(page, Offset(0x900)).unwrap();
    assert_eq!(damage(&mut topology, root), seen);
    topology.set_address(page, Offset(0x900)).unwrap();
    assert!(topology.pending().is_empty() && !topology.pending().notified());
    topology.set_size(page, Size::new(0x10)).unwrap();
    assert_eq!(
        damage(&mut topology, root),
        [span(0x1_0900, 0x1_0fff), span(0x2_0100, 0x2_03ff)]
    );

    // Nothing while an ancestor is disabled, everything of it when it comes back.
    topology.set_enabled(bus, false).unwrap();
    topology.take_pending();
    topology.set_readonly(page, true).unwrap();
    assert!(topology.pending().notified());
    assert_eq!(damage(&mut topology, root), []);
    topology.set_enabled(bus, true).unwrap();
    assert_eq!(
        damage(&mut topology, root),
        [span(0x1_0000, 0x1_0fff), span(0x2_0000, 0x2_03ff)]
    );
}

#[test]
fn retraction_cuts_every_edge_and_happens_once() {
    let mut topology = Topology::new();
    let [root, bus, other] = [(); 3].map(|()| container(&mut topology));
    let page = ram(&mut topology, 0x1000);
    let window = alias(&mut topology, bus, 0, 0x1000);
    topology.attach_root(ROOT, root).unwrap();
    topology.attach_root(SpaceKey(8), bus).unwrap();
    add(&mut topology, root, bus, 0x4000).unwrap();
    add(&mut topology, bus, page, 0).unwrap();
    add(&mut topology, root, window, 0).unwrap();
    topology.take_pending();

    topology.retract(&[bus]);
    let node = topology.get(bus).unwrap();
    assert!(node.is_withdrawn());
    assert_eq!(
        (
            node.container(),
            node.children().count(),
            node.aliases().count()
        ),
        (None, 0, 0)
    );
    assert_eq!(
        topology.get(window).unwrap().kind(),
        Kind::Alias {
            target: None,
            offset: Offset(0)
        }
    );
    assert_eq!(topology.get(page).unwrap().container(), None);
    assert_eq!(
        (
            topology.root_of(SpaceKey(8)),
            topology.is_attached(SpaceKey(8))
        ),
        (None, true)
    );
    assert_eq!(
        topology.pending().spaces().collect::<Vec<_>>(),
        [SpaceKey(8)]
    );
    assert!(topology.pending().notified());
    assert_eq!(
        damage(&mut topology, root),
        [span(0, 0xfff), span(0x4000, u64::MAX)]
    );

    topology.retract(&[bus]);
    topology.del_subregion(root, bus).unwrap();
    topology.del_subregion(bus, page).unwrap();
    topology.set_enabled(bus, false).unwrap();
    assert!(topology.pending().is_empty() && !topology.pending().notified());
    let refused = Err(TopologyError::Withdrawn { region: bus });
    assert_eq!(add(&mut topology, bus, page, 0), refused);
    assert_eq!(add(&mut topology, other, bus, 0), refused);
    assert_eq!(topology.attach_root(SpaceKey(9), bus), refused);
    assert_eq!(
        topology
            .insert(RegionSpec::alias(bus, Offset(0), Size::MAX))
            .map(drop),
        refused
    );
    topology.detach_root(SpaceKey(8)).unwrap();
    assert_eq!(
        topology.detach_root(SpaceKey(8)),
        Err(TopologyError::UnknownSpace { space: SpaceKey(8) })
    );
    topology.remove(bus).unwrap();
}

#[test]
fn every_alias_of_a_retracted_region_is_damaged() {
    let mut topology = Topology::new();
    let root = container(&mut topology);
    let page = ram(&mut topology, 0x1000);
    for at in [0, 0x4000, 0x8000] {
        let window = alias(&mut topology, page, 0, 0x1000);
        add(&mut topology, root, window, at).unwrap();
    }
    topology.attach_root(ROOT, root).unwrap();
    topology.take_pending();
    topology.retract(&[page]);
    let seen = [0, 0x4000, 0x8000].map(|at| span(at, at + 0xfff));
    assert_eq!(damage(&mut topology, root), seen);
}

#[test]
fn spaces_resolve_only_over_regions_that_lose_nothing() {
    let mut topology = Topology::new();
    let system = container(&mut topology);
    let [one, two] = [0, 0x1000].map(|at| {
        let page = ram(&mut topology, 0x1000);
        add(&mut topology, system, page, at).unwrap();
        page
    });
    let window = topology
        .insert(RegionSpec::alias(system, Offset(0), Size::MAX))
        .unwrap();
    let master = container(&mut topology);
    assert_eq!(topology.resolve_root(master), None);
    add(&mut topology, master, window, 0).unwrap();
    assert_eq!(topology.resolve_root(master), Some(system));
    topology.set_enabled(one, false).unwrap();
    assert_eq!(
        topology.resolve_root(master),
        Some(system),
        "the other is not at 0"
    );
    topology.set_address(two, Offset(0)).unwrap();
    assert_eq!(topology.resolve_root(master), Some(two));
    topology.set_readonly(window, true).unwrap();
    assert_eq!(
        topology.resolve_root(master),
        Some(window),
        "its flag must not be lost"
    );
    topology.set_readonly(window, false).unwrap();
    topology.set_alias_offset(window, Offset(1)).unwrap();
    assert_eq!(topology.resolve_root(master), Some(window));
    topology.set_alias_offset(window, Offset(0)).unwrap();
    topology.set_size(window, Size::new(0x1000)).unwrap();
    assert_eq!(
        topology.resolve_root(master),
        Some(window),
        "it is smaller than its target"
    );
    topology.set_enabled(window, false).unwrap();
    assert_eq!(topology.resolve_root(master), None);
}

#[test]
fn only_the_right_kinds_have_modes_and_offsets() {
    let mut topology = Topology::new();
    let page = ram(&mut topology, 0x1000);
    assert_eq!(
        topology.set_romd(page, true),
        Err(TopologyError::NotRomDevice { region: page })
    );
    assert_eq!(
        topology.set_alias_offset(page, Offset(0)),
        Err(TopologyError::NotAlias { region: page })
    );
    topology.attach_root(ROOT, page).unwrap();
    assert_eq!(
        topology.attach_root(ROOT, page),
        Err(TopologyError::SpaceAttached {
            space: ROOT,
            root: page
        })
    );
}

#[test]
fn a_deep_chain_needs_no_deep_stack() {
    let mut topology = Topology::new();
    let mut below = ram(&mut topology, 0x1000);
    for _ in 0..20_000 {
        let around = container(&mut topology);
        add(&mut topology, around, below, 0).unwrap();
        below = around;
    }
    topology.attach_root(ROOT, below).unwrap();
    let view = crate::flat::render_full(&topology, Some(below));
    assert_eq!(view.len(), 1);
    assert_eq!(topology.resolve_root(below), Some(view[0].region));
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 200, failure_persistence: None, ..proptest::test_runner::Config::default() })]
    /// Few ways up and many: some of these go beyond [`edges::FEW`].
    #[test]
    fn paths_are_one_and_those_of_all_that_is_below(
        kinds in proptest::collection::vec((0usize..40, proptest::bool::ANY), 1..40),
        ops in proptest::collection::vec((0usize..40, 0usize..40, 0u8..8), 0..160),
    ) {
        fn below(topology: &Topology, key: RegionKey) -> u64 {
            let node = topology.node(key);
            let target = match node.kind {
                Kind::Alias { target, .. } => target,
                _ => None,
            };
            1 + node.children().chain(target).map(|key| below(topology, key)).sum::<u64>()
        }
        let mut topology = Topology::new();
        let mut all: Vec<RegionKey> = Vec::new();
        for (target, is_alias) in kinds {
            let new = match all.get(target) {
                Some(&target) if is_alias => alias(&mut topology, target, 0, 0x1000),
                _ => container(&mut topology),
            };
            all.push(new);
        }
        for (one, other, what) in ops {
            let [one, other] = [one, other].map(|at| all[at % all.len()]);
            match what {
                0..=5 => drop(add(&mut topology, one, other, 0)),
                6 => drop(topology.del_subregion(one, other)),
                _ => topology.retract(&[other]),
            }
            for &key in &all {
                proptest::prop_assert_eq!(topology.node(key).paths, below(&topology, key));
            }
        }
    }
}
