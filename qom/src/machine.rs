//! The machine: everything that is not global. Root object, tree, executor, grace periods, ledger switch, counters.

use crate::class::{Class, class_named};
use crate::container::Container;
use crate::context::{self, Place};
use crate::error::{CreateError, WaitError};
use crate::executor::{Executor, Wake};
use crate::handle::{Child, Ref, WeakRef};
use crate::layer::Target;
use crate::ledger::{Graph, WhyAlive};
use crate::object::{Object, ObjectId, ObjectImpl, RootObject};
use crate::panics;
use crate::tracker::{Token, Tracker};
use crate::tree::Tree;
use crate::withdraw::{self, Cause, Ticket};
use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex};
use qom_grace::{Domain, DomainConfig, GraceCounters, GraceError};
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Something that happened in a machine. Told on the thread on which it happened, outside every lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MachineEvent {
    /// A withdrawal is complete: all hooks have run.
    Withdrawn {
        /// The object that was unparented, or whose last handle went.
        id: ObjectId,
        /// The path it had.
        path: String,
    },
    /// An object has been finalized: the deleted notification.
    Finalized {
        /// The object.
        id: ObjectId,
        /// The path it had when it was withdrawn.
        path: String,
        /// Its type.
        type_name: &'static str,
    },
    /// A hook, a handle's close, a listener or a finalizer panicked; the rest went on.
    Panicked {
        /// The object.
        object: String,
        /// Which code.
        what: String,
        /// The panic's text.
        message: String,
    },
}

type Subscriber = Arc<dyn Fn(&MachineEvent) + Send + Sync>;

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
    closed: AtomicBool,
    recording: AtomicBool,
    root: AtomicU64,
    live: AtomicU64,
    finalized: Mutex<u64>,
    finalized_one: Condvar,
    subscribers: ArcSwap<Vec<(u64, Subscriber)>>,
    next_subscriber: AtomicU64,
    extensions: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
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
        self.root.load(Ordering::Relaxed) == object.id().0
    }

    pub(crate) fn new_object(
        self: &Arc<Self>,
        class: &'static Class,
    ) -> Result<Arc<Object>, CreateError> {
        // ORDERING: Acquire pairs with the Release in `close`.
        if self.closed.load(Ordering::Acquire) {
            return Err(CreateError::MachineClosed {
                machine: self.name.clone(),
                type_name: class.name(),
            });
        }
        let key = self.tree.lock().reserve();
        let object = Object::new(self, class, key);
        self.tree.lock().fill(key, object.clone());
        self.live.fetch_add(1, Ordering::Relaxed);
        Ok(object)
    }

    pub(crate) fn queue_finalizer(&self, object: Arc<Object>) {
        self.executor.push_finalizer(object, self.tracker.token());
    }

    /// Runs an object's finalizers, leaf to root, and lets go of it. On the executor.
    pub(crate) fn finalize(self: &Arc<Self>, object: Arc<Object>) {
        if !object.counts.mark_finalized() {
            // INVARIANT: storage reaches zero once, because it never rises from zero (`counts.rs`).
            tracing::error!(object = %object.describe(), "asked to finalize twice");
            debug_assert!(false, "an object is finalized once");
            return;
        }
        let path = object.describe_last();
        if let Some(instance) = object.any_instance() {
            for level in object.class().levels.iter().rev() {
                withdraw::run_hook(Place::Finalizer, "finalizer", &object, || {
                    (level.finalize)(instance)
                });
            }
        }
        let node = self.tree.lock().remove(object.key);
        drop(node);
        let event = MachineEvent::Finalized {
            id: object.id(),
            path,
            type_name: object.class().name(),
        };
        // The instance's own fields go with the last pointer, which is usually this one: user code, so it may panic.
        if let Err(panic) = panics::catch(|| drop(object)) {
            tracing::error!(
                panic = panics::message(&*panic),
                "dropping an instance panicked"
            );
        }
        self.emit(&event);
        self.live.fetch_sub(1, Ordering::Relaxed);
        *self.finalized.lock() += 1;
        self.finalized_one.notify_all();
    }

    pub(crate) fn emit(&self, event: &MachineEvent) {
        for (_, subscriber) in self.subscribers.load().iter() {
            if let Err(panic) = panics::catch(|| subscriber(event)) {
                tracing::error!(
                    panic = panics::message(&*panic),
                    "a machine event's subscriber panicked"
                );
            }
        }
    }

    /// Where this thread stands, if it may not wait there.
    pub(crate) fn waiting_forbidden(&self) -> Option<Place> {
        if self.domain.is_entered() {
            Some(Place::Guard)
        } else {
            context::innermost()
        }
    }

    pub(crate) fn teardown_holder(&self) -> String {
        match (
            self.executor.teardown_holder(),
            self.domain.slowest_reader(),
        ) {
            (Some(object), _) => format!("the teardown of {object}"),
            (None, Some(reader)) => format!("reader {reader}"),
            (None, None) => "nobody known".to_owned(),
        }
    }

    /// Waits until `done`, doing in the meantime what this thread may do of the machine's work.
    pub(crate) fn help_until(
        &self,
        deadline: Option<Instant>,
        done: impl Fn() -> bool,
        wait: impl Fn(Instant),
    ) {
        while !done() {
            let helped = if self.executor.is_embedded() {
                self.executor.run_one()
            } else {
                self.executor.run_teardown()
            };
            if helped {
                continue;
            }
            let now = Instant::now();
            if deadline.is_some_and(|d| now >= d) {
                return;
            }
            // A slice: work that only this thread can do may come up while it waits.
            let slice = now + Duration::from_millis(5);
            wait(deadline.map_or(slice, |d| d.min(slice)));
        }
    }
}

