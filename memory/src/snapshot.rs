//! An owned copy of a view, in somebody's name.

use crate::space::AddressSpace;
use crate::state::MemoryState;
use crate::view::View;
use qom::layer::{Hold, Holder, Pointer, Reason};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A snapshot holds a region.
const SNAPSHOT: Reason = Reason("snapshot of a view");

/// A view, owned: keeps every region in it alive until it is dropped.
///
/// For work that outlives a read section and ends before the event loop turns. Kept longer it holds what somebody may be waiting for: the
/// ledger counts it, and names its holder at each region while it records. Any thread.
///
/// ```
/// # use memory::{AddressSpace, Attrs, Backing, Gpa, Offset, Priority, Region, RegionApi, Size};
/// # let machine = qom::Machine::new("doc");
/// # let system = Region::container("system", Size::MAX).create(machine.root())?;
/// # let ram = Region::ram("ram", Backing::anonymous(0x1000)?).create(machine.root())?;
/// # system.add_subregion(Offset(0x4000), &ram, Priority(0))?;
/// # let space = AddressSpace::open(machine.root(), "memory", &system)?;
/// let snapshot = space.snapshot(machine.root())?;
/// ram.set_enabled(false)?;
/// assert!(space.enter().view().is_empty());
/// assert_eq!(snapshot.slice(Gpa(0x4000), 8)?.load_u64(0), Some(0), "as it was");
/// let done = std::thread::spawn(move || snapshot.len());    // owned, Send
/// assert_eq!(done.join().unwrap(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Snapshot {
    view: View,
    state: Arc<MemoryState>,
    _named: Vec<Hold>,
}

impl Snapshot {
    #[track_caller]
    pub(crate) fn take(space: &AddressSpace, holder: &Pointer) -> Self {
        let view = space.inner.current();
        let mut named = Vec::new();
        if space.machine().is_recording() {
            // Not the object itself: the snapshot outlives it, and may be what keeps it.
            let holder = Holder::named(format!("snapshot by {}", holder.describe()));
            for (_, leaf) in view.ranges() {
                if let Some(region) = leaf.region() {
                    named.extend(Hold::new(region, SNAPSHOT, holder.clone()));
                }
            }
        }
        let state = space.state().clone();
        state.counters.snapshots.fetch_add(1, Ordering::Relaxed);
        Self {
            view,
            state,
            _named: named,
        }
    }
}

impl std::ops::Deref for Snapshot {
    type Target = View;
    fn deref(&self) -> &View {
        &self.view
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.state
            .counters
            .snapshots
            .fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Snapshot({} ranges)", self.view.len())
    }
}
