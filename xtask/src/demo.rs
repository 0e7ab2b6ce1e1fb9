//! `cargo xtask demo`: the demonstrations, built for speed.
//!
//! `demo lifetimes` is a program of its own: the proposals for region lifetimes, run beside Holdfast's rules and crates, with a page that shows them.

use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::command::{self, Outcome, Runner};
use crate::workspace::{self, Kind};

const LIMIT: Duration = Duration::from_mins(15);

/// What lifetimes is told in CI, where it shares the time with everything else: by hand the searches go ten steps, and Holdfast's until they have met every state.
const LESS: [&str; 6] = ["--steps", "8", "--sequences", "4000", "--cycles", "1000"];

/// Runs the demonstrations with the caller's arguments and streams; the exit status is theirs.
pub(crate) fn pass_through(mut args: Vec<OsString>) -> ExitCode {
    let mut program = if args.first().is_some_and(|first| first == "lifetimes") {
        args.remove(0);
        lifetimes("lifetimes")
    } else {
        demo()
    };
    command::pass_through(program.args(args)).unwrap_or_else(|message| {
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

/// The step of CI: lifetimes, with searches that are shorter than by hand.
pub(crate) fn run_lifetimes(runner: &Runner) -> Outcome {
    runner.say(&format!(
        "less than `cargo xtask demo lifetimes`: {}",
        LESS.join(" ")
    ));
    match runner.run(lifetimes("ci/lifetimes").args(LESS), LIMIT) {
        Ok(_) => Outcome::Ok,
        Err(error) => Outcome::Failed(error),
    }
}

/// The program of lifetimes, which writes its page to a folder below the target folder; a later `--page` is the one that counts.
fn lifetimes(folder: &str) -> Command {
    let name = "holdfast-lifetimes";
    let mut program = command::program(&workspace::root(), name, name);
    program
        .arg("--page")
        .arg(workspace::target_dir().join(folder));
    program
}

fn demo() -> Command {
    command::program(&workspace::root(), "holdfast-examples", "demo")
}
