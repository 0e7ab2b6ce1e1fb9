//! `cargo xtask fuzz`: the fuzz programs, a bounded time each.
//!
//! A fuzz program is a plain `main` in `tests/src/bin/fuzz_*.rs` that takes `--seconds N`, makes its inputs from a
//! pseudo-random sequence, prints the seed of what it finds, and exits with a failure then.

use std::process::ExitCode;
use std::time::Duration;

use crate::command::{Outcome, Runner, cargo};
use crate::workspace::{self, Kind, Target};

/// Room for the build and for the end of the last input, beside the time asked for.
const MARGIN: Duration = Duration::from_mins(10);

/// The command: the programs named, or all, for 60 seconds each if nothing else is said.
///
/// # Errors
///
/// A sentence for people if the command line is wrong.
pub(crate) fn main(args: Vec<String>) -> Result<ExitCode, String> {
    let (seconds, words) = crate::number_and_words(args, "--seconds")?;
    let chosen = crate::select(programs()?, &words, |program| &program.name)?;
    Ok(crate::finish(run(
        &Runner::live(),
        &chosen,
        seconds.unwrap_or(60),
    )))
}

/// The step of CI: all programs, one minute together but ten seconds each at least.
pub(crate) fn run_all(runner: &Runner) -> Outcome {
    match programs() {
        Ok(programs) => {
            let share = 60 / u32::try_from(programs.len().max(1)).unwrap_or(60);
            run(runner, &programs, share.max(10))
        }
        Err(error) => Outcome::Failed(error),
    }
}

fn programs() -> Result<Vec<Target>, String> {
    workspace::targets(Kind::Bin, |name| name.starts_with("fuzz_"))
}

fn run(runner: &Runner, programs: &[Target], seconds: u32) -> Outcome {
    if programs.is_empty() {
        return Outcome::Skipped("no fuzz program yet: no file tests/src/bin/fuzz_*.rs".into());
    }
    let limit = MARGIN + Duration::from_secs(seconds.into());
    let mut failures = Vec::new();
    for Target { package, name } in programs {
        let seconds = seconds.to_string();
        let args = [
            "run",
            "--release",
            "--quiet",
            "-p",
            package,
            "--bin",
            name,
            "--",
            "--seconds",
            &seconds,
        ];
        if let Err(error) = runner.run(&mut cargo(&workspace::root(), args), limit) {
            failures.push(error);
        }
    }
    if failures.is_empty() {
        Outcome::Ok
    } else {
        Outcome::Failed(failures.join("\n"))
    }
}
