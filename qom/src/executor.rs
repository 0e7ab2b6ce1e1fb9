//! The executor of a machine: one thread, or the embedder's event loop, that runs teardown, finalizers, deferred drops and
//! bottom halves.
//!
//! The kinds of work take turns, so that none of them starves another. Teardown is run by one thread at a time, also where a
//! caller of `unparent` does it instead of the executor, and so are finalizers: both in the order in which they were queued.

mod inert;

use crate::context::{self, Place};
use crate::object::Object;
use crate::panics;
use crate::tracker::Token;
use crate::withdraw::Withdrawal;
use inert::Inert;
use parking_lot::{Condvar, Mutex};
use qom_grace::Retired;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How the embedder's event loop is told that there is something to run.
///
/// Called on any thread, also one that has just dropped a handle in the middle of something: it only passes the word on (an eventfd, a
/// channel) and calls nothing of the machine.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// As many finalizers may wait before those who unparent are slowed down.
pub(crate) const FINALIZER_BACKLOG: usize = 4096;

/// For so long, for each object that they unparent.
pub(crate) const BREATH: Duration = Duration::from_millis(1);

type Job = Box<dyn FnOnce() + Send>;

/// Something to be dropped.
pub(crate) enum Disposal {
    /// What has passed its grace period.
    Retired(Vec<Retired>, Token),
    /// The instance of a finalized object whose block of memory went somewhere else than in its finalizer.
    Instance(Job, Token),
}

impl Disposal {
    /// Drops it; panics are reported.
    fn run(self) {
        match self {
            Self::Retired(items, token) => token.during(|| {
                for item in items {
                    report("dropping a retired thing", || item.run());
                }
            }),
            Self::Instance(drop_it, token) => {
                token.during(|| report("dropping an instance", drop_it));
            }
        }
    }
}

#[derive(Default)]
struct Queue {
    disposals: VecDeque<Disposal>,
    inert: Inert,
    finalizers: VecDeque<(Arc<Object>, Token)>,
    teardown: VecDeque<Arc<Withdrawal>>,
    bottom_halves: VecDeque<(Job, Token)>,
    /// How many threads are at it, by kind.
    running: [u32; KINDS.len()],
    /// The object whose withdrawal is being run.
    tearing: Option<Arc<str>>,
    /// Whose turn it is.
    turn: usize,
    stop: bool,
    /// Nobody runs anything any more.
    ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Disposal,
    Finalizer,
    TearDown,
    BottomHalf,
}

const KINDS: [Kind; 4] = [
    Kind::Disposal,
    Kind::Finalizer,
    Kind::TearDown,
    Kind::BottomHalf,
];

/// Some work, and what to do.
enum Work {
    Dispose(VecDeque<Disposal>),
    Finalize(Arc<Object>, Token),
    TearDown(Arc<Withdrawal>),
    BottomHalf(Job, Token),
}

impl Work {
    fn kind(&self) -> Kind {
        match self {
            Self::Dispose(..) => Kind::Disposal,
            Self::Finalize(..) => Kind::Finalizer,
            Self::TearDown(..) => Kind::TearDown,
            Self::BottomHalf(..) => Kind::BottomHalf,
        }
    }
}