/// A machine: owns its root object, executor and reclaimer. Dropping it closes it in the background; [`Machine::close`]
/// waits for that.
///
/// ```
/// use qom::Machine;
/// use std::time::Duration;
///
/// let machine = Machine::new("board");
/// assert_eq!(machine.root().get()?.object().path().as_deref(), Some("/machine"));
/// machine.close(Duration::from_secs(5)).map_err(|(_, error)| error)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Machine {
    handle: MachineHandle,
    root: Child<Container>,
    root_handle: Option<Ref<Container>>,
}

/// A way to reach a machine that does not own it.
#[derive(Clone)]
pub struct MachineHandle(pub(crate) Arc<MachineInner>);

/// How a machine is set up.
pub struct MachineBuilder {
    name: String,
    grace: DomainConfig,
    wake: Option<Wake>,
    recording: bool,
}

impl MachineBuilder {
    /// No executor thread: `wake` is told (from any thread) that [`MachineHandle::run_pending`] has something to do.
    #[must_use]
    pub fn embedder_driven(mut self, wake: Wake) -> Self {
        self.wake = Some(wake);
        self
    }

    /// How grace periods are waited for, and how many bytes may be retired and not freed.
    #[must_use]
    pub fn grace(mut self, change: impl FnOnce(&mut DomainConfig)) -> Self {
        change(&mut self.grace);
        self
    }

    /// Whether user handles, pins and snapshots stand in the ledger with their source place. On in debug builds.
    #[must_use]
    pub fn recording(mut self, on: bool) -> Self {
        self.recording = on;
        self
    }

