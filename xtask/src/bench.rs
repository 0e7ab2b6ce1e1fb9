//! `cargo xtask bench`: how fast the crates are beside their peers, built for speed.

use std::ffi::OsString;
use std::path::PathBuf;
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
    let checks = ["instructions", "profile", "machine-code"];
    let is_check = args
        .iter()
        .any(|arg| checks.iter().any(|check| arg == check));
    let mut program = program();
    if !is_check {
        align_branches(&mut program);
    }
    command::pass_through(program.args(args))
}

/// Many of Intel's processors (Skylake to Cascade Lake) execute a branch that crosses or ends at a boundary of 32 bytes a good deal slower, so that a
/// change anywhere in a program makes some loop elsewhere a fifth slower or faster. What is measured, ours and the peers' alike, is compiled so
/// that no branch does.
fn align_branches(program: &mut Command) {
    if cfg!(target_arch = "x86_64") {
        let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
        let aligned = "-Cllvm-args=-x86-branches-within-32B-boundaries";
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| workspace::root().join("target"), PathBuf::from);
        program
            .env("RUSTFLAGS", format!("{flags} {aligned}"))
            .env("CARGO_TARGET_DIR", target.join("aligned"));
    }
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
