//! The engine that drives `memory`'s topology and views directly: no objects, no threads.

use std::collections::BTreeMap;

use memory::addr::{Offset, Size};
use memory::flat::{self, FlatRange, SpaceChange, Views, render_full};
use memory::topology::{self, Priority, RegionKey, RegionSpec, SpaceKey, Topology, TopologyError};

use super::engine::{Commit, Engine};
use super::line::{Event, EventKind, Kind, Op, Range, Region};

const SPACE: SpaceKey = SpaceKey(0);

/// A topology, its views, and the ids that the recordings give its regions.
#[derive(Debug)]
pub struct Topologies {
    topology: Topology,
    views: Views<FlatRange>,
    keys: Vec<RegionKey>,
    ids: BTreeMap<RegionKey, usize>,
    root: Option<RegionKey>,
}

/// What a topology makes the region `region` from, given the keys of those before it.
///
/// # Errors
///
/// Where a size or a target is impossible.
pub fn spec(region: &Region, keys: &[RegionKey]) -> Result<RegionSpec, String> {
    let kind = match region.kind {
        Kind::Container => topology::Kind::Container { terminates: false },
        Kind::Ram | Kind::Rom => topology::Kind::Ram,
        Kind::Io => topology::Kind::Io,
        Kind::Reservation => topology::Kind::Reservation,
        Kind::Romd(direct) => topology::Kind::RomDevice { direct },
        Kind::Alias { target, offset } => {
            let target = keys
                .get(target)
                .copied()
                .ok_or("an alias of a later region")?;
            topology::Kind::Alias {
                target: Some(target),
                offset: Offset(offset),
            }
        }
    };
    Ok(RegionSpec {
        kind,
        size: Size::try_from(region.size).map_err(|error| error.to_string())?,
        readonly: region.readonly,
        nonvolatile: region.nonvolatile,
        unmergeable: region.unmergeable,
        enabled: region.enabled,
    })
}

/// Does `op` on the regions that `keys` gives the ids of.
///
/// # Errors
///
/// What the topology refused.
///
/// # Panics
///
/// Where the operation names a region that is not in `keys`, or a size above 2^64.
pub fn apply(topology: &mut Topology, keys: &[RegionKey], op: &Op) -> Result<(), TopologyError> {
    match *op {
        Op::Add {
            parent,
            child,
            offset,
            priority,
        } => topology.add_subregion(
            keys[parent],
            keys[child],
            Offset(offset),
            Priority(priority),
        ),
        Op::Del { parent, child } => topology.del_subregion(keys[parent], keys[child]),
        Op::SetEnabled(region, to) => topology.set_enabled(keys[region], to),
        Op::SetSize(region, to) => topology.set_size(
            keys[region],
            Size::try_from(to).expect("sizes go up to 2^64"),
        ),
        Op::SetAddress(region, to) => topology.set_address(keys[region], Offset(to)),
        Op::SetReadonly(region, to) => topology.set_readonly(keys[region], to),
        Op::SetNonvolatile(region, to) => topology.set_nonvolatile(keys[region], to),
        Op::SetUnmergeable(region, to) => topology.set_unmergeable(keys[region], to),
        Op::SetRomd(region, to) => topology.set_romd(keys[region], to),
        Op::SetAliasOffset(region, to) => topology.set_alias_offset(keys[region], Offset(to)),
        Op::SetPriority(region, to) => topology.set_priority(keys[region], Priority(to)),
        Op::Retract(region) => {
            topology.retract(&[keys[region]]);
            Ok(())
        }
    }
}

impl Topologies {
    fn range(&self, range: &FlatRange) -> Range {
        Range {
            start: range.span.first(),
            size: range.span.size().get(),
            region: self.ids.get(&range.region).copied().unwrap_or(usize::MAX),
            offset: range.offset.0,
            readonly: range.readonly,
            romd: range.romd,
            nonvolatile: range.nonvolatile,
        }
    }

    fn event(&self, kind: EventKind, range: &FlatRange) -> Event {
        Event {
            kind,
            range: self.range(range).told(),
        }
    }

    fn commit(&mut self) -> Commit {
        let pending = self.topology.take_pending();
        let notified = pending.notified();
        let changes = self.views.commit(&self.topology, pending, |range| *range);
        let events = if notified {
            self.events(changes.first())
        } else {
            Vec::new()
        };
        Commit { notified, events }
    }

    /// What a listener is told that wants unchanged ranges too.
    fn events(&self, change: Option<&SpaceChange<FlatRange>>) -> Vec<Event> {
        let difference = change.map(|change| &*change.difference);
        let removed = difference
            .into_iter()
            .flat_map(|difference| &difference.removed);
        let mut events: Vec<Event> = removed
            .map(|range| self.event(EventKind::Del, range))
            .collect();
        let mut added = difference
            .into_iter()
            .flat_map(|difference| &difference.added)
            .peekable();
        let view = self.views.view(SPACE);
        for (range, _) in view.into_iter().flat_map(flat::FlatView::iter) {
            let new = added.next_if(|added| **added == range).is_some();
            events.push(self.event(if new { EventKind::Add } else { EventKind::Nop }, &range));
        }
        // What was reported as added but is not in the view must not go unseen.
        events.extend(added.map(|range| self.event(EventKind::Add, range)));
        events
    }
}

impl Engine for Topologies {
    fn new(regions: &[Region], setup: &[Op]) -> Result<Self, String> {
        let mut topology = Topology::new();
        let mut keys = Vec::new();
        for region in regions {
            let spec = spec(region, &keys)?;
            keys.push(topology.insert(spec).map_err(|error| error.to_string())?);
        }
        for op in setup {
            apply(&mut topology, &keys, op).map_err(|error| format!("{op:?}: {error}"))?;
        }
        let ids = keys
            .iter()
            .enumerate()
            .map(|(id, &key)| (key, id))
            .collect();
        topology.take_pending();
        Ok(Self {
            topology,
            views: Views::new(),
            keys,
            ids,
            root: None,
        })
    }

    fn open(&mut self, root: usize) -> Result<Vec<Event>, String> {
        let root = self.keys[root];
        self.topology
            .attach_root(SPACE, root)
            .map_err(|error| error.to_string())?;
        self.root = Some(root);
        let pending = self.topology.take_pending();
        let changes = self.views.commit(&self.topology, pending, |range| *range);
        Ok(self.events(changes.first()))
    }

    fn transaction(&mut self, ops: &[Op]) -> Result<Commit, String> {
        for op in ops {
            apply(&mut self.topology, &self.keys, op)
                .map_err(|error| format!("{op:?}: {error}"))?;
        }
        Ok(self.commit())
    }

    fn view(&self) -> Vec<Range> {
        let view = self.views.view(SPACE);
        view.into_iter()
            .flat_map(flat::FlatView::iter)
            .map(|(range, _)| self.range(&range))
            .collect()
    }

    fn rendered_anew(&self) -> Vec<Range> {
        render_full(&self.topology, self.root)
            .iter()
            .map(|range| self.range(range))
            .collect()
    }
}
