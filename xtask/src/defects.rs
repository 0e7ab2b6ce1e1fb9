//! `cargo xtask defects`: builds of the crates that lack one rule of the withdrawal each, which the tests must notice.
//!
//! `--cfg holdfast_without="RULE"` leaves a rule out; it is in no other build. What passes here says that "clean" means something: the property test of
//! random lives and the comparison with the model fail on such a build, and the model's search finds where the same rule leads. It is no step of CI: each
//! defect builds everything once more.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::command::{Outcome, Runner, cargo};
use crate::loom::with_flags;
use crate::workspace;

/// A rule that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Defect {
    /// Its name in the crates.
    name: &'static str,
    /// Its name in the model.
    rule: &'static str,
    /// The tests that must fail without it.
    finders: &'static [Finder],
}

/// A test that must fail: package, file, and what there.
type Finder = [&'static str; 3];

const LIVES: Finder = [
    "holdfast-tests",
    "lifetime_property",
    "everything_ends_once_and_in_order",
];
const SEQUENCES: Finder = [
    "holdfast-lifetimes",
    "product",
    "generated_sequences_end_on_the_product_as_in_the_model",
];
/// The rows of the table, on the crates.
const ROWS: Finder = [
    "holdfast-lifetimes",
    "product",
    "every_scenario_ends_on_the_product_as_in_the_model",
];

const DEFECTS: &[Defect] = &[
    Defect {
        name: "close_in_name",
        rule: "CloseOpened",
        finders: &[LIVES, SEQUENCES, ROWS],
    },
    Defect {
        name: "owner_becomes_strong",
        rule: "OwnerBecomesStrong",
        finders: &[LIVES, SEQUENCES, ROWS],
    },
];

/// Steps of the model's searches: each rule is missed within fewer.
const STEPS: &str = "6";
/// Building takes the most of it.
const BUILD: Duration = Duration::from_mins(15);
/// A leak may be waited for, twice.
const TEST: Duration = Duration::from_mins(3);

/// The command: the defects named, or all.
///
/// # Errors
///
/// A sentence for people if the command line is wrong.
pub(crate) fn main(args: &[String]) -> Result<ExitCode, String> {
    let chosen = crate::select(DEFECTS.to_vec(), args, |defect| defect.name)?;
    Ok(crate::finish(run(&Runner::live(), &chosen)))
}

fn run(runner: &Runner, defects: &[Defect]) -> Outcome {
    let root = workspace::root();
    let mut failures = Vec::new();
    for defect in defects {
        for [package, file, test] in defect.finders {
            let built = runner.run(&mut defect.test(&root, package, file, &["--no-run"]), BUILD);
            let missed = built.and_then(|_| {
                let command = &mut defect.test(&root, package, file, &["--", test]);
                must_fail(runner.run(command, TEST))
            });
            if let Err(what) = missed {
                failures.push(format!("without {}: {file}: {test}: {what}", defect.name));
            }
        }
        let built = runner.run(&mut searching(&root, "build"), BUILD);
        let searched = built.and_then(|_| must_fail(runner.run(&mut defect.search(&root), TEST)));
        if let Err(what) = searched {
            failures.push(format!("without {}: the search: {what}", defect.rule));
        }
    }
    if failures.is_empty() {
        Outcome::Ok
    } else {
        Outcome::Failed(failures.join("\n"))
    }
}

impl Defect {
    /// Cargo, for a test of a package that is built without the rule. In a target folder of its own, as the flag changes every crate.
    fn test(self, root: &Path, package: &str, file: &str, more: &[&str]) -> Command {
        let args = ["test", "--quiet", "-p", package, "--test", file];
        let without = format!("--cfg holdfast_without=\"{}\"", self.name);
        let mut command = cargo(root, args);
        command
            .args(more)
            .env("RUSTFLAGS", with_flags(&without))
            .env("CARGO_TARGET_DIR", workspace::target_dir().join("defects"))
            // Only that it fails is asked, not by which simplest life.
            .env("HOLDFAST_SHRINKS", "0");
        command
    }

    /// The model's search without the same rule: its exit status is 1 where it finds something.
    fn search(self, root: &Path) -> Command {
        let mut command = searching(root, "run");
        command.arg("--");
        command.args(["--without", self.rule, "--steps", STEPS]);
        command
    }
}

/// Cargo, to build the model or to run it.
fn searching(root: &Path, what: &str) -> Command {
    let args = [what, "--release", "--quiet", "-p", "holdfast-lifetimes"];
    cargo(root, args)
}

/// What has been run was to end by itself and to fail.
fn must_fail<T>(ended: Result<T, String>) -> Result<(), String> {
    match ended {
        Ok(_) => Err("it notices nothing".into()),
        Err(error) if error.contains("exit status: 1") => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_notices_nothing_or_does_not_end_has_failed() {
        assert!(must_fail(Ok(())).is_err());
        assert!(
            must_fail::<()>(Err("`x` had not ended after 9 s and was stopped".into())).is_err()
        );
        assert_eq!(must_fail::<()>(Err("`x`: exit status: 101".into())), Ok(()));
    }

    #[test]
    fn the_flag_and_the_search_name_the_same_rule() {
        let [close, _] = DEFECTS else {
            panic!("two defects")
        };
        let root = workspace::root();
        let test = format!("{:?}", close.test(&root, "p", "f", &["--no-run"]));
        assert!(
            test.contains("close_in_name") && test.contains("--no-run"),
            "{test}"
        );
        assert!(format!("{:?}", close.search(&root)).contains("CloseOpened"));
    }
}
