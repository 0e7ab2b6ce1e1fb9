//! Work on a list by two threads, each of which takes the next piece when it is done with one.

use std::sync::{Mutex, PoisonError};

/// As many as the machines have that this is run on; more would make what is measured wait.
const THREADS: usize = 2;

/// What becomes of each piece, in the order of the pieces. `tell` hears after each how many are done, and of how many.
///
/// # Panics
///
/// Where `work` or `tell` does.
pub(crate) fn two_at_a_time<T: Send, R: Send>(
    pieces: Vec<T>,
    work: impl Fn(T) -> R + Sync,
    tell: impl Fn(usize, usize) + Sync,
) -> Vec<R> {
    let total = pieces.len();
    let queue = Mutex::new(pieces.into_iter().enumerate());
    let results = Mutex::new(Vec::with_capacity(total));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((at, piece)) = next() {
                    let result = work(piece);
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    results.push((at, result));
                    tell(results.len(), total);
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::two_at_a_time;
    use std::sync::{Condvar, Mutex};
    use std::time::Duration;

    #[test]
    fn two_are_at_work_and_the_results_are_in_order() {
        // How many are at work, and the most that there have been.
        let (count, changed) = (Mutex::new((0_u32, 0_u32)), Condvar::new());
        let told = Mutex::new(Vec::new());
        let work = |number: u32| {
            let mut now = count.lock().unwrap();
            now.0 += 1;
            now.1 = now.1.max(now.0);
            changed.notify_all();
            let alone = |now: &mut (u32, u32)| now.1 < 2;
            let waited = changed.wait_timeout_while(now, Duration::from_secs(5), alone);
            waited.unwrap().0.0 -= 1;
            number * number
        };
        let tell = |done, of| told.lock().unwrap().push((done, of));
        let results = two_at_a_time((0..6).collect(), work, tell);
        assert_eq!(results, [0, 1, 4, 9, 16, 25]);
        assert_eq!(*count.lock().unwrap(), (0, 2));
        let told = told.into_inner().unwrap();
        assert_eq!(told, [(1, 6), (2, 6), (3, 6), (4, 6), (5, 6), (6, 6)]);
        let nothing = two_at_a_time(Vec::new(), work, |_, _| panic!("there is nothing"));
        assert_eq!(nothing, [0; 0]);
    }
}
