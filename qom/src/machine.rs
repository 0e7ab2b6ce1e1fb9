//! The machine: everything that is not global. Root object, tree, executor, grace periods, ledger switch, counters.

mod builder;
mod close;
mod event;
mod wait;

pub use builder::MachineBuilder;
pub use close::Machine;
pub use event::{MachineEvent, Subscription};
pub use wait::Pending;
use wait::{Finalized, Hurry, last_of};
pub(crate) use wait::{Help, deadline};

use crate::class::{Class, class_named};
use crate::context::{self, Place};
use crate::error::CreateError;
use crate::executor::{Disposal, Executor, in_bottom_half};
use crate::handle::Ref;
use crate::instance::Instance;
use crate::ledger::{Graph, WhyAlive};
use crate::object::{Object, ObjectImpl, RootObject};
use crate::panics;
use crate::tracker::Tracker;
use crate::tree::{Tree, TreeKey};
use crate::withdraw;
use crate::withdrawn::LastName;
use arc_swap::ArcSwap;
use event::Subscriber;
use parking_lot::{Condvar, Mutex};
use qom_grace::{Domain, GraceCounters, GraceError};
use std::any::{Any, TypeId};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// What a machine has done so far.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Objects that are not finalized.
    pub live_objects: u64,
    /// Objects finalized.
    pub finalized: u64,
    /// Wake-ups of the executor's thread.
    pub executor_wakeups: u64,
    /// Read sections, grace periods, retired bytes.
    pub grace: GraceCounters,
}

pub(crate) struct MachineInner {
    name: String,
    pub(crate) tree: Mutex<Tree>,
    pub(crate) executor: Arc<Executor>,
    pub(crate) tracker: Tracker,
    domain: Domain,
    /// No new objects.
    closed: AtomicBool,
    /// Nobody will call `close` any more: the last object ends the machine.
    abandoned: AtomicBool,
    /// Nothing is left.
    ended: AtomicBool,
    recording: AtomicBool,
    root: OnceLock<TreeKey>,
    live: AtomicU64,
    finalized: Mutex<Finalized>,
    finalized_one: Condvar,
    subscribers: ArcSwap<Vec<(u64, Subscriber)>>,
    next_subscriber: AtomicU64,
    /// One for each layer: so few that looking through them is quickest.
    extensions: Mutex<Vec<(TypeId, Arc<dyn Any + Send + Sync>)>>,
}

impl MachineInner {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    #[inline]
    pub(crate) fn is_recording(&self) -> bool {
        // ORDERING: Relaxed: a switch for diagnostics; an edge more or less in the ledger hurts nobody.
        self.recording.load(Ordering::Relaxed)
    }

    pub(crate) fn is_root(&self, object: &Object) -> bool {
        self.root.get() == Some(&object.key)
    }

    fn name_root(&self, root: &Object, name: &str) {
        let fresh = self.root.set(root.key).is_ok();
        debug_assert!(fresh, "a machine has one root");
        self.tree.lock().name_root(root.key, name);
    }

    fn live_objects(&self) -> u64 {
        // ORDERING: SeqCst, see `begin_close` and `Machine::drop`.
        self.live.load(Ordering::SeqCst)
    }

    pub(crate) fn new_object(
        self: &Arc<Self>,
        class: &'static Class,
    ) -> Result<Arc<Object>, CreateError> {
        // ORDERING: SeqCst, against `begin_close`: counted first, then looked.
        self.live.fetch_add(1, Ordering::SeqCst);
        if self.closed.load(Ordering::SeqCst) {
            self.one_less(None);
            return Err(CreateError::MachineClosed {
                machine: self.name.clone(),
                type_name: class.name(),
            });
        }
        let mut tree = self.tree.lock();
        let key = tree.reserve();
        let object = Object::new(self, class, key);
        tree.fill(key, object.clone());
        Ok(object)
    }

    /// An object is gone, and those are told who wait for its end; the last one of a machine that was dropped ends it.
    fn one_less(&self, told: Option<Arc<AtomicBool>>) {
        // ORDERING: SeqCst, against `Machine::drop`: counted first, then looked.
        let was_last = self.live.fetch_sub(1, Ordering::SeqCst) == 1;
        if let Some(told) = told {
            // ORDERING: Release: whoever sees it sees what the finalizers did.
            told.store(true, Ordering::Release);
        }
        // Under the lock, so that nobody who has just looked sleeps through it.
        drop(self.finalized.lock());
        self.finalized_one.notify_all();
        if was_last && self.abandoned.load(Ordering::SeqCst) {
            self.end();
        }
    }

