//! Withdrawal: the one way in which an object and everything below it ends.
//!
//! Step 0 marks the subtree under the tree lock; step 1 lets the layers cut what leads new accesses to it; both happen at
//! once in the caller. Step 2 closes, object by object, children before parents and younger siblings first; step 3 takes the
//! tree edges away. These two are one item of the machine's teardown queue, in the order of the marks: an item is queued
//! under the same lock that marks its objects, so a child's earlier withdrawal always ends before its parent's.
//!
//! Who marks is decided by the count word alone: an object with a parent is marked under the tree lock only (dropping a handle never
//! marks it, and it gets and loses its parent under that lock); one without a parent by whoever drops its last handle, or
//! by the close of its machine, whichever comes first in the word. Each mark is followed by one item of the queue. What has no parent to
//! keep it until step 3 is kept by a storage count of the withdrawal's own, or its finalizer could come before its hooks.
//!
//! Between the mark that a dropped handle leaves in the word and the tree lock another thread may ask for the same withdrawal. It begins it
//! then, in the dropper's stead and with the dropper's storage count: whoever returns from an unparent has seen the cut.

use crate::context::{self, Place};
use crate::error::TreeError;
use crate::layer::LayerHooks;
use crate::machine::{Help, MachineEvent, MachineHandle, MachineInner};
use crate::object::{Object, ObjectId};
use crate::opened::Opened;
use crate::panics;
use crate::ticket::Ticket;
use crate::tracker::Token;
use crate::tree::{Left, Tree};
use crate::withdrawn::LastPath;
use parking_lot::Mutex;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// One item of the teardown queue.
pub(crate) struct Withdrawal {
    machine: Arc<MachineInner>,
    root: ObjectId,
    /// Children before parents, younger siblings first; the root is the last. Whoever runs the last steps takes it out, so that no pointer is
    /// left behind when the objects go.
    batch: Mutex<Option<Arc<Batch>>>,
    /// Withdrawals of parts of the subtree that began before this one: their threads may still be on their way to step 1.
    earlier: Vec<Ticket>,
    ticket: Ticket,
    /// A storage count of the root, which has no parent to keep it; given back at the end.
    carries_storage: bool,
    /// Step 1 is left to whoever runs step 2, because a listener asked for the withdrawal.
    defer_retract: bool,
    step_one: Mutex<StepOne>,
    pub(crate) token: Token,
}

/// In an order, for whoever looks through it; a device with its regions in the block of memory of the pointer to it.
type Batch = SmallVec<[Arc<Object>; 8]>;

/// How far step 1 is. Under a lock of its own, so that nobody begins it again while step 2 already may.
#[derive(Default)]
struct StepOne {
    /// Threads that are in it.
    inside: u32,
    /// Whether one of them is through.
    done: bool,
    /// Whether one of them was so outside a transaction of its own: what was cut is committed.
    settled: bool,
}

/// Why a withdrawal begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Somebody unparents the object.
    Unparent,
    /// The last handle of an object without a parent was dropped: its word is marked already, and its storage count is the withdrawal's.
    LastHandle,
    /// The machine closes: its root goes. The caller has taken a storage count for the withdrawal.
    Close,
}

/// Withdraws the root of a machine. None: that has been done, or somebody else is just doing it.
pub(crate) fn close_root(root: &Arc<Object>) -> Option<Ticket> {
    if !root.counts.hold() {
        return None;
    }
    let begun = begin(root, Cause::Close);
    if begun.is_none() && root.counts.release() {
        root.machine_inner().queue_finalizer(root.clone());
    }
    begun
}

