//! `cargo xtask demo`: the demonstrations, built for speed.

use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::command::{self, Outcome, Runner};
use crate::workspace::{self, Kind};

const LIMIT: Duration = Duration::from_mins(15);

/// Runs the demonstrations with the caller's arguments and streams; the exit status is theirs.
pub(crate) fn pass_through(args: Vec<OsString>) -> ExitCode {
    command::pass_through(demo().args(args)).unwrap_or_else(|message| {
        eprintln!("xtask: {message}");
        ExitCode::FAILURE
    })
}

/// The step of CI: all demonstrations, which fail where one does not show what it says.
pub(crate) fn run(runner: &Runner) -> Outcome {
    match workspace::targets(Kind::Bin, |name| name == "demo") {
        Err(error) => Outcome::Failed(error),
        Ok(found) if found.is_empty() => {
            Outcome::Skipped("no demonstration yet: examples/src/bin/demo.rs is missing".into())
        }
        Ok(_) => match runner.run(demo().arg("all"), LIMIT) {
            Ok(_) => Outcome::Ok,
            Err(error) => Outcome::Failed(error),
        },
    }
}

fn demo() -> Command {
    command::program(&workspace::root(), "holdfast-examples", "demo")
}
