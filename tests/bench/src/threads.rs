//! Two threads that do the same work at the same time, each on a processor of its own.

use crate::cpu;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What one thread saw.
#[derive(Clone, Copy, Debug)]
struct Seen {
    began: Instant,
    ended: Instant,
    used: Duration,
}

/// What came of a sample of several threads.
#[derive(Clone, Copy, Debug)]
pub struct Together {
    /// Processor time that a thread used, on average.
    pub used: Duration,
    /// Which part of the time, 0 to 1, all of them were running: not before one began, nor after one ended, nor while another program was in
    /// their place.
    pub overlap: f64,
}

/// Runs `work` in `threads` threads, each told its number.
///
/// # Panics
/// If `work` does.
pub fn together(threads: usize, work: impl Fn(usize) + Sync) -> Together {
    let waiting = AtomicUsize::new(threads);
    let run = |number: usize| {
        cpu::stay_on(number);
        waiting.fetch_sub(1, Ordering::AcqRel);
        while waiting.load(Ordering::Acquire) > 0 {
            std::thread::yield_now();
        }
        let (began, before) = (Instant::now(), cpu::thread_time());
        work(number);
        Seen {
            used: cpu::thread_time().saturating_sub(before),
            began,
            ended: Instant::now(),
        }
    };
    let seen: Vec<Seen> = std::thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..threads)
            .map(|number| scope.spawn(move || run(number)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("the work does not panic"))
            .collect()
    });
    summed_up(&seen)
}

fn summed_up(seen: &[Seen]) -> Together {
    let used: Duration = seen.iter().map(|s| s.used).sum();
    let last_begin = seen.iter().map(|s| s.began).max();
    let first_end = seen.iter().map(|s| s.ended).min();
    let shared = match (last_begin, first_end) {
        (Some(begin), Some(end)) => end.saturating_duration_since(begin).as_secs_f64(),
        _ => 0.0,
    };
    let part = |s: &Seen| {
        let length = (s.ended - s.began).as_secs_f64().max(1e-9);
        (shared / length).min(1.0) * (s.used.as_secs_f64() / length).min(1.0)
    };
    Together {
        used: used / u32::try_from(seen.len()).expect("a few threads"),
        overlap: seen.iter().map(part).fold(1.0, f64::min),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_do_not_overlap_are_seen() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let seen = |from: u64, to: u64, used: u64| Seen {
            began: start + ms(from),
            ended: start + ms(to),
            used: ms(used),
        };
        let apart = summed_up(&[seen(0, 10, 10), seen(10, 20, 10)]);
        assert!(apart.overlap < 0.01 && apart.used == ms(10));
        let half = summed_up(&[seen(0, 10, 10), seen(0, 10, 5)]);
        assert!((half.overlap - 0.5).abs() < 0.01);
        let well = summed_up(&[seen(0, 10, 10), seen(0, 10, 10)]);
        assert!(well.overlap > 0.99);
    }

    #[test]
    fn all_threads_are_there_before_one_begins() {
        let began = AtomicUsize::new(0);
        let together = together(2, |_| {
            began.fetch_add(1, Ordering::AcqRel);
            while began.load(Ordering::Acquire) < 2 {
                std::thread::yield_now();
            }
        });
        assert_eq!(began.load(Ordering::Acquire), 2);
        assert!((0.0..=1.0).contains(&together.overlap));
    }
}
