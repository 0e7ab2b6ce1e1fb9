//! The scenarios: Holdfast's column, the demonstrations' cells, the order of finalizers, and the cycles that are named.

use holdfast_lifetimes::Policy;
use holdfast_lifetimes::order;
use holdfast_lifetimes::policy::{Rule, Rules};
use holdfast_lifetimes::scenario::demonstrations::DEMONSTRATIONS;
use holdfast_lifetimes::scenario::rows::ROWS;
use holdfast_lifetimes::scenario::{Report, Verdict, play};
use holdfast_lifetimes::state::{Id, State};
use holdfast_lifetimes::table::Table;
use std::collections::BTreeSet;

fn row(row: &str, rules: &Rules) -> Report {
    play(
        ROWS.iter()
            .chain(DEMONSTRATIONS)
            .find(|known| known.row == row)
            .unwrap(),
        rules,
    )
}

#[test]
fn holdfast_is_clean_or_refuses_with_nothing_left() {
    let table = Table::of_everything();
    assert!(
        table.failures().is_empty(),
        "{:?}\n{}",
        table.failures(),
        table.reasons()
    );
    assert_eq!(
        table.to_string().lines().count(),
        2 + ROWS.len() + DEMONSTRATIONS.len(),
        "heads, rows, legend"
    );
}

/// Both sets, of who may be left and of who is, are told under each policy.
#[test]
fn who_may_be_left_and_who_is_left_are_told() {
    let table = Table::of_everything();
    for (row, policy, told) in [
        ("3c", Policy::Piggyback, "expected: nobody; left: D, M"),
        ("3c", Policy::Withdrawal, "expected: nobody; left: nobody"),
        (
            "8",
            Policy::Withdrawal,
            "expected: nobody of D; left: nobody",
        ),
    ] {
        let sets = table.report(row, policy).unwrap().sets();
        assert_eq!(sets, told, "{row} {policy:?}");
        assert!(table.about(row).unwrap().contains(told), "{row}");
    }
    let counts = |row, policy: Policy| table.report(row, policy).unwrap().counts(policy.rules());
    assert_eq!(
        counts("3c", Policy::Piggyback),
        ["D =(child)=> M", "D =(mapping)=> D"]
    );
    assert_eq!(counts("3c", Policy::Withdrawal), [""; 0]);
    assert_eq!(counts("17", Policy::Piggyback), [""; 0], "an abort");
    let aborted = table.report("17", Policy::Piggyback).unwrap();
    assert!(aborted.is_aborted() && aborted.sets().ends_with("not told, as it aborts"));
}

#[test]
fn every_demonstration_is_there_and_shows_what_it_is_for() {
    let policies = [
        Policy::Piggyback,
        Policy::SkipSameOwner,
        Policy::OwnCount,
        Policy::Tracing,
        Policy::Withdrawal,
    ];
    let expected = [
        ("C1", ["LEAK", "LEAK", "abort", "UAFin", "refused"]),
        ("C2", ["LEAK", "LEAK", "LEAK", "UAFin", "ok"]),
        ("C2c", ["LEAK", "ok", "ok", "order", "ok"]),
        ("C3a", ["ok", "ok", "ok", "order", "ok"]),
        ("C3b", ["ok", "ok", "ok", "order", "ok"]),
        ("C3c", ["LEAK", "LEAK", "LEAK", "UAFin", "ok"]),
        ("C4", ["LEAK", "LEAK", "LEAK", "UAFin", "ok"]),
        ("C5a", ["ok", "ok", "abort", "order", "ok"]),
        ("C5b", ["ok", "ok", "abort", "order", "ok"]),
        ("C5c", ["ok", "ok", "abort", "order", "ok"]),
        ("C6a", ["ok", "ok", "abort", "order", "ok"]),
        ("C6b", ["ok", "ok", "ok", "order", "ok"]),
        ("C7", ["LEAK", "ok", "ok", "order", "ok"]),
        ("C8", ["LEAK", "LEAK", "LEAK", "order", "ok"]),
        ("C9", ["ok", "ok", "ok", "order", "ok"]),
        ("C10a", ["LEAK", "LEAK", "LEAK", "UAFin", "ok"]),
        ("C10b", ["LEAK", "LEAK", "LEAK", "UAFin", "ok"]),
        ("C11", ["UAF", "UAF", "UAF", "order", "ok"]),
        ("C12", ["LEAK", "ok", "ok", "order", "ok"]),
        ("C13", ["ok", "ok", "ok", "order", "ok"]),
        ("C14", ["ok", "ok", "ok", "order", "ok"]),
        ("C15", ["LEAK", "LEAK", "LEAK", "ok", "ok"]),
        ("C16", ["abort", "abort", "abort", "abort", "refused"]),
        ("C17", ["LEAK", "abort+UAFin", "abort+UAFin", "UAFin", "ok"]),
        ("C18", ["LEAK", "LEAK", "LEAK", "UAFin", "ok"]),
    ];
    let rows = DEMONSTRATIONS.iter().map(|known| known.row);
    assert!(rows.eq(expected.map(|(row, _)| row)));
    for (number, cells) in expected {
        assert_eq!(
            policies.map(|policy| row(number, policy.rules()).cell()),
            cells,
            "{number}"
        );
    }
}

