//! What a loop leaves is what a cycle leaves, as often.

use super::{CYCLES, Sizes, bytes, course, grouped, left, loops};
use crate::policy::Policy;
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
            .any(|policy| left(&play(row, policy.rules()), &sizes).0 > 0);
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
