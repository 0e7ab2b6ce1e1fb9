//! The reclaimer: one thread per domain that waits out grace periods and hands on what has passed one.
//!
//! It takes everything that has been retired so far as one batch, lets one grace period pass, gives the batch to the
//! domain's sink, and looks again. While nothing is retired it sleeps on a condition variable and is woken by nobody but those who retire or
//! wait; readers wake nobody.
//!
//! The thread is started by the first who retires something or waits, and ends when the domain is shut down or its last
//! handle is gone and nothing is left to hand on.
//!
//! Where all that waits is inert ([`Retired::is_inert`]) and nobody is in a hurry ([`Domain::hurry`](crate::Domain::hurry)), grace periods begin at least
//! [`DomainConfig::pace`](crate::DomainConfig::pace) apart, and it sleeps in between: the barrier at the begin of each interrupts every processor that runs
//! a thread of the process, which costs those that replace one view after the other more than the replacing.
//!
//! How it waits: it looks at the readers without pause for [`DomainConfig::spin`](crate::DomainConfig::spin), giving way to other threads; then it sleeps
//! between looks, each time for a quarter of what it has waited, at least 50 µs, at most 20 ms. So a grace period ends at most a quarter later
//! than its last reader, and a reader that never leaves costs fifty looks a second.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::domain::Inner;
use crate::fork;
use crate::lock::{Condvar, Mutex, MutexGuard};
use crate::retired::Retired;

const SHORTEST_SLEEP: Duration = Duration::from_micros(50);
const LONGEST_SLEEP: Duration = Duration::from_millis(20);
/// After the system refused a barrier: how long to wait before asking again.
const REFUSED_SLEEP: Duration = Duration::from_millis(20);

/// What the reclaimer shares with those who retire and those who wait.
pub(crate) struct Reclaimer {
    state: Mutex<State>,
    /// The reclaimer sleeps here.
    work: Condvar,
    /// Those who wait for a grace period sleep here.
    done: Condvar,
    /// Copy of [`State::asked`], for looking without the lock.
    asked: AtomicU64,
    /// Copy of [`State::is_pressed`], for the same.
    pressed: AtomicBool,
    counts: Counts,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleep {
    /// It works, or is about to look.
    Awake,
    /// Nothing is to be done.
    Idle,
    /// Until the next grace period may begin.
    Resting,
}

struct State {
    queue: VecDeque<Retired>,
    /// How many times something was retired or waited for.
    asked: u64,
    /// How much of `asked` has been handed on.
    handed: u64,
    /// Whether something is queued that is not inert, or somebody waits for what is.
    pressing: bool,
    /// How many are in a hurry.
    hurried: usize,
    /// When the last grace period began.
    begun: Option<Instant>,
    running: bool,
    sleep: Sleep,
    stop: bool,
    /// The grace period under way: since when, and the clock value readers have to reach.
    grace: Option<(Instant, u64)>,
    thread: Option<JoinHandle<()>>,
    thread_id: Option<std::thread::ThreadId>,
    generation: u64,
}

/// What only the reclaimer counts.
#[derive(Default)]
struct Counts {
    graces: AtomicU64,
    last_nanos: AtomicU64,
    longest_nanos: AtomicU64,
    wakeups: AtomicU64,
    barriers: AtomicU64,
    refused: AtomicU64,
}

/// A copy of the reclaimer's counts.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) graces: u64,
    pub(crate) last: Duration,
    pub(crate) longest: Duration,
    pub(crate) wakeups: u64,
    pub(crate) barriers: u64,
    pub(crate) refused: u64,
}

/// How a wait for a grace period ended.
pub(crate) enum Waited {
    Done,
    Out(Duration),
}