/// A finalizer runs once, and an owner's after those of its regions; where it does not, the verdict, the sentence and the list of wrong orders say so, or
/// something worse.
#[test]
fn finalizers_run_once_and_owners_after_their_regions_or_it_is_said() {
    let table = Table::of_everything();
    let wrong = order::wrong(&table);
    let mut looked_at = 0;
    for (scenario, reports) in table.rows() {
        for (policy, report) in Policy::ALL.into_iter().zip(reports) {
            let what = format!("{} under {policy:?}", scenario.row);
            let order = report.finalized();
            let place = |id: Id| order.iter().position(|known| *known == id);
            let mut pairs = BTreeSet::new();
            for (at, id) in order.iter().copied().enumerate() {
                assert_eq!(place(id), Some(at), "{what}: {id:?} is finalized twice");
            }
            for region in State::ids() {
                let owner = report.state.object(region).owner;
                let (Some(owned), true) = (
                    owner.is_object().then(|| place(owner)).flatten(),
                    owner != region,
                ) else {
                    continue;
                };
                looked_at += 1;
                // Also where it is never finalized.
                if place(region).is_none_or(|place| place > owned) {
                    pairs.insert(region);
                }
            }
            let said = wrong
                .iter()
                .find(|one| (one.row, one.policy) == (scenario.row, policy));
            let said_pairs = said.map_or(0, |one| one.pairs.len());
            if report.is_aborted() {
                assert_eq!(said, None, "{what}");
                continue;
            }
            assert_eq!(said_pairs, pairs.len(), "{what}: {order:?}");
            assert_eq!(
                report.sentence().contains("in wrong order: "),
                !pairs.is_empty(),
                "{what}"
            );
            if pairs.is_empty() {
                assert_ne!(report.verdict, Verdict::Order, "{what}");
            } else {
                // Neither clean nor refused.
                assert!(!report.verdict.is_good(), "{what}: {:?}", report.verdict);
                let only = policy == Policy::Tracing || !report.faults.none();
                assert!(only, "{what}: nobody else has one and nothing worse");
            }
        }
    }
    assert!(looked_at > 200, "{looked_at}");
    let alone = wrong.iter().filter(|one| one.is_all);
    assert!(alone.clone().all(|one| one.policy == Policy::Tracing));
    assert_eq!((wrong.len(), alone.count()), (WRONG_ORDERS, ORDER_CELLS));
    assert!(
        table
            .to_string()
            .contains(&format!("in {ORDER_CELLS} of them nothing else is wrong"))
    );
}

/// Cells with an owner before its region, and those of them in which nothing else is wrong; `docs/lifetimes.md` has both.
const WRONG_ORDERS: usize = 55;
const ORDER_CELLS: usize = 39;

#[test]
fn a_leak_names_its_cycle() {
    let sentence = |number, policy: Policy| row(number, policy.rules()).sentence();
    assert_eq!(
        sentence("1a", Policy::Piggyback),
        "left: D, C, M; D =(child)=> C =(subregion)=> D"
    );
    assert_eq!(
        sentence("2b", Policy::SkipSameOwner),
        "left: D, C, M; D =(root)=> D"
    );
    assert_eq!(
        sentence("3c", Policy::OwnCount),
        "left: D, M; D =(mapping)=> M =(owner)=> D"
    );
    assert_eq!(
        sentence("7c", Policy::OwnCount),
        "left: blob; blob =(owner)=> blob"
    );
    assert_eq!(
        sentence("13", Policy::Tracing),
        "left: D, M; machine =(child)=> S =(subregion)=> M =(owner)=> D",
        "no cycle of its own: the machine's container holds the region"
    );
}

