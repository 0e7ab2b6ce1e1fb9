//! Retired things that run nobody's code when they are dropped: left for a moment to the thread that retires the next ones.
//!
//! A thread that replaces views one after the other made the old ones, too: their memory and the counts of what they share with the new ones are in its
//! processor's caches. Dropped by the executor, on another processor, each of those lines travels there and back: more than all the rest of a
//! commit costs. So that thread takes them from here ([`Executor::drop_inert`]), and the executor only what nobody took within [`MOMENT`].
//!
//! Where somebody waits for what they hold, nothing is left lying: not while any object is withdrawn and not yet finalized, nor while anybody waits for
//! quiescence.

use super::{Disposal, Executor};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long they are left to others.
const MOMENT: Duration = Duration::from_micros(500);

/// What is left lying, and for how long. Under the executor's lock.
#[derive(Default)]
pub(super) struct Inert {
    waiting: Vec<Disposal>,
    /// Since when the first of them lies here.
    since: Option<Instant>,
    /// Withdrawn objects that are not finalized, and threads that wait for quiescence.
    hurried: usize,
    /// The executor's thread looks again in a moment, and needs no call.
    pub(super) watched: bool,
}

impl Inert {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the executor is to drop what there is, also where it has other work.
    pub(super) fn is_due(&self) -> bool {
        !self.is_empty() && (self.hurried > 0 || self.rest().is_zero())
    }

    /// How long the executor is to leave it to others.
    pub(super) fn rest(&self) -> Duration {
        self.since
            .map_or(MOMENT, |since| MOMENT.saturating_sub(since.elapsed()))
    }

    fn push(&mut self, disposal: Disposal) {
        self.since.get_or_insert_with(Instant::now);
        self.waiting.push(disposal);
    }

    pub(super) fn take(&mut self) -> Vec<Disposal> {
        self.since = None;
        std::mem::take(&mut self.waiting)
    }
}

impl Executor {
    /// So many more wait for what may be lying here.
    pub(crate) fn hurry(&self, more: usize) {
        let lying = {
            let mut queue = self.queue.lock();
            queue.inert.hurried += more;
            queue.inert.is_due()
        };
        if lying {
            self.changed.notify_all();
        }
    }

    /// So many fewer do.
    pub(crate) fn relax(&self, fewer: usize) {
        let mut queue = self.queue.lock();
        debug_assert!(queue.inert.hurried >= fewer);
        queue.inert.hurried = queue.inert.hurried.saturating_sub(fewer);
    }

    /// Takes what has passed its grace period and runs nobody's code.
    pub(crate) fn push_inert(&self, disposal: Disposal) {
        let mut queue = self.queue.lock();
        if queue.ended || self.is_embedded() {
            drop(queue);
            return self.push_disposal(disposal);
        }
        queue.inert.push(disposal);
        // ORDERING: Relaxed: a hint; who misses it leaves the rest to the next one.
        self.inert_lying.store(true, Ordering::Relaxed);
        let call = queue.inert.is_due() || !std::mem::replace(&mut queue.inert.watched, true);
        drop(queue);
        if call {
            self.changed.notify_all();
        }
    }

    /// Drops what has passed its grace period and runs nobody's code; for a thread that has just retired some of it, outside its locks.
    pub(crate) fn drop_inert(&self) {
        if !self.inert_lying.load(Ordering::Relaxed) {
            return;
        }
        let all = {
            let mut queue = self.queue.lock();
            self.inert_lying.store(false, Ordering::Relaxed);
            queue.running[super::Kind::Disposal as usize] += 1;
            queue.inert.take()
        };
        all.into_iter().for_each(Disposal::run);
        let mut queue = self.queue.lock();
        queue.running[super::Kind::Disposal as usize] -= 1;
        if queue.stop {
            // The executor does not end before this.
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Executor;
    use crate::grace::Published;
    use crate::layer::{Hold, Holder, Reason};
    use crate::{Container, Machine, ObjectOps};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};
    use std::thread::ThreadId;
    use std::time::{Duration, Instant};

    /// Notes which thread drops it.
    struct Noting(Arc<Mutex<Vec<ThreadId>>>);

    impl Drop for Noting {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(std::thread::current().id());
        }
    }

