//! Readers and writers at full speed: no reader ever sees a value that was disposed of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use qom_grace::{Domain, Published};

use crate::engines::{LONG, config};

const ALIVE: u64 = 0x600D_600D_600D_600D;

/// Says of itself whether it was dropped. Its memory is never given back, so that looking is harmless.
struct Canary {
    state: &'static AtomicU64,
    number: u64,
}

impl Canary {
    fn new(number: u64) -> Self {
        Self {
            state: Box::leak(Box::new(AtomicU64::new(ALIVE))),
            number,
        }
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.state.store(0, Ordering::Relaxed);
    }
}

crate::on_both_engines! {
    fn no_reader_sees_what_was_disposed_of(engine) {
        let domain = Domain::new(config(engine), Arc::new(drop));
        let cells: Vec<_> = (0..2).map(|_| Published::new(&domain, Arc::new(Canary::new(0)))).collect();
        let stop = AtomicBool::new(false);
        let looks = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for by_reader in [true, false] {
                let (domain, cells, stop, looks) = (&domain, &cells, &stop, &looks);
                scope.spawn(move || {
                    let reader = domain.reader();
                    let mut last = [0; 2];
                    let mut mine = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let guard = if by_reader { reader.enter() } else { domain.enter() };
                        for (cell, last) in cells.iter().zip(&mut last) {
                            let canary = cell.load(&guard);
                            assert!(canary.number >= *last, "a pointer went back");
                            *last = canary.number;
                            for _ in 0..8 {
                                assert_eq!(canary.state.load(Ordering::Relaxed), ALIVE);
                            }
                        }
                        mine += 1;
                    }
                    looks.fetch_add(mine, Ordering::Relaxed);
                });
            }
            let begun = Instant::now();
            let mut number = 0;
            while begun.elapsed() < Duration::from_millis(700) {
                number += 1;
                for cell in &cells {
                    cell.store(Arc::new(Canary::new(number)), 16);
                }
                if number % 64 == 0 {
                    domain.barrier(Some(LONG)).unwrap();
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        domain.barrier(Some(LONG)).unwrap();
        assert!(looks.load(Ordering::Relaxed) > 1000);
        assert!(domain.counters().grace_periods > 1);
        assert_eq!(domain.counters().retired_items, 0);
    }
}
