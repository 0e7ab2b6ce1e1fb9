//! The figures of a run: kept by group, work, size and contestant; printed as tables, and written as JSON.

use crate::contest::Outcome;
use crate::statistics::Summary;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Nanos,
    /// Microseconds.
    Micros,
    /// Milliseconds.
    Millis,
    /// Bytes.
    Bytes,
    /// A number without a unit: a ratio, a count.
    Number,
}

impl Unit {
    const ALL: [Self; 5] = [
        Self::Nanos,
        Self::Micros,
        Self::Millis,
        Self::Bytes,
        Self::Number,
    ];

    /// How it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nanos => "ns",
            Self::Micros => "µs",
            Self::Millis => "ms",
            Self::Bytes => "bytes",
            Self::Number => "",
        }
    }

    /// How many nanoseconds one is, for units of time; 1 for others.
    fn nanos(self) -> f64 {
        match self {
            Self::Micros => 1e3,
            Self::Millis => 1e6,
            Self::Nanos | Self::Bytes | Self::Number => 1.0,
        }
    }
}

/// One figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The group.
    pub group: &'static str,
    /// What was done.
    pub work: String,
    /// Beside how many, or of what size.
    pub n: u64,
    /// By whom.
    pub who: String,
    /// In which unit.
    pub unit: Unit,
    /// How much.
    pub summary: Summary,
    /// For a peer: whom of ours it is compared with.
    pub against: Option<String>,
}

/// All figures of a run.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
    notes: Vec<(&'static str, String)>,
}

/// A work within a group, as figures are filed under it.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// The group.
    pub group: &'static str,
    /// What is done.
    pub work: &'a str,
    /// Beside how many, or of what size.
    pub n: u64,
    /// The unit it is shown in.
    pub unit: Unit,
}

impl Report {
    /// Files what contestants came to, in nanoseconds each. `pairs` names each peer with the one of ours it is compared with.
    pub fn outcomes(&mut self, work: &Work<'_>, pairs: &[(&str, &str)], outcomes: Vec<Outcome>) {
        let scale = work.unit.nanos();
        for outcome in outcomes {
            let s = outcome.nanos.summary();
            let summary = Summary {
                median: s.median / scale,
                low: s.low / scale,
                high: s.high / scale,
                least: s.least / scale,
                samples: s.samples,
            };
            let against = pairs.iter().find(|(peer, _)| *peer == outcome.who);
            self.figures.push(Figure {
                group: work.group,
                work: work.work.to_owned(),
                n: work.n,
                who: outcome.who,
                unit: work.unit,
                summary,
                against: against.map(|(_, ours)| (*ours).to_owned()),
            });
        }
    }

    /// Files one figure, in the work's own unit.
    pub fn figure(&mut self, work: &Work<'_>, who: &str, summary: Summary) {
        self.figures.push(Figure {
            group: work.group,
            work: work.work.to_owned(),
            n: work.n,
            who: who.to_owned(),
            unit: work.unit,
            summary,
            against: None,
        });
    }

    /// Says something about a group beside its figures.
    pub fn note(&mut self, group: &'static str, note: String) {
        self.notes.push((group, note));
    }

    /// All figures, in order.
    pub fn figures(&self) -> &[Figure] {
        &self.figures
    }

    fn find(&self, group: &str, work: &str, n: u64, who: &str) -> Option<&Figure> {
        let is = |f: &&Figure| f.group == group && f.work == work && f.n == n && f.who == who;
        self.figures.iter().find(is)
    }

    /// The median of a figure, if it was measured.
    pub fn median(&self, group: &str, work: &str, n: u64, who: &str) -> Option<f64> {
        self.find(group, work, n, who).map(|f| f.summary.median)
    }

    /// Ours by peer, for a figure of a peer.
    fn ratio(&self, peer: &Figure) -> Option<f64> {
        let ours = self.median(peer.group, &peer.work, peer.n, peer.against.as_deref()?)?;
        Some(ours / peer.summary.median)
    }

    /// A group as text: for each work a table of sizes and contestants.
    pub fn table(&self, group: &str) -> String {
        let mut text = String::new();
        let mut works: Vec<&str> = Vec::new();
        for figure in self.figures.iter().filter(|f| f.group == group) {
            if !works.contains(&figure.work.as_str()) {
                works.push(&figure.work);
            }
        }
        for work in works {
            self.work_table(group, work, &mut text);
        }
        for (_, note) in self.notes.iter().filter(|(g, _)| *g == group) {
            let _ = writeln!(text, "  {note}");
        }
        text
    }

    fn work_table(&self, group: &str, work: &str, text: &mut String) {
        let figures: Vec<&Figure> = self
            .figures
            .iter()
            .filter(|f| f.group == group && f.work == work)
            .collect();
        let (mut sizes, mut whos) = (Vec::new(), Vec::<&str>::new());
        for figure in &figures {
            if !sizes.contains(&figure.n) {
                sizes.push(figure.n);
            }
            if !whos.contains(&figure.who.as_str()) {
                whos.push(&figure.who);
            }
        }
        let unit = figures.first().map_or("", |f| f.unit.name());
        let _ = writeln!(
            text,
            "{group}: {work}{}{unit}",
            if unit.is_empty() { "" } else { ", " }
        );
        let mut rows = vec![vec!["n".to_owned()]];
        rows[0].extend(whos.iter().map(|who| (*who).to_owned()));
        for n in sizes {
            let mut row = vec![n.to_string()];
            for who in &whos {
                let figure = self.find(group, work, n, who);
                row.push(figure.map_or_else(String::new, |f| self.cell(f)));
            }
            rows.push(row);
        }
        text.push_str(&aligned(&rows));
        text.push('\n');
    }

