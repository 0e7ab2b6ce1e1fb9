//! Whether the machine is calm: how late its scheduler runs a thread, asked right before and right after each unmap that is measured, and how long the threads of this process
//! waited for a core meanwhile, where the system counts that.
//!
//! A bound that grew with what is measured would hide a late answer just when nothing can be said. So bounds are fixed ([`WAKES`]), and what is held against
//! them are unmaps about which the scheduler was as quick as they allow for. Others are taken again; where too few are calm, nothing is judged, and that is said.

use super::super::middle;
use super::{Answer, bound::WAKES};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// For each answer that is wanted so many unmaps at most.
const TRIES: usize = 4;
/// How often a thread is woken for one look.
const WAKEUPS: usize = 5;
/// And sleeps before.
const PAUSE: Duration = Duration::from_micros(150);

/// For how long in all the threads of a calm machine wait for a core about one unmap: a few of them are woken, each some 20 µs after it was called.
pub const QUEUED: Duration = Duration::from_micros(200);

/// A thread that does nothing but sleep and be woken.
pub(super) struct Probe {
    call: Option<Sender<Instant>>,
    late: Receiver<Duration>,
    sleeper: Option<JoinHandle<()>>,
}

impl Probe {
    pub(super) fn new() -> Self {
        let (call, called) = channel::<Instant>();
        let (tell, late) = channel();
        let sleeper = std::thread::spawn(move || {
            for at in called {
                if tell.send(at.elapsed()).is_err() {
                    return;
                }
            }
        });
        Self {
            call: Some(call),
            late,
            sleeper: Some(sleeper),
        }
    }

    /// How late a thread is at this moment that is woken, or whose sleep is over: the worse of the two, each the middle one of a few.
    pub(super) fn look(&self) -> Duration {
        let (mut slept, mut woken) = (Vec::new(), Vec::new());
        for _ in 0..WAKEUPS {
            let begin = Instant::now();
            std::thread::sleep(PAUSE);
            slept.push(begin.elapsed().saturating_sub(PAUSE));
            let call = self.call.as_ref().expect("it is there until the end");
            call.send(Instant::now()).expect("the sleeper listens");
            woken.push(self.late.recv().expect("the sleeper answers"));
        }
        let worse = middle(slept).max(middle(woken));
        worse.unwrap_or_default()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.call = None;
        if let Some(sleeper) = self.sleeper.take() {
            // It has nothing to panic about.
            let _ = sleeper.join();
        }
    }
}

/// For how long in all the threads of this process have been ready to run and had to wait for a core; none where the system does not say.
///
/// Source: Linux, `/proc/<pid>/task/<tid>/schedstat`, the second number, in nanoseconds.
pub(super) fn queued() -> Option<Duration> {
    let threads = std::fs::read_dir("/proc/self/task").ok()?.flatten();
    let mut all = None;
    for thread in threads {
        // It may have ended by now.
        let Ok(text) = std::fs::read_to_string(thread.path().join("schedstat")) else {
            continue;
        };
        let waited = text.split_whitespace().nth(1)?.parse().ok()?;
        all = Some(all.unwrap_or_default() + Duration::from_nanos(waited));
    }
    all
}

/// One unmap, and how late threads were about it.
#[derive(Clone, Copy)]
pub(super) struct Try {
    pub(super) after: Duration,
    pub(super) beyond: Duration,
    pub(super) is_early: bool,
    /// How long threads that were ready waited for a core meanwhile, in all, where it is known.
    pub(super) queued: Duration,
    /// How late a thread was right before it or right after it.
    pub(super) waking: Duration,
}

impl Try {
    const fn is_calm(&self) -> bool {
        self.waking.as_nanos() <= WAKES.as_nanos() && self.queued.as_nanos() <= QUEUED.as_nanos()
    }
}

/// Unmaps until `times` of them were calm, or four times as many were made.
pub(super) fn measure(probe: &Probe, times: usize, mut once: impl FnMut() -> Try) -> Answer {
    let times = times.max(1);
    let mut tries: Vec<Try> = Vec::new();
    while tries.len() < times * TRIES && tries.iter().filter(|one| one.is_calm()).count() < times {
        let before = probe.look();
        let mut one = once();
        one.waking = one.waking.max(before).max(probe.look());
        tries.push(one);
    }
    answer(&tries, times)
}

/// The middle one of the calm, where a third of what is wanted was calm; else of all.
fn answer(tries: &[Try], times: usize) -> Answer {
    let calm: Vec<Try> = tries.iter().copied().filter(Try::is_calm).collect();
    let is_judged = calm.len() * 3 >= times.max(1);
    let counted = if is_judged { &calm[..] } else { tries };
    let part =
        |part: fn(&Try) -> Duration| middle(counted.iter().map(part).collect()).unwrap_or_default();
    Answer {
        after: part(|one| one.after),
        beyond: part(|one| one.beyond),
        early: tries.iter().filter(|one| one.is_early).count(),
        calm: calm.len(),
        tries: tries.len(),
        is_judged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(beyond: u64, waking: u64) -> Try {
        Try {
            after: Duration::from_micros(beyond),
            beyond: Duration::from_micros(beyond),
            is_early: false,
            queued: Duration::ZERO,
            waking: Duration::from_micros(waking),
        }
    }

    /// What is late in a calm machine is not hidden by what was in a busy one, and not made late by it.
    #[test]
    fn what_was_busy_is_not_counted_where_enough_was_calm() {
        let busy = [one(9000, 2000), one(8000, 3000), one(7000, 101)];
        let of = |calm: [Try; 2]| answer(&[&busy[..], &calm].concat(), 4);
        let late = of([one(900, 50), one(950, 60)]);
        assert_eq!(
            (late.beyond, late.is_judged),
            (Duration::from_micros(950), true)
        );
        let quick = of([one(90, 50), one(95, 100)]);
        assert_eq!(quick.beyond, Duration::from_micros(95));
        assert_eq!((quick.calm, quick.tries), (2, 5));
    }

    /// With too few that were calm nothing is held against a bound.
    #[test]
    fn in_a_busy_machine_nothing_is_judged() {
        let mut waited = one(8000, 50);
        waited.queued = Duration::from_millis(3);
        let tries = [one(9000, 2000), waited, one(90, 50)];
        let unclear = answer(&tries, 4);
        assert!(!unclear.is_judged);
        assert_eq!(unclear.beyond, Duration::from_millis(8));
        assert!(!unclear.is_above(Duration::from_micros(1)));
        let late = answer(&tries[2..], 1);
        assert!(
            late.is_above(Duration::from_micros(89)) && !late.is_above(Duration::from_micros(90))
        );
    }

    /// As many as are wanted, and no more than four times as many.
    #[test]
    fn busy_ones_are_taken_again_but_not_for_ever() {
        let probe = Probe::new();
        let mut made = 0;
        let answer = measure(&probe, 3, || {
            made += 1;
            one(10, 5000)
        });
        assert_eq!((made, answer.tries, answer.calm), (12, 12, 0));
        assert!(!answer.is_judged);
    }
}
