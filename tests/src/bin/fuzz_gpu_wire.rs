//! Random and mutated command bytes through virtio-gpu's parsers and its command core: `fuzz_gpu_wire [--seconds N] [--seed S]`.
//!
//! Whatever a guest sends, the parsers give a value or an error, and what they give is printed and parsed to the same. The core answers each command
//! once, legally and within the room there is, keeps to its limits, places blobs inside the window and never on one another, takes each out once, tells
//! the renderer only what makes sense, and keeps nothing after a reset. Nothing panics, takes long or makes the process grow. A case that fails prints
//! its seed; the program then exits with 1.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use holdfast_tests::bounded::Bounded;
use holdfast_tests::gpu_wire::{Tally, case};
use holdfast_tests::random::Random;

/// How much the process may grow: the limits, and what the allocator keeps.
const GROWTH: u64 = 512 << 20;

fn main() -> ExitCode {
    let bounded = match Bounded::from_args(10) {
        Ok(bounded) if bounded.others.is_empty() => bounded,
        other => {
            eprintln!("fuzz_gpu_wire: {other:?}\nusage: fuzz_gpu_wire [--seconds N] [--seed S]");
            return ExitCode::from(2);
        }
    };
    let panics = Arc::<AtomicU64>::default();
    let seen = panics.clone();
    let before = std::panic::take_hook();
    // Panics that somebody catches count, too.
    std::panic::set_hook(Box::new(move |info| {
        seen.fetch_add(1, Ordering::Relaxed);
        before(info);
    }));
    let mut seeds = Random::new(bounded.seed());
    let end = bounded.deadline();
    let (mut cases, mut total) = (0_u64, Tally::default());
    let before = resident();
    // A seed that is given is that of a case, and is run alone first.
    let mut next = bounded.seed;
    while Instant::now() < end || next.is_some() {
        let seed = next.take().unwrap_or_else(|| seeds.next());
        let outcome = catch_unwind(AssertUnwindSafe(|| case(seed)));
        let outcome = outcome.unwrap_or_else(|_| Err("a panic".into()));
        let grown = resident().saturating_sub(before);
        let panicked = panics.load(Ordering::Relaxed);
        let outcome = match outcome {
            Ok(_) if panicked > 0 => Err(format!("{panicked} panics")),
            Ok(_) if grown > GROWTH => Err(format!("the process has grown by {grown} bytes")),
            outcome => outcome,
        };
        match outcome {
            Ok(tally) => total.merge(tally),
            Err(what) => {
                eprintln!("fuzz_gpu_wire: {what}\nagain: fuzz_gpu_wire --seconds 0 --seed {seed}");
                return ExitCode::FAILURE;
            }
        }
        cases += 1;
    }
    let seed = bounded.seed();
    println!("fuzz_gpu_wire: {cases} cases, {total:?}, nothing found; first seed {seed}");
    ExitCode::SUCCESS
}

/// Bytes of this process in memory, where the system says.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|p| p.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}
