//! Random topologies and random accesses, compared with memory as it is byte by byte: `fuzz_memory [--seconds N] [--seed S]`.
//!
//! A case is one of `holdfast_tests::access_case`. Its seed is printed where the two differ in a value or in a result, and the program
//! exits with 1.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use holdfast_tests::access_case;
use holdfast_tests::bounded::Bounded;
use holdfast_tests::random::Random;
use memory::host::live_backing_bytes;
use qom::Machine;

const LONG: Duration = Duration::from_mins(1);
/// Cases between two machines.
const CASES: u64 = 64;

fn main() -> ExitCode {
    let bounded = match Bounded::from_args(10) {
        Ok(bounded) if bounded.others.is_empty() => bounded,
        other => {
            eprintln!("fuzz_memory: {other:?}\nusage: fuzz_memory [--seconds N] [--seed S]");
            return ExitCode::from(2);
        }
    };
    let mut seeds = Random::new(bounded.seed());
    let end = bounded.deadline();
    let (mut cases, mut accesses) = (0_u64, 0_u64);
    // A seed that is given is that of a case, and is run alone first.
    let mut next = bounded.seed;
    while Instant::now() < end || next.is_some() {
        let machine = Machine::builder("fuzz").recording(false).build();
        for _ in 0..CASES {
            let seed = next.take().unwrap_or_else(|| seeds.next());
            match access_case::play(&machine, seed) {
                Ok(made) => accesses += made,
                Err(what) => {
                    eprintln!("fuzz_memory: {what}\nagain: fuzz_memory --seconds 0 --seed {seed}");
                    return ExitCode::FAILURE;
                }
            }
            cases += 1;
            if Instant::now() >= end {
                break;
            }
        }
        if let Err((_, error)) = machine.close(LONG) {
            eprintln!("fuzz_memory: a machine does not close: {error}");
            return ExitCode::FAILURE;
        }
        if live_backing_bytes() != 0 {
            eprintln!("fuzz_memory: {} bytes are left", live_backing_bytes());
            return ExitCode::FAILURE;
        }
    }
    println!(
        "fuzz_memory: {cases} cases, {accesses} accesses, nothing differs; first seed {}",
        bounded.seed()
    );
    ExitCode::SUCCESS
}
