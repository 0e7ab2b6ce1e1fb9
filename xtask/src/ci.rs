//! `cargo xtask ci`: all that a change must pass besides `cargo test --workspace`, step by step.
//!
//! All steps run, and every failure is reported at the end, not only the first. The output of each step goes to a log
//! under the target folder, and is shown where the step fails. Budget: 40 minutes on two cores from a clean clone.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::command::{Outcome, Runner, cargo};
use crate::sanitize::{self, Sanitizer};
use crate::workspace::{self, Kind, Target};
use crate::{bench, bench_smoke, demo, fuzz, loom, tidy};

/// A step: a name for `--only`, a line for `--list`, and what it does.
struct Step {
    name: &'static str,
    about: &'static str,
    run: fn(&Runner) -> Outcome,
}

/// Cheap ones first.
const STEPS: &[Step] = &[
    Step {
        name: "tidy",
        about: "the house rules (cargo xtask tidy)",
        run: tidy::step,
    },
    Step {
        name: "fmt",
        about: "cargo fmt --check",
        run: fmt,
    },
    Step {
        name: "clippy",
        about: "cargo clippy on all targets, warnings denied",
        run: clippy,
    },
    Step {
        name: "doc",
        about: "cargo doc, warnings denied",
        run: doc,
    },
    Step {
        name: "demos",
        about: "every demonstration (cargo xtask demo all)",
        run: demo::run,
    },
    Step {
        name: "lifetimes",
        about: "the proposals for region lifetimes (cargo xtask demo lifetimes), with shorter searches and loops",
        run: demo::run_lifetimes,
    },
    Step {
        name: "examples",
        about: "every example builds and runs to its end",
        run: examples,
    },
    Step {
        name: "bench-smoke",
        about: "every benchmark once, a little of each",
        run: bench_smoke::run,
    },
    Step {
        name: "instructions",
        about: "what hot operations execute, against tests/bench/instructions.json",
        run: bench::instructions,
    },
    Step {
        name: "machine-code",
        about: "no read-modify-write in what readers execute",
        run: bench::machine_code,
    },
    Step {
        name: "loom",
        about: "the model checks */tests/loom_*.rs",
        run: loom::run_all,
    },
    Step {
        name: "fuzz",
        about: "the fuzz programs, one minute together",
        run: fuzz::run_all,
    },
    Step {
        name: "tsan",
        about: "the stress program under ThreadSanitizer, 20 s",
        run: |runner| sanitize::step(runner, Sanitizer::Thread),
    },
    Step {
        name: "asan",
        about: "the stress program under AddressSanitizer, 20 s",
        run: |runner| sanitize::step(runner, Sanitizer::Address),
    },
];

/// A clean build of the whole workspace on two slow cores ends well within this.
const BUILD: Duration = Duration::from_mins(20);
/// An example is short.
const EXAMPLE: Duration = Duration::from_mins(2);
/// How much of a failed step's log is shown.
const SHOWN: usize = 200;

/// The command: all steps, or those named by `--only`.
///
/// # Errors
///
/// A sentence for people if the command line is wrong.
pub(crate) fn main(args: Vec<String>) -> Result<ExitCode, String> {
    let mut only: Vec<String> = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--list" => {
                for step in STEPS {
                    println!("{:12} {}", step.name, step.about);
                }
                return Ok(ExitCode::SUCCESS);
            }
            "--only" => {
                let names = args.next().ok_or("--only needs the name of a step")?;
                only.extend(names.split(',').map(str::to_owned));
            }
            _ => {
                return Err(format!(
                    "ci: unknown argument {arg}; it takes --only NAME and --list"
                ));
            }
        }
    }
    let steps = crate::select(STEPS.iter().collect(), &only, |step| step.name)?;
    Ok(run(&steps, &workspace::target_dir().join("ci")))
}

