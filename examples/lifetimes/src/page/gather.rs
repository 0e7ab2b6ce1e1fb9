//! What the real crates did, as the page's plain data.

use super::{Agreement, Cell, Real};
use crate::abreast::two_at_a_time;
use crate::exhibit::{self, Exhibit};
use crate::policy::Policy;
use crate::product;
use crate::scenario::{self, Scenario};
use crate::severity::Loop;
use crate::table::Table;

/// Whether the graph of a scenario is shown after each step.
fn is_staged(scenario: &Scenario) -> bool {
    exhibit::of(scenario.row) == Some(Exhibit::Stages)
}

impl Cell {
    /// Plays a scenario on the real crates.
    pub fn of(scenario: &Scenario) -> Self {
        Self::from_report(scenario, product::play(scenario))
    }

    fn from_report(scenario: &Scenario, report: product::Report) -> Self {
        let model = scenario::play(scenario, Policy::Withdrawal.rules()).verdict;
        // A refusal's kind as well.
        let is_alike = report.verdict == model;
        let crates = report.verdict;
        let differs = || format!("the crates {crates:?}, the model {model:?}");
        Self {
            row: scenario.row,
            verdict: report.verdict,
            word: if is_alike || !report.verdict.is_good() {
                report.verdict.word().into()
            } else {
                "DIFFERS".into()
            },
            is_good: report.verdict.is_good() && is_alike,
            wrong: report.wrong.or_else(|| (!is_alike).then(differs)),
            refused: report.refused,
            order: report.order,
            held: report.held,
            left: report.left,
            why: report.why,
            checked: report.checked,
            moments: report.moments,
            pictures: None,
            stages: Vec::new(),
            shown: exhibit::lines(scenario),
        }
    }

    /// As [`Self::of`], with what its article shows of the real graphs.
    fn drawn(scenario: &Scenario) -> Self {
        let report = product::play(scenario);
        let pictures = product::album::draw(scenario, &report);
        let stages = if is_staged(scenario) {
            product::unmap::stages()
        } else {
            Vec::new()
        };
        Self {
            pictures: Some(pictures),
            stages,
            ..Self::from_report(scenario, report)
        }
    }
}

impl Cell {
    /// What is not as it should be in it: `15'' on the crates: D is finalized while …`.
    pub(super) fn told(&self) -> String {
        let wrong = self.wrong.as_ref();
        let wrong = wrong.map_or_else(String::new, |wrong| format!(": {wrong}"));
        format!("{} on the crates{wrong}", self.row)
    }
}

impl Real {
    /// Plays all scenarios of a table on the real crates.
    pub fn of(table: &Table) -> Self {
        Self {
            cells: table
                .distinct()
                .into_iter()
                .map(|(scenario, same)| match same {
                    // The graphs are those of the other row.
                    Some(_) if !is_staged(scenario) => Cell::of(scenario),
                    _ => Cell::drawn(scenario),
                })
                .collect(),
            ..Self::default()
        }
    }

    /// Plays scenarios in a loop on the real crates, two at a time; `tell` hears how many are done of how many.
    pub fn repeat(&mut self, loops: &[Loop], cycles: u32, tell: impl Fn(usize, usize) + Sync) {
        let repeat = |scenario: Scenario| {
            let course = product::severity::course(&scenario, cycles);
            (scenario.row, course)
        };
        let scenarios = loops.iter().map(|one| one.scenario).collect();
        self.courses = two_at_a_time(scenarios, repeat, tell);
    }

    /// Provokes leaks by devices that misbehave, and asks the ledger.
    pub fn explain(&mut self) {
        self.explained = product::misbehaviour::all();
    }

    /// Plugs and unplugs the bundled devices.
    ///
    /// # Errors
    ///
    /// A device that cannot be made, plugged or mapped.
    pub fn look_at_devices(&mut self) {
        match product::devices::all() {
            Ok(devices) => self.devices = devices,
            Err(error) => self.unseen = Some(error.to_string()),
        }
    }

    /// Measures the answers to unmaps, each kind `times` times.
    pub fn measure_unmaps(&mut self, times: usize) {
        self.unmaps = Some(product::latency::measure(times));
    }

    /// Plays generated sequences on the real crates beside the model. `progress` is told the number of sequences after each.
    pub fn compare(&mut self, sequences: u64, seed: u64, progress: impl FnMut(u64)) {
        let agreement = product::agree(sequences, seed, progress);
        self.agreement = Some(Agreement {
            sequences: agreement.sequences,
            steps: agreement.steps,
            refused: agreement.refused,
            checked: agreement.checked,
            source: agreement.source(),
            differences: agreement
                .disagreements
                .into_iter()
                .map(|one| format!("{}: {}", one.trace, one.what))
                .collect(),
        });
    }

    /// What is not as it should be: scenarios that are neither clean nor refused with nothing left, sequences in which the crates differ from the model, loops that
    /// leave something or have too many or too few unplug events, devices whose leak the ledger does not explain, an unmap that was answered while a reader was there,
    /// an alias that shows something after its target's end, bundled devices that cannot be looked at.
    pub fn failures(&self) -> Vec<String> {
        let bad = self.cells.iter().filter(|cell| !cell.is_good);
        let cells = bad.map(Cell::told);
        let wrong = self.cells.iter().filter(|cell| cell.shown.is_wrong);
        let shown = wrong.map(|cell| format!("what {} shows on the crates", cell.row));
        let differ = self
            .agreement
            .iter()
            .filter(|it| !it.differences.is_empty());
        let differ = differ.map(|it| {
            let count = it.differences.len();
            format!("crates and model differ in {count} sequences")
        });
        let unseen = self.unseen.iter();
        let unseen = unseen.map(|error| format!("a bundled device: {error}"));
        let leaking = self.courses.iter().filter(|(_, course)| course.leaks());
        let loops = leaking.map(|(row, _)| format!("{row} in a loop on the crates"));
        let wrong = self
            .courses
            .iter()
            .filter(|(_, course)| course.has_wrong_events());
        let wrong = wrong.map(|(row, _)| format!("unplug events of {row} in a loop on the crates"));
        let open = self.explained.iter().filter(|one| !one.is_explained());
        let open = open.map(|one| format!("not explained: {}", one.title));
        let early = self.unmaps.iter().filter(|unmaps| unmaps.is_wrong());
        let early = early.map(|_| {
            "C13: answered while a reader was there, or others had to wait with it".to_owned()
        });
        cells
            .chain(shown)
            .chain(differ)
            .chain(loops)
            .chain(wrong)
            .chain(open)
            .chain(early)
            .chain(unseen)
            .collect()
    }
}
