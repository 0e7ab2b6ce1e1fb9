//! What other threads use while one works, and until what it left behind is seen to.

use crate::contest::a_round;
use crate::cpu;
use crate::statistics::Samples;
use std::cell::RefCell;

/// Processor time of other threads, a round, sample by sample.
#[derive(Debug, Default)]
pub struct Background(RefCell<Vec<(u64, f64)>>);

impl Background {
    /// Runs `work`, which is `rounds` rounds and the wait for the end of what they caused.
    pub fn of<R>(&self, rounds: u64, work: impl FnOnce() -> R) -> R {
        let (process, own) = (cpu::process_time(), cpu::thread_time());
        let result = work();
        let own = cpu::thread_time().saturating_sub(own);
        let others = cpu::process_time().saturating_sub(process);
        let others = others.saturating_sub(own);
        self.0.borrow_mut().push((rounds, a_round(others, rounds)));
        result
    }

    /// The samples, in nanoseconds: those of as many rounds as the last one, as those before were warm-ups.
    pub fn nanos(&self) -> Samples {
        let all = self.0.borrow();
        let last = all.last().map_or(0, |sample| sample.0);
        let samples = all.iter().filter(|sample| sample.0 == last);
        Samples::new(samples.map(|sample| sample.1).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_ups_are_left_out() {
        let background = Background::default();
        for rounds in [1, 2, 8, 4, 8, 4, 8] {
            background.of(rounds, || ());
        }
        assert_eq!(background.nanos().len(), 3);
    }
}
