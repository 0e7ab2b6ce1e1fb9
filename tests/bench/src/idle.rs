//! What the other threads of this process do while the calling one sleeps: how often they wake, and how much they use.

use crate::cpu;
use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Idle {
    /// Times that another thread went to sleep, so times that it had been awake.
    pub wakeups: u64,
    /// Processor time of all threads.
    pub used: Duration,
}

/// Sleeps for `time` and counts.
pub fn watch(time: Duration) -> Idle {
    let (switches, used) = (switches(), cpu::process_time());
    std::thread::sleep(time);
    let used = cpu::process_time().saturating_sub(used);
    Idle {
        wakeups: more(&switches, &self::switches()),
        used,
    }
}

/// Voluntary context switches of all threads but the calling one, by thread.
fn switches() -> HashMap<String, u64> {
    let own = fs::read_link("/proc/thread-self").ok();
    let own = own.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let threads = fs::read_dir("/proc/self/task").expect("Linux has a list of threads");
    threads
        .filter_map(|thread| {
            let thread = thread.ok()?;
            let name = thread.file_name().to_string_lossy().into_owned();
            let status = fs::read_to_string(thread.path().join("status")).ok()?;
            (Some(&name) != own.as_ref()).then_some((name, voluntary(&status)?))
        })
        .collect()
}

/// The count in a thread's `status`.
fn voluntary(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    line.trim().parse().ok()
}

/// How much is in `after` beyond what is in `before`; a new thread counts from zero.
fn more(before: &HashMap<String, u64>, after: &HashMap<String, u64>) -> u64 {
    let gain = |(thread, count): (&String, &u64)| {
        count.saturating_sub(before.get(thread).copied().unwrap_or(0))
    };
    after.iter().map(gain).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn the_count_is_found_and_not_that_of_involuntary_switches() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t545\n";
        assert_eq!(voluntary(status), Some(150));
        assert_eq!(voluntary("Name:\tx\n"), None);
    }

    #[test]
    fn differences_are_summed_over_threads() {
        let counts =
            |list: &[(&str, u64)]| list.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect();
        let (before, after) = (
            counts(&[("1", 5), ("2", 7)]),
            counts(&[("1", 6), ("2", 7), ("3", 2)]),
        );
        assert_eq!(more(&before, &after), 3);
    }

    #[test]
    fn a_thread_that_wakes_is_seen() {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let seen = watch(Duration::from_millis(100));
        stop.store(true, Ordering::Release);
        thread.join().expect("it only sleeps");
        assert!(seen.wakeups >= 5, "{seen:?}");
    }
}