impl Reclaimer {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                asked: 0,
                handed: 0,
                pressing: false,
                hurried: 0,
                begun: None,
                running: false,
                sleep: Sleep::Awake,
                stop: false,
                grace: None,
                thread: None,
                thread_id: None,
                generation: fork::generation(),
            }),
            work: Condvar::new(),
            done: Condvar::new(),
            asked: AtomicU64::new(0),
            pressed: AtomicBool::new(false),
            counts: Counts::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Queues something, and sees to it that the reclaimer works.
    pub(crate) fn push(&self, inner: &Arc<Inner>, item: Retired) {
        let mut state = self.lock();
        state.pressing |= !item.is_inert();
        state.queue.push_back(item);
        self.ask(&mut state);
        if let Err(error) = self.start(inner, &mut state) {
            tracing::error!(domain = %inner.name(), %error, "no thread for the reclaimer; retired items wait for the next try");
        }
    }

    /// Waits until a grace period that begins after this call has passed, and all that is queued now was handed on.
    pub(crate) fn wait(&self, inner: &Arc<Inner>, timeout: Option<Duration>) -> io::Result<Waited> {
        let begun = Instant::now();
        let deadline = timeout.and_then(|timeout| begun.checked_add(timeout));
        let mut state = self.lock();
        state.pressing = true;
        self.ask(&mut state);
        let target = state.asked;
        self.start(inner, &mut state)?;
        while state.handed < target {
            state = match deadline {
                None => self.done.wait(state),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(Waited::Out(begun.elapsed()));
                    }
                    self.done.wait_for(state, left)
                }
            };
            // A shutdown in between may have let the thread go.
            if state.handed < target {
                self.start(inner, &mut state)?;
            }
        }
        Ok(Waited::Done)
    }

    /// So many more are in a hurry.
    pub(crate) fn hurry(&self, more: usize) {
        let mut state = self.lock();
        state.hurried += more;
        self.note_pressed(&state);
        if state.sleep == Sleep::Resting {
            self.work.notify_one();
        }
    }

    /// So many fewer are.
    pub(crate) fn relax(&self, fewer: usize) {
        let mut state = self.lock();
        debug_assert!(state.hurried >= fewer);
        state.hurried = state.hurried.saturating_sub(fewer);
        self.note_pressed(&state);
    }

    /// Tells the thread to end once nothing is left. It is started again when something is retired later.
    pub(crate) fn stop(&self) -> Option<JoinHandle<()>> {
        let mut state = self.lock();
        state.stop = true;
        self.work.notify_all();
        state.thread.take()
    }

    /// Wakes the thread, so that it notices that the domain is closed.
    pub(crate) fn nudge(&self) {
        drop(self.lock());
        self.work.notify_all();
    }

    /// Whether the caller is the reclaimer.
    pub(crate) fn is_current(&self) -> bool {
        let thread = self.lock().thread_id;
        thread.is_some_and(|thread| thread == std::thread::current().id())
    }

    /// The grace period under way: how long it has taken, and the clock value readers have to reach.
    pub(crate) fn under_way(&self) -> Option<(Duration, u64)> {
        self.lock()
            .grace
            .map(|(since, target)| (since.elapsed(), target))
    }

    pub(crate) fn is_running(&self) -> bool {
        self.lock().running
    }

    pub(crate) fn figures(&self) -> Figures {
        let counts = &self.counts;
        Figures {
            graces: counts.graces.load(Ordering::Relaxed),
            last: Duration::from_nanos(counts.last_nanos.load(Ordering::Relaxed)),
            longest: Duration::from_nanos(counts.longest_nanos.load(Ordering::Relaxed)),
            wakeups: counts.wakeups.load(Ordering::Relaxed),
            barriers: counts.barriers.load(Ordering::Relaxed),
            refused: counts.refused.load(Ordering::Relaxed),
        }
    }

    fn ask(&self, state: &mut State) {
        state.asked += 1;
        self.asked.store(state.asked, Ordering::Relaxed);
        self.note_pressed(state);
    }

    fn note_pressed(&self, state: &State) {
        self.pressed.store(state.is_pressed(), Ordering::Relaxed);
    }

    /// Sees to it that a thread works on what was asked: wakes it, or starts it.
    fn start(&self, inner: &Arc<Inner>, state: &mut State) -> io::Result<()> {
        if state.generation != fork::generation() {
            // A forked child: the thread and the other readers stayed with the parent, and so did the batch it had in hand.
            std::mem::forget(state.thread.take());
            state.thread_id = None;
            state.running = false;
            state.sleep = Sleep::Awake;
            state.grace = None;
            state.generation = fork::generation();
            inner.registry().disinherit();
        }
        if state.running {
            if state.is_to_be_woken() {
                self.work.notify_one();
            }
            return Ok(());
        }
        state.stop = false;
        let inner = Arc::clone(inner);
        let thread = std::thread::Builder::new()
            .name(format!("grace-{}", inner.name()))
            .spawn(move || run(&inner))?;
        state.thread_id = Some(thread.thread().id());
        state.thread = Some(thread);
        state.running = true;
        Ok(())
    }

    /// The next batch. `None` when the thread is to end.
    fn next(&self, inner: &Inner) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            if state.asked != state.handed {
                let rest = state.rest(inner);
                if rest.is_zero() {
                    let pressed = state.is_pressed();
                    state.pressing = false;
                    self.note_pressed(&state);
                    return Some(Batch {
                        items: state.queue.drain(..).collect(),
                        asked: state.asked,
                        pressed,
                    });
                }
                state.sleep = Sleep::Resting;
                state = self.work.wait_for(state, rest);
                state.sleep = Sleep::Awake;
                continue;
            }
            if state.stop || inner.is_closed() {
                state.running = false;
                state.thread_id = None;
                return None;
            }
            state.sleep = Sleep::Idle;
            state = self.work.wait(state);
            state.sleep = Sleep::Awake;
            self.counts.wakeups.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Stays awake for a moment after work that was in a hurry: what comes in bursts then costs no wake-up. What may rest does not end the moment, and
    /// is followed by none: awake, the thread would take turns with those it works for.
    fn linger(&self, inner: &Inner, handed: u64) {
        let begun = Instant::now();
        let is_called =
            || self.asked.load(Ordering::Relaxed) != handed && self.pressed.load(Ordering::Relaxed);
        while !is_called() && !inner.is_closed() && begun.elapsed() < inner.spin() {
            std::thread::yield_now();
        }
    }

    /// Lets one grace period pass. A domain that is closed has no readers.
    fn grace(&self, inner: &Inner) {
        let begun = Instant::now();
        self.lock().begun = Some(begun);
        let mut passage = loop {
            if inner.is_closed() {
                return;
            }
            match inner.engine().begin(inner.clock(), inner.registry()) {
                Ok(passage) => break passage,
                Err(error) => {
                    // Nothing may be disposed of without a barrier. What is retired piles up, and those who add to it are told.
                    if self.counts.refused.fetch_add(1, Ordering::Relaxed) == 0 {
                        tracing::error!(domain = %inner.name(), %error, "the system refuses memory barriers; nothing can be disposed of");
                    }
                    std::thread::sleep(REFUSED_SLEEP);
                }
            }
        };
        self.counts.barriers.fetch_add(1, Ordering::Relaxed);
        if !passage() {
            self.lock().grace = Some((begun, inner.clock().now()));
            while !passage() && !inner.is_closed() {
                let waited = begun.elapsed();
                if waited < inner.spin() {
                    std::thread::yield_now();
                } else {
                    std::thread::sleep((waited / 4).clamp(SHORTEST_SLEEP, LONGEST_SLEEP));
                }
            }
            self.lock().grace = None;
        }
        let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.counts.graces.fetch_add(1, Ordering::Relaxed);
        self.counts.last_nanos.store(nanos, Ordering::Relaxed);
        self.counts
            .longest_nanos
            .fetch_max(nanos, Ordering::Relaxed);
    }
}

