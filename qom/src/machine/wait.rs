//! Waiting in a machine: for quiescence, for the end of an object; and what the waiting thread does meanwhile.

use super::{MachineHandle, MachineInner};
use crate::context::{self, Place};
use crate::error::WaitError;
use crate::handle::WeakRef;
use crate::object::{Object, ObjectImpl};
use crate::tracker::Token;
use qom_grace::GraceError;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// What a waiting thread does itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Help {
    /// Teardown only: it asked for one and is not to depend on anybody.
    TearDown,
    /// All that comes up, in a machine that has no thread of its own: the waiting thread may be the one that drives it. Nothing
    /// elsewhere, so that the time-out holds whatever a hook does.
    IfEmbedded,
}

/// The moment `timeout` after `start`; none where no clock goes that far.
pub(crate) fn deadline(start: Instant, timeout: Duration) -> Option<Instant> {
    start.checked_add(timeout)
}

/// Somebody waits for all that is retired: nothing is left lying, and no grace period waits, until it is dropped.
pub(super) struct Hurry<'a>(&'a MachineInner);

impl<'a> Hurry<'a> {
    pub(super) fn begin(machine: &'a MachineInner) -> Self {
        machine.hurry(1);
        Self(machine)
    }
}

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.relax(1);
    }
}

/// What has been finalized, and what is just going.
#[derive(Default)]
pub(super) struct Finalized {
    pub(super) count: u64,
    /// Objects whose finalizers have run and whose end has not been told: each with what tells whoever waits, if anybody does.
    ending: SmallVec<[Ending; 2]>,
}

type Ending = (Weak<Object>, Option<Arc<AtomicBool>>);

impl Finalized {
    /// The object's finalizers have run.
    pub(super) fn begin(&mut self, object: &Object) {
        self.ending.push((object.weak(), object.end()));
    }

    /// All that belongs to its end has been done. Gives what is to be told to those who wait.
    pub(super) fn end(&mut self, object: &Weak<Object>) -> Option<Arc<AtomicBool>> {
        self.count += 1;
        let at = self.ending.iter().position(|(it, _)| it.ptr_eq(object))?;
        self.ending.swap_remove(at).1
    }

    /// What tells of the end of an object that is just going; none where it is not.
    fn awaited(&mut self, object: &Weak<Object>) -> Option<Arc<AtomicBool>> {
        let mut ending = self.ending.iter_mut();
        let (_, told) = ending.find(|(it, _)| it.ptr_eq(object))?;
        Some(told.get_or_insert_default().clone())
    }
}

/// The object itself, where this is the last pointer to it.
pub(super) fn last_of(object: Arc<Object>) -> Option<Object> {
    // The fence in `Arc::into_inner` is one that a race detector does not follow: in the build made for it every pointer is a late one.
    if cfg!(holdfast_plain_atomics) {
        drop(object);
        return None;
    }
    Arc::into_inner(object)
}

/// How long a waiting thread sleeps at most: work that only it can do may come up meanwhile.
const SLICE: Duration = Duration::from_millis(5);

pub(super) fn grace_holder(error: &GraceError) -> String {
    match error {
        GraceError::TimedOut {
            reader: Some(reader),
            ..
        } => format!("reader {reader}"),
        other => other.to_string(),
    }
}

impl MachineInner {
    /// So many more wait for what is retired, or will be: objects that are withdrawn and not finalized, and threads.
    pub(crate) fn hurry(&self, more: usize) {
        self.domain.hurry(more);
        self.executor.hurry(more);
    }

    /// So many fewer do.
    pub(crate) fn relax(&self, fewer: usize) {
        self.domain.relax(fewer);
        self.executor.relax(fewer);
    }

    /// Where this thread stands, if it may not wait there.
    pub(crate) fn waiting_forbidden(&self) -> Option<Place> {
        if self.domain.is_entered() {
            Some(Place::Guard)
        } else {
            context::innermost()
        }
    }

    /// What the machine is at, for whoever is tired of waiting.
    pub(crate) fn busy_with(&self) -> String {
        let reader = || Some(format!("reader {}", self.domain.slowest_reader()?));
        self.executor
            .busy_with()
            .or_else(reader)
            .unwrap_or_else(|| "nobody known".to_owned())
    }

