//! Random lives of owners, regions and what is opened on them: whatever is done in whatever order, everything ends once and in order.
//!
//! Several owners, devices and plain ones, nested; containers, callbacks, RAM and aliases among them; mappings, pins, address spaces,
//! listeners, snapshots and links in their names, closed, dropped or forgotten; readers that stay in a section or inside a callback over many
//! steps; panics in any hook, callback, listener, close of a handle, and drop of what is lent, opened or a field; withdrawals asked for from hooks, callbacks, transactions and two threads at once.
//!
//! Along the way nothing that was withdrawn is reached any more, withdrawn parties are refused, and what nothing outside keeps is finalized
//! as soon as the machine is quiet. At the end every object has been finalized once, owners after their regions, and no byte is left.
//!
//! `HOLDFAST_LIVES=n` runs n cases instead of 128.

#[path = "lifetime_property/arms.rs"]
mod arms;
#[path = "lifetime_property/ops.rs"]
mod ops;

use arms::{Arms, Dropper, Meddler, Stage, armed_io, lent_ram};
use holdfast_tests::rig::{Dev, LONG, Observed, PAGE, Plain, Rig, Watch, alias, container, ram};
use memory::{
    AddressSpace, Attrs, Gpa, Intent, ListenerHandle, Mapping, Offset, Pin, Priority, Region,
    RegionApi, Snapshot,
};
use ops::{First, How, Kind, Op, first, op, pick, pick_living, take};
use proptest::prelude::*;
use qdev::DeviceOps;
use qom::layer::Target;
use qom::{Child, ObjectOps, Ref, TreeError, WeakRef};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// Pages that are probed.
const PAGES: u64 = 12;
const READERS: usize = 2;

thread_local! {
    /// Set in a reader that is to stay inside the first callback that it enters: whom it tells, and what it waits for.
    static PARK: RefCell<Option<(Sender<Told>, Receiver<()>)>> = const { RefCell::new(None) };
}

enum Told {
    Inside,
    Done,
}

enum Tell {
    Enter,
    Leave,
    Park { page: u64, until: Receiver<()> },
}

/// A thread that reads, and stays where it is told to.
struct Reader {
    tell: Option<Sender<Tell>>,
    told: Receiver<Told>,
    thread: Option<JoinHandle<()>>,
    state: ReaderState,
}

enum ReaderState {
    Outside,
    Inside,
    Parked(Sender<()>),
}

impl Reader {
    fn start(space: AddressSpace) -> Self {
        let (tell, orders) = channel();
        let (answers, told) = channel();
        let thread = std::thread::spawn(move || Self::run(&space, &orders, &answers));
        Self {
            tell: Some(tell),
            told,
            thread: Some(thread),
            state: ReaderState::Outside,
        }
    }

    fn run(space: &AddressSpace, orders: &Receiver<Tell>, answers: &Sender<Told>) {
        while let Ok(order) = orders.recv() {
            match order {
                Tell::Enter => {
                    let guard = space.enter();
                    let view = guard.view();
                    let borrowed: Vec<_> = (0..PAGES)
                        .filter_map(|page| view.slice(Gpa(page * PAGE), 8).ok())
                        .map(|bytes| (bytes.load_u32(0), bytes))
                        .collect();
                    let _ = answers.send(Told::Inside);
                    // Whatever comes next ends the stay.
                    let _ = orders.recv();
                    for (before, bytes) in &borrowed {
                        assert_eq!(bytes.load_u32(0), *before, "borrowed bytes stay");
                    }
                    drop(guard);
                    let _ = answers.send(Told::Done);
                }
                Tell::Park { page, until } => {
                    PARK.set(Some((answers.clone(), until)));
                    let _ = space.load::<u32>(Gpa(page * PAGE), Attrs::default());
                    PARK.set(None);
                    let _ = answers.send(Told::Done);
                }
                Tell::Leave => {}
            }
        }
    }

    fn say(&self, order: Tell) {
        self.tell.as_ref().unwrap().send(order).unwrap();
    }

    fn enter(&mut self) {
        if let ReaderState::Outside = self.state {
            self.say(Tell::Enter);
            assert!(matches!(self.told.recv().unwrap(), Told::Inside));
            self.state = ReaderState::Inside;
        }
    }

