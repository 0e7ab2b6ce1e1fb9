//! Which pending work follows from which: lets `quiesce` wait for what was there and all that comes of it, and for no more.
//!
//! Each piece of pending work carries a [`Token`] of a generation. Work that is queued while a piece is being done inherits its
//! generation; `quiesce` starts a new one and waits until no token of the old ones is left.

use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

#[derive(Default)]
struct Generations {
    current: u64,
    pending: BTreeMap<u64, u64>,
}

/// The pending work of one machine.
#[derive(Clone, Default)]
pub(crate) struct Tracker(Arc<Shared>);

#[derive(Default)]
struct Shared {
    generations: Mutex<Generations>,
    drained: Condvar,
}

thread_local! {
    /// The tracker (by address) and the generation of the work that this thread is doing.
    static DOING: Cell<(usize, u64)> = const { Cell::new((0, 0)) };
}

impl Tracker {
    fn address(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    /// A token for a new piece of work.
    pub(crate) fn token(&self) -> Token {
        let inherited = DOING
            .try_with(Cell::get)
            .ok()
            .filter(|(t, _)| *t == self.address())
            .map(|(_, g)| g);
        self.make_token(inherited)
    }

    /// A token for a new piece of work that does not follow from what this thread is doing.
    pub(crate) fn fresh_token(&self) -> Token {
        self.make_token(None)
    }

    fn make_token(&self, inherited: Option<u64>) -> Token {
        let mut generations = self.0.generations.lock();
        let generation = inherited.unwrap_or(generations.current);
        *generations.pending.entry(generation).or_default() += 1;
        Token {
            tracker: self.clone(),
            generation,
        }
    }

    /// Starts a new generation and gives the old one's number.
    pub(crate) fn next_generation(&self) -> u64 {
        let mut generations = self.0.generations.lock();
        generations.current += 1;
        generations.current - 1
    }

    /// Whether nothing of `generation` or before is pending.
    pub(crate) fn is_drained(&self, generation: u64) -> bool {
        self.0.generations.lock().is_drained(generation)
    }

    /// Waits until something may have changed.
    pub(crate) fn wait_drained(&self, generation: u64, until: Instant) {
        let mut generations = self.0.generations.lock();
        if !generations.is_drained(generation) {
            self.0.drained.wait_until(&mut generations, until);
        }
    }
}

impl Generations {
    fn is_drained(&self, generation: u64) -> bool {
        self.pending
            .first_key_value()
            .is_none_or(|(oldest, _)| *oldest > generation)
    }
}

/// One piece of pending work; dropped when it is done.
pub(crate) struct Token {
    tracker: Tracker,
    generation: u64,
}

impl Token {
    /// Does the work: what it queues inherits the generation.
    pub(crate) fn during<R>(&self, work: impl FnOnce() -> R) -> R {
        let before = DOING
            .try_with(|d| d.replace((self.tracker.address(), self.generation)))
            .unwrap_or_default();
        let _restore = Restore(before);
        work()
    }
}

struct Restore((usize, u64));

impl Drop for Restore {
    fn drop(&mut self) {
        let _ = DOING.try_with(|d| d.set(self.0));
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let mut generations = self.tracker.0.generations.lock();
        if let Some(count) = generations.pending.get_mut(&self.generation) {
            *count -= 1;
            if *count == 0 {
                generations.pending.remove(&self.generation);
                self.tracker.0.drained.notify_all();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_belongs_to_the_generation_of_its_cause() {
        let tracker = Tracker::default();
        let first = tracker.token();
        let old = tracker.next_generation();
        let later = tracker.token();
        assert!(!tracker.is_drained(old));
        let follower = first.during(|| tracker.token());
        drop(first);
        assert!(!tracker.is_drained(old), "the follower counts");
        drop(follower);
        assert!(tracker.is_drained(old), "what was queued later does not");
        drop(later);
        assert!(tracker.is_drained(old + 1));
    }
}
