//! Regions that are withdrawn, and that are finalized: out of the topology, with the holds of their edges.

use super::Session;
use crate::region::Region;
use crate::state::{MemoryState, Topo};
use crate::topology::RegionKey;
use qom::MachineHandle;
use qom::layer::{self, Hold, Pointer};
use smallvec::SmallVec;

/// Step 1 of a withdrawal. Cannot be refused.
pub(crate) fn retract(machine: &MachineHandle, batch: &[Pointer]) {
    let mut regions: SmallVec<[(&Pointer, &Region); 8]> = SmallVec::new();
    let mut keys: SmallVec<[RegionKey; 8]> = SmallVec::new();
    for object in batch {
        if let Some(region) = object.instance::<Region>()
            && let Some(key) = region.key()
        {
            regions.push((object, region));
            keys.push(key);
        }
    }
    let Some((_, first)) = regions.first() else {
        return;
    };
    // Kept beyond the lock: the last pointer to a mapping lets go of its address space, too.
    let mut ended = Vec::new();
    let session = Session::open(&first.state);
    session.with(|topo| {
        // Without it, a seeded defect: `cargo xtask defects`. What leads to a region, and from it, is then cut when it is finalized.
        if cfg!(holdfast_without = "retract_edges") {
            return;
        }
        for &key in &keys {
            topo.drop_holds_of(key);
        }
        topo.topology.retract(&keys);
    });
    // Mappings of the regions end too: their next use answers `Withdrawn`. Without that, a seeded defect.
    while !cfg!(holdfast_without = "retract_mappings") {
        let taken = layer::take_opened_on(regions.iter().map(|(object, _)| *object));
        if taken.is_empty() {
            break;
        }
        for handle in &taken {
            handle.clone().end();
        }
        ended.push(taken);
    }
    drop(session);
    // Readers of any earlier view that showed one of them hold up its memory, whether or not a view shows it at this moment.
    let bytes = regions
        .iter()
        .map(|(_, region)| region.core().bytes_alone());
    let bytes = bytes.fold(0, u64::saturating_add);
    if bytes > 0 {
        let what = "memory of withdrawn regions";
        machine.domain().retire(bytes, Box::new(()), what);
    }
}

/// A finalized region leaves the topology.
pub(crate) fn forget(state: &MemoryState, key: RegionKey) {
    let session = Session::open(state);
    let object = session.with(|topo| {
        topo.drop_holds_of(key);
        if let Err(error) = topo.topology.remove(key) {
            tracing::error!(%error, "a finalized region was not in the topology");
        }
        topo.regions.remove(key)
    });
    drop(session);
    drop(object);
}

impl Topo {
    /// The holds of all edges from and to a region that is about to be retracted.
    fn drop_holds_of(&mut self, key: RegionKey) {
        let Some(node) = self.topology.get(key) else {
            return;
        };
        // Not by extending it: mostly there is nothing.
        let garbage = &mut self.garbage;
        let mut give_up = |hold: Option<Hold>| {
            if let Some(hold) = hold {
                garbage.push(hold);
            }
        };
        if let Some(entered) = self.regions.get_mut(key) {
            give_up(entered.contained.take());
            give_up(entered.target.take());
        }
        for sub in node.children_by_chance() {
            let sub = self.regions.get_mut(sub);
            give_up(sub.and_then(|sub| sub.contained.take()));
        }
        for alias in node.aliases() {
            let alias = self.regions.get_mut(alias);
            give_up(alias.and_then(|alias| alias.target.take()));
        }
        for space in node.spaces() {
            give_up(self.root_holds.remove(space));
        }
    }
}
