//! The timer: contestants that do the same work, warmed up, then sampled in turns.
//!
//! A contestant is a loop that is told how often to go round and says how long it took, so that the loop is compiled with the work in it and
//! what has to be prepared stays out of the time. The warm-up finds how many rounds fill a sample. Then each contestant gives one sample, and
//! all of them again, so that whatever else the machine does falls on all of them alike.
//!
//! Loops that neither sleep nor wait are timed by the [clock of their thread](thread), which stands still while another program is in their place;
//! on a machine with nothing else to do it says what the wall clock says. What other threads have a part in is timed by the [wall clock](wall).

use crate::cpu;
use crate::statistics::Samples;
use std::time::{Duration, Instant};

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// A little of everything: for the errors and not for the figures.
    Smoke,
    /// Figures that are good enough to work with.
    Quick,
    /// Figures to be shown.
    Full,
}

impl Effort {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Smoke, Self::Quick, Self::Full];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }

    /// Samples of each contestant.
    pub fn samples(self) -> usize {
        match self {
            Self::Smoke => 3,
            Self::Quick => 9,
            Self::Full => 31,
        }
    }

    /// How long a sample takes.
    pub fn sample(self) -> Duration {
        match self {
            Self::Smoke => Duration::from_micros(100),
            Self::Quick => Duration::from_millis(1),
            Self::Full => Duration::from_millis(2),
        }
    }

    /// The largest of a row of sizes that is measured at all.
    pub fn largest(self) -> u64 {
        match self {
            Self::Smoke => 256,
            Self::Quick | Self::Full => u64::MAX,
        }
    }

    /// The sizes that are measured: up to the largest, and the first two in any case.
    pub fn sizes(self, all: &[u64]) -> Vec<u64> {
        let largest = self.largest();
        let kept = |(index, size): (usize, &u64)| (index < 2 || *size <= largest).then_some(*size);
        all.iter().enumerate().filter_map(kept).collect()
    }
}

/// One way to do the work.
struct Contestant<'a> {
    who: String,
    run: Box<dyn FnMut(u64) -> Duration + 'a>,
}

/// Several ways to do one work.
#[derive(Default)]
pub struct Contest<'a> {
    contestants: Vec<Contestant<'a>>,
}

/// What one contestant came to, in nanoseconds a round.
#[derive(Debug)]
pub struct Outcome {
    /// Who.
    pub who: String,
    /// Nanoseconds a round, sample by sample.
    pub nanos: Samples,
}

/// Most rounds of a sample, whatever the warm-up says.
const MOST: u64 = 1 << 24;
/// Most rounds before each sample that do not count: all addresses of a pool once.
const WARM: u64 = 4096;

impl<'a> Contest<'a> {
    /// One without contestants.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a contestant: goes round as often as it is told and says how long that took.
    pub fn add(&mut self, who: &str, run: impl FnMut(u64) -> Duration + 'a) -> &mut Self {
        self.contestants.push(Contestant {
            who: who.to_owned(),
            run: Box::new(run),
        });
        self
    }

    /// [`run`](Self::run) on the quickest processor; for work that no other thread has a part in, but that of machines that are there already.
    pub fn run_alone(&mut self, effort: Effort) -> Vec<Outcome> {
        let _stay = cpu::Stay::on_the_quickest();
        self.run(effort)
    }

    /// Warms all of them up, then samples them in turns.
    pub fn run(&mut self, effort: Effort) -> Vec<Outcome> {
        let rounds: Vec<u64> = self
            .contestants
            .iter_mut()
            .map(|c| warm_up(&mut *c.run, effort.sample()))
            .collect();
        let mut samples = vec![Vec::new(); rounds.len()];
        for _ in 0..effort.samples() {
            for ((contestant, rounds), samples) in
                self.contestants.iter_mut().zip(&rounds).zip(&mut samples)
            {
                // The others have had the caches since its last turn.
                let _ = (contestant.run)((*rounds / 2).clamp(1, WARM));
                samples.push(a_round((contestant.run)(*rounds), *rounds));
            }
        }
        self.contestants
            .iter()
            .zip(samples)
            .map(|(contestant, samples)| Outcome {
                who: contestant.who.clone(),
                nanos: Samples::new(samples),
            })
            .collect()
    }
}

/// Nanoseconds of one of `rounds`.
pub fn a_round(time: Duration, rounds: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "at most `MOST`")]
    let rounds = rounds as f64;
    time.as_secs_f64() * 1e9 / rounds
}

/// Runs more and more rounds until a sample is filled, and says how many that takes.
fn warm_up(run: &mut dyn FnMut(u64) -> Duration, sample: Duration) -> u64 {
    let mut rounds = 1;
    loop {
        // The quicker of two: the very first round may find nothing in the caches, or the processor taken, and would stand for all.
        let time = run(rounds).min(run(rounds));
        if time >= sample / 2 || rounds >= MOST {
            let wanted = sample.as_secs_f64() / time.as_secs_f64().max(1e-9);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "clamped to 1 and `MOST`"
            )]
            let rounds = (rounds as f64 * wanted).clamp(1.0, MOST as f64) as u64;
            return rounds;
        }
        rounds *= 2;
    }
}

/// How long `work` takes by the wall clock.
pub fn wall(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// How much processor time of this thread `work` takes.
pub fn thread(work: impl FnOnce()) -> Duration {
    let start = cpu::thread_time();
    work();
    cpu::thread_time().saturating_sub(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_fills_a_sample_and_not_much_more() {
        let per_round = Duration::from_nanos(100);
        let sample = Duration::from_millis(1);
        let mut run = |rounds: u64| per_round * u32::try_from(rounds).unwrap();
        assert_eq!(warm_up(&mut run, sample), 10_000);
        let mut slow = |rounds: u64| Duration::from_millis(50) * u32::try_from(rounds).unwrap();
        assert_eq!(warm_up(&mut slow, sample), 1);
        let mut first = true;
        let mut cold = |rounds: u64| {
            let cold = if std::mem::take(&mut first) { 50 } else { 0 };
            Duration::from_millis(cold) + per_round * u32::try_from(rounds).unwrap()
        };
        assert_eq!(warm_up(&mut cold, sample), 10_000);
    }

    #[test]
    fn contestants_take_turns_and_are_told_the_same_number_each_time() {
        let seen = std::cell::RefCell::new(Vec::new());
        let mut contest = Contest::new();
        for (who, nanos) in [("a", 50), ("b", 200)] {
            let seen = &seen;
            contest.add(who, move |rounds| {
                seen.borrow_mut().push((who, rounds));
                Duration::from_nanos(nanos * rounds)
            });
        }
        let outcomes = contest.run(Effort::Smoke);
        assert_eq!(outcomes.len(), 2);
        assert!((outcomes[0].nanos.median() - 50.0).abs() < 0.1);
        assert!((outcomes[1].nanos.median() - 200.0).abs() < 0.1);
        let seen = seen.borrow();
        // Each turn is a warm-up and a sample of each.
        let sampled: Vec<_> = seen[seen.len() - 12..].to_vec();
        assert_eq!(sampled[..4], sampled[4..8]);
        assert_eq!((sampled[1].0, sampled[3].0), ("a", "b"));
        assert!(sampled[0].1 < sampled[1].1);
    }

    #[test]
    fn small_runs_leave_large_sizes_out_but_keep_a_curve() {
        let sizes = [64, 1024, 65_536];
        assert_eq!(Effort::Smoke.sizes(&sizes), [64, 1024]);
        assert_eq!(Effort::Full.sizes(&sizes), sizes);
    }
}
