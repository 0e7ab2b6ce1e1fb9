//! `cargo xtask sanitize`: the program `stress` of `holdfast-tests` under ThreadSanitizer and AddressSanitizer.
//!
//! Both need the nightly compiler. The standard library stays uninstrumented, so ThreadSanitizer cannot see the
//! synchronization inside it; what it then reports wrongly is suppressed in `xtask/tsan-suppressions.txt`, argued line by
//! line, with what the crates must keep away from. It also does not model fences between threads, so `--cfg holdfast_plain_atomics` chooses the variants without
//! them. A plain `main` is run and not a test: the test harness itself is one of the false reports.

use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::command::{Outcome, Runner, cargo_nightly};
use crate::loom::with_flags;
use crate::workspace::{self, Kind};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Room for the build and the slow start, beside the time asked for.
const MARGIN: Duration = Duration::from_mins(15);

/// A sanitizer, by the name the compiler has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sanitizer {
    /// Data races.
    Thread,
    /// Uses of memory outside its bounds or its life, and leaks.
    Address,
}

impl Sanitizer {
    const ALL: [Sanitizer; 2] = [Sanitizer::Thread, Sanitizer::Address];

    fn name(self) -> &'static str {
        match self {
            Sanitizer::Thread => "thread",
            Sanitizer::Address => "address",
        }
    }

    fn command(self, seconds: u32) -> Command {
        let root = workspace::root();
        let seconds = seconds.to_string();
        let args = [
            "run",
            "--release",
            "--quiet",
            "--target",
            TARGET,
            "-p",
            "holdfast-tests",
            "--bin",
            "stress",
            "--",
            "--seconds",
            &seconds,
        ];
        let mut command = cargo_nightly(&root, args);
        let folder = workspace::target_dir();
        match self {
            Sanitizer::Thread => {
                let suppressions = root.join("xtask/tsan-suppressions.txt");
                let options = format!("suppressions={} halt_on_error=0", suppressions.display());
                command
                    .env("CARGO_TARGET_DIR", folder.join("tsan"))
                    .env("TSAN_OPTIONS", options)
                    .env(
                        "RUSTFLAGS",
                        with_flags(
                            "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg holdfast_plain_atomics",
                        ),
                    );
            }
            Sanitizer::Address => {
                command
                    .env("CARGO_TARGET_DIR", folder.join("asan"))
                    .env("ASAN_OPTIONS", "detect_leaks=1")
                    .env("RUSTFLAGS", with_flags("-Zsanitizer=address"));
            }
        }
        command
    }
}

/// The command: one sanitizer or both, for 60 seconds each if nothing else is said.
///
/// # Errors
///
/// A sentence for people if the command line is wrong.
pub(crate) fn main(args: Vec<String>) -> Result<ExitCode, String> {
    let (seconds, words) = crate::number_and_words(args, "--seconds")?;
    let chosen = crate::select(Sanitizer::ALL.to_vec(), &words, |s| s.name())?;
    Ok(crate::finish(run(
        &Runner::live(),
        &chosen,
        seconds.unwrap_or(60),
    )))
}

/// The step of CI for one sanitizer.
pub(crate) fn step(runner: &Runner, sanitizer: Sanitizer) -> Outcome {
    run(runner, &[sanitizer], 20)
}

fn run(runner: &Runner, chosen: &[Sanitizer], seconds: u32) -> Outcome {
    match workspace::targets(Kind::Bin, |name| name == "stress") {
        Err(error) => return Outcome::Failed(error),
        Ok(found) if found.is_empty() => {
            return Outcome::Skipped(
                "no stress program yet: tests/src/bin/stress.rs is missing".into(),
            );
        }
        Ok(_) => {}
    }
    if let Some(reason) = unsupported() {
        return Outcome::Skipped(reason);
    }
    let limit = MARGIN + Duration::from_secs(seconds.into());
    let failures: Vec<String> = chosen
        .iter()
        .filter_map(|sanitizer| runner.run(&mut sanitizer.command(seconds), limit).err())
        .collect();
    if failures.is_empty() {
        Outcome::Ok
    } else {
        Outcome::Failed(failures.join("\n"))
    }
}

/// Why the sanitizers cannot run here, if they cannot.
fn unsupported() -> Option<String> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return Some(format!("the sanitizers are run on {TARGET} only"));
    }
    let nightly = cargo_nightly(&workspace::root(), ["--version"])
        .stdin(std::process::Stdio::null())
        // A toolchain that is not there must not be fetched behind the caller's back.
        .env("RUSTUP_AUTO_INSTALL", "0")
        .output()
        .is_ok_and(|output| output.status.success() && output.stdout.starts_with(b"cargo "));
    (!nightly)
        .then(|| "no nightly compiler: `rustup toolchain install nightly --profile minimal`".into())
}
