//! Wrong orders: in which cells of the table an owner is finalized before its region, and whose finalizers these are.
//!
//! Where nothing worse happens the cell's word is [`Verdict::Order`]; where a leak or a use comes with it, the cell says that, and its sentence says the
//! order as well. A policy that counts has an order, which comes out of its counts; a collector has none, so that a finalizer may rely on nothing.

use crate::policy::Policy;
use crate::scenario::Verdict;
use crate::table::Table;
use std::fmt::Write as _;

/// A cell in which an owner is finalized before its region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongOrder {
    /// The row.
    pub row: &'static str,
    /// The column.
    pub policy: Policy,
    /// What the cell says.
    pub cell: String,
    /// It says that there is nothing worse.
    pub is_all: bool,
    /// The owners, each with the region that it should have waited for.
    pub pairs: Vec<[&'static str; 2]>,
    /// The same in a sentence, with whom a finalizer touched.
    pub sentence: String,
}

/// All such cells of a table, by rows.
///
/// ```
/// use holdfast_lifetimes::{Policy, order, scenario::rows::ROWS, table::Table};
///
/// let wrong = order::wrong(&Table::of(ROWS.iter().take(1)));
/// let [one] = &wrong[..] else { panic!("one cell: {wrong:?}") };
/// assert_eq!((one.policy, one.is_all), (Policy::Tracing, true));
/// assert_eq!(one.sentence, "in wrong order: D before C, D before M");
/// ```
pub fn wrong(table: &Table) -> Vec<WrongOrder> {
    let mut all = Vec::new();
    for (scenario, reports) in table.rows() {
        for (policy, report) in Policy::ALL.into_iter().zip(reports) {
            let pairs = report.out_of_order();
            if pairs.is_empty() || report.is_aborted() {
                continue;
            }
            all.push(WrongOrder {
                row: scenario.row,
                policy,
                cell: report.cell(),
                is_all: report.verdict == Verdict::Order,
                pairs,
                sentence: report.sentence(),
            });
        }
    }
    all
}

/// How many these are, and whose: the policies by the heads of their columns.
pub fn counted(wrong: &[WrongOrder]) -> String {
    let mut whose: Vec<&str> = Vec::new();
    for one in wrong {
        let name = one.policy.rules().short;
        if !whose.contains(&name) {
            whose.push(name);
        }
    }
    let pairs: usize = wrong.iter().map(|one| one.pairs.len()).sum();
    let alone = wrong.iter().filter(|one| one.is_all).count();
    match wrong.len() {
        0 => "nowhere is an owner finalized before its region".into(),
        cells => format!(
            "in {cells} cells ({}) an owner is finalized before its region, {pairs} times; in {alone} of them nothing else is wrong",
            whose.join(", ")
        ),
    }
}

/// All of them as text, a line each.
pub fn text(table: &Table) -> String {
    let wrong = wrong(table);
    let mut text = format!("{}:\n", counted(&wrong));
    for one in &wrong {
        let _ = writeln!(
            text,
            "  {:<5} {:<10} {:<12} {}",
            one.row,
            one.policy.rules().short,
            one.cell,
            one.sentence
        );
    }
    text
}
