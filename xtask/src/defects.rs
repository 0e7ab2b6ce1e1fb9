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

/// A rule, or several, that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Defect {
    /// Its name in the crates.
    name: &'static str,
    /// The same in the model: for each rule of it, how its search is asked for.
    rules: &'static [Asked],
    /// The tests that must fail without it.
    finders: &'static [Finder],
}

/// A rule's name in the model, and what else its search needs, if anything.
type Asked = &'static [&'static str];

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
        rules: &[&["CloseOpened"]],
        finders: &[LIVES, SEQUENCES, ROWS],
    },
    Defect {
        name: "cut_links",
        rules: &[&["CutLinks"]],
        finders: &[SEQUENCES, ROWS],
    },
    Defect {
        name: "owner_becomes_strong",
        rules: &[&["OwnerBecomesStrong"]],
        finders: &[LIVES, SEQUENCES, ROWS],
    },
    Defect {
        name: "retract_edges",
        rules: &[
            &["RetractContainers"],
            &["RetractAliases"],
            &["RetractSpaces"],
        ],
        finders: &[SEQUENCES, ROWS],
    },
    // Whom a mapping keeps too long goes with its holder: no row ends otherwise.
    Defect {
        name: "retract_mappings",
        rules: &[&["RetractMappings"]],
        finders: &[SEQUENCES],
    },
    Defect {
        name: "withdraw_unparented",
        rules: &[&["WithdrawUnparented"]],
        finders: &[SEQUENCES, ROWS],
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
        for rule in defect.rules {
            let built = runner.run(&mut searching(&root, "build"), BUILD);
            let searched =
                built.and_then(|_| must_fail(runner.run(&mut search(&root, rule), TEST)));
            if let Err(what) = searched {
                failures.push(format!("without {}: the search: {what}", rule.join(" ")));
            }
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
}

/// The model's search without a rule: its exit status is 1 where it finds something.
fn search(root: &Path, rule: Asked) -> Command {
    let mut command = searching(root, "run");
    command.args(["--", "--without"]).args(rule);
    command.args(["--steps", STEPS]);
    command
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
        let close = DEFECTS.iter().find(|known| known.name == "close_in_name");
        let close = close.unwrap();
        let root = workspace::root();
        let test = format!("{:?}", close.test(&root, "p", "f", &["--no-run"]));
        assert!(
            test.contains("close_in_name") && test.contains("--no-run"),
            "{test}"
        );
        let asked = format!("{:?}", search(&root, close.rules[0]));
        assert!(
            asked.contains("\"--without\" \"CloseOpened\" \"--steps\""),
            "{asked}"
        );
    }

    /// The flag is known to the compiler, and to the crates in one place each.
    #[test]
    fn each_defect_is_a_flag_that_the_crates_ask_for() {
        let root = workspace::root();
        let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
        let all: String = [
            "qom/src/withdraw.rs",
            "memory/src/region.rs",
            "memory/src/transaction/withdrawal.rs",
        ]
        .iter()
        .map(|file| std::fs::read_to_string(root.join(file)).unwrap())
        .collect();
        for defect in DEFECTS {
            let known = format!("\\\"{}\\\"", defect.name);
            assert!(manifest.contains(&known), "{known}");
            let asked = format!("holdfast_without = \"{}\"", defect.name);
            assert_eq!(all.matches(&asked).count(), 1, "{asked}");
        }
    }
}