    /// Waits until `done`, doing in the meantime what this thread may do of the machine's work.
    pub(crate) fn help_until(
        &self,
        deadline: Option<Instant>,
        help: Help,
        done: impl Fn() -> bool,
        wait: impl Fn(Instant),
    ) {
        while !done() {
            let helped = match help {
                Help::TearDown => self.executor.run_teardown(),
                Help::IfEmbedded => self.executor.is_embedded() && self.executor.run_one(),
            };
            if helped {
                continue;
            }
            let now = Instant::now();
            if deadline.is_some_and(|d| now >= d) {
                return;
            }
            let slice = now + SLICE;
            wait(deadline.map_or(slice, |d| d.min(slice)));
        }
    }
}

impl MachineHandle {
    /// Waits until everything retired, withdrawn or deferred so far has been dropped, finalized and run, with all that follows from
    /// it (view → region → owner). A bottom half that queues another one does not hold it up any longer.
    ///
    /// # Errors
    /// The caller is inside a read section, a hook, a finalizer, a listener, a transaction, a subscriber or on the executor; or the
    /// time ran out, and the reader that holds it up is named.
    pub fn quiesce(&self, timeout: Duration) -> Result<(), WaitError> {
        let what = || format!("the quiescence of machine `{}`", self.0.name);
        if let Some(place) = self.0.waiting_forbidden() {
            return Err(WaitError::Forbidden {
                what: what(),
                place,
            });
        }
        let start = Instant::now();
        let deadline = deadline(start, timeout);
        let timed_out = |holder| WaitError::TimedOut {
            what: what(),
            waited: start.elapsed(),
            holder,
        };
        // What was retired in the domain itself has no token before it reaches the executor.
        if self.0.domain.counters().retired_items > 0 {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            if let Err(error) = self.0.domain.barrier(left) {
                return Err(timed_out(grace_holder(&error)));
            }
        }
        let _hurry = Hurry::begin(&self.0);
        let generation = self.0.tracker.next_generation();
        let drained = || self.0.tracker.is_drained(generation);
        self.0
            .help_until(deadline, Help::IfEmbedded, drained, |until| {
                self.0.tracker.wait_drained(generation, until);
            });
        if drained() {
            return Ok(());
        }
        Err(timed_out(self.0.busy_with()))
    }

    /// What tells of an object's end, and its name; none where that has come.
    fn end_of<T: ObjectImpl>(&self, object: &WeakRef<T>) -> Option<(Arc<AtomicBool>, String)> {
        let mut finalized = self.0.finalized.lock();
        let Some(pointer) = object.pointer_opt() else {
            let told = finalized.awaited(object.weak())?;
            return Some((told, format!("a `{}`", T::NAME)));
        };
        let told = pointer.ended();
        let told = told.or_else(|| finalized.awaited(object.weak()));
        let told = told.map(|told| (told, pointer.describe()));
        // Under the lock, or a finalizer could find this pointer, and leave the instance's fields to it.
        let last = last_of(pointer);
        drop(finalized);
        // Others may have left them to it all the same.
        drop(last);
        told
    }

    /// Waits until an object has been finalized: its finalizers have run, its fields are dropped (unless somebody else has a pointer to the object at that
    /// moment, who sees to that later), and the event has been told. At the time-out the error says who keeps it.
    ///
    /// # Errors
    /// As [`quiesce`](Self::quiesce).
    pub fn wait_finalized<T: ObjectImpl>(
        &self,
        object: &WeakRef<T>,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        let Some((ended, name)) = self.end_of(object) else {
            return Ok(());
        };
        // ORDERING: Acquire pairs with the Release in `one_less`.
        let done = || ended.load(Ordering::Acquire);
        let what = || format!("the finalization of {name}");
        if done() {
            return Ok(());
        }
        if let Some(place) = self.0.waiting_forbidden() {
            return Err(WaitError::Forbidden {
                what: what(),
                place,
            });
        }
        let start = Instant::now();
        self.0
            .help_until(deadline(start, timeout), Help::IfEmbedded, done, |until| {
                let mut finalized = self.0.finalized.lock();
                if !done() {
                    self.0.finalized_one.wait_until(&mut finalized, until);
                }
            });
        if done() {
            return Ok(());
        }
        let kept = object.pointer_opt().filter(|o| o.counts().storage() > 0);
        let holder = kept.map_or_else(
            || self.0.busy_with(),
            |object| self.why_alive(&object).to_string(),
        );
        Err(WaitError::TimedOut {
            what: what(),
            waited: start.elapsed(),
            holder,
        })
    }

    /// Whether this thread may not wait here, and why not.
    pub fn waiting_forbidden(&self) -> Option<Place> {
        self.0.waiting_forbidden()
    }

    /// A token that makes `quiesce` wait for something that is pending elsewhere.
    pub fn pending(&self) -> Pending {
        Pending(self.0.tracker.token())
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
