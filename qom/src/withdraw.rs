//! Withdrawal: the one way in which an object and everything below it ends.
//!
//! Step 0 marks the subtree under the tree lock; step 1 lets the layers cut what leads new accesses to it; both happen at
//! once in the caller. Step 2 closes, object by object, children before parents and younger siblings first; step 3 takes the
//! tree edges away. These two are one item of the machine's teardown queue, in the order of the marks: an item is queued
//! under the same lock that marks its objects, so a child's earlier withdrawal always ends before its parent's.

use crate::context::{self, Place};
use crate::error::{TreeError, WaitError};
use crate::layer::LayerHooks;
use crate::machine::{MachineEvent, MachineHandle, MachineInner};
use crate::object::Object;
use crate::opened::Handle;
use crate::panics;
use crate::tracker::Token;
use parking_lot::{Condvar, Mutex};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The progress of one withdrawal: can be polled, awaited, or waited for.
#[derive(Clone)]
pub struct Ticket {
    state: Arc<TicketState>,
    machine: Option<Arc<MachineInner>>,
}

struct TicketState {
    object: String,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    done: bool,
    wakers: Vec<Waker>,
}

impl Ticket {
    fn new(machine: &Arc<MachineInner>, object: String) -> Self {
        let state = TicketState {
            object,
            progress: Mutex::default(),
            changed: Condvar::new(),
        };
        Self {
            state: Arc::new(state),
            machine: Some(machine.clone()),
        }
    }

    /// A withdrawal with nothing to do.
    pub(crate) fn finished(object: String) -> Self {
        let progress = Mutex::new(Progress {
            done: true,
            wakers: Vec::new(),
        });
        Self {
            state: Arc::new(TicketState {
                object,
                progress,
                changed: Condvar::new(),
            }),
            machine: None,
        }
    }

    /// Whether every hook has run and the tree edges are gone. (The finalizers come when nobody holds the objects any more.)
    pub fn is_done(&self) -> bool {
        self.state.progress.lock().done
    }

    /// Waits until it is done. The caller holds no lock that a hook takes.
    ///
    /// # Errors
    /// The caller is inside a read section, a hook, a finalizer, a listener, a transaction or on the executor; or the time ran out.
    pub fn wait(&self, timeout: Duration) -> Result<(), WaitError> {
        let Some(machine) = &self.machine else {
            return Ok(());
        };
        let what = || format!("the withdrawal of {}", self.state.object);
        if self.is_done() {
            return Ok(());
        }
        if let Some(place) = machine.waiting_forbidden() {
            return Err(WaitError::Forbidden {
                what: what(),
                place,
            });
        }
        let start = Instant::now();
        machine.help_until(
            Some(start + timeout),
            || self.is_done(),
            |until| self.wait_changed(until),
        );
        if self.is_done() {
            return Ok(());
        }
        Err(WaitError::TimedOut {
            what: what(),
            waited: start.elapsed(),
            holder: machine.teardown_holder(),
        })
    }

    fn wait_changed(&self, until: Instant) {
        let mut progress = self.state.progress.lock();
        if !progress.done {
            self.state.changed.wait_until(&mut progress, until);
        }
    }

