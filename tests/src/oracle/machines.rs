//! The engine that drives the product: regions as objects in a machine, an address space, a listener.

use std::collections::BTreeMap;
use std::sync::Arc;

use memory::{
    AddressSpace, Backing, Commit as Views, FlatRange, FnOps, Listener, Offset, Priority,
    Region as Mr, RegionApi, RegionBuilder, Section, Size,
};
use parking_lot::Mutex;
use qom::{Child, Container, Machine, ObjectOps};

use super::engine::{Commit, Engine};
use super::line::{Event, EventKind, Kind, Op, Range, Region};

/// A machine with the regions of one recording.
pub struct Machines {
    machine: Machine,
    regions: Vec<Child<Mr>>,
    ids: Arc<BTreeMap<u64, usize>>,
    space: Option<AddressSpace>,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    commits: usize,
    events: Vec<Event>,
}

/// Writes down what it is told.
struct Recorder {
    ids: Arc<BTreeMap<u64, usize>>,
    heard: Arc<Mutex<Heard>>,
}

impl Recorder {
    fn hear(&self, kind: EventKind, section: Section<'_>) {
        let range = range(&self.ids, section.range).told();
        self.heard.lock().events.push(Event { kind, range });
    }
}

impl Listener for Recorder {
    type Owner = Container;
    fn wants_unchanged(&self) -> bool {
        true
    }
    fn commit(&self, _: &Container) {
        self.heard.lock().commits += 1;
    }
    fn region_add(&self, _: &Container, _: &Views<'_>, section: Section<'_>) {
        self.hear(EventKind::Add, section);
    }
    fn region_del(&self, _: &Container, _: &Views<'_>, section: Section<'_>) {
        self.hear(EventKind::Del, section);
    }
    fn region_nop(&self, _: &Container, _: &Views<'_>, section: Section<'_>) {
        self.hear(EventKind::Nop, section);
    }
}

fn range(ids: &BTreeMap<u64, usize>, range: &FlatRange) -> Range {
    Range {
        start: range.span.first(),
        size: range.span.size().get(),
        region: ids
            .get(&range.region.to_bits())
            .copied()
            .unwrap_or(usize::MAX),
        offset: range.offset.0,
        readonly: range.readonly,
        romd: range.romd,
        nonvolatile: range.nonvolatile,
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn ops() -> FnOps<Container> {
    FnOps {
        read: |_, _| Ok(0),
        write: |_, _, _| Ok(()),
    }
}

fn builder(id: usize, region: &Region, before: &[Child<Mr>]) -> Result<RegionBuilder, String> {
    let name = format!("r{id}");
    let size = Size::try_from(region.size).map_err(text)?;
    let builder = match region.kind {
        Kind::Container => Mr::container(&name, size),
        Kind::Ram | Kind::Rom => Mr::ram_without_backing(&name, size),
        Kind::Io => Mr::io(&name, size, ops()),
        Kind::Reservation => Mr::reservation(&name, size),
        Kind::Romd(_) => {
            Mr::rom_device(&name, Backing::anonymous(4096).map_err(text)?, ops()).size(size)
        }
        Kind::Alias { target, offset } => {
            let target = before.get(target).ok_or("an alias of a later region")?;
            Mr::alias(&name, target, Offset(offset), size)
        }
    };
    Ok(builder
        .readonly(region.readonly)
        .nonvolatile(region.nonvolatile)
        .unmergeable(region.unmergeable)
        .enabled(region.enabled))
}

impl Machines {
    fn apply(&self, op: &Op) -> Result<(), String> {
        let r = |id: usize| {
            self.regions
                .get(id)
                .ok_or_else(|| format!("no region {id}"))
        };
        let done = match *op {
            Op::Add {
                parent,
                child,
                offset,
                priority,
            } => r(parent)?.add_subregion(Offset(offset), r(child)?, Priority(priority)),
            Op::Del { parent, child } => r(parent)?.del_subregion(r(child)?),
            Op::SetEnabled(region, to) => r(region)?.set_enabled(to),
            Op::SetSize(region, to) => r(region)?.set_size(Size::try_from(to).map_err(text)?),
            Op::SetAddress(region, to) => r(region)?.set_address(Offset(to)),
            Op::SetReadonly(region, to) => r(region)?.set_readonly(to),
            Op::SetNonvolatile(region, to) => r(region)?.set_nonvolatile(to),
            Op::SetUnmergeable(region, to) => r(region)?.set_unmergeable(to),
            Op::SetRomd(region, to) => r(region)?.set_romd(to),
            Op::SetAliasOffset(region, to) => r(region)?.set_alias_offset(Offset(to)),
            Op::SetPriority(region, to) => r(region)?.set_priority(Priority(to)),
            Op::Retract(region) => return r(region)?.unparent().map(|_| ()).map_err(text),
        };
        done.map_err(|error| format!("{op:?}: {error}"))
    }

    fn heard(&self) -> Heard {
        std::mem::take(&mut *self.heard.lock())
    }
}

impl Engine for Machines {
    fn new(regions: &[Region], setup: &[Op]) -> Result<Self, String> {
        let machine = Machine::new("oracle");
        let mut made = Vec::new();
        let mut ids = BTreeMap::new();
        for (id, region) in regions.iter().enumerate() {
            let child = builder(id, region, &made)?
                .create(machine.root())
                .map_err(text)?;
            if let Kind::Romd(false) = region.kind {
                child.set_romd(false).map_err(text)?;
            }
            let key = child
                .get()
                .map_err(text)?
                .key()
                .ok_or("a region without a key")?;
            ids.insert(key.to_bits(), id);
            made.push(child);
        }
        let this = Self {
            machine,
            regions: made,
            ids: Arc::new(ids),
            space: None,
            heard: Arc::default(),
        };
        for op in setup {
            this.apply(op)?;
        }
        Ok(this)
    }

    fn open(&mut self, root: usize) -> Result<Vec<Event>, String> {
        let root = self.regions.get(root).ok_or("no such root")?;
        let space = AddressSpace::open(self.machine.root(), "memory", root).map_err(text)?;
        let recorder = Recorder {
            ids: self.ids.clone(),
            heard: self.heard.clone(),
        };
        space.listen(self.machine.root(), recorder).map_err(text)?;
        self.space = Some(space);
        Ok(self.heard().events)
    }

    fn transaction(&mut self, ops: &[Op]) -> Result<Commit, String> {
        memory::transaction(&self.machine, |_| {
            ops.iter().try_for_each(|op| self.apply(op))
        })
        .map_err(text)??;
        let heard = self.heard();
        if heard.commits > 1 {
            return Err(format!(
                "the listener was told of {} commits",
                heard.commits
            ));
        }
        Ok(Commit {
            notified: heard.commits == 1,
            events: heard.events,
        })
    }

    fn view(&self) -> Vec<Range> {
        let Some(space) = &self.space else {
            return Vec::new();
        };
        let guard = space.enter();
        guard
            .view()
            .ranges()
            .map(|(r, _)| range(&self.ids, &r))
            .collect()
    }

    fn rendered_anew(&self) -> Vec<Range> {
        let Some(space) = &self.space else {
            return Vec::new();
        };
        space
            .render_anew()
            .iter()
            .map(|r| range(&self.ids, r))
            .collect()
    }
}