/// Steps 0 and 1, and the queueing of the rest. The caller runs that, or wakes the executor. None: nothing to do, or another thread has
/// begun it: the object knows its ticket then.
fn begin(root: &Arc<Object>, cause: Cause) -> Option<Ticket> {
    let machine = root.machine_inner();
    let withdrawal = {
        let mut tree = machine.tree.lock();
        if root.withdrawal().is_some() {
            return None;
        }
        let carries_storage = match cause {
            Cause::Unparent => {
                let now = root.counts.now();
                if !now.is_withdrawn() && !now.is_parented() {
                    return None;
                }
                // Marked, and no withdrawal yet: whoever dropped the last handle is on its way here.
                now.is_withdrawn()
            }
            // The root has no parent: somebody may be dropping its last handle at this moment, and only one of us begins.
            Cause::Close if !root.counts.mark_withdrawn() => return None,
            Cause::Close | Cause::LastHandle => true,
        };
        // A seeded defect: what has no parent is not withdrawn with its last handle.
        if cfg!(holdfast_without = "withdraw_unparented")
            && carries_storage
            && cause != Cause::Close
        {
            return None;
        }
        let path = tree.shared_path(root.key);
        let name = path.clone();
        let name = name.unwrap_or_else(|| root.last_name().to_string().into());
        let ticket = Ticket::new(machine, name);
        root.set_withdrawn(&ticket, path.map_or(LastPath::None, LastPath::At));
        let (batch, earlier) = subtree(&tree, root, &ticket);
        machine.hurry(batch.len());
        for object in &batch {
            let _ = object.counts.mark_withdrawn();
            for layer in &object.class().layers {
                if let Some(mark) = layer.mark {
                    mark(object);
                }
            }
        }
        let withdrawal = Arc::new(Withdrawal {
            machine: machine.clone(),
            root: root.id(),
            batch: Mutex::new(Some(Arc::new(batch))),
            earlier,
            ticket,
            carries_storage,
            defer_retract: context::depth(Place::Listener) > 0,
            step_one: Mutex::default(),
            token: machine.tracker.token(),
        });
        withdrawal.ticket.leads_to(&withdrawal);
        machine.executor.push_teardown(withdrawal.clone());
        withdrawal
    };
    let ticket = withdrawal.ticket.clone();
    tracing::debug!(object = &**ticket.object(), "withdrawn");
    // A listener must not change topology. The mark alone already stops callbacks.
    if !withdrawal.defer_retract {
        withdrawal.retract();
    }
    Some(ticket)
}

/// The objects to be marked, which are told of their withdrawal: the subtree without what has been marked before; and the withdrawals of that, which
/// are queued earlier.
fn subtree(tree: &Tree, root: &Arc<Object>, ticket: &Ticket) -> (Batch, Vec<Ticket>) {
    let mut batch = Batch::with_capacity(1 + tree.count_children(root.key));
    let mut earlier = Vec::new();
    // Parents come before their children and older siblings before younger ones: the order of the batch, seen from its end.
    let mut work: SmallVec<[&Arc<Object>; 16]> = smallvec![root];
    while let Some(object) = work.pop() {
        let mut path = None;
        for (name, child) in tree.named_children(object.key).rev() {
            if child.is_withdrawn() {
                // What is below it was marked with it, or before it and is known to its withdrawal.
                earlier.extend(child.withdrawal().cloned());
                continue;
            }
            let path = path.get_or_insert_with(|| object.last_path().and_then(LastPath::text));
            let path = match path {
                Some(above) => LastPath::Below(above.clone(), name.clone()),
                None => LastPath::None,
            };
            child.set_withdrawn(ticket, path);
            work.push(child);
        }
        batch.push(object.clone());
    }
    batch.reverse();
    (batch, earlier)
}

/// Unparents in the caller where it may wait, else on the executor.
pub(crate) fn unparent(object: &Arc<Object>, may_wait: bool) -> Result<Ticket, TreeError> {
    if context::depth(Place::Listener) > 0 {
        return Err(TreeError::Forbidden {
            object: object.describe(),
            place: Place::Listener,
        });
    }
    let machine = object.machine_inner();
    let begun = begin(object, Cause::Unparent);
    let is_new = begun.is_some();
    // Where another thread's withdrawal has got it, waiting means waiting for that one.
    let Some(ticket) = begun.or_else(|| object.withdrawal().cloned()) else {
        return Ok(Ticket::finished(object.describe().into()));
    };
    if may_wait && machine.waiting_forbidden().is_none() {
        ticket.wait_until(machine, None, Help::TearDown);
        machine.executor.let_finalizers_catch_up();
    } else if is_new {
        machine.executor.wake();
    } else {
        help(object);
    }
    Ok(ticket)
}

/// The thread that began a withdrawal may still be on its way to step 1. Waiting for it could keep from it what it waits for; so the step is
/// done here, and is a no-op there.
fn help(object: &Object) {
    if let Some(withdrawal) = object.withdrawal().and_then(Ticket::withdrawal) {
        withdrawal.retract();
        // Whoever leaves step 1 last lets step 2 run.
        object.machine_inner().executor.wake();
    }
}