    fn park(&mut self, page: u64) {
        if let ReaderState::Outside = self.state {
            let (release, until) = channel();
            self.say(Tell::Park { page, until });
            // Where there is no callback it is through at once.
            if let Told::Inside = self.told.recv().unwrap() {
                self.state = ReaderState::Parked(release);
            }
        }
    }

    fn leave(&mut self) {
        match std::mem::replace(&mut self.state, ReaderState::Outside) {
            ReaderState::Outside => return,
            ReaderState::Inside => self.say(Tell::Leave),
            ReaderState::Parked(release) => drop(release),
        }
        assert!(matches!(self.told.recv().unwrap(), Told::Done));
    }

    fn stop(&mut self) {
        self.leave();
        self.tell = None;
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the reader saw nothing wrong");
        }
    }
}

impl Drop for Reader {
    /// A failing case lets its readers go, too.
    fn drop(&mut self) {
        self.state = ReaderState::Outside;
        self.tell = None;
    }
}

struct Owner {
    handle: Option<Ref>,
    child: Child,
    weak: WeakRef,
    device: bool,
    parent: Option<usize>,
    has_parent: bool,
    arms: Arc<Arms>,
    /// This thread has seen its withdrawal return.
    gone: bool,
}

struct Made {
    region: Child<Region>,
    owner: usize,
    kind: Option<Kind>,
    gone: bool,
}

struct World {
    rig: Rig,
    readers: Vec<Reader>,
    owners: Vec<Owner>,
    regions: Vec<Made>,
    mappings: Vec<Mapping>,
    pins: Vec<Pin>,
    spaces: Vec<AddressSpace>,
    listeners: Vec<ListenerHandle>,
    snapshots: Vec<Snapshot>,
    linked: bool,
    armed: bool,
}

impl World {
    fn new() -> Self {
        let rig = Rig::new("lives");
        let readers = (0..READERS)
            .map(|_| Reader::start(rig.space.clone()))
            .collect();
        Self {
            spaces: vec![rig.space.clone()],
            rig,
            readers,
            owners: Vec::new(),
            regions: Vec::new(),
            mappings: Vec::new(),
            pins: Vec::new(),
            listeners: Vec::new(),
            snapshots: Vec::new(),
            linked: false,
            armed: false,
        }
    }

    fn owner_at(&self, i: u8) -> Option<usize> {
        pick_living(i, self.owners.iter().map(|o| o.gone))
    }

    fn region_at(&self, i: u8) -> Option<usize> {
        pick_living(i, self.regions.iter().map(|r| r.gone))
    }

    fn owner(&self, i: u8) -> Option<&Owner> {
        Some(&self.owners[self.owner_at(i)?])
    }

    fn region(&self, i: u8) -> Option<&Made> {
        Some(&self.regions[self.region_at(i)?])
    }

    fn make_owner(&mut self, device: bool, parent: Option<u8>) {
        let machine = &self.rig.machine;
        let watch = &self.rig.watch;
        let (arms, handle): (_, Ref) = if device {
            let object = machine.create::<Dev>().unwrap();
            (Arms::new(watch, object.part()), object.cast().unwrap())
        } else {
            let object = machine.create::<Plain>().unwrap();
            (Arms::new(watch, object.part()), object.cast().unwrap())
        };
        let (mut above, mut has_parent) = (None, false);
        if let Some(parent) = parent {
            // One more than there are owners: the root is among the choices.
            let at = usize::from(parent) % (self.owners.len() + 1);
            let name = format!("o{}", self.owners.len());
            match self.owners.get(at) {
                Some(owner) => match owner.weak.add_child(&name, &handle) {
                    Ok(_) => {
                        assert!(!owner.gone, "a withdrawn parent took a child");
                        (above, has_parent) = (Some(at), true);
                    }
                    Err(TreeError::ParentWithdrawn { .. } | TreeError::Gone(_)) => {}
                    Err(error) => panic!("{error}"),
                },
                None => {
                    machine.root().add_child(&name, &handle).unwrap();
                    has_parent = true;
                }
            }
        }
        self.owners.push(Owner {
            child: handle.child(),
            weak: handle.downgrade(),
            handle: Some(handle),
            device,
            parent: above,
            has_parent,
            arms,
            gone: false,
        });
    }

