//! `cargo xtask bench-smoke`: every benchmark runs once, so that none rots; its figures mean nothing here.
//!
//! That is the measuring program `tests/bench` in its shortest mode, and whatever else there is: a file `*/benches/*.rs`, which is given `--test`
//! (criterion's word for "once") and must take it.

use std::time::Duration;

use crate::bench;
use crate::command::{Outcome, Runner, cargo};
use crate::workspace::{self, Kind, Target};

const LIMIT: Duration = Duration::from_mins(10);

/// Runs every benchmark once.
pub(crate) fn run(runner: &Runner) -> Outcome {
    let benches = match workspace::targets(Kind::Bench, |_| true) {
        Ok(benches) => benches,
        Err(error) => return Outcome::Failed(error),
    };
    let mut failures = Vec::new();
    if let Outcome::Failed(error) = bench::smoke(runner) {
        failures.push(error);
    }
    for Target { package, name } in &benches {
        let args = [
            "bench", "--quiet", "-p", package, "--bench", name, "--", "--test",
        ];
        if let Err(error) = runner.run(&mut cargo(&workspace::root(), args), LIMIT) {
            failures.push(error);
        }
    }
    if failures.is_empty() {
        Outcome::Ok
    } else {
        Outcome::Failed(failures.join("\n"))
    }
}