    pub(crate) fn queue_finalizer(&self, object: Arc<Object>) {
        self.executor.push_finalizer(object, self.tracker.token());
    }

    /// Has the instance of a finalized object dropped.
    pub(crate) fn dispose(self: &Arc<Self>, instance: Box<dyn Instance>, object: LastName) {
        let (machine, token) = (self.clone(), self.tracker.token());
        let drop_it = move || machine.drop_instance(instance, &object);
        self.executor
            .push_disposal(Disposal::Instance(Box::new(drop_it), token));
    }

    /// Runs an object's finalizers, leaf to root, and lets go of it. On the executor.
    pub(crate) fn finalize(self: &Arc<Self>, object: Arc<Object>) {
        if !object.counts.mark_finalized() {
            // INVARIANT: storage reaches zero once, because it never rises from zero (`counts.rs`).
            tracing::error!(object = %object.describe(), "asked to finalize twice");
            debug_assert!(false, "an object is finalized once");
            return;
        }
        if let Some(instance) = object.any_instance() {
            for level in object.class().levels.iter().rev() {
                withdraw::run_hook(Place::Finalizer, "finalizer", &object, || {
                    (level.finalize)(instance);
                });
            }
        }
        {
            // Dropped outside the lock, and where it is: it is not small.
            let _node = self.tree.lock().remove(object.key);
        }
        let (name, weak) = (object.last_name(), object.weak());
        // Where somebody has a pointer to the object, the last of those sees to its instance.
        let mut last = {
            let mut finalized = self.finalized.lock();
            finalized.begin(&object);
            last_of(object)
        };
        if let Some(instance) = last.as_mut().and_then(Object::take_instance) {
            self.drop_instance(instance, &name);
        }
        drop(last);
        self.emit(|| MachineEvent::Finalized {
            id: name.id,
            path: name.to_string(),
            type_name: name.type_name,
        });
        let told = self.finalized.lock().end(&weak);
        self.relax(1);
        self.one_less(told);
    }

    /// Drops an instance's own fields.
    fn drop_instance(&self, instance: Box<dyn Instance>, object: &LastName) {
        if let Err(panic) = panics::catch(|| drop(instance)) {
            let message = panics::message_of(panic);
            tracing::error!(%object, message, "dropping an instance panicked");
            self.emit(|| MachineEvent::Panicked {
                object: object.to_string(),
                what: "dropping the instance".to_owned(),
                message,
            });
        }
    }
}

/// A way to reach a machine that does not own it.
#[derive(Clone)]
pub struct MachineHandle(pub(crate) Arc<MachineInner>);

impl MachineHandle {
    /// The machine's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Makes an object of type `T` without a parent. Any thread.
    ///
    /// # Errors
    /// The type is abstract, its init panicked, or the machine is closed.
    #[track_caller]
    pub fn create<T: ObjectImpl>(&self) -> Result<Ref<T>, CreateError> {
        let class = Class::of::<T>();
        let object = crate::init::create(&self.0, class, None, class.init())?;
        Ok(Ref::adopt(object))
    }

    /// Makes an object of the registered type called `name`.
    ///
    /// # Errors
    /// As [`create`](Self::create), and nobody registered the name.
    #[track_caller]
    pub fn create_named(&self, name: &str) -> Result<Ref, CreateError> {
        let class = class_named(name)?;
        let object = crate::init::create(&self.0, class, None, class.init())?;
        Ok(Ref::adopt(object))
    }

    /// The object at a canonical path.
    #[track_caller]
    pub fn resolve(&self, path: &str) -> Option<Ref> {
        let mut parts = path.split('/').filter(|p| !p.is_empty());
        let object = {
            let tree = self.0.tree.lock();
            let mut at = &tree.node(*self.0.root.get()?)?.object;
            if parts.next()? != "machine" {
                return None;
            }
            for part in parts {
                at = tree.child_named(at.key, part)?;
            }
            at.clone()
        };
        if object.counts.upgrade() {
            Some(Ref::<RootObject>::adopt(object))
        } else {
            None
        }
    }

    /// Read sections and grace periods of this machine.
    pub fn domain(&self) -> &Domain {
        &self.0.domain
    }