    /// Makes the machine.
    ///
    /// # Panics
    /// Where the executor's thread cannot be started.
    pub fn build(self) -> Machine {
        let executor = Arc::new(Executor::new(self.wake));
        let sink = {
            let executor = executor.clone();
            Arc::new(move |retired| executor.push_disposals(retired))
        };
        let inner = Arc::new(MachineInner {
            tree: Mutex::default(),
            tracker: Tracker::default(),
            domain: Domain::new(self.grace, sink),
            closed: AtomicBool::new(false),
            recording: AtomicBool::new(self.recording),
            root: AtomicU64::new(0),
            live: AtomicU64::new(0),
            finalized: Mutex::new(0),
            finalized_one: Condvar::new(),
            subscribers: ArcSwap::from_pointee(Vec::new()),
            next_subscriber: AtomicU64::new(0),
            extensions: Mutex::default(),
            executor,
            name: self.name,
        });
        let handle = MachineHandle(inner.clone());
        let root = handle
            .create::<Container>()
            .expect("a new machine takes its root");
        inner.root.store(root.object().id().0, Ordering::Relaxed);
        inner.tree.lock().name_root(root.object().key, "machine");
        if !inner.executor.is_embedded() {
            let executor = inner.executor.clone();
            std::thread::Builder::new()
                .name(format!("qom-exec:{}", inner.name))
                .spawn(move || executor.run_until_stopped())
                .expect("the executor's thread starts");
        }
        tracing::debug!(machine = %inner.name, "machine made");
        Machine {
            handle,
            root: root.child(),
            root_handle: Some(root),
        }
    }
}

impl Machine {
    /// A machine with an executor thread and the defaults.
    ///
    /// # Panics
    /// Where the executor's thread cannot be started.
    pub fn new(name: &str) -> Self {
        Self::builder(name).build()
    }

    /// For a machine with other settings.
    pub fn builder(name: &str) -> MachineBuilder {
        let grace = DomainConfig {
            name: name.to_owned(),
            ..DomainConfig::default()
        };
        MachineBuilder {
            name: name.to_owned(),
            grace,
            wake: None,
            recording: cfg!(debug_assertions),
        }
    }

    /// The root object, `/machine`.
    pub fn root(&self) -> &Child<Container> {
        &self.root
    }

    /// The machine's handle.
    pub fn handle(&self) -> &MachineHandle {
        &self.handle
    }

    fn begin_close(&mut self) -> Ticket {
        // ORDERING: Release pairs with the Acquire in `new_object`.
        self.handle.0.closed.store(true, Ordering::Release);
        let root = self.root_handle.take().map(|r| Target::pointer(&r));
        // Withdraws by name, as others may hold handles to the root.
        let ticket = match self.root.pointer() {
            Ok(object) => match withdraw::begin(&object, Cause::Close) {
                Some((_, ticket)) => Some(ticket),
                None => object.withdrawal.get().cloned(),
            },
            Err(_) => None,
        };
        drop(root);
        self.handle.0.executor.wake();
        ticket.unwrap_or_else(|| Ticket::finished(self.handle.0.name.clone()))
    }

    /// Withdraws the root and everything below it, waits until all objects are finalized, and ends the machine's threads.
    ///
    /// # Errors
    /// The machine, and who keeps something alive where that takes longer than `timeout` (a pin, a handle); or that this is no place
    /// to wait. The machine goes on closing and can be asked again.
    pub fn close(mut self, timeout: Duration) -> Result<(), (Self, WaitError)> {
        let start = Instant::now();
        let ticket = self.begin_close();
        if let Err(error) = ticket.wait(timeout) {
            return Err((self, error));
        }
        let inner = self.handle.0.clone();
        let empty = || inner.live.load(Ordering::Relaxed) == 0 && inner.executor.is_idle();
        inner.help_until(Some(start + timeout), empty, |until| {
            let mut finalized = inner.finalized.lock();
            inner.finalized_one.wait_until(&mut finalized, until);
        });
        if empty() {
            return Ok(());
        }
        let holders: Vec<String> = self
            .handle
            .leftovers()
            .iter()
            .take(4)
            .map(ToString::to_string)
            .collect();
        let error = WaitError::TimedOut {
            what: format!("the end of machine `{}`", inner.name),
            waited: start.elapsed(),
            holder: holders.join("; "),
        };
        Err((self, error))
    }
}

