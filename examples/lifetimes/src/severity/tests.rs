//! What a loop leaves is what a cycle leaves, as often.

use super::{
    CYCLES, Events, Hand, Sizes, bytes, course, grouped, hand, in_words, left, loops, span, unplugs,
};
use crate::policy::Policy;
use crate::scenario::demonstrations::DEMONSTRATIONS;
use crate::scenario::play;
use crate::scenario::rows::ROWS;

#[test]
fn a_loop_leaves_what_a_cycle_leaves_times_its_cycles() {
    let sizes = Sizes::default();
    for scenario in ROWS {
        for policy in Policy::ALL {
            let report = play(scenario, policy.rules());
            let (objects, bytes) = left(&report, &sizes);
            let course = course(scenario, policy, 100, &sizes);
            let last = *course.points.last().unwrap();
            assert_eq!(course.is_aborted, report.is_aborted());
            let cycles = if course.is_aborted { 1 } else { 100 };
            assert_eq!(
                (last.cycle, last.objects, last.bytes),
                (
                    cycles,
                    objects * u64::from(cycles),
                    bytes * u64::from(cycles)
                ),
                "row {}, {policy:?}",
                scenario.row
            );
            for points in course.points.windows(2) {
                assert!(points[0].cycle < points[1].cycle);
            }
        }
    }
}

#[test]
fn every_leaking_row_is_looped_and_holdfast_leaves_nothing() {
    let sizes = Sizes::default();
    let loops = loops(ROWS, 10, &sizes, |_, _| ());
    let looped: Vec<_> = loops.iter().map(|one| one.scenario.row).collect();
    for row in ROWS {
        let leaks = Policy::ALL
            .iter()
            .any(|policy| left(&play(row, policy.rules()), &sizes) != (0, 0));
        assert_eq!(looped.contains(&row.row), leaks, "row {}", row.row);
    }
    assert!(loops.iter().all(|one| !one.courses.last().unwrap().leaks()));
    assert!(
        loops
            .iter()
            .all(|one| one.courses.iter().any(super::Course::leaks))
    );
}

/// Row 3c as it landed: the device and its region, and the mapping that holds them.
#[test]
fn sizes_are_added_up() {
    let row = ROWS.iter().find(|row| row.row == "3c").unwrap();
    let course = course(row, Policy::SkipSameOwner, CYCLES, &Sizes::default());
    let last = course.points.last().unwrap();
    let each = (4 << 10) + 512 + (16 << 20) + 512;
    assert_eq!((last.objects, last.bytes), (20_000, 10_000 * each));
    assert_eq!(course.points.len(), 21);
    assert_eq!(bytes(last.bytes), "156 GiB");
    assert_eq!(
        ["0", "999", "1,000", "1,234,567"],
        [0, 999, 1000, 1_234_567].map(grouped)[..]
    );
}

/// Of each scenario that leaks somewhere it is known whose doing it is; and the guest’s are those that begin with what it writes.
#[test]
fn whose_doing_each_leak_is() {
    let loops = loops(
        ROWS.iter().chain(DEMONSTRATIONS),
        1,
        &Sizes::default(),
        |_, _| (),
    );
    for one in &loops {
        assert!(hand(one.scenario.row).is_some(), "row {}", one.scenario.row);
    }
    for row in ["3a", "3b", "3c", "7c", "12b"] {
        assert_eq!(hand(row).unwrap().0, Hand::Guest, "row {row}");
    }
    assert_eq!(hand("17"), None);
}

/// Where something is left the unplug event never comes; under Holdfast it comes after a grace period, and after whatever is in flight.
#[test]
fn how_long_until_the_unplug_event() {
    for scenario in ROWS.iter().chain(DEMONSTRATIONS) {
        for policy in Policy::ALL {
            let is_good = play(scenario, policy.rules()).verdict.is_rid_of_all();
            let span = span(scenario, policy.rules());
            assert_eq!(span.is_some(), is_good, "row {}, {policy:?}", scenario.row);
        }
        let ours = span(scenario, Policy::Withdrawal.rules()).unwrap();
        assert!(ours.graces <= 3, "row {}: {ours:?}", scenario.row);
    }
    let ours = |row: &str| {
        let scenario = ROWS.iter().find(|known| known.row == row).unwrap();
        span(scenario, Policy::Withdrawal.rules())
            .unwrap()
            .to_string()
    };
    assert_eq!(ours("1a"), "at once");
    assert_eq!(ours("2b"), "after 1 grace period");
    assert_eq!(ours("12b"), "after 1 more step and 1 grace period");
}

/// Each cycle has its own unplug event: one, or none where it leaks. Two in one and none in the other would be as many.
#[test]
fn each_cycle_has_one_unplug_event_or_none() {
    for (row, devices) in [("C4", ["D1", "D2"]), ("C9", ["CPU0", "CPU1"])] {
        let known = DEMONSTRATIONS.iter().find(|known| known.row == row);
        let scenario = known.unwrap();
        for policy in Policy::ALL {
            let report = play(scenario, policy.rules());
            let cycles = unplugs(scenario, policy.rules());
            let each = u32::from(report.leaked.is_empty());
            for (device, cycle) in devices.iter().zip(&cycles) {
                assert_eq!(cycle.events, [(*device, each)], "{row}, {policy:?}");
                let is_good = report.verdict.is_rid_of_all();
                assert_eq!(cycle.span.is_some(), is_good, "{row}, {policy:?}");
            }
            assert_eq!(cycles.len(), 2, "{row}");
        }
        let ours = unplugs(scenario, Policy::Withdrawal.rules());
        assert_eq!(
            in_words(&ours),
            "in each of 2 cycles one, after 1 grace period",
            "{row}: from its own unplug on"
        );
    }
}

#[test]
fn cycles_that_differ_are_told_one_by_one() {
    let scenario = DEMONSTRATIONS.iter().find(|known| known.row == "C4");
    let mut cycles = unplugs(scenario.unwrap(), Policy::Withdrawal.rules());
    cycles[0].events[0].1 = 2;
    cycles[1].span = None;
    assert_eq!(
        in_words(&cycles),
        "in cycle 1 2, after 1 grace period, in cycle 2 none"
    );
    let mut events = None;
    Events::add(&mut events, [1]);
    assert!(events.unwrap().are_right());
    Events::add(&mut events, []);
    Events::add(&mut events, [2, 0]);
    let events = events.unwrap();
    assert!(!events.are_right());
    assert_eq!(
        events.to_string(),
        "0 to 2 from each of 3 devices in 2 cycles"
    );
}
