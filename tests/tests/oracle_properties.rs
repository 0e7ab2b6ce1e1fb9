//! Random topologies and changes: damaged windows, full rendering and the plain rules always agree.

use std::collections::BTreeMap;

use holdfast_tests::oracle::plain::Plain;
use holdfast_tests::oracle::topologies::{apply, spec};
use holdfast_tests::oracle::{Kind, Op, Range, Region};
use memory::flat::{FlatRange, FlatView, Views, render_full};
use memory::topology::{RegionKey, SpaceKey, Topology, TopologyError};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Do(Op),
    Attach(u64, usize),
    Detach(u64),
}

fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => Just(0u64),
        6 => (0u64..6).prop_map(|n| n * 4),
        3 => 0u64..24,
        1 => (u64::MAX - 20)..=u64::MAX,
        1 => Just(1u64 << 63),
    ]
}

fn size() -> impl Strategy<Value = u128> {
    prop_oneof![
        1 => Just(0u128),
        6 => (1u128..6).prop_map(|n| n * 4),
        3 => 1u128..24,
        1 => Just(1u128 << 63),
        1 => (1u128 << 64) - 12..=(1u128 << 64) - 2,
        1 => Just(1u128 << 64),
    ]
}

/// Small regions at the low ids; above `leaves` mostly containers that are large enough for several.
fn region(id: usize, leaves: usize) -> impl Strategy<Value = Region> {
    let alias =
        (0..id.max(1), address()).prop_map(|(target, offset)| Kind::Alias { target, offset });
    let seen = prop_oneof![
        4 => Just(Kind::Ram),
        1 => Just(Kind::Rom),
        2 => Just(Kind::Io),
        1 => Just(Kind::Reservation),
        1 => any::<bool>().prop_map(Kind::Romd),
    ];
    let large = prop_oneof![2 => 24u128..80, 2 => Just(1u128 << 64), 1 => size()];
    let (kind, size) = if id == 0 {
        (seen.boxed(), size().boxed())
    } else if id < leaves {
        (prop_oneof![2 => seen, 1 => alias].boxed(), size().boxed())
    } else {
        (
            prop_oneof![5 => Just(Kind::Container), 1 => seen, 1 => alias].boxed(),
            large.boxed(),
        )
    };
    let seldom = || prop::bool::weighted(0.06);
    let unmergeable = prop::bool::weighted(0.2);
    (kind, size, seldom(), seldom(), unmergeable, seldom()).prop_map(
        |(kind, size, readonly, nonvolatile, unmergeable, disabled)| Region {
            readonly: readonly || kind == Kind::Rom,
            nonvolatile,
            unmergeable,
            enabled: !disabled,
            ..Region::new(kind, size)
        },
    )
}

/// A region above `child`, most often one of the last.
fn parent(child: usize, count: usize) -> impl Strategy<Value = usize> {
    let last = (count * 3 / 5).max(child + 1)..count;
    prop_oneof![3 => Just(count - 1), 3 => last, 1 => child + 1..count]
}

fn op(regions: usize) -> impl Strategy<Value = Op> {
    let r = move || 0..regions;
    let up = (0..regions - 1).prop_flat_map(move |child| (parent(child, regions), Just(child)));
    let pair = prop_oneof![4 => up, 1 => (r(), r())];
    let on = || prop::bool::weighted(0.8);
    let add = (pair, address(), -1i32..2);
    prop_oneof![
        12 => add.prop_map(|((parent, child), offset, priority)| Op::Add { parent, child, offset, priority }),
        8 => (r(), r()).prop_map(|(parent, child)| Op::Del { parent, child }),
        3 => (r(), on()).prop_map(|(r, to)| Op::SetEnabled(r, to)),
        3 => (r(), size()).prop_map(|(r, to)| Op::SetSize(r, to)),
        3 => (r(), address()).prop_map(|(r, to)| Op::SetAddress(r, to)),
        1 => (r(), any::<bool>()).prop_map(|(r, to)| Op::SetReadonly(r, to)),
        1 => (r(), any::<bool>()).prop_map(|(r, to)| Op::SetNonvolatile(r, to)),
        2 => (r(), any::<bool>()).prop_map(|(r, to)| Op::SetUnmergeable(r, to)),
        1 => (r(), any::<bool>()).prop_map(|(r, to)| Op::SetRomd(r, to)),
        2 => (r(), address()).prop_map(|(r, to)| Op::SetAliasOffset(r, to)),
        2 => (r(), -1i32..2).prop_map(|(r, to)| Op::SetPriority(r, to)),
        1 => r().prop_map(Op::Retract),
    ]
}