    fn make_region(&mut self, at: usize, kind: Option<Kind>, target: Option<usize>) {
        let owner = &self.owners[at];
        let tag = u32::try_from(self.regions.len()).unwrap() + 1;
        let made = match (kind, target) {
            (Some(Kind::Io), _) if owner.device => armed_io::<Dev>(&owner.weak, &owner.arms, tag),
            (Some(Kind::Io), _) => armed_io::<Plain>(&owner.weak, &owner.arms, tag),
            (Some(Kind::Lent), _) => lent_ram(&owner.weak, &owner.arms, tag),
            (Some(Kind::Ram), _) => ram(&owner.weak, tag),
            (Some(Kind::Box), _) => container(&owner.weak, 4),
            (None, Some(target)) => alias(&owner.weak, &self.regions[target].region, 2),
            (None, None) => return,
        };
        match made {
            Ok(region) => {
                assert!(!owner.gone, "a withdrawn owner took a region");
                let target_gone = target.is_some_and(|t| self.regions[t].gone);
                assert!(!target_gone, "an alias to a withdrawn region");
                self.regions.push(Made {
                    region,
                    owner: at,
                    kind,
                    gone: false,
                });
            }
            Err(_) => assert!(
                owner.gone || target.is_some() || self.armed,
                "refused for no reason"
            ),
        }
    }

    fn is_below(&self, mut at: usize, above: usize) -> bool {
        loop {
            if at == above {
                return true;
            }
            match self.owners[at].parent {
                Some(parent) => at = parent,
                None => return false,
            }
        }
    }

    /// The withdrawal of an owner has returned.
    fn mark_gone(&mut self, above: usize) {
        for at in 0..self.owners.len() {
            if self.is_below(at, above) {
                self.owners[at].gone = true;
            }
        }
        for at in 0..self.regions.len() {
            if self.owners[self.regions[at].owner].gone {
                self.regions[at].gone = true;
            }
        }
    }

    fn unparent(&mut self, at: usize, how: How) {
        let owner = &self.owners[at];
        if !owner.has_parent {
            return;
        }
        let weak = owner.weak.clone();
        let mut also = None;
        let asked = match how {
            How::Wait => weak.unparent(),
            How::Async => weak.unparent_async(),
            How::InTransaction => memory::transaction(&self.rig.machine, |_| weak.unparent())
                .expect("outside listeners, and within bounds"),
            How::InGuard => {
                let guard = self.rig.space.enter();
                let ticket = weak.unparent();
                drop(guard);
                ticket
            }
            How::ForgetTicket => weak.unparent().inspect(|ticket| {
                std::mem::forget(ticket.clone());
            }),
            How::TwoThreads(other) => {
                let other = usize::from(other) % self.owners.len();
                let second = self.owners[other].weak.clone();
                also = self.owners[other].has_parent.then_some(other);
                std::thread::scope(|s| {
                    s.spawn(move || drop(second.unparent()));
                    weak.unparent()
                })
            }
        };
        match asked {
            // Reading about a block of memory that is not there any more: it was finalized long ago.
            Err(TreeError::Gone(_)) => {}
            Err(error) => panic!("{error}"),
            Ok(_ticket) => {}
        }
        self.mark_gone(at);
        if let Some(also) = also {
            self.mark_gone(also);
        }
    }

    fn drop_handle(&mut self, at: usize) {
        let owner = &mut self.owners[at];
        let had = owner.handle.take().is_some();
        // Somebody in a hook may hold it a moment longer.
        if had && !owner.has_parent && !self.armed {
            self.mark_gone(at);
        }
    }

    /// Has a listener drop the handle: the mark comes at once, the rest on the executor. That may be held up by a reader in a section, so it
    /// is done where there is none.
    fn drop_in_listener(&mut self, at: usize, late: bool) {
        let outside = |r: &Reader| matches!(r.state, ReaderState::Outside);
        if !self.readers.iter().all(outside) {
            return;
        }
        let owner = &mut self.owners[at];
        let Some(handle) = owner.handle.take() else {
            return;
        };
        let (weak, was_last) = (owner.weak.clone(), !owner.has_parent && !self.armed);
        let root = self.rig.machine.root();
        let listening = self.rig.space.listen(root, Dropper::new(handle, late));
        listening
            .expect("the root listens to its own space")
            .close();
        if was_last {
            assert!(weak.get().is_err(), "marked by the drop in a listener");
            self.rig.machine.quiesce(LONG).unwrap();
            self.mark_gone(at);
        }
    }

