//! A domain: the readers of one machine, and what waits for them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::engine::{self, Engine, EngineKind};
use crate::error::{GraceError, ReaderName};
use crate::fork;
use crate::guard::{Glance, Guard, Reader};
use crate::protocol::Clock;
use crate::reclaimer::{Reclaimer, Waited};
use crate::retired::{Account, Retired};
use crate::slot::{MySlot, Registry, flag};
use crate::this_thread;

/// Receives what has passed its grace period, in order of retiring, on the reclaimer's thread.
pub type Sink = Arc<dyn Fn(Vec<Retired>) + Send + Sync>;

/// How a domain behaves. All of it has a default.
///
/// ```
/// use qom_grace::DomainConfig;
/// let config = DomainConfig { name: "machine-0".into(), ..DomainConfig::default() };
/// assert_eq!(config.retired_bytes_limit, 256 << 20);
/// ```
#[derive(Clone, Debug)]
pub struct DomainConfig {
    /// The domain's name, for errors and for the reclaimer thread. Default: `domain`.
    pub name: String,
    /// How long the reclaimer looks without sleeping: at readers it waits for, and for more work after it has done
    /// some. Default: 50 µs, which covers most read sections and bursts, and is of the order of one thread wake-up.
    pub spin: Duration,
    /// How long it is at least from the begin of one grace period to that of the next where all that waits is inert
    /// ([`Retired::is_inert`]) and nobody is in a hurry ([`Domain::hurry`]). Default: 100 µs.
    pub pace: Duration,
    /// How many bytes may be retired and not disposed of before [`Domain::make_room`] waits. Default: 256 MiB.
    pub retired_bytes_limit: u64,
    /// How long [`Domain::make_room`] waits at most. Default: 1 s.
    pub limit_wait: Duration,
    /// The engine of this domain, where it is not to be the process's. One that is not available is replaced by the other,
    /// with a warning. Default: `None`.
    pub engine: Option<EngineKind>,
}

impl Default for DomainConfig {
    fn default() -> Self {
        Self {
            name: String::from("domain"),
            spin: Duration::from_micros(50),
            pace: Duration::from_micros(100),
            retired_bytes_limit: 256 << 20,
            limit_wait: Duration::from_secs(1),
            engine: None,
        }
    }
}

/// What a domain counts. A copy; the fields are read one after another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GraceCounters {
    /// How many retired items are not yet disposed of.
    pub retired_items: u64,
    /// How many bytes they were said to hold.
    pub retired_bytes: u64,
    /// How many grace periods have passed.
    pub grace_periods: u64,
    /// How long the last one took.
    pub last_grace: Duration,
    /// How long the longest one took.
    pub longest_grace: Duration,
    /// How often the reclaimer was woken from its sleep. Stands still while nothing is retired and nobody waits.
    pub reclaimer_wakeups: u64,
    /// How many grace periods were begun with a barrier (a `membarrier` call, under that engine).
    pub barriers: u64,
    /// How often the system refused a barrier. Anything but zero means that a filter was installed too late.
    pub refused_barriers: u64,
    /// How many threads have a slot in the domain.
    pub registered_readers: u64,
}

/// What a domain, its published pointers and its reclaimer share.
pub(crate) struct Inner {
    clock: Clock,
    id: u64,
    /// How many [`Domain`]s there are. At zero no guard can exist: each borrows one.
    handles: AtomicUsize,
    closed: AtomicBool,
    name: Arc<str>,
    config: DomainConfig,
    engine: Box<dyn Engine>,
    registry: Registry,
    reclaimer: Reclaimer,
    account: Arc<Account>,
    sink: Sink,
}

impl Inner {
    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    #[inline]
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn reclaimer(&self) -> &Reclaimer {
        &self.reclaimer
    }

    pub(crate) fn spin(&self) -> Duration {
        self.config.spin
    }

    pub(crate) fn pace(&self) -> Duration {
        self.config.pace
    }

