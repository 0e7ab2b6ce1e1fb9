//! The memory side of one machine: topology, views, who holds what, under the topology lock.

use crate::commit::Hearers;
use crate::flat::Views;
use crate::leaf::Leaf;
use crate::mapping::PIN;
use crate::reentrancy;
use crate::region::RegionCore;
use crate::space::SpaceInner;
use crate::topology::{ByRegion, SpaceKey, Topology};
use parking_lot::ReentrantMutex;
use qom::MachineHandle;
use qom::layer::{self, Hold, Holder, Pointer, unnamed};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The memory state of a machine, as an extension of it.
pub(crate) struct MemoryState {
    /// The topology lock: re-entrant in its thread, held from the begin to the commit of a transaction. The cell inside is
    /// borrowed for single steps only, never while somebody else's code runs.
    pub(crate) lock: ReentrantMutex<RefCell<Topo>>,
    pub(crate) counters: MemoryCounts,
}

/// Everything under the topology lock.
pub(crate) struct Topo {
    pub(crate) topology: Topology,
    pub(crate) views: Views<Leaf>,
    pub(crate) regions: ByRegion<Entered>,
    /// Address space → root.
    pub(crate) root_holds: BTreeMap<SpaceKey, Hold>,
    pub(crate) spaces: BTreeMap<SpaceKey, Arc<SpaceInner>>,
    /// Spaces closed in the open transaction: they leave after their listeners have been told.
    pub(crate) closing: Vec<SpaceKey>,
    pub(crate) next_space: u64,
    pub(crate) next_listener: u64,
    /// Open transactions of the thread that has the lock.
    pub(crate) depth: u32,
    /// Holds given up in the open transaction: dropped outside the lock.
    pub(crate) garbage: SmallVec<[Hold; 8]>,
    /// Who is told of commits; none where somebody came or went since the last one.
    pub(crate) hearers: Option<Arc<Hearers>>,
    pub(crate) view_holder: Holder,
}

/// A region in the topology. In one place, as each change of a map of thousands looks here, and finds nothing in the near caches.
pub(crate) struct Entered {
    pub(crate) object: Pointer,
    pub(crate) core: Arc<RegionCore>,
    /// Container → this.
    pub(crate) contained: Option<Hold>,
    /// This → target, of an alias.
    pub(crate) target: Option<Hold>,
}

impl Entered {
    /// Looks at all places that a leaf of it is made from, to have them in the caches. What it says does not matter.
    pub(crate) fn look(&self) -> usize {
        let object = Hold::look(&self.object) + usize::from(self.object.is_complete());
        let calls = self.core.ops.as_ref().map_or(0, Arc::strong_count);
        object + usize::from(self.core.reentrant) + calls
    }
}

/// Numbers of one machine's memory side.
#[derive(Default)]
pub(crate) struct MemoryCounts {
    pub(crate) commits: AtomicU64,
    pub(crate) snapshots: AtomicU64,
}

/// What the memory side of a machine has done, and what is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryCounters {
    /// Transactions that changed something.
    pub commits: u64,
    /// Pins that are alive: I/O in flight. Exact while nobody pins, unpins, maps or unmaps, and nothing is being withdrawn.
    pub live_pins: u64,
    /// Owned snapshots that are alive.
    pub live_snapshots: u64,
    /// Mappings that are open.
    pub open_mappings: u64,
}

impl MemoryState {
    pub(crate) fn of(machine: &MachineHandle) -> Arc<Self> {
        machine.extension(Self::new)
    }

    fn new() -> Self {
        layer::callbacks_are_known_by(reentrancy::innermost);
        Self {
            lock: ReentrantMutex::new(RefCell::new(Topo {
                topology: Topology::new(),
                views: Views::new(),
                regions: ByRegion::default(),
                root_holds: BTreeMap::new(),
                spaces: BTreeMap::new(),
                closing: Vec::new(),
                next_space: 0,
                next_listener: 0,
                depth: 0,
                garbage: SmallVec::new(),
                hearers: None,
                view_holder: Holder::named("flat views"),
            })),
            counters: MemoryCounts::default(),
        }
    }
}

/// The counters of a machine's memory side. Any thread. Takes the topology lock, and looks at each region.
pub fn counters(machine: &MachineHandle) -> MemoryCounters {
    let state = MemoryState::of(machine);
    // Taken one by one, so that a pin itself costs no counter that all threads share.
    let regions: Vec<Pointer> = {
        let topo = state.lock.lock();
        let topo = topo.borrow();
        topo.regions.values().map(|r| r.object.clone()).collect()
    };
    let live_pins = regions.iter().map(|r| unnamed(r, PIN)).sum();
    // ORDERING: Relaxed: numbers for people.
    let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
    MemoryCounters {
        commits: read(&state.counters.commits),
        live_pins,
        live_snapshots: read(&state.counters.snapshots),
        open_mappings: layer::handles_on(machine) as u64,
    }
}
