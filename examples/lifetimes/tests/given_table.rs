//! The table that the discussion's summary gives, cell by cell, against what the model plays; and why they differ where they do.

use holdfast_lifetimes::Policy;
use holdfast_lifetimes::given::Difference;
use holdfast_lifetimes::order;
use holdfast_lifetimes::scenario::rows::ROWS;
use holdfast_lifetimes::table::Table;

/// The columns of the given table: piggyback, skip-same-owner, own count, mutual, and a sketch of what became Holdfast's rules.
const COLUMNS: [Policy; 5] = [
    Policy::Piggyback,
    Policy::SkipSameOwner,
    Policy::OwnCount,
    Policy::Mutual,
    Policy::Withdrawal,
];

const GIVEN: &[(&str, [&str; 5])] = &[
    ("1a", ["LEAK", "ok", "ok", "LEAK", "ok"]),
    ("1b", ["LEAK", "ok", "ok", "LEAK", "ok"]),
    ("2a", ["ok", "ok", "ok", "LEAK", "ok"]),
    ("2a'", ["LEAK", "ok", "ok", "LEAK", "ok"]),
    ("2b", ["LEAK", "LEAK", "LEAK", "LEAK", "ok"]),
    ("2c", ["LEAK", "LEAK", "abort", "LEAK", "ok"]),
    ("3a", ["ok", "ok", "ok", "LEAK", "ok"]),
    ("3b", ["ok", "ok", "ok", "LEAK", "ok"]),
    ("3c", ["LEAK", "LEAK", "LEAK", "LEAK", "ok"]),
    ("4", ["ok", "ok", "ok", "LEAK", "ok"]),
    ("5", ["ok", "ok", "ok", "LEAK", "ok"]),
    ("5b", ["UAF", "UAF", "UAF", "LEAK", "UAF"]),
    ("6", ["ok", "ok", "ok", "LEAK", "ok"]),
    ("7", ["ok", "ok", "ok", "LEAK", "ok"]),
    ("7b", ["UAFin", "UAFin", "ok", "LEAK", "refused"]),
    ("7c", ["ok", "ok", "LEAK", "LEAK", "ok"]),
    ("8", ["UAF", "UAF", "UAF", "UAF", "refused"]),
    ("9", ["UAFin", "UAFin", "ok", "ok", "refused"]),
    (
        "10",
        ["LEAK", "abort+UAFin", "abort+UAFin", "LEAK", "refused"],
    ),
    ("11", ["ok", "ok", "abort", "LEAK", "ok"]),
    ("12a", ["ok", "ok", "ok", "LEAK", "ok"]),
    ("12b", ["LEAK", "LEAK", "LEAK", "LEAK", "ok"]),
    ("13", ["LEAK", "LEAK", "abort", "LEAK", "refused"]),
];

#[test]
fn the_given_cells_are_played_or_their_difference_is_known() {
    let table = Table::of_everything();
    for (row, cells) in GIVEN {
        for (policy, given) in COLUMNS.into_iter().zip(cells) {
            let different = Difference::of(row).filter(|_| policy == Policy::Withdrawal);
            if let Some(different) = different {
                assert_eq!(different.given, *given, "row {row}");
                assert_ne!(different.played, *given, "row {row}");
                let about = table.about(row).unwrap();
                assert!(about.contains(different.why), "row {row}: {about}");
            }
            let expected = different.map_or(*given, |different| different.played);
            let report = table.report(row, policy).unwrap();
            assert_eq!(
                report.cell(),
                expected,
                "row {row} under {policy:?}: {}",
                report.sentence()
            );
        }
    }
    let given = |row: &str| GIVEN.iter().any(|(known, _)| *known == row);
    let own: Vec<_> = ROWS
        .iter()
        .map(|row| row.row)
        .filter(|row| !given(row))
        .collect();
    assert_eq!(
        own,
        [
            "6'", "6b", "7'", "9'", "11'", "12c", "14", "14'", "15", "15'", "15''", "16", "16'",
            "17", "18"
        ],
        "rows that the given table does not have"
    );
}