/// Two cycles of plugging leave twice what one leaves: leaks add up.
#[test]
fn each_cycle_of_plugging_leaks_again() {
    let report = row("C4", Policy::SkipSameOwner.rules());
    assert_eq!(report.leaked.len(), 4);
    assert!(row("C4", Policy::Withdrawal.rules()).leaked.is_empty());
}

/// Between the unmap of a blob and the end of its region there is one grace period: before it a reader may be at the region.
#[test]
fn a_region_that_left_a_view_goes_at_the_end_of_a_grace_period() {
    use holdfast_lifetimes::scenario::Script;
    use holdfast_lifetimes::step::{Step, apply};
    let scenario = DEMONSTRATIONS
        .iter()
        .find(|known| known.row == "C13")
        .unwrap();
    let script = Script::of(scenario);
    let rules = Policy::Withdrawal.rules();
    let mut state = State::default();
    for step in &script.steps {
        apply(&mut state, *step, rules);
    }
    let left = |state: &State| {
        script
            .gone
            .iter()
            .filter(|id| state.object(**id).is_alive())
            .count()
    };
    for id in State::ids() {
        apply(&mut state, Step::Finalize(id), rules);
    }
    assert_eq!(left(&state), 2, "retired");
    apply(&mut state, Step::Grace, rules);
    for id in State::ids().rev() {
        apply(&mut state, Step::Finalize(id), rules);
    }
    assert_eq!(left(&state), 0);
}

/// Init's refusals are for what an introspection shows, not for lifetimes: without them the withdrawal closes what init opened.
#[test]
fn without_inits_refusals_nothing_is_refused_and_nothing_is_left() {
    let rules = Policy::Withdrawal.rules().without(Rule::RefuseDuringInit);
    for number in ["2c", "13"] {
        assert!(matches!(
            row(number, Policy::Withdrawal.rules()).verdict,
            Verdict::Refused(_)
        ));
        assert_eq!(row(number, &rules).verdict, Verdict::Clean, "{number}");
    }
}

/// What each rule is for, in the table: a row whose cell changes when it is switched off, and how. The search has the shortest way to each.
#[test]
fn each_rule_of_the_withdrawal_is_seen_by_a_row() {
    for (rule, number, cell) in [
        (Rule::OwnerBecomesStrong, "1b", "UAFin"),
        (Rule::RetractContainers, "11'", "LEAK"),
        (Rule::RetractAliases, "5", "late"),
        (Rule::RetractSpaces, "12c", "late"),
        (Rule::RetractMappings, "12b", "late"),
        (Rule::CloseOpened, "15'", "LEAK"),
        (Rule::CloseOpened, "15''", "LEAK"),
        (Rule::CutLinks, "18", "LEAK"),
        (Rule::CatchPanics, "15", "LEAK"),
        (Rule::GraceBeforeLettingGo, "3c", "UAFin"),
        (Rule::WithdrawUnparented, "11", "UAFin"),
        (Rule::RefuseDuringInit, "13", "ok"),
        (Rule::RefuseWithdrawn, "16", "LEAK"),
    ] {
        let rules = Policy::Withdrawal.rules().without(rule);
        assert!(row(number, Policy::Withdrawal.rules()).verdict.is_good());
        assert_eq!(
            row(number, &rules).cell(),
            cell,
            "{number} without {rule:?}"
        );
    }
}

#[test]
fn a_sentence_says_everything_once() {
    for scenario in ROWS.iter().chain(DEMONSTRATIONS) {
        for policy in Policy::ALL {
            let sentence = play(scenario, policy.rules()).sentence();
            let parts: Vec<&str> = sentence.split("; ").collect();
            for (at, part) in parts.iter().enumerate() {
                assert!(!parts[..at].contains(part), "{}: {sentence}", scenario.row);
            }
        }
    }
    let rules = Policy::Withdrawal.rules().without(Rule::RetractSpaces);
    assert_eq!(row("12c", &rules).sentence(), "kept too long: B, W");
}
