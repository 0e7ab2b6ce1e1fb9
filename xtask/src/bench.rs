//! `cargo xtask bench`: how fast the crates are beside their peers, built for speed.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::command::{self, Outcome, Runner, cargo};
use crate::workspace;

/// What is followed by a path, which the caller means from where he is.
const PATHS: [&str; 2] = ["--json", "--svg"];
const LIMIT: Duration = Duration::from_mins(10);

/// Runs the measuring program with the caller's arguments and streams; the exit status is its own.
///
/// # Errors
///
/// A sentence for people if a path cannot be made absolute, or the program could not be started.
pub(crate) fn pass_through(args: Vec<OsString>) -> Result<ExitCode, String> {
    command::pass_through(program().args(absolute(args)?))
}

/// A little of every group, for its errors and not for its figures.
pub(crate) fn smoke(runner: &Runner) -> Outcome {
    match runner.run(program().arg("--smoke"), LIMIT) {
        Ok(_) => Outcome::Ok,
        Err(error) => Outcome::Failed(error),
    }
}

fn program() -> Command {
    let args = [
        "run",
        "--release",
        "--quiet",
        "-p",
        "holdfast-bench",
        "--bin",
        "holdfast-bench",
        "--",
    ];
    cargo(&workspace::root(), args)
}

/// The program runs in the workspace's root, the caller may be elsewhere.
fn absolute(args: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let mut is_path = false;
    args.into_iter()
        .map(|arg| {
            let made = if is_path {
                let path = std::path::absolute(Path::new(&arg));
                path.map_err(|error| format!("{}: {error}", arg.display()))?
                    .into_os_string()
            } else {
                arg
            };
            is_path = PATHS.iter().any(|flag| made == *flag);
            Ok(made)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_follows_a_flag_for_a_path_is_made_absolute() {
        let args = ["map", "--json", "map", "--quick"].map(OsString::from);
        let made = absolute(args.to_vec()).expect("a working directory");
        assert_eq!((&made[0], &made[3]), (&args[0], &args[3]));
        assert!(Path::new(&made[2]).is_absolute() && made[2].to_string_lossy().ends_with("/map"));
    }
}
