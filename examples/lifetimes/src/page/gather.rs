//! What the real crates did, as the page's plain data.

use super::{Agreement, Cell, Real};
use crate::product;
use crate::scenario::Scenario;
use crate::table::Table;

impl Cell {
    /// Plays a scenario on the real crates.
    pub fn of(scenario: &Scenario) -> Self {
        let report = product::play(scenario);
        Self {
            row: scenario.row,
            word: report.verdict.word().into(),
            is_good: report.verdict.is_good(),
            refused: report.refused,
            order: report.order,
            held: report.held,
            why: report.why,
        }
    }
}

impl Real {
    /// Plays all scenarios of a table on the real crates.
    pub fn of(table: &Table) -> Self {
        Self {
            cells: table
                .rows()
                .map(|(scenario, _)| Cell::of(scenario))
                .collect(),
            ..Self::default()
        }
    }

    /// Plays generated sequences on the real crates beside the model. `progress` is told the number of sequences after each.
    pub fn compare(&mut self, sequences: u64, seed: u64, progress: impl FnMut(u64)) {
        let agreement = product::agree(sequences, seed, progress);
        self.agreement = Some(Agreement {
            sequences: agreement.sequences,
            steps: agreement.steps,
            refused: agreement.refused,
            differences: agreement
                .disagreements
                .into_iter()
                .map(|one| format!("{}: {}", one.trace, one.what))
                .collect(),
        });
    }

    /// The scenarios that are not clean, nor refused with nothing left.
    pub fn failures(&self) -> Vec<String> {
        let bad = self.cells.iter().filter(|cell| !cell.is_good);
        bad.map(|cell| format!("{} on the crates", cell.row))
            .collect()
    }
}