    /// The region whose tag a page reads.
    fn made_at(&self, page: u64) -> Option<&Made> {
        let tag = self.rig.load(page).ok()?;
        let made = (tag as usize)
            .checked_sub(1)
            .and_then(|at| self.regions.get(at));
        Some(made.unwrap_or_else(|| panic!("page {page} reads {tag}")))
    }

    /// Looks at every page: nothing withdrawn is there.
    fn probe(&self) {
        for page in 0..PAGES {
            let gone = self.made_at(page).is_some_and(|made| made.gone);
            assert!(!gone, "page {page} reaches what was withdrawn");
        }
    }

    /// Everything that nobody outside keeps has been finalized.
    fn quiesce(&self) {
        if self
            .readers
            .iter()
            .any(|r| !matches!(r.state, ReaderState::Outside))
        {
            return;
        }
        self.rig.machine.quiesce(LONG).unwrap();
        let counted = memory::counters(&self.rig.machine);
        assert_eq!(counted.live_pins, self.pins.len() as u64);
        assert_eq!(counted.live_snapshots, self.snapshots.len() as u64);
        for owner in self.owners.iter().filter(|o| o.gone) {
            let stages = owner.arms.stages();
            let over = stages.iter().all(|s| *s == Stage::Dropped);
            assert!(over, "what was opened is closed and dropped: {stages:?}");
        }
        if !self.pins.is_empty() || !self.snapshots.is_empty() || self.linked {
            return;
        }
        for owner in self.owners.iter().filter(|o| o.gone && o.handle.is_none()) {
            if let Ok(object) = owner.weak.pointer() {
                let why = self.rig.machine.why_alive(&object);
                assert!(object.is_finalized(), "{why}");
            }
        }
        for made in self.regions.iter().filter(|r| r.gone) {
            if let Ok(object) = made.region.pointer() {
                let why = self.rig.machine.why_alive(&object);
                assert!(object.is_finalized(), "{why}");
            }
        }
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each operation, short as they are"
    )]
    fn run(&mut self, op: &Op) {
        match *op {
            Op::Owner { device, parent } => self.make_owner(device, parent),
            Op::Region { owner, kind } => {
                if let Some(at) = self.owner_at(owner) {
                    self.make_region(at, Some(kind), None);
                }
            }
            Op::Alias { owner, target } => {
                let target = self.region_at(target);
                if let (Some(at), Some(_)) = (self.owner_at(owner), target) {
                    self.make_region(at, None, target);
                }
            }
            Op::Add {
                show,
                container,
                sub,
                page,
            } => {
                let Some(sub) = self.region(sub) else { return };
                let mut offset = Offset(u64::from(page) * PAGE);
                let (into, gone) = if show {
                    (&self.rig.system, false)
                } else {
                    let Some(into) = self.region(container) else {
                        return;
                    };
                    // What is a page long has its children where they show.
                    if !matches!(into.kind, Some(Kind::Box)) {
                        offset = Offset(0);
                    }
                    (&into.region, into.gone)
                };
                let added = into.add_subregion(offset, &sub.region, Priority(0));
                assert!(
                    added.is_err() || !(gone || sub.gone),
                    "a withdrawn region took an edge"
                );
            }
            Op::Del {
                show,
                container,
                sub,
            } => {
                let (Some(sub), Some(from)) = (self.region(sub), self.region(container)) else {
                    return;
                };
                let from = if show { &self.rig.system } else { &from.region };
                let _ = from.del_subregion(&sub.region);
            }
            Op::Move { region, page } => {
                if let Some(made) = self.region(region) {
                    let _ = made.region.set_address(Offset(u64::from(page) * PAGE));
                }
            }
            Op::Enable { region, on } => {
                if let Some(made) = self.region(region) {
                    let _ = made.region.set_enabled(on);
                }
            }
            Op::Map {
                holder,
                page,
                write,
            } => {
                let Some(holder) = self.owner(holder) else {
                    return;
                };
                let intent = if write { Intent::Write } else { Intent::Read };
                let at = Gpa(u64::from(page) * PAGE);
                if let Ok(mapping) = self.rig.space.map(&holder.weak, at, 64, intent) {
                    assert!(!holder.gone, "mapped in a withdrawn name");
                    self.mappings.push(mapping);
                }
            }
            Op::Unmap(i) => {
                if let Some(mapping) = take(&mut self.mappings, i) {
                    // Nothing is written back, so that tags stay.
                    let _ = if i % 2 == 0 {
                        mapping.unmap(0)
                    } else {
                        mapping.unmap_shared(0)
                    };
                }
            }
            Op::ForgetMapping(i) => {
                if let Some(mapping) = take(&mut self.mappings, i) {
                    std::mem::forget(mapping);
                }
            }
            Op::Pin { holder, page } => {
                let Some(holder) = self.owner(holder) else {
                    return;
                };
                let at = Gpa(u64::from(page) * PAGE);
                if let Ok(pin) = self.rig.space.pin(&holder.weak, at, 8, Intent::Read) {
                    assert!(!holder.gone, "pinned in a withdrawn name");
                    self.pins.push(pin);
                }
            }
            Op::PinMapping(i) => {
                if let Some(at) = pick(i, self.mappings.len())
                    && let Ok(pin) = self.mappings[at].pin(0, 4)
                {
                    self.pins.push(pin);
                }
            }
            Op::Unpin(i) => {
                if let Some(pin) = take(&mut self.pins, i) {
                    assert!(pin.bytes().load_u32(0).is_some());
                }
            }
            Op::Space { holder, root } => {
                let (Some(holder), Some(root)) = (self.owner(holder), self.region(root)) else {
                    return;
                };
                if let Ok(space) = AddressSpace::open(&holder.weak, "own", &root.region) {
                    assert!(!holder.gone && !root.gone, "a space of the withdrawn");
                    self.spaces.push(space);
                }
            }
            Op::CloseSpace(i) => {
                if let Some(at) = pick(i, self.spaces.len())
                    && at > 0
                {
                    self.spaces.swap_remove(at).close();
                }
            }
            Op::Listen {
                holder,
                space,
                panics,
            } => {
                let (Some(at), Some(holder)) = (pick(space, self.spaces.len()), self.owner(holder))
                else {
                    return;
                };
                let listener = Meddler::new(panics, holder.weak.clone());
                if let Ok(handle) = self.spaces[at].listen(&holder.weak, listener) {
                    assert!(!holder.gone, "a withdrawn owner listens");
                    self.listeners.push(handle);
                }
            }
            Op::CloseListener(i) => {
                if let Some(listener) = take(&mut self.listeners, i) {
                    listener.close();
                }
            }
            Op::ForgetListener(i) => std::mem::forget(take(&mut self.listeners, i)),
            Op::Snapshot(i) => {
                if let Some(owner) = self.owner(i)
                    && let Ok(snapshot) = self.rig.space.snapshot(&owner.weak)
                {
                    self.snapshots.push(snapshot);
                }
            }
            Op::DropSnapshot(i) => drop(take(&mut self.snapshots, i)),
            Op::Link { from, to } => {
                let (Some(from), Some(to)) = (self.owner(from), self.owner(to)) else {
                    return;
                };
                if from.weak.set_link("peer", &to.weak).is_ok() {
                    assert!(!from.gone && !to.gone, "a link of the withdrawn");
                    self.linked = true;
                }
            }
            Op::Realize(i) => self.realize(i),
            Op::Unrealize(i) => {
                if let Some(owner) = self.owner(i) {
                    let _ = owner.weak.unrealize();
                }
            }
            Op::Unparent { owner, how } => {
                if let Some(at) = self.owner_at(owner) {
                    self.unparent(at, how);
                }
            }
            Op::UnparentRegion(i) => {
                if let Some(at) = self.region_at(i)
                    && self.regions[at].region.unparent().is_ok()
                {
                    self.regions[at].gone = true;
                }
            }
            Op::Arm {
                owner,
                point,
                victim,
            } => {
                let (Some(owner), Some(victim)) = (self.owner(owner), self.owner(victim)) else {
                    return;
                };
                owner.arms.aim(point, victim.weak.clone());
                self.armed = true;
            }
            Op::PanicAt { owner, point, bomb } => {
                if let Some(owner) = self.owner(owner) {
                    owner.arms.panic_at(point, bomb);
                }
            }
            Op::Open(i) => {
                let Some(holder) = self.owner(i) else {
                    return;
                };
                let handle = holder.arms.handle();
                let at = handle.at;
                if holder.weak.open(handle).is_ok() {
                    assert!(!holder.gone, "opened in a withdrawn name");
                    holder.arms.is_open(at);
                }
            }
            Op::DropHandle(i) => {
                if let Some(at) = self.owner_at(i) {
                    self.drop_handle(at);
                }
            }
            Op::DropInListener { owner, late } => {
                if let Some(at) = self.owner_at(owner) {
                    self.drop_in_listener(at, late);
                }
            }
            Op::Enter(i) => self.readers[usize::from(i) % READERS].enter(),
            Op::Park { reader, page } => {
                self.readers[usize::from(reader) % READERS].park(u64::from(page));
            }
            Op::Leave(i) => self.readers[usize::from(i) % READERS].leave(),
            Op::Store(page) => {
                let at = Gpa(u64::from(page) * PAGE + 8);
                let tag = self.made_at(u64::from(page)).map(|made| made.gone);
                let stored = self.rig.space.store(at, u64::from(page), Attrs::default());
                assert!(
                    stored.is_err() || tag != Some(true),
                    "page {page}: what was withdrawn was written"
                );
            }
            Op::Probe => self.probe(),
            Op::Quiesce => self.quiesce(),
        }
    }

    fn realize(&mut self, i: u8) {
        let Some(at) = self.owner_at(i) else {
            return;
        };
        let owner = &self.owners[at];
        // One without a parent gets one: it does not go with its last handle any more.
        if owner.device && owner.weak.realize().is_ok() {
            assert!(!owner.gone, "a withdrawn device was realized");
            let has_parent = owner.child.path().is_some() || owner.has_parent;
            self.owners[at].has_parent = has_parent;
        }
    }

    /// Ends everything, in one of two ways, and has the rig look at what it came to.
    fn end(mut self, close: bool) {
        let watch = self.rig.watch.clone();
        for reader in &mut self.readers {
            reader.stop();
        }
        self.probe();
        self.pins.clear();
        self.snapshots.clear();
        self.mappings.clear();
        self.listeners.clear();
        self.spaces.clear();
        if close {
            // The machine takes down what is still plugged.
            self.owners.clear();
            self.rig.machine.quiesce(LONG).unwrap();
            self.rig.close();
            all_dropped(&watch);
            return;
        }
        for at in 0..self.owners.len() {
            self.unparent(at, How::Wait);
            self.drop_handle(at);
        }
        self.linked = false;
        self.quiesce();
        // The home that realize makes for devices without a parent.
        if let Some(home) = self.rig.machine.resolve("/machine/unattached") {
            home.unparent().unwrap();
        }
        self.rig.finish();
        all_dropped(&watch);
    }
}

