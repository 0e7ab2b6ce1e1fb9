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
    if let Some(cpu) = allowed.get(nth % allowed.len().max(1)) {
        keep_on(&[*cpu]);
    }
}

fn keep_on(cpus: &[usize]) {
    // SAFETY: a set of processors is plain bits; all zeroes is the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for cpu in cpus {
        // SAFETY: the number was in such a set, so it is below its size.
        unsafe { libc::CPU_SET(*cpu, &mut set) };
    }
    // SAFETY: the kernel reads the given size from where `set` is.
    let _ = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
}

/// Keeps the calling thread on one processor until it is dropped, and no thread that was there before.
#[derive(Debug)]
pub struct Stay {
    before: Vec<usize>,
}

impl Stay {
    /// On the quickest of those that it may use: virtual processors share cores with whatever else their host runs, and one of two is often half as
    /// fast as the other for some seconds.
    pub fn on_the_quickest() -> Self {
        let before = allowed();
        let quickest = before.iter().min_by_key(|cpu| {
            keep_on(&[**cpu]);
            (0..3).map(|_| a_little_work()).min()
        });
        if let Some(cpu) = quickest {
            keep_on(&[*cpu]);
        }
        Self { before }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if !self.before.is_empty() {
            keep_on(&self.before);
        }
    }
}

/// How long some arithmetic takes that keeps a whole core busy.
fn a_little_work() -> Duration {
    let start = thread_time();
    let mut sums = std::hint::black_box([1_u64, 2, 3, 4]);
    for round in 0..20_000_u64 {
        for sum in &mut sums {
            *sum = sum.wrapping_add(round ^ (*sum >> 3));
        }
        sums = std::hint::black_box(sums);
    }
    thread_time().saturating_sub(start)
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
    fn a_stay_is_on_one_processor_and_ends() {
        std::thread::spawn(|| {
            let before = allowed();
            let stay = Stay::on_the_quickest();
            assert_eq!(allowed().len(), 1);
            assert!(before.contains(&allowed()[0]));
            drop(stay);
            assert_eq!(allowed(), before);
        })
        .join()
        .expect("the thread's own assertions hold");
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