impl std::ops::Deref for Machine {
    type Target = MachineHandle;
    fn deref(&self) -> &MachineHandle {
        &self.handle
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.begin_close();
        let inner = self.handle.0.clone();
        let empty = move || inner.live.load(Ordering::Relaxed) == 0 && inner.executor.is_idle();
        if empty() {
            self.handle.0.executor.stop();
            return;
        }
        let inner = self.handle.0.clone();
        let drain = move || {
            while !empty() {
                if inner.executor.is_embedded() && inner.executor.run_one() {
                    continue;
                }
                let mut finalized = inner.finalized.lock();
                inner
                    .finalized_one
                    .wait_for(&mut finalized, Duration::from_millis(20));
            }
            inner.executor.stop();
        };
        let name = format!("qom-close:{}", self.handle.0.name);
        if let Err(error) = std::thread::Builder::new().name(name).spawn(drain) {
            tracing::error!(machine = %self.handle.0.name, %error, "no thread to close the machine in the background");
        }
    }
}

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
        crate::init::create(&self.0, class, None, class.init()).map(Ref::adopt)
    }

    /// Makes an object of the registered type called `name`.
    ///
    /// # Errors
    /// As [`create`](Self::create), and nobody registered the name.
    #[track_caller]
    pub fn create_named(&self, name: &str) -> Result<Ref, CreateError> {
        let class = class_named(name)?;
        crate::init::create(&self.0, class, None, class.init()).map(Ref::adopt)
    }

    /// The object at a canonical path.
    pub fn resolve(&self, path: &str) -> Option<Ref> {
        let mut parts = path.split('/').filter(|p| !p.is_empty());
        let object = {
            let tree = self.0.tree.lock();
            let root = self.0.root.load(Ordering::Relaxed);
            let mut at = tree.objects().find(|o| o.id().0 == root)?;
            if parts.next()? != "machine" {
                return None;
            }
            for part in parts {
                at = tree.child_named(at.key, part)?;
            }
            at.clone()
        };
        object
            .counts
            .upgrade()
            .then(|| Ref::<RootObject>::adopt(object))
    }

    /// Read sections and grace periods of this machine.
    pub fn domain(&self) -> &Domain {
        &self.0.domain
    }

    /// Runs `job` on the executor: a bottom half.
    pub fn defer(&self, job: impl FnOnce() + Send + 'static) {
        self.0.executor.push_bottom_half(Box::new(job));
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

    /// A token that makes `quiesce` wait for something that is pending elsewhere.
    pub fn pending(&self) -> Pending {
        Pending(self.0.tracker.token())
    }

    /// Waits until everything retired or withdrawn so far has been dropped and finalized, with all that follows from it
    /// (view → region → owner).
    ///
    /// # Errors
    /// The caller is inside a read section, a hook, a finalizer, a listener, a transaction or on the executor; or the time ran
    /// out, and the reader that holds it up is named.
    pub fn quiesce(&self, timeout: Duration) -> Result<(), WaitError> {
        let what = || format!("the quiescence of machine `{}`", self.0.name);
        if let Some(place) = self.0.waiting_forbidden() {
            return Err(WaitError::Forbidden {
                what: what(),
                place,
            });
        }
        let start = Instant::now();
        let generation = self.0.tracker.next_generation();
        let drained = || self.0.tracker.is_drained(generation);
        self.0.help_until(Some(start + timeout), drained, |until| {
            self.0.tracker.wait_drained(generation, until)
        });
        if drained() {
            return Ok(());
        }
        Err(WaitError::TimedOut {
            what: what(),
            waited: start.elapsed(),
            holder: self.0.teardown_holder(),
        })
    }

    /// Waits until an object has been finalized; at the time-out the error says who keeps it.
    ///
    /// # Errors
    /// As [`quiesce`](Self::quiesce).
    pub fn wait_finalized<T: ObjectImpl>(
        &self,
        object: &WeakRef<T>,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        let start = Instant::now();
        let Ok(object) = object.pointer() else {
            return Ok(());
        };
        let what = || format!("the finalization of {}", object.describe());
        if object.is_finalized() {
            return Ok(());
        }
        if let Some(place) = self.0.waiting_forbidden() {
            return Err(WaitError::Forbidden {
                what: what(),
                place,
            });
        }
        self.0.help_until(
            Some(start + timeout),
            || object.is_finalized(),
            |until| {
                let mut finalized = self.0.finalized.lock();
                if !object.is_finalized() {
                    self.0.finalized_one.wait_until(&mut finalized, until);
                }
            },
        );
        if object.is_finalized() {
            return Ok(());
        }
        let why = self.why_alive(&*object);
        let holder = if why.is_alive() {
            why.to_string()
        } else {
            self.0.teardown_holder()
        };
        Err(WaitError::TimedOut {
            what: what(),
            waited: start.elapsed(),
            holder,
        })
    }

    /// Why an object is alive.
    pub fn why_alive(&self, object: &Object) -> WhyAlive {
        let graph = Graph::of(&self.0);
        let now = object.counts();
        WhyAlive::explain(
            &graph,
            object.id(),
            object.describe_last(),
            (now.storage(), now.users()),
        )
    }

    /// Why each object that is withdrawn and not finalized is alive.
    pub fn leftovers(&self) -> Vec<WhyAlive> {
        let graph = Graph::of(&self.0);
        let objects: Vec<_> = self
            .0
            .tree
            .lock()
            .objects()
            .filter(|o| o.is_withdrawn())
            .cloned()
            .collect();
        objects
            .iter()
            .map(|o| {
                let now = o.counts();
                WhyAlive::explain(
                    &graph,
                    o.id(),
                    o.describe_last(),
                    (now.storage(), now.users()),
                )
            })
            .collect()
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
            live_objects: self.0.live.load(Ordering::Relaxed),
            finalized: *self.0.finalized.lock(),
            executor_wakeups: self.0.executor.wakeups(),
            grace: self.0.domain.counters(),
        }
    }

    /// Calls `f` for each event, until the result is dropped. `f` runs on the thread on which the event happened.
    pub fn subscribe(&self, f: impl Fn(&MachineEvent) + Send + Sync + 'static) -> Subscription {
        let id = self.0.next_subscriber.fetch_add(1, Ordering::Relaxed);
        let f: Subscriber = Arc::new(f);
        self.0.subscribers.rcu(|all| {
            let mut all = Vec::clone(all);
            all.push((id, f.clone()));
            all
        });
        Subscription {
            machine: self.clone(),
            id,
        }
    }

    /// A layer's own state in this machine, made at first use.
    pub fn extension<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut extensions = self.0.extensions.lock();
        let entry = extensions
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Arc::new(make()));
        // INVARIANT: the map is keyed by the type.
        entry
            .clone()
            .downcast()
            .expect("an extension has the type of its key")
    }

    /// Refuses or waits where the machine has too much retired and not freed (see [`Domain::make_room`]).
    ///
    /// # Errors
    /// The bound is exceeded and stayed so for the bounded time; the slow reader is named.
    pub fn make_room(&self) -> Result<(), GraceError> {
        self.0.domain.make_room()
    }

    /// Whether this thread may not wait here, and why not.
    pub fn waiting_forbidden(&self) -> Option<Place> {
        self.0.waiting_forbidden()
    }

    /// Tells a machine event's subscribers that a layer caught a panic.
    pub fn report_panic(&self, object: String, what: String, message: String) {
        self.0.emit(&MachineEvent::Panicked {
            object,
            what,
            message,
        });
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

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.handle.fmt(f)
    }
}

/// A subscription to a machine's events; ends when it is dropped.
#[must_use]
pub struct Subscription {
    machine: MachineHandle,
    id: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.machine.0.subscribers.rcu(|all| {
            let mut all = Vec::clone(all);
            all.retain(|(id, _)| *id != self.id);
            all
        });
    }
}

/// Pending work that `quiesce` waits for; see [`MachineHandle::pending`].
pub struct Pending(Token);

impl Pending {
    /// Does the work: what it queues belongs to the same quiescence.
    pub fn during<R>(&self, work: impl FnOnce() -> R) -> R {
        self.0.during(work)
    }
}
