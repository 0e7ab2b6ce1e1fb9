//! Waiting for something that another thread does.

use std::time::{Duration, Instant};

/// Waits for something that another thread does: first by giving way, then by sleeping shortly.
#[derive(Debug)]
pub(super) struct Patience {
    start: Instant,
    limit: Duration,
    rounds: u32,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            start: Instant::now(),
            limit,
            rounds: 0,
        }
    }

    /// Waits a little; false: it has been long enough.
    pub(super) fn wait(&mut self) -> bool {
        self.rounds += 1;
        if self.rounds < 64 {
            std::thread::yield_now();
        } else {
            std::thread::sleep(Duration::from_micros(20));
        }
        self.start.elapsed() < self.limit
    }
}