    fn cell(&self, figure: &Figure) -> String {
        let s = &figure.summary;
        let mut cell = short(s.median);
        if s.samples > 1 {
            let _ = write!(cell, " ({}-{})", short(s.low), short(s.high));
        }
        if let Some(ratio) = self.ratio(figure) {
            let _ = write!(cell, " [{ratio:.2}]");
        }
        cell
    }

    /// All figures as JSON.
    pub fn to_json(&self) -> Value {
        let figures = self.figures.iter().map(|f| {
            json!({
                "group": f.group, "work": f.work, "n": f.n, "who": f.who, "unit": f.unit.name(),
                "median": f.summary.median, "low_quartile": f.summary.low, "high_quartile": f.summary.high,
                "least": f.summary.least, "samples": f.summary.samples,
                "against": f.against, "ours_by_peer": self.ratio(f),
            })
        });
        let notes = self
            .notes
            .iter()
            .map(|(group, note)| json!({ "group": group, "note": note }));
        json!({ "figures": figures.collect::<Vec<_>>(), "notes": notes.collect::<Vec<_>>() })
    }

    /// Files what a group has said of itself as [`to_json`](Self::to_json) does.
    ///
    /// # Errors
    /// What is missing, or not as it is written there.
    pub fn add_json(&mut self, group: &'static str, value: &Value) -> Result<(), String> {
        let list = |name: &str| {
            let list = value[name].as_array();
            list.ok_or_else(|| format!("{group}: no list of {name}"))
        };
        for figure in list("figures")? {
            let figure = figure_of(group, figure);
            self.figures
                .push(figure.ok_or_else(|| format!("{group}: not a figure"))?);
        }
        for note in list("notes")? {
            let text = note["note"].as_str();
            self.note(
                group,
                text.ok_or_else(|| format!("{group}: not a note"))?.into(),
            );
        }
        Ok(())
    }
}

fn figure_of(group: &'static str, value: &Value) -> Option<Figure> {
    let number = |name: &str| value[name].as_f64();
    let unit = value["unit"].as_str()?;
    Some(Figure {
        group,
        work: value["work"].as_str()?.to_owned(),
        n: value["n"].as_u64()?,
        who: value["who"].as_str()?.to_owned(),
        unit: Unit::ALL.into_iter().find(|u| u.name() == unit)?,
        summary: Summary {
            median: number("median")?,
            low: number("low_quartile")?,
            high: number("high_quartile")?,
            least: number("least")?,
            samples: value["samples"].as_u64()?.try_into().ok()?,
        },
        against: value["against"].as_str().map(str::to_owned),
    })
}

/// A number with three significant digits or all before the point.
pub fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Rows in columns, each as wide as its widest cell; the first row is underlined by its place alone.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "  {cell:>width$}");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Samples;

    fn report() -> Report {
        let mut report = Report::default();
        let work = Work {
            group: "g",
            work: "w",
            n: 16,
            unit: Unit::Micros,
        };
        let outcome = |who: &str, nanos: f64| Outcome {
            who: who.to_owned(),
            nanos: Samples::new(vec![nanos; 3]),
        };
        let outcomes = vec![outcome("ours", 2_000.0), outcome("peer", 8_000.0)];
        report.outcomes(&work, &[("peer", "ours")], outcomes);
        report
    }

    #[test]
    fn figures_are_in_their_unit_and_peers_in_relation_to_ours() {
        let report = report();
        assert_eq!(report.median("g", "w", 16, "peer"), Some(8.0));
        assert_eq!(report.median("g", "w", 17, "peer"), None);
        let table = report.table("g");
        assert!(table.contains("8.00 (8.00-8.00) [0.25]"), "{table}");
        assert!(table.contains("g: w, µs"), "{table}");
    }

    #[test]
    fn json_has_what_the_table_has() {
        let value = report().to_json();
        let peer = &value["figures"][1];
        assert_eq!(
            (peer["who"].as_str(), peer["n"].as_u64()),
            (Some("peer"), Some(16))
        );
        assert_eq!(peer["ours_by_peer"].as_f64(), Some(0.25));
        assert!(value["figures"][0]["ours_by_peer"].is_null());
    }

    #[test]
    fn what_is_written_as_json_is_read_from_it() {
        let mut report = report();
        report.note("g", "so it is".to_owned());
        let mut again = Report::default();
        again.add_json("g", &report.to_json()).unwrap();
        assert_eq!(again.to_json(), report.to_json());
        assert_eq!(again.table("g"), report.table("g"));
        let broken = json!({ "figures": [{ "work": "w" }], "notes": [] });
        assert!(again.add_json("g", &broken).is_err());
        assert!(again.add_json("g", &json!({})).is_err());
    }

    #[test]
    fn numbers_are_short_and_columns_stand_under_each_other() {
        assert_eq!(
            [short(1.234), short(12.34), short(123.4)],
            ["1.23", "12.3", "123"]
        );
        let rows = [
            vec!["n".to_owned(), "µ".to_owned()],
            vec!["100".to_owned(), "2".to_owned()],
        ];
        assert_eq!(aligned(&rows), "    n  µ\n  100  2\n");
    }
}
