//! Prints the table of scenarios and policies, searches every sequence up to a size under every policy, and writes the page that shows all of it.
//!
//! `holdfast-lifetimes --help` says how. `arguments` has the command line, `demonstration` the whole of it; here are one scenario, and one search with a rule
//! switched off.

#[macro_use]
mod told;

mod arguments;
mod demonstration;

use arguments::Arguments;
use demonstration::UNMAPS;
use holdfast_lifetimes::Policy;
use holdfast_lifetimes::exhibit::{self, Times};
use holdfast_lifetimes::page::Cell;
use holdfast_lifetimes::policy::Rule;
use holdfast_lifetimes::scenario::{Script, or_nobody};
use holdfast_lifetimes::search::campaign::search_one;
use holdfast_lifetimes::search::{Search, Size};
use holdfast_lifetimes::state::Release;
use holdfast_lifetimes::table::{Table, findings};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match arguments::parse() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            told::write(format_args!("{}", arguments::HELP));
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("holdfast-lifetimes: {message}; see --help");
            return ExitCode::from(2);
        }
    };
    if let Some(rule) = arguments.without {
        return search_without(rule, &arguments);
    }
    let table = Table::of_everything();
    if let Some(row) = &arguments.row {
        return about(&table, row, &arguments);
    }
    let failures = demonstration::run(&table, &arguments);
    if failures.is_empty() {
        return ExitCode::SUCCESS;
    }
    tell!("not clean: {}", failures.join(", "));
    ExitCode::FAILURE
}

/// One scenario, in the model and on the real crates.
fn about(table: &Table, row: &str, arguments: &Arguments) -> ExitCode {
    let known = table.rows().find(|(scenario, _)| scenario.row == row);
    let (Some((scenario, _)), Some(text)) = (known, table.about(row)) else {
        eprintln!("holdfast-lifetimes: no scenario {row}");
        return ExitCode::from(2);
    };
    let cell = Cell::of(scenario);
    told::write(format_args!("{text}"));
    tell!(
        "    {:<10} {:<12} {}\n{:28}finalized: {}\n{:28}expected: {}; left: {}",
        "the crates",
        cell.word,
        cell.wrong
            .as_deref()
            .or(cell.refused.as_deref())
            .unwrap_or_default(),
        "",
        or_nobody(&cell.order),
        "",
        Script::of(scenario).expected(),
        or_nobody(&cell.left)
    );
    for (head, list) in [("held meanwhile", &cell.held), ("left", &cell.why)] {
        for line in list.iter().flat_map(|text| text.lines()) {
            tell!("{:28}{head}: {line}", "");
        }
    }
    let times = Times {
        cycles: arguments.cycles,
        unmaps: UNMAPS,
    };
    let is_wrong = match exhibit::show(scenario, times) {
        Ok(shown) => {
            told::write(format_args!("{}", shown.text));
            shown.is_wrong
        }
        Err(error) => {
            tell!("not clean: a bundled device: {error}");
            true
        }
    };
    let is_good = cell.is_good && table.is_good(row) && !is_wrong;
    ExitCode::from(u8::from(!is_good))
}

/// Searches under the withdrawal with a seeded defect, and fails if that is found.
fn search_without(rule: Rule, arguments: &Arguments) -> ExitCode {
    let rules = Policy::Withdrawal.rules().without(rule);
    let mut is_found = false;
    for habit in [Release::Finalize, Release::Unrealize] {
        let size = Size {
            steps: arguments.steps_without(),
            habit,
            breadth: arguments.breadth,
        };
        let found = search_one(&rules, size, arguments.states, |found| {
            let (depth, states) = (found.depth, found.states);
            eprintln!("without {rule:?}: {depth} steps, {states} states");
        });
        tell!(
            "without {rule:?}, devices that close {}, {}:",
            habit.when(),
            found.far()
        );
        tell!("  {}", findings(&found, &Search::cast()));
        is_found |= !found.endings.is_empty();
    }
    ExitCode::from(u8::from(is_found))
}