thread_local! {
    static IN_BOTTOM_HALF: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is running a bottom half.
pub(crate) fn in_bottom_half() -> bool {
    IN_BOTTOM_HALF.try_with(Cell::get).unwrap_or(false)
}

pub(crate) struct Executor {
    queue: Mutex<Queue>,
    changed: Condvar,
    wake: Option<Wake>,
    /// Whether [`Inert`] has something.
    inert_lying: AtomicBool,
    wakeups: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
    farewell: Mutex<Option<Job>>,
}

impl Executor {
    pub(crate) fn new(wake: Option<Wake>) -> Self {
        Self {
            queue: Mutex::default(),
            changed: Condvar::new(),
            wake,
            inert_lying: AtomicBool::new(false),
            wakeups: AtomicU64::new(0),
            thread: Mutex::default(),
            farewell: Mutex::default(),
        }
    }

    /// Gives the executor a thread, which ends after [`stop`](Self::stop).
    pub(crate) fn start_thread(self: &Arc<Self>, machine: &str) -> std::io::Result<()> {
        let executor = self.clone();
        let thread = std::thread::Builder::new()
            .name(format!("qom-exec:{machine}"))
            .spawn(move || {
                executor.run_until_stopped();
                let farewell = executor.farewell.lock().take();
                if let Some(farewell) = farewell {
                    report("the executor's last work", farewell);
                }
            })?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    pub(crate) fn is_embedded(&self) -> bool {
        self.wake.is_some()
    }

    /// How often the executor's thread woke up.
    pub(crate) fn wakeups(&self) -> u64 {
        self.wakeups.load(Ordering::Relaxed)
    }

    /// Queues a withdrawal, without waking anybody: the caller runs it itself or calls [`Executor::wake`].
    pub(crate) fn push_teardown(&self, withdrawal: Arc<Withdrawal>) {
        self.queue.lock().teardown.push_back(withdrawal);
    }

    pub(crate) fn push_finalizer(&self, object: Arc<Object>, token: Token) {
        {
            let mut queue = self.queue.lock();
            // INVARIANT: the executor ends only when no object is left, so there is somebody to run this.
            debug_assert!(!queue.ended);
            queue.finalizers.push_back((object, token));
        }
        self.wake();
    }

    /// Has something dropped on the executor; once that has ended, here and now.
    pub(crate) fn push_disposal(&self, disposal: Disposal) {
        let late = {
            let mut queue = self.queue.lock();
            if queue.ended {
                Some(disposal)
            } else {
                queue.disposals.push_back(disposal);
                None
            }
        };
        match late {
            Some(disposal) => disposal.run(),
            None => self.wake(),
        }
    }

    /// Queues a bottom half; once the executor has ended it is dropped undone.
    pub(crate) fn push_bottom_half(&self, job: Job, token: Token) {
        let late = {
            let mut queue = self.queue.lock();
            if queue.ended {
                Some(job)
            } else {
                queue.bottom_halves.push_back((job, token));
                None
            }
        };
        match late {
            Some(job) => report("dropping a late bottom half", || drop(job)),
            None => self.wake(),
        }
    }

    pub(crate) fn wake(&self) {
        // Whether a withdrawal is ready is not under this lock. Whoever has looked at it is asleep once we have had the lock, and hears us.
        drop(self.queue.lock());
        self.changed.notify_all();
        if let Some(wake) = &self.wake {
            report("the embedder's wake", || wake());
        }
    }

    /// No more work will come: the thread ends when the queue is empty. Where there is no thread, the end is now.
    pub(crate) fn stop(&self) {
        let left = {
            let mut queue = self.queue.lock();
            queue.stop = true;
            if self.is_embedded() {
                queue.ended = true;
                (
                    std::mem::take(&mut queue.disposals),
                    std::mem::take(&mut queue.bottom_halves),
                )
            } else {
                Default::default()
            }
        };
        left.0.into_iter().for_each(Disposal::run);
        report("dropping late bottom halves", || drop(left.1));
        self.changed.notify_all();
    }

    /// What the executor's thread does when everything is done.
    pub(crate) fn say_farewell(&self, job: Job) {
        *self.farewell.lock() = Some(job);
    }

    /// Waits for the end of a stopped executor and of its thread; false: that takes longer.
    pub(crate) fn join(&self, deadline: Option<Instant>) -> bool {
        {
            let mut queue = self.queue.lock();
            while !queue.ended {
                match deadline {
                    None => self.changed.wait(&mut queue),
                    Some(deadline) if Instant::now() >= deadline => return false,
                    Some(deadline) => drop(self.changed.wait_until(&mut queue, deadline)),
                }
            }
        }
        // It has nothing left to do but to return.
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the executor's thread panicked");
        }
        true
    }

    /// Called by whoever has just unparented something and may wait: where the finalizers are far behind, it lets them have the
    /// processor for a moment. For no longer, as one of them may itself be waiting for something.
    pub(crate) fn let_finalizers_catch_up(&self) {
        if !self.is_embedded() && self.queue.lock().finalizers.len() >= FINALIZER_BACKLOG {
            std::thread::sleep(BREATH);
        }
    }

    /// What is being run, or waits for it, in words.
    pub(crate) fn busy_with(&self) -> Option<String> {
        let queue = self.queue.lock();
        let next = || queue.teardown.front().map(|w| w.object_name().clone());
        if let Some(object) = queue.tearing.clone().or_else(next) {
            return Some(format!("the teardown of {object}"));
        }
        let pending = |kind: Kind, waiting: usize| queue.running[kind as usize] > 0 || waiting > 0;
        if pending(Kind::Finalizer, queue.finalizers.len()) {
            Some("a finalizer".into())
        } else if pending(Kind::BottomHalf, queue.bottom_halves.len()) {
            Some("a bottom half".into())
        } else if pending(Kind::Disposal, queue.disposals.len()) {
            Some("a deferred drop".into())
        } else {
            None
        }
    }

    /// Whether nothing is queued and nothing runs.
    pub(crate) fn is_idle(&self) -> bool {
        let queue = self.queue.lock();
        queue.is_empty() && queue.running == [0; KINDS.len()]
    }

    /// Runs one withdrawal, where none is running; for the thread that asked for it.
    pub(crate) fn run_teardown(&self) -> bool {
        let Some(work) = self.queue.lock().take_kind(Kind::TearDown) else {
            return false;
        };
        self.run(work);
        true
    }

    /// Runs one piece of work of any kind.
    pub(crate) fn run_one(&self) -> bool {
        let Some(work) = self.queue.lock().take() else {
            return false;
        };
        self.run(work);
        true
    }

    /// The executor's thread.
    pub(crate) fn run_until_stopped(&self) {
        loop {
            let work = {
                let mut queue = self.queue.lock();
                loop {
                    if let Some(work) = queue.take() {
                        break work;
                    }
                    if queue.stop && queue.is_empty() && queue.running == [0; KINDS.len()] {
                        queue.ended = true;
                        drop(queue);
                        self.changed.notify_all();
                        return;
                    }
                    queue.inert.watched = !queue.inert.is_empty();
                    if queue.inert.watched {
                        let rest = queue.inert.rest();
                        self.changed.wait_for(&mut queue, rest);
                    } else {
                        self.changed.wait(&mut queue);
                    }
                    self.wakeups.fetch_add(1, Ordering::Relaxed);
                }
            };
            self.run(work);
        }
    }

    /// Runs one piece of work. Whatever happens in it, the next one can run.
    fn run(&self, work: Work) {
        let kind = work.kind();
        {
            let _inside = context::enter(Place::Executor);
            report("work of the executor", || perform(work));
        }
        let waiting = {
            let mut queue = self.queue.lock();
            queue.running[kind as usize] -= 1;
            if kind == Kind::TearDown {
                queue.tearing = None;
            }
            // Somebody may have been kept from work that only one thread does at a time.
            kind.is_exclusive() && !queue.is_empty()
        };
        if waiting {
            self.wake();
        }
    }
}

fn perform(work: Work) {
    match work {
        Work::Dispose(all) => all.into_iter().for_each(Disposal::run),
        Work::Finalize(object, token) => {
            token.during(|| object.machine_inner().clone().finalize(object));
        }
        Work::TearDown(withdrawal) => {
            withdrawal.token.during(|| withdrawal.run());
        }
        Work::BottomHalf(job, token) => {
            let before = IN_BOTTOM_HALF.try_with(|f| f.replace(true));
            token.during(|| report("a bottom half", job));
            let _ = before.map(|before| IN_BOTTOM_HALF.try_with(|f| f.set(before)));
        }
    }
}

/// Runs somebody's code; a panic is reported and does not go on.
fn report(what: &str, f: impl FnOnce()) {
    if let Err(panic) = panics::catch(f) {
        let panic = panics::message_of(panic);
        tracing::error!(what, panic, "panicked");
    }
}

impl Kind {
    /// Whether one thread at a time does it, in order.
    fn is_exclusive(self) -> bool {
        matches!(self, Self::Finalizer | Self::TearDown)
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.disposals.is_empty()
            && self.inert.is_empty()
            && self.finalizers.is_empty()
            && self.teardown.is_empty()
            && self.bottom_halves.is_empty()
    }

    /// The next piece of work; the kinds take turns.
    fn take(&mut self) -> Option<Work> {
        for step in 0..KINDS.len() {
            let at = (self.turn + step) % KINDS.len();
            if let Some(work) = self.take_kind(KINDS[at]) {
                self.turn = at + 1;
                return Some(work);
            }
        }
        None
    }

    fn take_kind(&mut self, kind: Kind) -> Option<Work> {
        if kind.is_exclusive() && self.running[kind as usize] > 0 {
            return None;
        }
        let work = match kind {
            // All of them: they free memory, and somebody may be waiting for room.
            Kind::Disposal if self.disposals.is_empty() && !self.inert.is_due() => return None,
            Kind::Disposal => {
                let mut all = std::mem::take(&mut self.disposals);
                all.extend(self.inert.take());
                Work::Dispose(all)
            }
            Kind::Finalizer => {
                let (object, token) = self.finalizers.pop_front()?;
                Work::Finalize(object, token)
            }
            Kind::TearDown => {
                // Waiting here for another thread's step 1 could keep from it what it waits for.
                let withdrawal = self.teardown.pop_front_if(|w| w.is_ready())?;
                self.tearing = Some(withdrawal.object_name().clone());
                Work::TearDown(withdrawal)
            }
            Kind::BottomHalf => {
                let (job, token) = self.bottom_halves.pop_front()?;
                Work::BottomHalf(job, token)
            }
        };
        self.running[kind as usize] += 1;
        Some(work)
    }
}
