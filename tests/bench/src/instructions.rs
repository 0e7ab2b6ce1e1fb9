//! Counts of instructions: taken under valgrind's callgrind, kept in a file, compared with it.
//!
//! A machine that others use too shows in every time, but not in the number of instructions that a thread executes. Each operation is run
//! twice in a process of its own, once three times as often: the difference is what it takes, without anything that is done once.

mod profile;
mod tolerance;

pub use profile::profile;
pub use tolerance::{Counts, Verdict};

use crate::operations::{OPERATIONS, Operation};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the counts are kept.
pub fn kept_in() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json")
}

/// Whether there is a valgrind, and if not, what the system says.
///
/// # Errors
/// A sentence for people.
pub fn available() -> Result<(), String> {
    match Command::new("valgrind").arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("valgrind --version: {}", output.status)),
        Err(error) => Err(format!("no valgrind: {error}")),
    }
}

/// Compares counts with those that are kept, each operation with its own tolerance.
pub fn compare(kept: &Counts, now: &Counts) -> Verdict {
    tolerance::compare(kept, now, |name| {
        let operation = OPERATIONS.iter().find(|operation| operation.name == name);
        operation.map_or(0.0, |operation| operation.tolerance)
    })
}

/// Counts all operations with this very program.
///
/// # Errors
/// A sentence for people: valgrind did not do what it was asked.
pub fn count_all() -> Result<Counts, String> {
    let mut operations = BTreeMap::new();
    for operation in OPERATIONS {
        let count = count(operation)?;
        println!("  {count:>10.1}  {}", operation.name);
        operations.insert(operation.name.to_owned(), count);
    }
    Ok(Counts {
        rustc: rustc()?,
        operations,
    })
}

/// The compiler that is there; this program was built with it a moment ago.
fn rustc() -> Result<String, String> {
    let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(program).arg("--version").output();
    let output = output.map_err(|error| format!("rustc --version: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Instructions of one round.
fn count(operation: &Operation) -> Result<f64, String> {
    let (few, many) = (operation.rounds, operation.rounds * 3);
    let (less, more) = (run(operation, few)?, run(operation, many)?);
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^52")]
    let each = more.saturating_sub(less) as f64 / (many - few) as f64;
    Ok(each)
}

/// Instructions of the main thread of a whole process.
fn run(operation: &Operation, rounds: u64) -> Result<u64, String> {
    let text = file_of_run(operation, rounds)?;
    total(&text).ok_or_else(|| format!("`{}`: callgrind wrote no total", operation.name))
}

/// What callgrind writes of the main thread of a whole process.
fn file_of_run(operation: &Operation, rounds: u64) -> Result<String, String> {
    let name = format!("holdfast-count-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    let told = |error: std::io::Error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(&folder).map_err(told)?;
    let counted = run_in(&folder, operation, rounds);
    std::fs::remove_dir_all(&folder).map_err(told)?;
    counted
}

/// Callgrind writes a file for each thread; that of the main thread is the first.
fn run_in(folder: &Path, operation: &Operation, rounds: u64) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let out = folder.join("out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--separate-threads=yes"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(["count", operation.name, &rounds.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "`{}` under valgrind: {}\n{text}",
            operation.name, output.status
        ));
    }
    let text = std::fs::read_to_string(folder.join("out-01"));
    text.map_err(|error| format!("{}: {error}", folder.display()))
}

/// The total of a file of callgrind's.
fn total(text: &str) -> Option<u64> {
    let line = |key| text.lines().find_map(|line| line.strip_prefix(key));
    line("totals:")
        .or_else(|| line("summary:"))?
        .trim()
        .parse()
        .ok()
}

/// The counts that are kept.
///
/// # Errors
/// A sentence for people: the file is not there, or not one of counts.
pub fn kept() -> Result<Counts, String> {
    let path = kept_in();
    let told = |what: String| format!("{}: {what}", path.display());
    let text = std::fs::read_to_string(&path).map_err(|error| told(error.to_string()))?;
    let value = serde_json::from_str(&text).map_err(|error| told(error.to_string()))?;
    from_json(&value).ok_or_else(|| told("not a file of counts".to_owned()))
}

/// Keeps counts.
///
/// # Errors
/// A sentence for people: the file cannot be written.
pub fn keep(counts: &Counts) -> Result<(), String> {
    let path = kept_in();
    let text = serde_json::to_string_pretty(&to_json(counts)).map_err(|e| e.to_string())?;
    std::fs::write(&path, text + "\n").map_err(|e| format!("{}: {e}", path.display()))
}

fn to_json(counts: &Counts) -> Value {
    let rounded = counts.operations.iter();
    let rounded: BTreeMap<_, _> = rounded
        .map(|(n, c)| (n, (c * 10.0).round() / 10.0))
        .collect();
    json!({ "rustc": counts.rustc, "instructions": rounded })
}

fn from_json(value: &Value) -> Option<Counts> {
    let operations = value["instructions"].as_object()?.iter();
    Some(Counts {
        rustc: value["rustc"].as_str()?.to_owned(),
        operations: operations
            .map(|(name, count)| Some((name.clone(), count.as_f64()?)))
            .collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again() {
        let counts = Counts {
            rustc: "rustc 1".to_owned(),
            operations: BTreeMap::from([("a".to_owned(), 12.3), ("b".to_owned(), 4000.0)]),
        };
        assert_eq!(from_json(&to_json(&counts)), Some(counts));
        assert_eq!(
            from_json(&json!({ "rustc": "x", "instructions": { "a": "b" } })),
            None
        );
    }

    #[test]
    fn the_file_that_is_kept_has_every_operation() {
        let kept = kept().expect("a file of counts");
        for operation in OPERATIONS {
            let count = kept.operations.get(operation.name);
            assert!(count.is_some_and(|c| *c > 0.0), "{}", operation.name);
        }
        assert_eq!(kept.operations.len(), OPERATIONS.len());
    }

    #[test]
    fn totals_are_found_in_what_callgrind_writes() {
        assert_eq!(
            total("events: Ir\nsummary: 5\n\ntotals: 1234\n"),
            Some(1234)
        );
        assert_eq!(total("events: Ir\nsummary: 5\n"), Some(5));
        assert_eq!(total("events: Ir\n"), None);
    }
}
