//! What the crates are to reach, and whether a run has.
//!
//! Limits are medians in the units of the figures; ratios are within one run.

use crate::report::{Report, aligned, short};
use serde_json::{Value, json};

/// On which side of a limit a figure is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// Not above it.
    AtMost(f64),
    /// Not below it.
    AtLeast(f64),
    /// Only reported.
    None,
}

/// One number that is looked at.
#[derive(Clone, Debug)]
pub struct Check {
    /// What it is, with its unit.
    pub what: String,
    /// The limit.
    pub bound: Bound,
    /// What was measured; none if the group did not run.
    pub measured: Option<f64>,
}

impl Check {
    /// `None` if nothing was measured or nothing is asked for.
    pub fn is_met(&self) -> Option<bool> {
        let measured = self.measured?;
        match self.bound {
            Bound::AtMost(limit) => Some(measured <= limit),
            Bound::AtLeast(limit) => Some(measured >= limit),
            Bound::None => None,
        }
    }
}

/// A row of the table: a work and what is asked of it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The work.
    pub work: &'static str,
    /// What is asked of it.
    pub checks: Vec<Check>,
}

fn at_most(what: impl Into<String>, limit: f64, measured: Option<f64>) -> Check {
    Check {
        what: what.into(),
        bound: Bound::AtMost(limit),
        measured,
    }
}

fn at_least(what: impl Into<String>, limit: f64, measured: Option<f64>) -> Check {
    Check {
        what: what.into(),
        bound: Bound::AtLeast(limit),
        measured,
    }
}

fn by(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(a? / b?)
}

/// The table, from what a run has measured.
pub fn rows(report: &Report) -> Vec<Row> {
    let mut rows = accesses(report);
    rows.extend(changes(report));
    rows.extend(threads(report));
    rows.extend(ends(report));
    rows
}

fn accesses(report: &Report) -> Vec<Row> {
    let load = |place: &str, n, who| report.median("load-store", &format!("load, {place}"), n, who);
    let mmio = |n, who| report.median("mmio", "read, one owner", n, who);
    let map = |who| report.median("map", "4 KiB of RAM, by threads", 1, who);
    let held = |n| load("pool", n, "ours, guard held");
    let peer = |n| load("pool", n, "vm-memory");
    let mut reads = Vec::new();
    for (n, limit) in [(64, 12.0), (1024, 18.0), (16_384, 35.0)] {
        let ours = mmio(n, "ours, guard each");
        let times = by(mmio(n, "vm-device"), ours);
        reads.push(at_most(format!("{n} regions, ns"), limit, ours));
        reads.push(at_least(format!("{n}, × vm-device unlocked"), 2.5, times));
    }
    let hot = load("hot", 16, "ours, guard each");
    vec![
        Row {
            work: "u32 load, guard each, hot, 16 regions",
            checks: vec![
                at_most("ns", 6.0, hot),
                at_least(
                    "× vm-memory atomic",
                    3.5,
                    by(load("hot", 16, "vm-memory atomic"), hot),
                ),
            ],
        },
        Row {
            work: "u32 load, guard held, pool",
            checks: vec![
                at_most("256 regions, ns", 8.0, held(256)),
                at_least("256, × vm-memory", 3.0, by(peer(256), held(256))),
                at_most("4,096 regions, ns", 12.0, held(4096)),
                at_least("4,096, × vm-memory", 3.0, by(peer(4096), held(4096))),
                at_least("1 region, × vm-memory", 1.0, by(peer(1), held(1))),
            ],
        },
        Row {
            work: "64 KiB, one place, × memcpy",
            checks: ["read", "write"].map(|what| bulk(report, what)).to_vec(),
        },
        Row {
            work: "MMIO read, guard each, random",
            checks: reads,
        },
        Row {
            work: "4 KiB of RAM, one thread",
            checks: vec![
                at_most("slice, guard each, ns", 6.0, map("slice, guard each")),
                at_most("pin and unpin, ns", 18.0, map("pin")),
                at_most("mapping, ns", 80.0, map("mapping")),
            ],
        },
    ]
}

fn changes(report: &Report) -> Vec<Row> {
    let pair =
        |spaces: &str, n| report.median("commit", &format!("{spaces}, random"), n, "add + remove");
    let (few, many) = (pair("1 space", 16), pair("1 space", 65_536));
    let eight = |n| by(pair("8 spaces", n), pair("1 space", n));
    let build = report.median("build", "a view of n regions", 65_536, "add and commit");
    vec![
        Row {
            work: "add + remove, listener attached",
            checks: vec![
                at_most("beside 16, µs", 4.0, few),
                at_most("beside 65,536, × that", 2.0, by(many, few)),
            ],
        },
        Row {
            work: "the same, 8 spaces, × one space",
            checks: [16, 4096, 65_536]
                .map(|n| at_most(format!("beside {n}"), 8.0, eight(n)))
                .to_vec(),
        },
        Row {
            work: "a view of 65,536 regions",
            checks: vec![at_most("add and commit, ms", 60.0, build)],
        },
    ]
}