    struct Shown {
        machine: Machine,
        cell: Published<Noting>,
        droppers: Arc<Mutex<Vec<ThreadId>>>,
    }

    impl Shown {
        fn new() -> Self {
            let machine = Machine::new("inert");
            let droppers = Arc::<Mutex<Vec<_>>>::default();
            let first = Arc::new(Noting(droppers.clone()));
            Self {
                cell: Published::new(machine.domain(), first),
                machine,
                droppers,
            }
        }

        fn executor(&self) -> &Executor {
            &self.machine.handle().0.executor
        }

        fn replace(&self) {
            self.cell
                .swap_inert(Arc::new(Noting(self.droppers.clone())), 1);
        }

        fn hurried(&self) -> usize {
            self.executor().queue.lock().inert.hurried
        }

        fn wait_for(&self, what: impl Fn(&Self) -> bool) {
            let begun = Instant::now();
            while !what(self) {
                assert!(begun.elapsed() < Duration::from_secs(20), "in vain");
                std::thread::yield_now();
            }
        }

        fn dropped(&self) -> usize {
            self.droppers.lock().unwrap().len()
        }
    }

    #[test]
    fn what_nobody_takes_the_executor_drops() {
        let shown = Shown::new();
        for round in 1..=20 {
            shown.replace();
            shown.wait_for(|s| s.dropped() == round);
        }
        let me = std::thread::current().id();
        assert!(shown.droppers.lock().unwrap().iter().all(|t| *t != me));
        assert!(shown.executor().queue.lock().inert.since.is_none());
    }

    /// A bottom half that comes back all the time leaves the executor no moment without work.
    #[test]
    fn other_work_does_not_keep_the_executor_from_it() {
        fn again(machine: &crate::MachineHandle, stop: &Arc<AtomicBool>) {
            std::thread::sleep(Duration::from_micros(50));
            if !stop.load(Ordering::Relaxed) {
                let (next, stop) = (machine.clone(), stop.clone());
                machine.defer(move || again(&next, &stop));
            }
        }
        let shown = Shown::new();
        let stop = Arc::<AtomicBool>::default();
        again(shown.machine.handle(), &stop);
        for round in 1..=20 {
            shown.replace();
            shown.wait_for(|s| s.dropped() == round);
        }
        stop.store(true, Ordering::Relaxed);
    }

    #[test]
    fn whoever_retires_more_may_drop_it() {
        let shown = Shown::new();
        let me = std::thread::current().id();
        for round in 1..=500 {
            shown.replace();
            shown.wait_for(|s| {
                s.executor().inert_lying.load(Ordering::Relaxed) || s.dropped() == round
            });
            crate::layer::drop_inert(shown.machine.handle());
            shown.wait_for(|s| s.dropped() == round);
        }
        let mine = shown
            .droppers
            .lock()
            .unwrap()
            .iter()
            .filter(|t| **t == me)
            .count();
        assert!(mine > 100, "{mine} of 500");
        shown.machine.quiesce(Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn nothing_is_left_lying_while_an_object_waits_to_be_finalized() {
        let shown = Shown::new();
        let object = shown.machine.create::<Container>().unwrap();
        shown.machine.root().add_child("object", &object).unwrap();
        let holder = Holder::named("a test");
        let hold = Hold::new(object.object(), Reason("test"), holder).unwrap();
        assert_eq!(shown.hurried(), 0);
        object.unparent().unwrap();
        drop(object);
        assert_eq!(shown.hurried(), 1, "it is held");
        for round in 1..=100 {
            shown.replace();
            shown.wait_for(|s| s.dropped() == round);
            assert!(shown.executor().queue.lock().inert.waiting.is_empty());
        }
        drop(hold);
        shown.wait_for(|s| s.hurried() == 0);
    }

    #[test]
    fn whoever_waits_for_quiescence_does_not_wait_for_a_moment_to_pass() {
        let shown = Shown::new();
        for round in 1..=100 {
            shown.replace();
            shown.machine.quiesce(Duration::from_secs(10)).unwrap();
            assert_eq!(shown.dropped(), round);
        }
        assert_eq!(shown.hurried(), 0);
    }
}