/// The last user handle of an object without a parent has been dropped, somewhere: hooks run on the executor, as nobody can
/// say which locks the dropper holds.
pub(crate) fn last_handle_dropped(object: &Arc<Object>) {
    if begin(object, Cause::LastHandle).is_some() {
        object.machine_inner().executor.wake();
    } else if context::depth(Place::Listener) == 0 {
        help(object);
    }
}

impl Withdrawal {
    /// Step 1, unless it has been done. What was done inside a transaction takes effect when that commits; doing it once more from outside
    /// changes nothing and waits for the commit.
    fn retract(&self) {
        let in_transaction = context::depth(Place::Transaction) > 0;
        {
            let mut step = self.step_one.lock();
            if step.done && (step.settled || in_transaction) {
                return;
            }
            step.inside += 1;
        }
        self.run_retract_hooks();
        let mut step = self.step_one.lock();
        step.done = true;
        step.settled |= !in_transaction;
        step.inside -= 1;
    }

    fn run_retract_hooks(&self) {
        let handle = MachineHandle(self.machine.clone());
        // Not taken out: two threads may be here at once.
        let Some(batch) = self.batch.lock().clone() else {
            return;
        };
        let mut layers: SmallVec<[&'static LayerHooks; 4]> = SmallVec::new();
        for object in &*batch {
            for layer in &object.class().layers {
                if !layers.iter().any(|l| std::ptr::eq(*l, *layer)) {
                    layers.push(layer);
                }
            }
        }
        if let Some(root) = batch.last() {
            for layer in layers {
                if let Some(retract) = layer.retract {
                    // Only listeners can panic in here, and those are caught one by one; this is for the layer's own bugs.
                    run_hook(Place::Hook, layer.name, root, || retract(&handle, &batch));
                }
            }
        }
        // Whoever asked for this one is told that nothing reaches the whole subtree any more.
        for withdrawal in self.earlier.iter().filter_map(Ticket::withdrawal) {
            withdrawal.retract();
        }
    }

    /// Whether step 2 may run: step 1 has been done, or is left to whoever runs step 2; and no thread is still in it.
    pub(crate) fn is_ready(&self) -> bool {
        let step = self.step_one.lock();
        step.inside == 0 && (step.done || self.defer_retract)
    }

    pub(crate) fn object_name(&self) -> &Arc<str> {
        self.ticket.object()
    }

    /// Steps 2 and 3, on a thread that is marked as the executor: what it calls may not wait.
    pub(crate) fn run(&self) {
        // Where a listener asked for the withdrawal, or step 1 was done in a transaction that may still be open.
        self.retract();
        let machine = &self.machine;
        let batch = self.batch.lock().take();
        let batch = batch.map_or_else(Batch::new, Arc::unwrap_or_clone);
        let left = machine.tree.lock().left(&batch);
        for (object, left) in batch.iter().zip(left) {
            close_object(object, left);
        }
        machine.tree.lock().cut_parents(&batch);
        for object in batch {
            let carried = self.carries_storage && object.id() == self.root;
            let parent_was_last = object.counts.clear_parented();
            let carried_was_last = carried && object.counts.release();
            if parent_was_last || carried_was_last {
                machine.queue_finalizer(object);
            }
        }
        machine.emit(|| MachineEvent::Withdrawn {
            id: self.root,
            path: self.object_name().to_string(),
        });
        self.ticket.finish();
        tracing::debug!(object = &**self.object_name(), "withdrawal complete");
    }
}

/// Step 2 for one object, which has these left in the tree at most.
fn close_object(object: &Arc<Object>, left: Left) {
    for layer in object.class().layers.iter().rev() {
        if let Some(close) = layer.close {
            run_hook(Place::Hook, layer.name, object, || close(object));
        }
    }
    // Without it, a seeded defect: `cargo xtask defects`.
    if left.opened && !cfg!(holdfast_without = "close_in_name") {
        close_opened(object, 0, u64::MAX);
    }
    if let Some(instance) = object.any_instance() {
        for level in object.class().levels.iter().rev() {
            run_hook(Place::Hook, "unparent hook", object, || {
                (level.unparent)(instance);
            });
        }
    }
    // Without it, a seeded defect.
    if left.links && !cfg!(holdfast_without = "cut_links") {
        let links = object.machine_inner().tree.lock().take_links(object.key);
        drop(links);
    }
}

/// Closes what is open in an object's name and has a number in between, newest first.
pub(crate) fn close_opened(object: &Arc<Object>, from: u64, mut below: u64) {
    loop {
        // Not for longer than this: what is closed asks for the tree.
        let next = object
            .machine_inner()
            .tree
            .lock()
            .pop_opened(object.key, from, below);
        let Some((number, opened)) = next else { break };
        below = number;
        close_one(object, opened);
    }
}

/// Closes one handle and lets go of it; a panic is reported.
fn close_one(holder: &Object, opened: Opened) {
    match opened {
        Opened::Alone(handle) => {
            run_hook(Place::Hook, "closing a handle", holder, || handle.close());
            run_hook(Place::Hook, "dropping a closed handle", holder, || {
                drop(handle);
            });
        }
        Opened::On(handle) => {
            run_hook(Place::Hook, "closing a handle", holder, || handle.end());
        }
    }
}

/// Runs user code at `place`; false: it panicked, which is reported.
pub(crate) fn run_hook(place: Place, what: &str, object: &Object, f: impl FnOnce()) -> bool {
    let _inside = context::enter_code(place, object.id());
    match panics::catch(f) {
        Ok(()) => true,
        Err(panic) => {
            let message = panics::message_of(panic);
            object.machine_inner().panicked(object, what, message);
            false
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::counts::Dropped;
    use crate::{Container, Machine, tree};
    use std::time::Duration;

    #[test]
    fn whoever_waits_for_an_end_that_has_come_does_not_wait() {
        let machine = Machine::new("ended");
        for waits_before in [false, true] {
            let handle = machine.create::<Container>().unwrap();
            let (weak, pointer) = (handle.downgrade(), handle.object().pointer());
            let early = waits_before.then(|| pointer.ended().expect("it has not ended"));
            drop(handle);
            machine.quiesce(Duration::from_secs(10)).unwrap();
            assert!(pointer.is_finalized() && pointer.ended().is_none());
            assert!(early.is_none_or(|told| Arc::into_inner(told).unwrap().into_inner()));
            machine.wait_finalized(&weak, Duration::ZERO).unwrap();
        }
    }

    #[test]
    fn a_withdrawn_child_whose_parent_is_gone_is_not_said_to_have_one() {
        let machine = Machine::new("between");
        let root = machine.root().get().unwrap().object().pointer();
        let child = machine.create::<Container>().unwrap();
        let object = child.object().pointer();
        let add = |name: &str| tree::add_child(&root, name.into(), &object);
        add("child").unwrap();
        let error = add("other").unwrap_err();
        assert!(
            matches!(&error, TreeError::HasParent { current, .. } if current == "/machine"),
            "{error}"
        );
        // The first half of a withdrawal's last step; the second comes when somebody else has been here.
        assert!(object.counts.mark_withdrawn());
        object.machine_inner().hurry(1);
        object.machine_inner().tree.lock().cut_parent(object.key);
        let error = add("other").unwrap_err();
        assert!(matches!(error, TreeError::ChildWithdrawn { .. }), "{error}");
        assert!(!object.counts.clear_parented(), "the handle keeps it");
        let weak = child.downgrade();
        drop((child, object));
        machine
            .wait_finalized(&weak, Duration::from_secs(10))
            .unwrap();
    }

    #[test]
    fn an_unparent_begins_what_the_dropper_of_the_last_handle_has_only_marked() {
        let machine = Machine::new("between");
        let handle = machine.create::<Container>().unwrap();
        let weak = handle.downgrade();
        let object = handle.into_raw();
        // The first half of dropping the handle; the second comes when somebody else has been here.
        assert_eq!(object.counts.drop_user(), Dropped::Withdraw);
        assert!(object.withdrawal().is_none());

        let ticket = unparent(&object, false).unwrap();
        let begun = object.withdrawal().expect("it has begun");
        let cut = begun.withdrawal().is_none_or(|w| w.step_one.lock().done);
        assert!(cut, "who returns from an unparent has seen the cut");
        ticket.wait(Duration::from_secs(10)).unwrap();

        last_handle_dropped(&object);
        drop(object);
        machine
            .wait_finalized(&weak, Duration::from_secs(10))
            .unwrap();
        machine.close(Duration::from_secs(10)).unwrap();
    }
}
