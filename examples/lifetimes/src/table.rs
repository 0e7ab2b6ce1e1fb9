//! The table: every scenario under every policy, and what the searches found, as text.

use crate::given::Difference;
use crate::order;
use crate::policy::Policy;
use crate::scenario::demonstrations::DEMONSTRATIONS;
use crate::scenario::rows::ROWS;
use crate::scenario::{Cast, Report, Scenario, Script, Verdict, or_nobody, play};
use crate::search::{Ending, Found};
use crate::show::trace;
use std::fmt::{self, Write as _};

/// Scenarios against policies.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<(Scenario, Vec<Report>)>,
}

impl Table {
    /// Plays every row and every demonstration under every policy.
    pub fn of_everything() -> Self {
        Self::of(ROWS.iter().chain(DEMONSTRATIONS))
    }

    /// Plays some scenarios under every policy.
    pub fn of<'a>(scenarios: impl IntoIterator<Item = &'a Scenario>) -> Self {
        let row = |scenario: &Scenario| {
            (
                *scenario,
                Policy::ALL
                    .map(|policy| play(scenario, policy.rules()))
                    .to_vec(),
            )
        };
        Self {
            rows: scenarios.into_iter().map(row).collect(),
        }
    }

    /// The rows: a scenario, and its report under each policy in the order of [`Policy::ALL`].
    pub fn rows(&self) -> impl Iterator<Item = (&Scenario, &[Report])> + Clone {
        self.rows
            .iter()
            .map(|(scenario, reports)| (scenario, &reports[..]))
    }

    /// The scenarios in order, each with the number of the first that has the same steps, where that is another one.
    pub fn distinct(&self) -> Vec<(&Scenario, Option<&'static str>)> {
        let mut seen: Vec<(Script, &'static str)> = Vec::new();
        let mut distinct = Vec::new();
        for (scenario, _) in &self.rows {
            let script = Script::of(scenario);
            let same = seen.iter().find(|(known, _)| known.is_same(&script));
            distinct.push((scenario, same.map(|(_, row)| *row)));
            seen.push((script, scenario.row));
        }
        distinct
    }

    /// A cell's report.
    pub fn report(&self, row: &str, policy: Policy) -> Option<&Report> {
        let column = Policy::ALL.iter().position(|known| *known == policy)?;
        self.rows
            .iter()
            .find(|(scenario, _)| scenario.row == row)
            .and_then(|(_, reports)| reports.get(column))
    }

    /// Whether Holdfast's cell of a row is clean, or refused with nothing left, and everything has ended in the order that is promised.
    pub fn is_good(&self, row: &str) -> bool {
        let report = self.report(row, Policy::Withdrawal);
        report.is_some_and(|report| report.verdict.is_good() && report.check_order().is_ok())
    }

    /// The rows in which Holdfast's column is neither clean nor refused with nothing left.
    pub fn failures(&self) -> Vec<&'static str> {
        let failed = |(scenario, _): &&(Scenario, Vec<Report>)| !self.is_good(scenario.row);
        self.rows
            .iter()
            .filter(failed)
            .map(|(scenario, _)| scenario.row)
            .collect()
    }

    /// Of one scenario all that is known: of each policy how it ends, why, and the order of its finalizers; none where there is no such row.
    pub fn about(&self, row: &str) -> Option<String> {
        let (scenario, reports) = self.rows.iter().find(|(scenario, _)| scenario.row == row)?;
        let script = Script::of(scenario);
        let mut text = format!(
            "{row}  {}\n    {}\n",
            scenario.title,
            trace(&script.steps, &script.cast)
        );
        for (policy, report) in Policy::ALL.iter().zip(reports) {
            let _ = writeln!(
                text,
                "    {:<10} {:<12} {}\n{:28}finalized: {}\n{:28}{}",
                policy.rules().short,
                report.cell(),
                report.sentence(),
                "",
                or_nobody(&report.order()),
                "",
                report.sets()
            );
            let counts = report.counts(policy.rules());
            if !counts.is_empty() {
                let _ = writeln!(text, "{:28}counted: {}", "", counts.join(", "));
            }
        }
        if let Some(difference) = Difference::of(row) {
            let _ = writeln!(text, "    {}", difference.sentence());
        }
        Some(text)
    }

    /// For each cell that is not clean, a sentence that says why: who is left and by which cycle, what was used, what was refused.
    pub fn reasons(&self) -> String {
        let mut text = String::new();
        for (scenario, reports) in &self.rows {
            let _ = writeln!(text, "{}  {}", scenario.row, scenario.title);
            for (policy, report) in Policy::ALL.iter().zip(reports) {
                if report.verdict != Verdict::Clean {
                    let _ = writeln!(
                        text,
                        "    {:<10} {:<12} {}",
                        policy.rules().short,
                        report.cell(),
                        report.sentence()
                    );
                }
            }
        }
        text
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<5}", "")?;
        for policy in Policy::ALL {
            write!(f, "{:<12}", policy.rules().short)?;
        }
        writeln!(f)?;
        for (scenario, reports) in &self.rows {
            write!(f, "{:<5}", scenario.row)?;
            for report in reports {
                write!(f, "{:<12}", report.cell())?;
            }
            writeln!(f, "{}", scenario.title)?;
        }
        writeln!(
            f,
            "ok: everything is finalized, once, after its regions. order: once, but an owner before its region; {}",
            order::counted(&order::wrong(self))
        )
    }
}

/// What a search found, in a line and a shortest trace to each kind of ending.
pub fn findings(found: &Found, cast: &Cast) -> String {
    let mut text = format!(
        "{} states, {} steps between them; {} leaks, {} late, {} uses after finalize, {} aborts, {} in wrong order{}\n",
        found.states,
        found.steps,
        found.count(|ending| ending == Ending::Leak),
        found.count(|ending| ending == Ending::Late),
        found.count(Found::is_use),
        found.count(Found::is_abort),
        found.count(Found::is_order),
        if found.is_whole {
            format!(
                "; the furthest is {} steps away, and these are all states that there are, however many steps",
                found.depth
            )
        } else if found.is_cut {
            format!(
                "; these are all that are {} steps away and a part of those of the next step: more states than it may meet",
                found.depth
            )
        } else {
            String::new()
        },
    );
    for (ending, tally) in &found.endings {
        let what = ending.word();
        let _ = writeln!(
            text,
            "    {what:<6} {:>8} first by: {}",
            tally.states,
            trace(&tally.trace, cast)
        );
    }
    text
}