/// What one grace period is for.
struct Batch {
    items: Vec<Retired>,
    /// How much of [`State::asked`] it answers.
    asked: u64,
    /// Whether somebody was in a hurry.
    pressed: bool,
}

impl State {
    fn is_to_be_woken(&self) -> bool {
        match self.sleep {
            Sleep::Awake => false,
            Sleep::Idle => true,
            Sleep::Resting => self.is_pressed(),
        }
    }

    fn is_pressed(&self) -> bool {
        self.pressing || self.hurried > 0 || self.stop
    }

    /// How long the next grace period is to wait for its begin.
    fn rest(&self, inner: &Inner) -> Duration {
        match self.begun {
            Some(begun) if !self.is_pressed() && !inner.is_closed() => {
                inner.pace().saturating_sub(begun.elapsed())
            }
            _ => Duration::ZERO,
        }
    }
}

/// The thread.
fn run(inner: &Arc<Inner>) {
    let reclaimer = inner.reclaimer();
    while let Some(Batch {
        items,
        asked,
        pressed,
    }) = reclaimer.next(inner)
    {
        reclaimer.grace(inner);
        // One call per batch; a batch of nothing but waiting needs none.
        if !items.is_empty() && catch_unwind(AssertUnwindSafe(|| inner.hand_on(items))).is_err() {
            tracing::error!(domain = %inner.name(), "the sink panicked");
        }
        reclaimer.lock().handed = asked;
        reclaimer.done.notify_all();
        if pressed {
            reclaimer.linger(inner, asked);
        }
    }
}
