//! Plays recordings to an engine and compares everything it does with them.

use std::fmt;
use std::path::{Path, PathBuf};

use super::engine::{Commit, Engine};
use super::file;
use super::line::{Event, EventKind, Line, Range, ReadError, Transaction};
use super::plain::Plain;

/// What checking found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many recordings were played.
    pub checked: usize,
    /// Those that came out differently, and the first difference of each.
    pub differing: Vec<Difference>,
    /// Files and recordings that could not be read, and so were not played.
    pub unreadable: Vec<ReadError>,
}

/// The first difference of one recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// In which file.
    pub file: PathBuf,
    /// Of which recording.
    pub line: String,
    /// What it is.
    pub what: String,
}

impl Report {
    /// Adds what another report has.
    pub fn extend(&mut self, other: Self) {
        self.checked += other.checked;
        self.differing.extend(other.differing);
        self.unreadable.extend(other.unreadable);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lines checked, {} lines differ",
            self.checked,
            self.differing.len()
        )?;
        if let Some(first) = self.differing.first() {
            let Difference { file, line, what } = first;
            write!(
                f,
                "\nfirst difference, {}, line {line}: {what}",
                file.display()
            )?;
        }
        for error in &self.unreadable {
            write!(f, "\nnot read: {error}")?;
        }
        Ok(())
    }
}

/// Checks every recording of every file. What cannot be read is in the report, and the rest is checked all the same.
pub fn check_files<E: Engine>(paths: &[PathBuf]) -> Report {
    let mut report = Report::default();
    for path in paths {
        match check_file::<E>(path) {
            Ok(one) => report.extend(one),
            Err(error) => report.unreadable.push(error),
        }
    }
    report
}

/// Checks every recording of a file that can be read; the others are in the report.
///
/// # Errors
///
/// Where the file cannot be read.
pub fn check_file<E: Engine>(path: &Path) -> Result<Report, ReadError> {
    let mut report = Report::default();
    for line in file::read_each(path)? {
        let line = match line {
            Ok(line) => line,
            Err(error) => {
                report.unreadable.push(error);
                continue;
            }
        };
        report.checked += 1;
        if let Err(what) = check_line::<E>(&line) {
            report.differing.push(Difference {
                file: path.to_owned(),
                line: line.name,
                what,
            });
        }
    }
    Ok(report)
}

/// Checks one recording: the view and the calls at registration, then each transaction's calls and
/// the view after it from both renderers, and the last view.
///
/// # Errors
///
/// The first difference.
pub fn check_line<E: Engine>(line: &Line) -> Result<(), String> {
    let mut plain = Plain::new(&line.regions);
    for op in &line.setup {
        plain.apply(op);
    }
    let mut engine = E::new(&line.regions, &line.setup)?;
    let told = engine.open(line.root)?;
    let mut view = plain.view(line.root);
    if !line.view_deviates {
        same(
            "the plain rules' first view, against the recording",
            &view,
            &line.view,
        )?;
    }
    check_views(&engine, "the first view", &view)?;
    same("the calls at registration", &told, &calls(&[], &view))?;

    // Whether the recorded view before the next transaction is one that the plain rules do not give.
    let mut deviated = line.view_deviates;
    for (number, transaction) in line.transactions.iter().enumerate() {
        let counts = transaction.ops.iter().filter(|op| plain.apply(op)).count();
        if (counts > 0) != transaction.notified {
            return Err(format!(
                "transaction {number}: {counts} operations count, against the recording"
            ));
        }
        let new = plain.view(line.root);
        let commit = engine
            .transaction(&transaction.ops)
            .map_err(|error| format!("transaction {number}: {error}"))?;
        check_transaction(transaction, &commit, deviated, &view, &new)
            .and_then(|()| check_views(&engine, "the view", &new))
            .map_err(|what| format!("transaction {number}: {what}"))?;
        deviated = transaction.deviates || deviated && !transaction.notified;
        view = new;
    }
    if !line.last_deviates {
        same(
            "the plain rules' last view, against the recording",
            &view,
            &line.last,
        )?;
    }
    check_views(&engine, "the last view", &view)
}

fn check_transaction(
    recorded: &Transaction,
    commit: &Commit,
    deviated: bool,
    old: &[Range],
    new: &[Range],
) -> Result<(), String> {
    if commit.notified != recorded.notified {
        return Err(format!(
            "notified is {}, recorded is {}",
            commit.notified, recorded.notified
        ));
    }
    // A deviating view says nothing of what should be, neither here nor where the calls of the
    // next transaction speak of it as the old one.
    if !recorded.deviates {
        if deviated {
            same(
                "the new ranges",
                &new_ranges(&commit.events),
                &new_ranges(&recorded.events),
            )?;
        } else {
            same("the calls", &commit.events, &recorded.events)?;
        }
    }
    // By the plain rules, in every case.
    if recorded.notified {
        same(
            "the calls by the plain rules",
            &commit.events,
            &calls(old, new),
        )
    } else {
        same(
            "the calls of a transaction that nobody is told of",
            &commit.events,
            &Vec::new(),
        )?;
        same("the plain rules' view after it", new, old)
    }
}

fn new_ranges(events: &[Event]) -> Vec<Range> {
    events
        .iter()
        .filter(|event| event.kind != EventKind::Del)
        .map(|event| event.range)
        .collect()
}

/// The calls that make the old view the new one.
fn calls(old: &[Range], new: &[Range]) -> Vec<Event> {
    let event = |kind, range: &Range| Event {
        kind,
        range: range.told(),
    };
    let gone = old
        .iter()
        .filter(|range| !new.contains(range))
        .map(|range| event(EventKind::Del, range));
    let came = new.iter().map(|range| {
        let kind = if old.contains(range) {
            EventKind::Nop
        } else {
            EventKind::Add
        };
        event(kind, range)
    });
    gone.chain(came).collect()
}

fn check_views<E: Engine>(engine: &E, which: &str, expected: &[Range]) -> Result<(), String> {
    same(
        &format!("{which}, rendered where it was damaged"),
        &engine.view(),
        expected,
    )?;
    same(
        &format!("{which}, rendered anew"),
        &engine.rendered_anew(),
        expected,
    )
}

/// That two lists are one; else where they first differ.
fn same<T: PartialEq + fmt::Display>(
    what: &str,
    found: &[T],
    expected: &[T],
) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let place = found
        .iter()
        .zip(expected)
        .take_while(|(found, expected)| found == expected)
        .count();
    let show = |list: &[T]| {
        list.get(place)
            .map_or_else(|| "nothing".to_owned(), ToString::to_string)
    };
    Err(format!(
        "{what}: at {place} there is {}, and should be {}",
        show(found),
        show(expected)
    ))
}

#[cfg(test)]
mod tests;
