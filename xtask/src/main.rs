//! The project's own commands: demonstrations, oracles, checks, and all of CI besides the tests.
//!
//! `cargo xtask` with no argument lists them. This program depends on nothing, neither on the crates it checks nor on
//! any other, so that it builds in a second from a clean clone and still runs while the crates do not compile.
//!
//! Read `tidy.rs` for the house rules, `ci.rs` for what a change must pass besides the tests.

mod bench;
mod bench_smoke;
mod ci;
mod command;
mod defects;
mod demo;
mod fuzz;
mod loom;
mod manifest;
mod oracle;
mod sanitize;
mod tidy;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use command::{Outcome, Runner};

const HELP: &str = "\
The project's own commands.

usage: cargo xtask COMMAND [ARGS]

  demo [ARGS]                         run the demonstrations (release build); --help is theirs
  demo lifetimes [ARGS]               every proposal for who keeps a region's owner alive: scenarios, searches, severity, and a
                                      page of graphs under target/lifetimes (two minutes; --help)
  oracle FILE...                      replay recorded results against the crates (release build)
  ci [--only NAME]... [--list]        all that a change must pass besides the tests (cargo test --workspace);
                                      reports every failure, not the first
  tidy [--list] [NAME]...             the house rules: layers, headers, size, unsafe sites, ...
  sanitize [thread|address] [--seconds N]
                                      the stress program under ThreadSanitizer, AddressSanitizer or both (nightly)
  loom [--preemptions N] [NAME]...    the model checks */tests/loom_*.rs
  defects [NAME]...                   builds that lack a rule each, which the tests must notice
  fuzz [--seconds N] [NAME]...        the fuzz programs tests/src/bin/fuzz_*.rs, N seconds each
  bench [GROUP]... [--quick] [--json FILE] [--svg DIR]
                                      how fast the crates are beside their peers (release build); --help lists the groups
  bench instructions [--update]       what hot operations execute, against the counts that are kept
  bench profile [OPERATION]...        where the instructions of these operations go, by function
  bench machine-code                  whether readers execute read-modify-writes
  bench-smoke                         every benchmark once, for its errors and not for its figures
  help                                this text

exit status: 0 all is well, 1 something failed, 2 the command line is wrong;
demo, oracle and bench pass on the status of what they run.
";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let command = args.next().unwrap_or_else(|| OsString::from("help"));
    let rest: Vec<OsString> = args.collect();
    let result = match command.to_str() {
        Some("demo") => return demo::pass_through(rest),
        Some("bench") => bench::pass_through(rest),
        Some("oracle") => oracle::pass_through(rest),
        Some("ci") => texts(rest).and_then(ci::main),
        Some("tidy") => texts(rest).and_then(|args| tidy::main(&args)),
        Some("sanitize") => texts(rest).and_then(sanitize::main),
        Some("loom") => texts(rest).and_then(loom::main),
        Some("defects") => texts(rest).and_then(|args| defects::main(&args)),
        Some("fuzz") => texts(rest).and_then(fuzz::main),
        Some("bench-smoke") => no_more(rest).map(|()| finish(bench_smoke::run(&Runner::live()))),
        Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(format!(
            "no command {}; `cargo xtask help` lists them",
            command.display()
        )),
    };
    result.unwrap_or_else(|message| {
        eprintln!("xtask: {message}");
        ExitCode::from(2)
    })
}

/// Says how a command that is a single step of CI went, and turns that into an exit status.
fn finish(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::Ok => ExitCode::SUCCESS,
        Outcome::Skipped(reason) => {
            eprintln!("xtask: SKIPPED ({reason})");
            ExitCode::SUCCESS
        }
        Outcome::Failed(reason) => {
            eprintln!("xtask: failed: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn no_more(rest: Vec<OsString>) -> Result<(), String> {
    match rest.into_iter().next() {
        None => Ok(()),
        Some(extra) => Err(format!("unexpected argument {}", extra.display())),
    }
}

/// The arguments as text: only `demo` and `oracle` take file names of any encoding.
fn texts(rest: Vec<OsString>) -> Result<Vec<String>, String> {
    rest.into_iter()
        .map(|arg| {
            arg.into_string()
                .map_err(|arg| format!("argument {} is not UTF-8", arg.display()))
        })
        .collect()
}

/// A command line of one optional `FLAG N` and any number of words, which is all that `loom`, `fuzz` and `sanitize` need.
fn number_and_words(args: Vec<String>, flag: &str) -> Result<(Option<u32>, Vec<String>), String> {
    let (mut number, mut words) = (None, Vec::new());
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let value = if arg == flag {
            Some(
                args.next()
                    .ok_or_else(|| format!("{flag} needs a number"))?,
            )
        } else {
            arg.strip_prefix(flag)
                .and_then(|rest| rest.strip_prefix('='))
                .map(str::to_owned)
        };
        match value {
            Some(value) => {
                number = Some(
                    value
                        .parse()
                        .map_err(|_| format!("{flag} needs a number, not `{value}`"))?,
                );
            }
            None if arg.starts_with('-') => return Err(format!("unknown option {arg}")),
            None => words.push(arg),
        }
    }
    Ok((number, words))
}

/// Keeps the targets whose name is among the words asked for, or all of them if none was; a word that names none is an error.
fn select<T>(all: Vec<T>, words: &[String], name: impl Fn(&T) -> &str) -> Result<Vec<T>, String> {
    if let Some(word) = words.iter().find(|w| !all.iter().any(|t| name(t) == **w)) {
        let names: Vec<&str> = all.iter().map(&name).collect();
        return Err(format!("no `{word}` here; there is: {}", names.join(", ")));
    }
    Ok(all
        .into_iter()
        .filter(|t| words.is_empty() || words.iter().any(|w| w == name(t)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_number_is_taken_in_both_spellings() {
        let parse = |list| number_and_words(words(list), "--seconds");
        assert_eq!(
            parse(&["a", "--seconds", "7"]),
            Ok((Some(7), words(&["a"])))
        );
        assert_eq!(parse(&["--seconds=7"]), Ok((Some(7), vec![])));
        assert!(parse(&["--seconds"]).is_err());
        assert!(parse(&["--seconds", "soon"]).is_err());
        assert!(parse(&["--minutes", "1"]).is_err());
    }

    #[test]
    fn a_word_that_names_nothing_is_an_error() {
        let all = || vec!["a", "b"];
        assert_eq!(select(all(), &[], |t| t), Ok(vec!["a", "b"]));
        assert_eq!(select(all(), &words(&["b"]), |t| t), Ok(vec!["b"]));
        assert!(select(all(), &words(&["c"]), |t| t).is_err());
    }
}