fn bulk(report: &Report, what: &str) -> Check {
    let nanos = |who| report.median("bulk", &format!("{what}, one place"), 65_536, who);
    at_least(what, 0.95, by(nanos("memcpy"), nanos("ours, guard each")))
}

fn threads(report: &Report) -> Vec<Row> {
    let gain = |who| report.median("threads", "two threads by one", 2, who);
    let batch = |work, who| report.median("threads", work, 1000, who);
    let ours = ["ours, guard each", "ours, guard held", "ours, mmio"];
    let slower = |who| by(batch("beside a writer", who), batch("alone", who));
    let mut beside = Vec::new();
    for who in &ours[..2] {
        beside.push(at_most(format!("{who}, median by alone"), 1.3, slower(who)));
        let tail = batch("beside a writer, 99.9th percentile", who);
        beside.push(Check {
            what: format!("{who}, 99.9th percentile, ns"),
            bound: Bound::None,
            measured: tail,
        });
    }
    vec![
        Row {
            work: "gain of two threads, by that of raw loads",
            checks: ours
                .map(|who| at_least(who, 0.95, by(gain(who), gain("raw"))))
                .to_vec(),
        },
        Row {
            work: "reader beside a writer, batches of 1,000",
            checks: beside,
        },
    ]
}

fn ends(report: &Report) -> Vec<Row> {
    let life = |who| report.median("withdraw", "create to unparent returned", 4, who);
    let finalized = |who| report.median("withdraw", "withdrawal to finalized", 4, who);
    let idle = "an idle machine: wake-ups a second";
    let wakeups = report.median("withdraw", idle, 4, "all other threads");
    let unmap = |who| report.median("blob", &format!("unmap, {who}"), 16_384, "to the reply");
    vec![
        Row {
            work: "withdrawal to finalized",
            checks: vec![
                at_most("reclaimer spinning, µs", 50.0, finalized("spinning")),
                at_most("reclaimer slept, µs", 150.0, finalized("slept")),
            ],
        },
        Row {
            work: "device with 4 regions, create to unparent returned",
            checks: vec![at_most(
                "mapped and unmapped, µs",
                10.0,
                life("mapped and unmapped"),
            )],
        },
        Row {
            work: "blob unmap to reply beside 16,384",
            checks: vec![
                at_most("reclaimer spinning, µs", 60.0, unmap("spinning")),
                at_most("reclaimer slept, µs", 200.0, unmap("slept")),
            ],
        },
        Row {
            work: "an idle machine",
            checks: vec![at_most("wake-ups a second", 0.0, wakeups)],
        },
    ]
}

/// The table as text. Rows of which nothing was measured are left out.
pub fn table(rows: &[Row]) -> String {
    let mut cells = vec![["", "target", "measured", ""].map(String::from).to_vec()];
    for row in rows {
        let measured = row.checks.iter().filter(|c| c.measured.is_some());
        for (index, check) in measured.enumerate() {
            let target = match check.bound {
                Bound::AtMost(limit) => format!("≤ {limit}"),
                Bound::AtLeast(limit) => format!("≥ {limit}"),
                Bound::None => "-".to_owned(),
            };
            let verdict = match check.is_met() {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "",
            };
            let work = if index == 0 { row.work } else { "" };
            cells.push(vec![
                format!("{work}: {}", check.what),
                target,
                check.measured.map_or_else(String::new, short),
                verdict.to_owned(),
            ]);
        }
    }
    aligned(&cells)
}

/// The table as JSON.
pub fn to_json(rows: &[Row]) -> Value {
    let checks = rows.iter().flat_map(|row| {
        row.checks.iter().map(|check| {
            let (side, limit) = match check.bound {
                Bound::AtMost(limit) => (Some("at most"), Some(limit)),
                Bound::AtLeast(limit) => (Some("at least"), Some(limit)),
                Bound::None => (None, None),
            };
            json!({
                "work": row.work, "what": check.what, "side": side, "limit": limit,
                "measured": check.measured, "met": check.is_met(),
            })
        })
    });
    Value::Array(checks.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_met_on_its_side_and_on_it() {
        assert_eq!(at_most("x", 2.0, Some(2.0)).is_met(), Some(true));
        assert_eq!(at_most("x", 2.0, Some(2.1)).is_met(), Some(false));
        assert_eq!(at_least("x", 2.0, Some(2.1)).is_met(), Some(true));
        assert_eq!(at_least("x", 2.0, Some(1.9)).is_met(), Some(false));
        assert_eq!(at_least("x", 2.0, None).is_met(), None);
    }

    #[test]
    fn misses_stand_out_and_what_was_not_measured_is_left_out() {
        let rows = [Row {
            work: "work",
            checks: vec![at_most("ns", 6.0, Some(7.0)), at_most("µs", 1.0, None)],
        }];
        let text = table(&rows);
        assert!(
            text.contains("work: ns") && text.contains("MISSED"),
            "{text}"
        );
        assert!(!text.contains("µs"), "{text}");
    }

    #[test]
    fn nothing_measured_is_no_verdict() {
        let rows = rows(&Report::default());
        assert!(rows.len() >= 7);
        assert!(
            rows.iter()
                .flat_map(|r| &r.checks)
                .all(|c| c.is_met().is_none())
        );
    }
}
