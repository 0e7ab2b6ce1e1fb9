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
                if let Some(region) = leaf.pointer() {
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
