//! A counted edge: somebody needs an object alive, and says who and why.
#![expect(
    unsafe_code,
    reason = "a count that keeps its object's block of memory by keeping the object"
)]
// Soundness: the one unsafe step is `Hold::object`, which borrows the object for as long as the hold is borrowed. From its creation until it is
// finalized an object stands in its machine's tree, which owns a pointer to it and is itself owned by the machine, which each object owns. An
// object is finalized only once its storage count has been at zero, from which it does not rise again (`counts.rs`); a hold owns one storage
// count, given back by its drop and by nothing else. So the block of memory outlives the hold. In the drop: a count that was not the last is
// not followed by anything; after the last one only this thread has the object finalized, which begins when it queues that. Before it does, it
// takes pointers of its own to the object and to the machine, as the one may be finalized and the other closed while it is still in the call.

use crate::ledger::{EdgeId, Holder, Reason};
use crate::object::Object;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A storage count with a name. For the layers above; device code has handles, mappings and links.
///
/// Dropping the last one queues the object's finalizer; it never runs anybody's code by itself, so a hold may be dropped
/// anywhere. Any thread.
pub struct Hold {
    object: NonNull<Object>,
    /// An [`EdgeId`]; zero: it has no name.
    edge: AtomicU32,
}

// SAFETY: a hold is what a `&Object` is, and an `Object` may be shared between threads.
unsafe impl Send for Hold {}
// SAFETY: as above.
unsafe impl Sync for Hold {}

impl Hold {
    /// Holds `object`; the edge always stands in the ledger. For structural edges.
    ///
    /// None once the object's storage has reached zero.
    #[track_caller]
    pub fn new(object: &Object, reason: Reason, holder: Holder) -> Option<Self> {
        let place = Some(Location::caller());
        object.counts.hold().then(|| Self {
            edge: AtomicU32::new(object.edges.add(reason, holder, place).number()),
            object: NonNull::from(object),
        })
    }

    /// Looks at all that [`new`](Self::new) asks of `object` and writes there, to have it in the caches: for whoever is about to hold many, as a
    /// processor waits for many places together, but for one after the other where each is locked in between. What it says does not matter.
    #[inline]
    pub fn look(object: &Object) -> usize {
        usize::from(object.is_withdrawn()) + usize::from(object.edges.look())
    }

    /// One hold more on the same object, for what comes and goes with each I/O: the edge stands in the ledger by name while the machine records,
    /// and by number always ([`unnamed`](crate::layer::unnamed)).
    ///
    /// None where there are too many.
    #[expect(
        clippy::inline_always,
        reason = "a pin is little more than this, and a call would take its result through memory"
    )]
    #[inline(always)]
    pub fn beside(
        &self,
        reason: Reason,
        holder: impl FnOnce() -> Holder,
        place: &'static Location<'static>,
    ) -> Option<Self> {
        let object = self.object();
        if !object.counts.hold_beside() {
            return None;
        }
        let hold = Self {
            object: self.object,
            edge: AtomicU32::new(0),
        };
        if object.machine_inner().is_recording() {
            return Some(hold.recorded(reason, holder, place));
        }
        Some(hold)
    }

    #[cold]
    fn recorded(
        self,
        reason: Reason,
        holder: impl FnOnce() -> Holder,
        place: &'static Location<'static>,
    ) -> Self {
        self.name(reason, holder(), place);
        self
    }

    /// One hold more on the same object, which has a name by the handle that it is for ([`open_on`](crate::layer::open_on)).
    ///
    /// None where there are too many.
    #[inline]
    pub fn listed(&self) -> Option<Self> {
        self.object().counts.hold_beside().then_some(Self {
            object: self.object,
            edge: AtomicU32::new(0),
        })
    }

    /// Enters the hold into the ledger, if it is not there.
    pub fn name(&self, reason: Reason, holder: Holder, place: &'static Location<'static>) {
        // ORDERING: Relaxed, here and in the drop, which nothing else may be at the same time as: a number that says nothing of anything else.
        if self.edge.load(Ordering::Relaxed) != 0 {
            return;
        }
        let id = self.object().edges.add(reason, holder, Some(place));
        let named =
            self.edge
                .compare_exchange(0, id.number(), Ordering::Relaxed, Ordering::Relaxed);
        if named.is_err() {
            self.object().edges.remove(id);
        }
    }

    /// The object.
    #[inline]
    pub fn object(&self) -> &Object {
        // SAFETY: see the head of the file: this owns a storage count.
        unsafe { self.object.as_ref() }
    }
}

impl Drop for Hold {
    #[inline]
    fn drop(&mut self) {
        let edge = EdgeId::numbered(*self.edge.get_mut());
        let object = self.object();
        if let Some(edge) = edge {
            object.edges.remove(edge);
        }
        if object.counts.release() {
            queue_finalizer(object.pointer());
        }
    }
}

#[cold]
fn queue_finalizer(object: Arc<Object>) {
    let machine = object.machine_inner().clone();
    machine.queue_finalizer(object);
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hold({})", self.object().describe())
    }
}
