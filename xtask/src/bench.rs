//! `cargo xtask bench`: how fast the crates are beside their peers, built for speed.

use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::command::{self, Outcome, Runner};
use crate::workspace;

const LIMIT: Duration = Duration::from_mins(10);

/// Runs the measuring program with the caller's arguments and streams; the exit status is its own.
///
/// # Errors
///
/// A sentence for people if the program could not be started.
pub(crate) fn pass_through(args: Vec<OsString>) -> Result<ExitCode, String> {
    command::pass_through(program().args(args))
}

/// A little of every group, for its errors and not for its figures.
pub(crate) fn smoke(runner: &Runner) -> Outcome {
    match runner.run(program().arg("--smoke"), LIMIT) {
        Ok(_) => Outcome::Ok,
        Err(error) => Outcome::Failed(error),
    }
}

/// What single operations execute, against the counts that are kept; where they cannot be compared the program says why.
pub(crate) fn instructions(runner: &Runner) -> Outcome {
    check(runner, "instructions")
}

/// Whether readers execute read-modify-writes; where the program cannot be looked at it says why.
pub(crate) fn machine_code(runner: &Runner) -> Outcome {
    check(runner, "machine-code")
}

/// One of the program's own checks, which say `NAME: SKIPPED (why)` where they cannot be made.
fn check(runner: &Runner, name: &str) -> Outcome {
    let skipped = format!("{name}: SKIPPED (");
    match runner.run(program().arg(name), LIMIT) {
        Ok(ended) => match ended.output.lines().find_map(|l| l.strip_prefix(&skipped)) {
            Some(reason) => Outcome::Skipped(reason.trim_end_matches(')').to_owned()),
            None => Outcome::Ok,
        },
        Err(error) => Outcome::Failed(error),
    }
}

fn program() -> Command {
    command::program(&workspace::root(), "holdfast-bench", "holdfast-bench")
}