    pub(crate) fn is_closed(&self) -> bool {
        // ORDERING: pairs with the release of the last handle: the sections that borrowed a handle have ended.
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn hand_on(&self, batch: Vec<Retired>) {
        (self.sink)(batch);
    }

    pub(crate) fn retire(self: &Arc<Self>, bytes: u64, what: &'static str, item: Box<dyn Send>) {
        self.reclaimer
            .push(self, Retired::value(&self.account, bytes, what, item));
    }

    pub(crate) fn retire_count(
        self: &Arc<Self>,
        bytes: u64,
        what: &'static str,
        item: Arc<dyn Send + Sync>,
        inert: bool,
    ) {
        let item = Retired::count(&self.account, bytes, what, item, inert);
        self.reclaimer.push(self, item);
    }

    /// Waits, for as long as the configuration says, until no more is retired than it allows. Whether it came to be.
    pub(crate) fn wait_for_room(&self) -> bool {
        let limit = self.config.retired_bytes_limit;
        if self.account.bytes() <= limit {
            return true;
        }
        // The reclaimer would wait for itself.
        if self.reclaimer.is_current() {
            return false;
        }
        self.reclaimer.hurry(1);
        let until = Instant::now() + self.config.limit_wait;
        let enough = self.account.wait_until(limit, until);
        self.reclaimer.relax(1);
        enough
    }

    /// The oldest section. That of `mine` only if there is no other.
    fn slowest_reader(&self, mine: Option<MySlot<'_>>) -> Option<ReaderName> {
        let (since, mut reader) = self.registry.oldest(mine.map(MySlot::slot))?;
        if let Some((waited, target)) = self.reclaimer.under_way()
            && since < target
        {
            reader.waited_for = Some(waited);
        }
        Some(reader)
    }

    fn overloaded(&self, mine: Option<MySlot<'_>>) -> GraceError {
        GraceError::Overloaded {
            domain: Arc::clone(&self.name),
            reader: self.slowest_reader(mine),
            retired_bytes: self.account.bytes(),
            limit: self.config.retired_bytes_limit,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.registry.close();
    }
}

/// The readers of one machine, and what waits for them. A cheap handle; any thread may use it.
///
/// ```
/// use std::sync::Arc;
/// use qom_grace::{Domain, DomainConfig, Published};
///
/// // The sink drops what it is given; a machine hands it to its executor.
/// let domain = Domain::new(DomainConfig::default(), Arc::new(drop));
/// let shown = Published::new(&domain, Arc::new(1));
///
/// let guard = domain.enter();
/// let value = shown.load(&guard);
/// shown.store(Arc::new(2), 4);
/// assert_eq!((*value, *shown.load(&guard)), (1, 2)); // both can be read until the guard goes
/// drop(guard);
///
/// domain.barrier(None)?;
/// assert_eq!(domain.counters().retired_items, 0);
/// # Ok::<(), qom_grace::GraceError>(())
/// ```
pub struct Domain(Arc<Inner>);

impl Domain {
    /// A domain whose retired things go to `sink` once no reader can see them.
    ///
    /// The sink is called on the reclaimer's thread, outside locks, with whole batches in order of retiring. It should pass them on:
    /// while it runs, no grace period passes, and waiting for the domain in it is refused. It is kept as long as the domain, a
    /// [`Published`](crate::Published) of it, or the reclaimer is there, so it should not own what owns the domain.
    pub fn new(config: DomainConfig, sink: Sink) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        fork::watch();
        let kind = match config.engine {
            None => engine::engine(),
            Some(kind) if engine::available(kind) => kind,
            Some(kind) => {
                tracing::warn!(domain = %config.name, %kind, "this engine is not available here; the domain uses epochs");
                EngineKind::Epoch
            }
        };
        Self(Arc::new(Inner {
            clock: Clock::new(),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            handles: AtomicUsize::new(1),
            closed: AtomicBool::new(false),
            name: Arc::from(config.name.as_str()),
            config,
            engine: engine::make(kind),
            registry: Registry::default(),
            reclaimer: Reclaimer::new(),
            account: Arc::default(),
            sink,
        }))
    }

    #[inline]
    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    /// A number that no other domain of this process has or had. Not zero.
    #[inline]
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How it finds out that readers have passed.
    pub fn engine(&self) -> EngineKind {
        self.0.engine.kind()
    }

    /// Begins a read section of the calling thread, or one more inside the one that is open. Takes no lock and does no atomic
    /// read-modify-write under the membarrier engine, except for the first time in a thread.
    #[inline]
    pub fn enter(&self) -> Guard<'_> {
        Guard::enter(self, this_thread::slot(&self.0))
    }

