//! The calling thread: how much processor time it has used, and on which processor it runs.
//!
//! Time is that of the thread, so that what others run on a shared machine is not in it.

#![expect(
    unsafe_code,
    reason = "the standard library has neither the clock of a thread nor its affinity"
)]

use std::time::Duration;

/// Processor time that the calling thread has used so far.
pub fn thread_time() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Processor time that all threads of the process have used so far.
pub fn process_time() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock(id: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one `timespec` to where `time` is.
    let done = unsafe { libc::clock_gettime(id, &raw mut time) };
    assert_eq!(done, 0, "Linux has this clock");
    let seconds = u64::try_from(time.tv_sec).expect("used time is not negative");
    let nanos = u32::try_from(time.tv_nsec).expect("less than a second");
    Duration::new(seconds, nanos)
}

/// The processors that the calling thread may run on.
pub fn allowed() -> Vec<usize> {
    // SAFETY: a set of processors is plain bits; all zeroes is the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most the given size to where `set` is.
    let done = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if done != 0 {
        return Vec::new();
    }
    let many = usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
    // SAFETY: the number is below the size of the set.
    (0..many)
        .filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) })
        .collect()
}

/// Keeps the calling thread on the `nth` processor that it may use. Where the system refuses, it runs where it likes.
pub fn stay_on(nth: usize) {
    let allowed = allowed();
    let Some(cpu) = allowed.get(nth % allowed.len().max(1)) else {
        return;
    };
    // SAFETY: a set of processors is plain bits; all zeroes is the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number was in such a set, so it is below its size.
    unsafe { libc::CPU_SET(*cpu, &mut set) };
    // SAFETY: the kernel reads the given size from where `set` is.
    let _ = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_sleeping_thread_uses_no_time_and_a_busy_one_does() {
        let before = thread_time();
        std::thread::sleep(Duration::from_millis(20));
        assert!(thread_time().saturating_sub(before) < Duration::from_millis(10));
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(10) {
            std::hint::spin_loop();
        }
        assert!(thread_time() > before);
        assert!(process_time() >= thread_time());
    }

    #[test]
    fn a_thread_stays_where_it_is_put() {
        std::thread::spawn(|| {
            let before = allowed();
            stay_on(before.len() - 1);
            assert_eq!(allowed(), [before[before.len() - 1]]);
        })
        .join()
        .expect("the thread's own assertions hold");
    }
}