fn run(steps: &[&Step], logs: &Path) -> ExitCode {
    let began = Instant::now();
    let mut failures: Vec<(&str, String)> = Vec::new();
    let mut skipped = 0;
    for step in steps {
        print!("step {} … ", step.name);
        // The line shows which step is running, so it must be out before the step begins.
        let _ = std::io::Write::flush(&mut std::io::stdout());
        let from = Instant::now();
        let log = logs.join(format!("{}.log", step.name));
        let outcome = match Runner::logging(log.clone()) {
            Ok(runner) => (step.run)(&runner),
            Err(error) => Outcome::Failed(format!("{}: {error}", log.display())),
        };
        let took = from.elapsed().as_secs_f32();
        match outcome {
            Outcome::Ok => println!("ok ({took:.1} s)"),
            Outcome::Skipped(reason) => {
                skipped += 1;
                println!("SKIPPED ({reason})");
            }
            Outcome::Failed(reason) => {
                println!("failed ({took:.1} s)");
                show(&log);
                failures.push((step.name, reason));
            }
        }
    }
    println!(
        "{} steps in {:.0} s: {} ok, {} failed, {skipped} skipped; logs in {}",
        steps.len(),
        began.elapsed().as_secs_f32(),
        steps.len() - failures.len() - skipped,
        failures.len(),
        logs.display()
    );
    for (name, reason) in &failures {
        println!("failed: {name}: {reason}");
        println!("        again: cargo xtask ci --only {name}");
    }
    if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Shows the end of a log, where compilers and tests put what matters.
fn show(log: &Path) {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let lines: Vec<&str> = text.as_deref().unwrap_or_default().lines().collect();
    let from = lines.len().saturating_sub(SHOWN);
    if from > 0 {
        println!("  | … {from} lines before, in {}", log.display());
    }
    for line in &lines[from..] {
        println!("  | {line}");
    }
}

fn fmt(runner: &Runner) -> Outcome {
    one(
        runner,
        &mut cargo(&workspace::root(), ["fmt", "--all", "--check"]),
    )
}

fn clippy(runner: &Runner) -> Outcome {
    let args = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ];
    one(runner, &mut cargo(&workspace::root(), args))
}

fn doc(runner: &Runner) -> Outcome {
    let args = ["doc", "--workspace", "--no-deps", "--quiet"];
    one(
        runner,
        cargo(&workspace::root(), args).env("RUSTDOCFLAGS", "-D warnings"),
    )
}

/// Runs every example of every package, and every program of the package of examples beside the demonstrations.
fn examples(runner: &Runner) -> Outcome {
    let found = workspace::targets(Kind::Example, |_| true).and_then(|examples| {
        let programs = workspace::targets(Kind::Bin, |name| name != "demo")?;
        let programs = programs
            .into_iter()
            .filter(|p| p.package == "holdfast-examples");
        let named = |kind, target| (kind, target);
        Ok(examples
            .into_iter()
            .map(|e| named("--example", e))
            .chain(programs.map(|p| named("--bin", p)))
            .collect::<Vec<_>>())
    });
    let found = match found {
        Ok(found) if found.is_empty() => return Outcome::Skipped("no example yet".into()),
        Ok(found) => found,
        Err(error) => return Outcome::Failed(error),
    };
    let root = workspace::root();
    let mut failures = Vec::new();
    for (kind, Target { package, name }) in &found {
        let target = ["--release", "--quiet", "-p", package, kind, name];
        let built = runner.run(cargo(&root, ["build"]).args(target), BUILD);
        let ran = built.and_then(|_| runner.run(cargo(&root, ["run"]).args(target), EXAMPLE));
        if let Err(error) = ran {
            failures.push(error);
        }
    }
    if failures.is_empty() {
        Outcome::Ok
    } else {
        Outcome::Failed(failures.join("\n"))
    }
}

fn one(runner: &Runner, command: &mut Command) -> Outcome {
    match runner.run(command, BUILD) {
        Ok(_) => Outcome::Ok,
        Err(error) => Outcome::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("xtask-{}-ci-{name}", std::process::id()))
    }

    #[test]
    fn a_failing_step_fails_the_run_and_the_later_steps_still_run() {
        let logs = logs("fail");
        let steps = [
            &Step {
                name: "bad",
                about: "",
                run: |_| Outcome::Failed("it is bad".into()),
            },
            &Step {
                name: "after",
                about: "",
                run: |runner| {
                    runner.say("was here");
                    Outcome::Ok
                },
            },
        ];
        assert_eq!(
            format!("{:?}", run(&steps, &logs)),
            format!("{:?}", ExitCode::FAILURE)
        );
        let said = std::fs::read_to_string(logs.join("after.log")).expect("the later step's log");
        assert_eq!(said, "was here\n");
        std::fs::remove_dir_all(logs).expect("the logs go");
    }

    #[test]
    fn a_skipped_step_does_not_fail_the_run() {
        let logs = logs("skip");
        let steps = [&Step {
            name: "none",
            about: "",
            run: |_| Outcome::Skipped("none yet".into()),
        }];
        assert_eq!(
            format!("{:?}", run(&steps, &logs)),
            format!("{:?}", ExitCode::SUCCESS)
        );
        std::fs::remove_dir_all(logs).expect("the logs go");
    }

    #[test]
    fn an_unknown_step_is_an_error() {
        let error = main(vec!["--only".into(), "nonsense".into()]).expect_err("no such step");
        assert!(
            error.contains("nonsense") && error.contains("clippy"),
            "{error}"
        );
    }
}