/// Nobody has a pointer to an object any more: its own fields went with it.
fn all_dropped(watch: &Watch) {
    let (ended, dropped) = watch.ended_and_dropped();
    assert_eq!(ended, dropped, "finalized, and dropped");
}

fn live(firsts: &[First], ops: &[Op], close: bool) {
    let mut world = World::new();
    for (device, regions) in firsts {
        world.make_owner(*device, None);
        let at = world.owners.len() - 1;
        let owner = &mut world.owners[at];
        let name = format!("first{at}");
        let root = world.rig.machine.root();
        root.add_child(&name, &owner.weak).unwrap();
        owner.has_parent = true;
        for (kind, page) in regions {
            world.make_region(at, Some(*kind), None);
            let region = &world.regions[world.regions.len() - 1].region;
            world.rig.show(region, u64::from(*page));
        }
    }
    for op in ops {
        world.run(op);
    }
    world.end(close);
}

fn setting(name: &str, default: u32) -> u32 {
    let given = std::env::var(name).ok();
    given.and_then(|n| n.parse().ok()).unwrap_or(default)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: setting("HOLDFAST_LIVES", 128), max_shrink_iters: setting("HOLDFAST_SHRINKS", 400), max_shrink_time: 60_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_ends_once_and_in_order(
        firsts in prop::collection::vec(first(), 1..5),
        ops in prop::collection::vec(op(), 1..100),
        close in any::<bool>(),
    ) {
        live(&firsts, &ops, close);
    }
}