#[derive(Clone, Debug)]
struct Case {
    regions: Vec<Region>,
    transactions: Vec<Vec<Step>>,
}

fn case() -> impl Strategy<Value = Case> {
    (4usize..14).prop_flat_map(|count| {
        let regions: Vec<_> = (0..count).map(|id| region(id, count * 3 / 5)).collect();
        let step = prop_oneof![
            24 => op(count).prop_map(Step::Do),
            2 => (0u64..3, 0..count).prop_map(|(space, root)| Step::Attach(space, root)),
            1 => (0u64..3).prop_map(Step::Detach),
        ];
        // At first most regions go somewhere above them, so that there is something to see.
        let places: Vec<_> = (0..count - 1)
            .map(|child| {
                (parent(child, count), address(), -1i32..2).prop_map(
                    move |(parent, offset, priority)| {
                        Step::Do(Op::Add {
                            parent,
                            child,
                            offset,
                            priority,
                        })
                    },
                )
            })
            .collect();
        let spaces = (0..count, 0..count).prop_map(move |(one, two)| {
            [count - 1, one, two]
                .into_iter()
                .zip(0..)
                .map(|(root, space)| Step::Attach(space, root))
                .collect()
        });
        let first = (places.prop_shuffle(), spaces, 0usize..3).prop_map(
            |(mut places, mut spaces, left): (Vec<Step>, Vec<Step>, usize)| {
                places.truncate(places.len() - left);
                spaces.append(&mut places);
                spaces
            },
        );
        let rest = prop::collection::vec(prop::collection::vec(step, 1..5), 4..24);
        (regions, first, rest).prop_map(|(mut regions, first, mut transactions)| {
            let root = Region::new(Kind::Container, 1 << 64);
            *regions.last_mut().expect("there are some") = root;
            transactions.insert(0, first);
            Case {
                regions,
                transactions,
            }
        })
    })
}

/// Whether the rules let `op` be done.
fn legal(plain: &Plain, op: &Op, regions: &[Region]) -> bool {
    match *op {
        Op::Add { parent, child, .. } => {
            !plain.is_retracted(parent)
                && !plain.is_retracted(child)
                && plain.parent(child).is_none()
                && !plain.reaches(child, parent)
        }
        Op::Del { parent, child } => {
            plain.parent(child) == Some(parent)
                || plain.parent(child).is_none()
                    && (plain.is_retracted(parent) || plain.is_retracted(child))
        }
        Op::SetRomd(region, _) => matches!(regions[region].kind, Kind::Romd(_)),
        Op::SetAliasOffset(region, _) => matches!(regions[region].kind, Kind::Alias { .. }),
        _ => true,
    }
}

struct Machine {
    topology: Topology,
    views: Views<(FlatRange, u64)>,
    keys: Vec<RegionKey>,
    plain: Plain,
    roots: BTreeMap<u64, usize>,
    made: u64,
}

impl Machine {
    fn new(regions: &[Region]) -> Self {
        let mut topology = Topology::new();
        let mut keys = Vec::new();
        for region in regions {
            let spec = spec(region, &keys).unwrap();
            keys.push(topology.insert(spec).unwrap());
        }
        let plain = Plain::new(regions);
        Self {
            topology,
            views: Views::new(),
            keys,
            plain,
            roots: BTreeMap::new(),
            made: 0,
        }
    }

    /// The answer, and whether the step counts.
    fn step(&mut self, step: &Step, regions: &[Region]) -> Result<bool, TestCaseError> {
        match step {
            Step::Do(op) => {
                let done = apply(&mut self.topology, &self.keys, op);
                prop_assert_eq!(
                    done.is_ok(),
                    legal(&self.plain, op, regions),
                    "{:?}: {:?}",
                    op,
                    done
                );
                let roots = match op {
                    Op::Retract(region) => {
                        self.roots.values().filter(|&root| root == region).count()
                    }
                    _ => 0,
                };
                let emptied =
                    roots > 0 && matches!(op, Op::Retract(r) if !self.plain.is_retracted(*r));
                Ok(done.is_ok() && self.plain.apply(op) || emptied)
            }
            Step::Attach(space, root) => {
                let attached = self.topology.root_of(SpaceKey(*space));
                match self
                    .topology
                    .attach_root(SpaceKey(*space), self.keys[*root])
                {
                    Ok(()) => {
                        prop_assert!(attached.is_none() && !self.plain.is_retracted(*root));
                        self.roots.insert(*space, *root);
                    }
                    Err(TopologyError::SpaceAttached { .. }) => prop_assert!(attached.is_some()),
                    Err(error) => prop_assert!(self.plain.is_retracted(*root), "{}", error),
                }
                Ok(false)
            }
            Step::Detach(space) => {
                let done = self.topology.detach_root(SpaceKey(*space));
                prop_assert_eq!(done.is_ok(), self.roots.remove(space).is_some());
                Ok(false)
            }
        }
    }