    fn finish(&self) {
        let wakers = {
            let mut progress = self.state.progress.lock();
            progress.done = true;
            std::mem::take(&mut progress.wakers)
        };
        self.state.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Future for Ticket {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut progress = self.state.progress.lock();
        if progress.done {
            return Poll::Ready(());
        }
        if !progress.wakers.iter().any(|w| w.will_wake(cx.waker())) {
            progress.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ticket({}, done: {})", self.state.object, self.is_done())
    }
}

/// One item of the teardown queue.
pub(crate) struct Withdrawal {
    root: Arc<Object>,
    /// Children before parents, younger siblings first.
    batch: Vec<Arc<Object>>,
    ticket: Ticket,
    /// The root's storage count of a dropped last handle, to be given back at the end.
    carries_storage: bool,
    /// Step 1 is left to whoever runs step 2, because a listener asked for the withdrawal.
    defer_retract: bool,
    retracted: Mutex<bool>,
    retract_done: Condvar,
    pub(crate) token: Token,
}

/// Why a withdrawal begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Somebody unparents the object.
    Unparent,
    /// The last handle of an object without a parent was dropped: its word is marked already.
    LastHandle,
    /// The machine closes: its root goes.
    Close,
}

/// Steps 0 and 1, and the queueing of the rest.
pub(crate) fn begin(root: &Arc<Object>, cause: Cause) -> Option<(Arc<Withdrawal>, Ticket)> {
    let machine = root.machine_inner();
    let withdrawal = {
        let tree = machine.tree.lock();
        let now = root.counts.now();
        match cause {
            Cause::Unparent if now.is_withdrawn() || !now.is_parented() => return None,
            Cause::Close if now.is_withdrawn() => return None,
            _ => {}
        }
        let describe = |o: &Object| {
            tree.path(o.key)
                .unwrap_or_else(|| format!("{}#{}", o.class().name(), o.id().0))
        };
        let ticket = Ticket::new(machine, describe(root));
        let batch = subtree(&tree, root);
        for object in &batch {
            let _ = object.counts.mark_withdrawn();
            let _ = object.last_path.set(describe(object));
            let _ = object.withdrawal.set(ticket.clone());
            for layer in &object.class().layers {
                if let Some(mark) = layer.mark {
                    mark(object);
                }
            }
        }
        let withdrawal = Arc::new(Withdrawal {
            root: root.clone(),
            batch,
            ticket,
            carries_storage: cause == Cause::LastHandle,
            defer_retract: context::depth(Place::Listener) > 0,
            retracted: Mutex::new(false),
            retract_done: Condvar::new(),
            token: machine.tracker.token(),
        });
        machine.executor.push_teardown(withdrawal.clone());
        withdrawal
    };
    let ticket = withdrawal.ticket.clone();
    tracing::debug!(object = %ticket.state.object, objects = withdrawal.batch.len(), "withdrawn");
    // A listener must not change topology. The mark alone already stops callbacks.
    if !withdrawal.defer_retract {
        withdrawal.retract();
    }
    Some((withdrawal, ticket))
}

/// The objects to be marked: the subtree without what has been marked before (that has a withdrawal of its own, queued earlier).
fn subtree(tree: &crate::tree::Tree, root: &Arc<Object>) -> Vec<Arc<Object>> {
    let mut batch = Vec::new();
    // Older siblings are pushed first and so come out last; a second visit to a node means that its children are done.
    let mut work = vec![(root.clone(), false)];
    while let Some((object, children_done)) = work.pop() {
        if children_done {
            batch.push(object);
            continue;
        }
        let key = object.key;
        work.push((object, true));
        work.extend(
            tree.children(key)
                .filter(|c| !c.is_withdrawn())
                .map(|c| (c.clone(), false)),
        );
    }
    batch
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
    let Some((_, ticket)) = begin(object, Cause::Unparent) else {
        let earlier = object.withdrawal.get().cloned();
        return Ok(earlier.unwrap_or_else(|| Ticket::finished(object.describe())));
    };
    if may_wait && machine.waiting_forbidden().is_none() {
        machine.help_until(
            None,
            || ticket.is_done(),
            |until| ticket.wait_changed(until),
        );
    } else {
        machine.executor.wake();
    }
    Ok(ticket)
}

/// The last user handle of an object without a parent has been dropped, somewhere: hooks run on the executor, as nobody can
/// say which locks the dropper holds.
pub(crate) fn last_handle_dropped(object: &Arc<Object>) {
    if begin(object, Cause::LastHandle).is_some() {
        object.machine_inner().executor.wake();
    }
}

impl Withdrawal {
    fn retract(&self) {
        let handle = MachineHandle(self.root.machine_inner().clone());
        let mut layers: Vec<&'static LayerHooks> = Vec::new();
        for object in &self.batch {
            for layer in &object.class().layers {
                if !layers.iter().any(|l| std::ptr::eq(*l, *layer)) {
                    layers.push(layer);
                }
            }
        }
        for layer in layers {
            if let Some(retract) = layer.retract {
                // Only listeners can panic in here, and those are caught one by one; this is for the layer's own bugs.
                if let Err(panic) = panics::catch(|| retract(&handle, &self.batch)) {
                    tracing::error!(
                        layer = layer.name,
                        panic = panics::message(&*panic),
                        "retracting panicked"
                    );
                }
            }
        }
        *self.retracted.lock() = true;
        self.retract_done.notify_all();
    }

    /// Step 1 where it was left to this thread; waits where another thread is at it.
    fn ensure_retracted(&self) {
        if self.defer_retract {
            return self.retract();
        }
        let mut retracted = self.retracted.lock();
        while !*retracted {
            self.retract_done.wait(&mut retracted);
        }
    }

    pub(crate) fn object_name(&self) -> &str {
        &self.ticket.state.object
    }

    /// Steps 2 and 3.
    pub(crate) fn run(&self) {
        self.ensure_retracted();
        let machine = self.root.machine_inner().clone();
        for object in &self.batch {
            close_object(object);
        }
        for object in &self.batch {
            let had_parent = machine.tree.lock().cut_parent(object.key);
            if had_parent && object.counts.clear_parented() {
                machine.queue_finalizer(object.clone());
            }
        }
        if self.carries_storage && self.root.counts.release() {
            machine.queue_finalizer(self.root.clone());
        }
        machine.emit(&MachineEvent::Withdrawn {
            id: self.root.id(),
            path: self.ticket.state.object.clone(),
        });
        self.ticket.finish();
        tracing::debug!(object = %self.ticket.state.object, "withdrawal complete");
    }
}

/// Step 2 for one object.
fn close_object(object: &Arc<Object>) {
    for layer in object.class().layers.iter().rev() {
        if let Some(close) = layer.close {
            run_hook(Place::Hook, layer.name, object, || close(object));
        }
    }
    let opened = object.machine_inner().tree.lock().take_opened(object.key);
    for (_, handle) in opened.iter().rev() {
        close_one(object, &**handle);
    }
    if let Some(instance) = object.any_instance() {
        for level in object.class().levels.iter().rev() {
            run_hook(Place::Hook, "unparent hook", object, || {
                (level.unparent)(instance)
            });
        }
    }
    let links = object.machine_inner().tree.lock().take_links(object.key);
    drop(links);
}

/// Closes one handle; a panic is reported.
pub(crate) fn close_one(holder: &Object, handle: &dyn Handle) {
    run_hook(Place::Hook, "closing a handle", holder, || handle.close());
}

/// Runs user code at `place`; false: it panicked, which is reported.
pub(crate) fn run_hook(place: Place, what: &str, object: &Object, f: impl FnOnce()) -> bool {
    let _inside = context::enter(place);
    match panics::catch(f) {
        Ok(()) => true,
        Err(panic) => {
            let panic = panics::message(&*panic);
            tracing::error!(object = %object.describe(), what, panic, "panicked");
            object.machine_inner().emit(&MachineEvent::Panicked {
                object: object.describe(),
                what: what.to_owned(),
                message: panic,
            });
            false
        }
    }
}