    /// Runs `job` on the executor: a bottom half. Once the machine has ended it is dropped undone.
    pub fn defer(&self, job: impl FnOnce() + Send + 'static) {
        // What a bottom half queues for later is a story of its own, or one that repeats itself would never let anybody quiesce.
        let token = if in_bottom_half() {
            self.0.tracker.fresh_token()
        } else {
            self.0.tracker.token()
        };
        self.0.executor.push_bottom_half(Box::new(job), token);
    }

    /// For an embedder-driven machine: runs up to `limit` pieces of pending work and says how many it ran. Also legal beside
    /// an executor thread. Zero where this thread is inside a hook, a finalizer, a listener, a transaction or a read section.
    pub fn run_pending(&self, limit: usize) -> usize {
        if self.0.waiting_forbidden().is_some() {
            return 0;
        }
        (0..limit).take_while(|_| self.0.executor.run_one()).count()
    }

    /// Drops `item` on the executor once every present read section has ended. `bytes` counts against the machine's bound.
    pub fn retire(&self, bytes: u64, what: &'static str, item: impl Send + 'static) {
        let token = self.0.tracker.token();
        self.0
            .domain
            .retire_call(bytes, what, Box::new(move || token.during(|| drop(item))));
    }

    /// All objects that are not finalized.
    pub(crate) fn objects(&self) -> Vec<Arc<Object>> {
        self.0.tree.lock().objects().cloned().collect()
    }

    /// Why an object is alive.
    pub fn why_alive(&self, object: &Object) -> WhyAlive {
        WhyAlive::of(&Graph::of(&self.0), object)
    }

    /// Why each object that is withdrawn and not finalized is alive.
    pub fn leftovers(&self) -> Vec<WhyAlive> {
        let graph = Graph::of(&self.0);
        let mut objects = self.objects();
        objects.retain(|o| o.is_withdrawn());
        objects.iter().map(|o| WhyAlive::of(&graph, o)).collect()
    }

    /// Who keeps whom alive in this machine.
    pub fn reference_graph(&self) -> Graph {
        Graph::of(&self.0)
    }

    /// Whether user handles, pins and snapshots are recorded in the ledger.
    pub fn is_recording(&self) -> bool {
        self.0.is_recording()
    }

    /// Switches recording; what exists already stays as it was recorded.
    pub fn set_recording(&self, on: bool) {
        self.0.recording.store(on, Ordering::Relaxed);
    }

    /// What the machine has done so far.
    pub fn counters(&self) -> Counters {
        Counters {
            live_objects: self.0.live_objects(),
            finalized: self.0.finalized.lock().count,
            executor_wakeups: self.0.executor.wakeups(),
            grace: self.0.domain.counters(),
        }
    }

    /// A layer's own state in this machine, made at first use and dropped when the machine has ended. After that each call makes one of
    /// its own: there is nothing left that could share it.
    ///
    /// # Panics
    /// Where `make` does.
    pub fn extension<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let key = TypeId::of::<T>();
        let of_key = |all: &[(TypeId, Arc<dyn Any + Send + Sync>)]| {
            let found = all.iter().find(|(other, _)| *other == key);
            found.map(|(_, entry)| entry.clone())
        };
        let found = of_key(&self.0.extensions.lock());
        let entry = found.unwrap_or_else(|| {
            // Outside the lock: it is a layer's code. Where two threads make one, the first stays.
            let made: Arc<dyn Any + Send + Sync> = Arc::new(make());
            let mut extensions = self.0.extensions.lock();
            // ORDERING: Acquire, see `end`.
            if self.0.ended.load(Ordering::Acquire) {
                return made;
            }
            let kept = of_key(&extensions);
            if kept.is_none() {
                extensions.push((key, made.clone()));
            }
            drop(extensions);
            kept.unwrap_or(made)
        });
        // INVARIANT: the list is keyed by the type.
        entry
            .downcast()
            .expect("an extension has the type of its key")
    }

    /// Refuses or waits where the machine has too much retired and not freed (see [`Domain::make_room`]). The executor is let through: it is what
    /// frees, and would wait for itself; what it retires is bounded by whoever feeds it.
    ///
    /// # Errors
    /// The bound is exceeded and stayed so for the bounded time; the slow reader is named.
    pub fn make_room(&self) -> Result<(), GraceError> {
        if context::depth(Place::Executor) > 0 {
            return Ok(());
        }
        // What lies about is dropped by whoever waits for room.
        let _hurry = (!self.0.domain.has_room()).then(|| Hurry::begin(&self.0));
        self.0.domain.make_room()
    }

    /// Whether both handles reach one machine.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl std::fmt::Debug for MachineHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Machine({})", self.0.name)
    }
}
