//! The executor of a machine: one thread, or the embedder's event loop, that runs teardown, finalizers, deferred drops and
//! bottom halves, one at a time.

use crate::context::{self, Place};
use crate::object::Object;
use crate::panics;
use crate::tracker::Token;
use crate::withdraw::Withdrawal;
use parking_lot::{Condvar, Mutex};
use qom_grace::Retired;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How the embedder's event loop is told that there is something to run.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    disposals: VecDeque<Retired>,
    finalizers: VecDeque<(Arc<Object>, Token)>,
    teardown: VecDeque<Arc<Withdrawal>>,
    /// The withdrawal that some thread is running; one at a time.
    tearing: Option<String>,
    bottom_halves: VecDeque<Job>,
    /// Pieces of work under way that are no teardown.
    running: u32,
    /// Whether it is the bottom halves' turn: they must not starve while things keep being retired.
    bottom_half_next: bool,
    stop: bool,
}

pub(crate) struct Executor {
    queue: Mutex<Queue>,
    changed: Condvar,
    wake: Option<Wake>,
    wakeups: AtomicU64,
}

/// One thing to do.
enum Work {
    Dispose(VecDeque<Retired>),
    Finalize(Arc<Object>, Token),
    TearDown(Arc<Withdrawal>),
    BottomHalf(Job),
}

impl Executor {
    pub(crate) fn new(wake: Option<Wake>) -> Self {
        Self {
            queue: Mutex::default(),
            changed: Condvar::new(),
            wake,
            wakeups: AtomicU64::new(0),
        }
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
        self.queue.lock().finalizers.push_back((object, token));
        self.wake();
    }

    pub(crate) fn push_disposals(&self, retired: Vec<Retired>) {
        self.queue.lock().disposals.extend(retired);
        self.wake();
    }

    pub(crate) fn push_bottom_half(&self, job: Job) {
        self.queue.lock().bottom_halves.push_back(job);
        self.wake();
    }

    pub(crate) fn wake(&self) {
        self.changed.notify_all();
        if let Some(wake) = &self.wake {
            wake();
        }
    }

    pub(crate) fn stop(&self) {
        self.queue.lock().stop = true;
        self.wake();
    }

    /// What is being torn down, or waits for it.
    pub(crate) fn teardown_holder(&self) -> Option<String> {
        let queue = self.queue.lock();
        queue
            .tearing
            .clone()
            .or_else(|| queue.teardown.front().map(|w| w.object_name().to_owned()))
    }

    /// Whether nothing is queued and nothing runs.
    pub(crate) fn is_idle(&self) -> bool {
        let q = self.queue.lock();
        q.running == 0
            && q.tearing.is_none()
            && q.disposals.is_empty()
            && q.finalizers.is_empty()
            && q.teardown.is_empty()
            && q.bottom_halves.is_empty()
    }

    /// Runs one withdrawal, where none is running; for the thread that asked for it.
    pub(crate) fn run_teardown(&self) -> bool {
        let Some(work) = self.queue.lock().take_teardown() else {
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
        let _inside = context::enter(Place::Executor);
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
                    if queue.stop {
                        return;
                    }
                    self.changed.wait(&mut queue);
                    self.wakeups.fetch_add(1, Ordering::Relaxed);
                }
            };
            let _inside = context::enter(Place::Executor);
            self.run(work);
        }
    }

    fn run(&self, work: Work) {
        match work {
            Work::Dispose(retired) => {
                for item in retired {
                    if let Err(panic) = panics::catch(|| item.run()) {
                        tracing::error!(
                            panic = panics::message(&*panic),
                            "dropping a retired thing panicked"
                        );
                    }
                }
                self.done();
            }
            Work::Finalize(object, token) => {
                token.during(|| object.machine_inner().clone().finalize(object));
                drop(token);
                self.done();
            }
            Work::TearDown(withdrawal) => {
                withdrawal.token.during(|| withdrawal.run());
                self.queue.lock().tearing = None;
                drop(withdrawal);
                self.wake();
            }
            Work::BottomHalf(job) => {
                if let Err(panic) = panics::catch(job) {
                    tracing::error!(panic = panics::message(&*panic), "a bottom half panicked");
                }
                self.done();
            }
        }
    }

    fn done(&self) {
        self.queue.lock().running -= 1;
    }
}

impl Queue {
    fn take_teardown(&mut self) -> Option<Work> {
        if self.tearing.is_some() {
            return None;
        }
        let withdrawal = self.teardown.pop_front()?;
        self.tearing = Some(withdrawal.object_name().to_owned());
        Some(Work::TearDown(withdrawal))
    }

    /// What frees memory comes first, then what ends objects; every other turn a bottom half, if there is one.
    fn take(&mut self) -> Option<Work> {
        self.bottom_half_next = !self.bottom_half_next;
        let work = if self.bottom_half_next
            && let Some(job) = self.bottom_halves.pop_front()
        {
            Work::BottomHalf(job)
        } else if !self.disposals.is_empty() {
            Work::Dispose(std::mem::take(&mut self.disposals))
        } else if let Some((object, token)) = self.finalizers.pop_front() {
            Work::Finalize(object, token)
        } else if let Some(teardown) = self.take_teardown() {
            return Some(teardown);
        } else {
            Work::BottomHalf(self.bottom_halves.pop_front()?)
        };
        self.running += 1;
        Some(work)
    }
}
