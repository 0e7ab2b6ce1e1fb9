//! Everything on one page: verdict, table, graphs, traces, charts, explanations, commands, as HTML that needs no server, no script and no other file.
//!
//! The page is well-formed XML as well, so that a test can read it. What a colour says is said by a word or a shape too; folded parts are unfolded where the
//! page is printed, and where a link leads into them.
//!
//! [`Contents`] is plain data, and the page computes nothing but counts: whoever makes the contents answers for them.

mod commands;
mod gather;
mod grid;
mod loops;
mod measured;
mod real;
mod scenarios;
mod searches;
mod summary;

use crate::checker::Checked;
use crate::exhibit::Shown;
use crate::picture::svg::escape;
use crate::policy::Policy;
use crate::product::album::Snapshot;
use crate::product::devices::Bundled;
use crate::product::latency::Measured;
use crate::product::misbehaviour::Explained;
use crate::scenario::Verdict;
use crate::search::campaign::Searched;
use crate::severity::{Course, Loop, Sizes, grouped};
use crate::table::Table;
use crate::timeline::Moment;
use std::fmt::Write as _;

/// What is on the page.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// Scenarios and policies.
    pub table: &'a Table,
    /// What the searches found.
    pub searches: &'a [Searched],
    /// Scenarios in a loop.
    pub loops: &'a [Loop],
    /// What things weigh in the loops.
    pub sizes: Sizes,
    /// What the real crates did, where they were asked.
    pub real: Option<&'a Real>,
}

impl Contents<'_> {
    /// All that is not as it should be, in Holdfast's column, under its rules in the searches, and on the crates.
    pub fn failures(&self) -> Vec<String> {
        let rows = self.table.failures().into_iter().map(String::from);
        let ours = self.searches.iter().filter(|it| {
            let bad = it.found.count(|_| true);
            it.policy == Policy::Withdrawal && bad > 0
        });
        let found = ours.map(|it| {
            let bad = grouped(it.found.count(|_| true));
            format!(
                "a search finds {bad} states that end badly, with devices that close {}",
                it.size.habit.when()
            )
        });
        let real = self.real.map(Real::failures).unwrap_or_default();
        rows.chain(found).chain(real).collect()
    }
}

/// What the real crates did.
#[derive(Clone, Debug, Default)]
pub struct Real {
    /// For each scenario what became of it.
    pub cells: Vec<Cell>,
    /// Generated sequences that were played beside the model.
    pub agreement: Option<Agreement>,
    /// Scenarios in a loop, by row.
    pub courses: Vec<(&'static str, Course)>,
    /// Devices that misbehave on purpose, and what the ledger says.
    pub explained: Vec<Explained>,
    /// The bundled devices, and what became of their regions.
    pub devices: Vec<Bundled>,
    /// Why they could not be looked at, where they could not.
    pub unseen: Option<String>,
    /// How long the answer to an unmap takes.
    pub unmaps: Option<Measured>,
}

/// What became of a scenario on the real crates.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Its number.
    pub row: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// The same in a word.
    pub word: String,
    /// Clean, or refused with nothing left, and as in the model.
    pub is_good: bool,
    /// Why it is not, where the word does not say it.
    pub wrong: Option<String>,
    /// The error by which a step was refused.
    pub refused: Option<String>,
    /// The finalizers in order.
    pub order: Vec<String>,
    /// The ledger's answer to what held those that were withdrawn and not gone yet.
    pub held: Vec<String>,
    /// Who should be gone at the end and is not.
    pub left: Vec<String>,
    /// The ledger's answer to what keeps those that should be gone at the end.
    pub why: Vec<String>,
    /// The orders of ends that were looked at and found right.
    pub checked: Checked,
    /// What happened, in order: after each step that set anything off.
    pub moments: Vec<Moment>,
    /// Its reference graph before anything is taken away and at the end, where it was drawn.
    pub pictures: Option<[String; 2]>,
    /// The same after each step, where that is asked for.
    pub stages: Vec<Snapshot>,
    /// What else it shows, in lines; a heading is the first.
    pub shown: Shown,
}

/// What playing generated sequences on the model and on the crates came to.
#[derive(Clone, Debug)]
pub struct Agreement {
    /// How many sequences.
    pub sequences: u64,
    /// How many steps in all.
    pub steps: u64,
    /// How many of these both refused.
    pub refused: u64,
    /// The orders of ends on the crates that were looked at and found right.
    pub checked: Checked,
    /// Where the sequences come from.
    pub source: String,
    /// Where the two differ: after which steps, and how.
    pub differences: Vec<String>,
}

impl Real {
    /// The cell of a scenario.
    pub fn cell(&self, row: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.row == row)
    }

    /// The misbehaviours that are like a scenario, with their numbers.
    pub fn explained_as(&self, row: &str) -> impl Iterator<Item = (usize, &Explained)> {
        let all = self.explained.iter().enumerate();
        all.filter(move |(_, one)| one.rows.contains(&row))
    }
}

/// The heads of the parts, and the names by which links reach them.
const PARTS: [(&str, &str); 7] = [
    ("verdict", "Verdict"),
    ("table", "Every scenario under every policy"),
    ("search", "Every sequence of steps up to a size"),
    ("severity", "How bad a leak is"),
    (
        "why",
        "Why it is alive: the ledger on devices that misbehave",
    ),
    ("scenarios", "The scenarios, one by one"),
    ("commands", "How to see it yourself"),
];

/// Writes the page.
pub fn write(contents: &Contents<'_>) -> String {
    let mut text =
        String::from("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>");
    text += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>";
    text += "<meta name=\"color-scheme\" content=\"light dark\"/>";
    text += "<title>Who keeps a memory region alive: every proposal, run</title><style>";
    text += include_str!("page/style.css");
    text += "</style></head>\n<body><header><h1>Who keeps a memory region alive</h1>";
    text += "<p class=\"lead\">Every proposal of the discussion of September 2025 on qemu-devel (“memory: Stop piggybacking on memory region owners”), run through the \
             same scenarios and through every sequence of steps up to a size.</p></header>\n<main>\n";
    let ways = scenarios::ways(contents.table);
    let bodies: [String; 7] = [
        summary::write(contents),
        grid::write(contents, &ways),
        searches::write(contents.searches),
        loops::write(contents),
        real::write(contents.real),
        scenarios::write(contents, &ways),
        commands::write(),
    ];
    for ((id, head), body) in PARTS.into_iter().zip(bodies) {
        if body.is_empty() {
            continue;
        }
        let _ = writeln!(
            text,
            "<section id=\"{id}\"><h2>{head}</h2>\n{body}</section>"
        );
    }
    text + "</main></body></html>\n"
}

/// The name by which a link reaches a scenario.
fn anchor(row: &str) -> String {
    format!("r{}", row.replace('\'', "p"))
}

/// The class of a row or a cell of Holdfast's, as an attribute; nothing for the other policies.
fn ours(policy: Policy) -> &'static str {
    match policy {
        Policy::Withdrawal => " class=\"ours\"",
        _ => "",
    }
}

/// The class of a table's word: what colour it has.
fn class(word: &str) -> &'static str {
    match word {
        "ok" => "ok",
        "refused" => "refused",
        "LEAK" | "late" => "leak",
        "order" => "order",
        _ => "fault",
    }
}

/// The words of a cell in their colours.
fn badge(words: &str) -> String {
    let words = words.split('+');
    let badges: Vec<_> = words
        .map(|word| format!("<b class=\"word {}\">{}</b>", class(word), escape(word)))
        .collect();
    badges.join(" ")
}

#[cfg(test)]
mod tests;
