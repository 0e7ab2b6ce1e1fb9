//! `cargo xtask loom`: the model checks, each test file `*/tests/loom_*.rs` built with `--cfg loom`.
//!
//! They have a target folder of their own, as the flag changes every crate; and a bound on preemptions, as the models
//! grow without end else. Two preemptions find nearly all that more would find; run one model with more by hand.

use std::process::ExitCode;
use std::time::Duration;

use crate::command::{Outcome, Runner, cargo};
use crate::workspace::{self, Kind, Target};

const LIMIT: Duration = Duration::from_mins(15);
const PREEMPTIONS: u32 = 2;

/// The command: the models named, or all.
///
/// # Errors
///
/// A sentence for people if the command line is wrong.
pub(crate) fn main(args: Vec<String>) -> Result<ExitCode, String> {
    let (preemptions, words) = crate::number_and_words(args, "--preemptions")?;
    let chosen = crate::select(models()?, &words, |model| &model.name)?;
    Ok(crate::finish(run(&Runner::live(), preemptions, &chosen)))
}

/// The step of CI: all models.
pub(crate) fn run_all(runner: &Runner) -> Outcome {
    match models() {
        Ok(models) => run(runner, None, &models),
        Err(error) => Outcome::Failed(error),
    }
}

fn models() -> Result<Vec<Target>, String> {
    workspace::targets(Kind::Test, |name| name.starts_with("loom_"))
}

fn run(runner: &Runner, preemptions: Option<u32>, models: &[Target]) -> Outcome {
    if models.is_empty() {
        return Outcome::Skipped("no model yet: no file */tests/loom_*.rs".into());
    }
    let mut failures = Vec::new();
    for Target { package, name } in models {
        let mut command = cargo(
            &workspace::root(),
            [
                "test",
                "--release",
                "--quiet",
                "-p",
                package,
                "--test",
                name,
            ],
        );
        command
            .env("RUSTFLAGS", with_flags("--cfg loom"))
            .env("CARGO_TARGET_DIR", workspace::target_dir().join("loom"));
        match (preemptions, std::env::var_os("LOOM_MAX_PREEMPTIONS")) {
            (Some(bound), _) => drop(command.env("LOOM_MAX_PREEMPTIONS", bound.to_string())),
            (None, None) => drop(command.env("LOOM_MAX_PREEMPTIONS", PREEMPTIONS.to_string())),
            (None, Some(_)) => {}
        }
        match runner.run(&mut command, LIMIT) {
            Err(error) => failures.push(error),
            // A file that is compiled out under `--cfg loom` would pass for ever.
            Ok(ended) if ended.output.contains("running 0 tests") => {
                failures.push(format!(
                    "{package}: tests/{name}.rs has no test under --cfg loom"
                ));
            }
            Ok(_) => {}
        }
    }
    if failures.is_empty() {
        Outcome::Ok
    } else {
        Outcome::Failed(failures.join("\n"))
    }
}

/// The caller's `RUSTFLAGS` with more appended.
pub(crate) fn with_flags(more: &str) -> String {
    match std::env::var("RUSTFLAGS") {
        Ok(flags) if !flags.is_empty() => format!("{flags} {more}"),
        _ => more.to_owned(),
    }
}