    /// Begins a read section by the shortest way there is. None where this thread used another domain last, is in a section, or has something to
    /// do when it leaves one; then [`enter`](Self::enter) is the way.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use qom_grace::{Domain, DomainConfig, Published};
    /// let domain = Domain::new(DomainConfig::default(), Arc::new(drop));
    /// let shown = Published::new(&domain, Arc::new(7));
    /// drop(domain.enter());                         // the thread has been here
    /// let seen = match domain.glance() {
    ///     Some(glance) => {
    ///         let seen = *shown.load(glance.guard());
    ///         glance.end(seen)
    ///     }
    ///     None => *shown.load(&domain.enter()),
    /// };
    /// assert_eq!(seen, 7);
    /// ```
    #[inline]
    pub fn glance(&self) -> Option<Glance<'_>> {
        Glance::begin(self, this_thread::slot_at_hand(&self.0)?)
    }

    /// A handle with which this thread enters without looking for its slot.
    pub fn reader(&self) -> Reader {
        Reader::new(self.clone())
    }

    /// Whether the calling thread is in a read section of this domain.
    #[inline]
    pub fn is_entered(&self) -> bool {
        this_thread::find_slot(&self.0).is_some_and(MySlot::is_entered)
    }

    /// Has `item` dropped, by whoever the sink hands it to, once every read section that is open now has ended. `bytes` count
    /// against the limit until then; `what` says what it is. Any thread may call it, also in a read section.
    pub fn retire(&self, bytes: u64, item: Box<dyn Send>, what: &'static str) {
        self.0.retire(bytes, what, item);
    }

    /// Has `f` called, by whoever the sink hands it to, once every read section that is open now has ended. Any
    /// thread may call it, also in a read section.
    pub fn retire_call(&self, bytes: u64, what: &'static str, f: Box<dyn FnOnce() + Send>) {
        self.0
            .reclaimer
            .push(&self.0, Retired::call(&self.0.account, bytes, what, f));
    }

    /// Waits until every read section that is open now has ended, and the sink has been given all that was retired before. Without
    /// a timeout it may wait for ever: a reader may never leave.
    ///
    /// # Errors
    /// [`GraceError::InsideGuard`] and [`GraceError::OnReclaimer`] when the caller would wait for itself,
    /// [`GraceError::TimedOut`] with the reader in the way, [`GraceError::NoThread`] when the reclaimer cannot be started.
    pub fn barrier(&self, timeout: Option<Duration>) -> Result<(), GraceError> {
        let inner = &self.0;
        let domain = || Arc::clone(&inner.name);
        if self.is_entered() {
            return Err(GraceError::InsideGuard { domain: domain() });
        }
        if inner.reclaimer.is_current() {
            return Err(GraceError::OnReclaimer { domain: domain() });
        }
        match inner.reclaimer.wait(inner, timeout) {
            Ok(Waited::Done) => Ok(()),
            Ok(Waited::Out(waited)) => Err(GraceError::TimedOut {
                domain: domain(),
                reader: inner.slowest_reader(None),
                waited,
            }),
            Err(source) => Err(GraceError::NoThread {
                domain: domain(),
                source,
            }),
        }
    }

    /// So many more wait for what is retired, or will be: grace periods follow each other without rest ([`DomainConfig::pace`]) until
    /// [`relax`](Self::relax) has been called for as many. Any thread.
    pub fn hurry(&self, more: usize) {
        self.0.reclaimer.hurry(more);
    }

    /// So many of those who were in a [hurry](Self::hurry) wait no more.
    pub fn relax(&self, fewer: usize) {
        self.0.reclaimer.relax(fewer);
    }

    /// Whether no more is retired than the configuration allows.
    pub fn has_room(&self) -> bool {
        self.0.account.bytes() <= self.0.config.retired_bytes_limit
    }

    /// Bounds what is retired: to be called by whoever is about to retire more. Nothing happens as long as the retired bytes
    /// are within the limit. Beyond it, outside read sections the call waits for
    /// [`limit_wait`](DomainConfig::limit_wait) at most. Inside one it lets the caller go on, and the exit of the thread's outermost guard
    /// waits instead, bounded alike; if that did not help, the thread's next call fails.
    ///
    /// # Errors
    /// [`GraceError::Overloaded`], with the reader in the way, when waiting did not help.
    pub fn make_room(&self) -> Result<(), GraceError> {
        let inner = &self.0;
        let mine = this_thread::find_slot(inner);
        let fits = inner.account.bytes() <= inner.config.retired_bytes_limit;
        let entered = mine.filter(|slot| slot.is_entered());
        match entered {
            Some(slot) if !fits && !slot.overloaded().get() => {
                slot.set(flag::OWES_WAIT);
                return Ok(());
            }
            Some(_) if !fits => return Err(inner.overloaded(mine)),
            None if !fits && !inner.wait_for_room() => return Err(inner.overloaded(mine)),
            _ => {}
        }
        if let Some(slot) = mine {
            slot.overloaded().set(false);
        }
        Ok(())
    }

    /// The domain's counters.
    pub fn counters(&self) -> GraceCounters {
        let figures = self.0.reclaimer.figures();
        GraceCounters {
            retired_items: self.0.account.items(),
            retired_bytes: self.0.account.bytes(),
            grace_periods: figures.graces,
            last_grace: figures.last,
            longest_grace: figures.longest,
            reclaimer_wakeups: figures.wakeups,
            barriers: figures.barriers,
            refused_barriers: figures.refused,
            registered_readers: self.0.registry.taken(),
        }
    }

    /// The reader that has been in its section longest, as far as it can be told. `None` when none is in one.
    pub fn slowest_reader(&self) -> Option<ReaderName> {
        self.0.slowest_reader(None)
    }

    /// Whether the reclaimer's thread is there. It is not before something is retired, nor after [`shutdown`](Self::shutdown).
    pub fn is_reclaiming(&self) -> bool {
        self.0.reclaimer.is_running()
    }

    /// Waits like [`barrier`](Self::barrier), then ends the reclaimer's thread and waits for its end. What is retired later starts it again. Not
    /// needed for a domain whose handles all go: its thread ends by itself.
    ///
    /// # Errors
    /// Those of `barrier`; the thread then goes on.
    pub fn shutdown(&self, timeout: Option<Duration>) -> Result<(), GraceError> {
        self.barrier(timeout)?;
        if let Some(thread) = self.0.reclaimer.stop()
            && thread.join().is_err()
        {
            tracing::error!(domain = %self.0.name, "the reclaimer panicked");
        }
        Ok(())
    }
}

impl Clone for Domain {
    fn clone(&self) -> Self {
        self.0.handles.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        // ORDERING: release, so that the sections that borrowed this handle lie before the close; acquire, so that
        // those that borrowed the others do.
        if self.0.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.closed.store(true, Ordering::Release);
            self.0.reclaimer.nudge();
        }
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Domain")
            .field("name", &self.0.name)
            .field("id", &self.0.id)
            .finish_non_exhaustive()
    }
}
