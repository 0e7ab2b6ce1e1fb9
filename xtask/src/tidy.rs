//! `cargo xtask tidy`: the house rules that compiler and clippy do not know.
//!
//! Each rule is a module with one function from a [`Tree`] (all files of the repository, as text) to its findings, so
//! each can be shown a small bad tree and be seen to reject it. Each also runs over the repository itself as a test, so
//! `cargo test` says what this command says.
//!
//! Lists that a change may have to extend: the crates and their order in `layers.rs`, the files with `unsafe` in
//! `unsafe_sites.rs`, the files with a lock-free protocol in `ordering.rs`.

mod doc_paths;
mod empty_tests;
mod headers;
mod layers;
mod ordering;
mod size;
mod source;
mod tree;
mod unsafe_sites;
mod wording;

use std::fmt;
use std::process::ExitCode;

use crate::command::{Outcome, Runner};
use tree::Tree;

/// A rule: its name, what it asks in a line, and how it is checked.
struct Check {
    name: &'static str,
    rule: &'static str,
    run: fn(&Tree) -> Vec<Finding>,
}

const CHECKS: &[Check] = &[
    Check {
        name: "layers",
        rule: "a crate imports only crates to its right in examples, tests -> hw-virtio-gpu -> qdev -> memory -> qom",
        run: layers::check,
    },
    Check {
        name: "headers",
        rule: "each .rs file opens with a //! sentence that says what it is for",
        run: headers::check,
    },
    Check {
        name: "size",
        rule: "a source file has at most 500 lines without its tests, a test file 800",
        run: size::check,
    },
    Check {
        name: "unsafe-sites",
        rule: "unsafe stands in the files on a closed list only, each with its argument",
        run: unsafe_sites::check,
    },
    Check {
        name: "ordering",
        rule: "each memory ordering of a lock-free protocol has an ORDERING: comment in its function",
        run: ordering::check,
    },
    Check {
        name: "empty-tests",
        rule: "each test asserts something, and none is ignored without a reason",
        run: empty_tests::check,
    },
    Check {
        name: "doc-paths",
        rule: "each repository path named in a document exists",
        run: doc_paths::check,
    },
    Check {
        name: "wording",
        rule: "the text speaks of the project alone, postpones nothing, and no file is a drawer",
        run: wording::check,
    },
];

/// One place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    /// The file, relative to the workspace's root.
    path: String,
    /// The line, from 1; 0 where the whole file is meant.
    line: usize,
    /// What is wrong there.
    what: String,
    /// How to satisfy the rule.
    remedy: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: ", self.path)?,
            line => write!(f, "{}:{line}: ", self.path)?,
        }
        write!(f, "{}\n    to satisfy it: {}", self.what, self.remedy)
    }
}

/// The command: all rules, or those named.
///
/// # Errors
///
/// A sentence for people if the command line is wrong.
pub(crate) fn main(args: &[String]) -> Result<ExitCode, String> {
    if args.iter().any(|arg| arg == "--list") {
        for check in CHECKS {
            println!("{:13} {}", check.name, check.rule);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let checks = crate::select(CHECKS.iter().collect(), args, |check| check.name)?;
    let (tree, mut total) = (Tree::of_workspace(), 0);
    for check in checks {
        let findings = (check.run)(&tree);
        for finding in &findings {
            println!("{}", report(check, finding));
        }
        total += findings.len();
    }
    println!("tidy: {} files, {total} findings", tree.files().len());
    Ok(if total == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The step of CI: all rules.
pub(crate) fn step(runner: &Runner) -> Outcome {
    let (tree, mut total) = (Tree::of_workspace(), 0);
    for check in CHECKS {
        for finding in (check.run)(&tree) {
            runner.say(&report(check, &finding));
            total += 1;
        }
    }
    match total {
        0 => Outcome::Ok,
        n => Outcome::Failed(format!("{n} findings")),
    }
}

fn report(check: &Check, finding: &Finding) -> String {
    let text = finding.to_string();
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    format!("{first}\n    rule {}: {}\n{rest}", check.name, check.rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a rule over the repository.
    fn holds(name: &str) {
        let check = CHECKS
            .iter()
            .find(|c| c.name == name)
            .expect("a rule of that name");
        let reports: Vec<String> = (check.run)(&Tree::of_workspace())
            .iter()
            .map(|finding| report(check, finding))
            .collect();
        assert!(reports.is_empty(), "\n{}", reports.join("\n"));
    }

    macro_rules! the_repository_keeps {
        ($($test:ident: $name:literal),* $(,)?) => {
            $(#[test] fn $test() { holds($name) })*

            #[test]
            fn every_rule_is_tested_on_the_repository() {
                let rules: Vec<&str> = CHECKS.iter().map(|c| c.name).collect();
                assert_eq!(rules, [$($name),*]);
            }
        };
    }

    the_repository_keeps! {
        layers: "layers",
        headers: "headers",
        size: "size",
        unsafe_sites: "unsafe-sites",
        ordering: "ordering",
        empty_tests: "empty-tests",
        doc_paths: "doc-paths",
        wording: "wording",
    }

    #[test]
    fn a_report_names_place_rule_and_remedy() {
        let finding = Finding {
            path: "a.rs".into(),
            line: 7,
            what: "is bad".into(),
            remedy: "be good",
        };
        let check = Check {
            name: "n",
            rule: "all is good",
            run: |_| vec![],
        };
        let text = "a.rs:7: is bad\n    rule n: all is good\n    to satisfy it: be good";
        assert_eq!(report(&check, &finding), text);
    }
}
