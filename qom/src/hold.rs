//! A counted edge: somebody needs an object alive, and says who and why.

use crate::ledger::{EdgeId, Holder, Reason};
use crate::object::Object;
use std::panic::Location;
use std::sync::Arc;

/// A storage count with a name. For the layers above; device code has handles, mappings and links.
///
/// Dropping the last one queues the object's finalizer; it never runs anybody's code by itself, so a hold may be dropped
/// anywhere. Any thread.
pub struct Hold {
    object: Arc<Object>,
    edge: Option<EdgeId>,
}

impl Hold {
    /// Holds `object`; the edge always stands in the ledger. For structural edges.
    ///
    /// None once the object's storage has reached zero.
    #[track_caller]
    pub fn new(object: &Arc<Object>, reason: Reason, holder: Holder) -> Option<Self> {
        let place = Some(Location::caller());
        object.counts.hold().then(|| Self {
            edge: Some(object.edges.add(reason, holder, place)),
            object: object.clone(),
        })
    }

    /// Holds `object`; the edge stands in the ledger only while the machine records. For pins and snapshots.
    ///
    /// None once the object's storage has reached zero.
    #[track_caller]
    #[inline]
    pub fn counted(
        object: &Arc<Object>,
        reason: Reason,
        holder: impl FnOnce() -> Holder,
    ) -> Option<Self> {
        if !object.counts.hold() {
            return None;
        }
        let edge = if object.machine_inner().is_recording() {
            Some(object.edges.add(reason, holder(), Some(Location::caller())))
        } else {
            None
        };
        Some(Self {
            object: object.clone(),
            edge,
        })
    }

    /// The object.
    #[inline]
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(edge) = self.edge {
            self.object.edges.remove(edge);
        }
        if self.object.counts.release() {
            self.object
                .machine_inner()
                .queue_finalizer(self.object.clone());
        }
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hold({})", self.object.describe())
    }
}