/// The given table's `ok` says that everything is finalized without misuse, and nothing of an order. Here it says that as well; no cell differs by it, as the
/// only policy that has a wrong order and nothing worse is the collector, for which the given table has no column.
#[test]
fn no_given_cell_is_ok_with_an_owner_before_its_region() {
    let table = Table::of_everything();
    let wrong = order::wrong(&table);
    let given = |row: &str| GIVEN.iter().any(|(known, _)| *known == row);
    for one in wrong.iter().filter(|one| given(one.row)) {
        assert_eq!(one.policy, Policy::Tracing, "{one:?}");
        assert!(!COLUMNS.contains(&one.policy));
    }
    // What the collector's column would have been: 16 times another word than `ok`.
    let alone = wrong.iter().filter(|one| one.is_all && given(one.row));
    assert_eq!(alone.count(), 16);
}

/// The given table folds these columns into others; here they have their own.
#[test]
fn counting_the_subregion_equals_skip_same_owner_and_the_guard_matters_to_dropped_owners_only() {
    let table = Table::of_everything();
    let mut differ = Vec::new();
    for row in ROWS {
        let cell = |policy| table.report(row.row, policy).unwrap().cell();
        assert_eq!(
            cell(Policy::CountSubregion),
            cell(Policy::SkipSameOwner),
            "row {}",
            row.row
        );
        if cell(Policy::OwnCountUnguarded) != cell(Policy::OwnCount) {
            differ.push((row.row, cell(Policy::OwnCountUnguarded)));
        }
    }
    assert_eq!(differ, [("1a", "twice".to_owned())]);
}

/// Rows of our own: what the given table does not ask.
#[test]
fn the_rows_beside_the_given_ones() {
    let table = Table::of_everything();
    let row = |row: &str| COLUMNS.map(|policy| table.report(row, policy).unwrap().cell());
    // Who unparents the child's regions matters to mutual references only.
    assert_eq!(row("6'"), ["ok", "ok", "ok", "LEAK", "ok"]);
    // A child that holds its parent is unrealized by the parent's end, which never comes.
    assert_eq!(row("6b"), ["LEAK", "LEAK", "LEAK", "LEAK", "ok"]);
    // The owner that is no device: its region is unparented inside its finalizer, and revives it.
    assert_eq!(row("7'"), ["ok", "ok", "abort", "LEAK", "ok"]);
    // A second parent: the storage stays with the first owner, and the owner is referenced at each unparent but released once.
    assert_eq!(row("9'"), ["UAF+LEAK", "UAF+LEAK", "LEAK", "ok", "refused"]);
    // Listeners count what they were told of; to destroy what they listen to is an assertion in C, and their last deletes here.
    assert_eq!(row("14"), ["ok", "ok", "ok", "LEAK", "ok"]);
    assert_eq!(row("14'"), ["abort", "abort", "abort", "abort", "ok"]);
    // What unrealize did not come to is nobody's any more, unless somebody knows what was opened in the name.
    assert_eq!(row("15"), ["LEAK", "LEAK", "LEAK", "LEAK", "ok"]);
    assert_eq!(row("15'"), ["LEAK", "LEAK", "LEAK", "LEAK", "ok"]);
    // Nor is what nobody realized: no hook runs.
    assert_eq!(row("15''"), ["LEAK", "LEAK", "LEAK", "LEAK", "ok"]);
    // Shown in a foreign container by somebody who never had a parent, and so never an unrealize.
    assert_eq!(row("11'"), ["LEAK", "LEAK", "abort", "LEAK", "ok"]);
    // One device's space on another's memory ends with its holder, in C, whose root is kept meanwhile; here the root goes first.
    assert_eq!(row("12c"), ["LEAK", "ok", "ok", "LEAK", "ok"]);
    // A link to what holds its source from the unparenting on.
    assert_eq!(row("18"), ["ok", "ok", "LEAK", "LEAK", "ok"]);
    // A handle that was kept: the mark refuses. With a count of its own the region is gone before the handle is.
    assert_eq!(row("16"), ["LEAK", "LEAK", "LEAK", "LEAK", "refused"]);
    // An assertion in C, a typed error here: the region stays where it is.
    assert_eq!(row("17"), ["abort", "abort", "abort", "abort", "refused"]);
    assert_eq!(row("16'"), ["LEAK", "LEAK", "UAFin", "LEAK", "refused"]);
}
