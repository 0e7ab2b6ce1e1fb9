//! Which pending work follows from which: lets `quiesce` wait for what was there and all that comes of it, and for no more.
//!
//! Each piece of pending work carries a [`Token`] of a generation. Work that is queued while a piece is being done inherits its
//! generation; `quiesce` starts a new one and waits until no token of the old ones is left.

use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

#[derive(Default)]
struct Generations {
    current: u64,
    /// The generations that have pending work, ascending, and how many pieces of it. They are few, and most often it is the current one.
    pending: Vec<(u64, u64)>,
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
        generations.one_more(generation);
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
        let oldest = self.pending.first();
        oldest.is_none_or(|(oldest, _)| *oldest > generation)
    }

    /// Where a generation is on the list, or would be.
    fn find(&self, generation: u64) -> Result<usize, usize> {
        match self.pending.last() {
            Some((last, _)) if *last == generation => Ok(self.pending.len() - 1),
            _ => self.pending.binary_search_by_key(&generation, |(g, _)| *g),
        }
    }

    fn one_more(&mut self, generation: u64) {
        match self.find(generation) {
            Ok(at) => self.pending[at].1 += 1,
            Err(at) => self.pending.insert(at, (generation, 1)),
        }
    }

    /// Whether that was the last one of its generation.
    fn one_less(&mut self, generation: u64) -> bool {
        let Ok(at) = self.find(generation) else {
            return false;
        };
        self.pending[at].1 -= 1;
        let was_last = self.pending[at].1 == 0;
        if was_last {
            self.pending.remove(at);
        }
        was_last
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
        if generations.one_less(self.generation) {
            self.tracker.0.drained.notify_all();
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

    #[test]
    fn generations_end_in_any_order() {
        let tracker = Tracker::default();
        let mut tokens: Vec<Token> = (0..5)
            .flat_map(|_| {
                let two = [tracker.token(), tracker.token()];
                tracker.next_generation();
                two
            })
            .collect();
        for gone in [4, 5, 0, 0, 3, 0, 0] {
            let token = tokens.remove(gone);
            // One more of a generation that is not the current one.
            token.during(|| drop(tracker.token()));
            drop(token);
            for generation in 0..5 {
                let drained = tokens.iter().all(|t| t.generation > generation);
                assert_eq!(tracker.is_drained(generation), drained, "{gone}");
            }
        }
        drop(tokens);
        assert!(tracker.is_drained(u64::MAX));
        assert!(tracker.0.generations.lock().pending.is_empty());
    }
}