    fn commit(&mut self, counts: bool) -> Result<(), TestCaseError> {
        let pending = self.topology.take_pending();
        prop_assert_eq!(pending.notified(), counts);
        let old: BTreeMap<u64, FlatView<(FlatRange, u64)>> = (0..3)
            .map(|space| {
                (
                    space,
                    self.views
                        .view(SpaceKey(space))
                        .cloned()
                        .unwrap_or_default(),
                )
            })
            .collect();
        let mut made = Vec::new();
        let changes = self.views.commit(&self.topology, pending, |range| {
            made.push(*range);
            self.made += 1;
            (*range, self.made)
        });
        for range in &made {
            let added = changes.iter().flat_map(|change| &change.difference.added);
            prop_assert!(
                added.clone().any(|(added, _)| added == range),
                "{:?} was made for nobody",
                range
            );
        }
        for (&space, old) in &old {
            let new = self
                .views
                .view(SpaceKey(space))
                .cloned()
                .unwrap_or_default();
            prop_assert_eq!(
                self.views.view(SpaceKey(space)).is_some(),
                self.roots.contains_key(&space)
            );
            let change = changes
                .iter()
                .find(|change| change.space == SpaceKey(space));
            if let Some(change) = change {
                prop_assert!(change.old.is_same(old) && change.new.is_same(&new));
            }
            let difference = change
                .map(|change| change.difference.clone())
                .unwrap_or_default();
            let missing = |one: &FlatView<(FlatRange, u64)>,
                           other: &FlatView<(FlatRange, u64)>|
             -> Vec<(FlatRange, u64)> {
                let other: Vec<_> = other.iter().map(|(range, _)| range).collect();
                one.iter()
                    .filter(|(range, _)| !other.contains(range))
                    .map(|(_, &value)| value)
                    .collect()
            };
            prop_assert_eq!(
                &difference.removed[..],
                &missing(old, &new)[..],
                "removed from space {}",
                space
            );
            let added: Vec<_> = difference.added.iter().copied().collect();
            prop_assert_eq!(added, missing(&new, old), "added to space {}", space);

            self.check_view(space, &new)?;
        }
        Ok(())
    }

    /// That a space's view is what the others make of it, and is shared with whom it should.
    fn check_view(
        &self,
        space: u64,
        new: &FlatView<(FlatRange, u64)>,
    ) -> Result<(), TestCaseError> {
        let Some(&root) = self.roots.get(&space) else {
            return Ok(());
        };
        let shown: Vec<FlatRange> = new.iter().map(|(range, _)| range).collect();
        prop_assert_eq!(
            &shown,
            &render_full(&self.topology, self.topology.root_of(SpaceKey(space)))
        );
        let plain: Vec<(Range, bool)> = self.plain.view_with_unmergeable(root);
        let shown: Vec<(Range, bool)> = shown
            .iter()
            .map(|range| (self.plainly(range), range.unmergeable))
            .collect();
        prop_assert_eq!(&shown, &plain);
        for other in self.roots.keys() {
            let view_root = |space: u64| {
                self.topology
                    .root_of(SpaceKey(space))
                    .and_then(|root| self.topology.resolve_root(root))
            };
            let other_view = self
                .views
                .view(SpaceKey(*other))
                .cloned()
                .unwrap_or_default();
            if view_root(space) == view_root(*other) {
                prop_assert!(
                    new.is_same(&other_view),
                    "spaces {} and {} do not share",
                    space,
                    other
                );
            }
        }
        Ok(())
    }

    fn plainly(&self, range: &FlatRange) -> Range {
        Range {
            start: range.span.first(),
            size: range.span.size().get(),
            region: self
                .keys
                .iter()
                .position(|&key| key == range.region)
                .unwrap(),
            offset: range.offset.0,
            readonly: range.readonly,
            romd: range.romd,
            nonvolatile: range.nonvolatile,
        }
    }
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let mut machine = Machine::new(&case.regions);
    for transaction in &case.transactions {
        let mut counts = false;
        for step in transaction {
            counts |= machine.step(step, &case.regions)?;
        }
        machine.commit(counts)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn damaged_windows_show_what_a_full_rendering_shows(case in case()) {
        check(&case)?;
    }
}

/// The same, for as long as one likes: `cargo test --release … -- --ignored`.
#[test]
#[ignore = "minutes"]
fn damaged_windows_show_what_a_full_rendering_shows_at_length() {
    let config = ProptestConfig {
        cases: 200_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(case in case())| check(&case)?);
}
