//! The recorded flat views that are kept with the project, through every engine there is.

use std::path::PathBuf;

use holdfast_tests::oracle::{Engine, Machines, Topologies, check_file, file};

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("data/flatview-oracle")
        .join(name)
}

fn check<E: Engine>(name: &str, lines: usize) {
    let report = check_file::<E>(&data(name)).unwrap();
    assert!(report.differing.is_empty(), "{report}");
    assert_eq!(report.checked, lines);
}

#[test]
fn the_sample_comes_out_as_recorded() {
    check::<Topologies>("sample.jsonl.gz", 87);
    check::<Machines>("sample.jsonl.gz", 87);
}

#[test]
fn the_hand_checked_come_out_as_worked_out() {
    check::<Topologies>("hand-checked.json", 12);
    check::<Machines>("hand-checked.json", 12);
}

#[test]
fn the_sample_has_deviating_lines_and_transactions_after_them() {
    let lines = file::read(&data("sample.jsonl.gz")).unwrap();
    let mut after = 0;
    for line in &lines {
        let mut deviated = line.view_deviates;
        for transaction in &line.transactions {
            after += usize::from(deviated && transaction.notified && !transaction.deviates);
            deviated = transaction.deviates || deviated && !transaction.notified;
        }
    }
    assert!(lines.iter().filter(|line| line.view_deviates).count() >= 3);
    assert!(after >= 5, "{after}");
    let hand = file::read(&data("hand-checked.json")).unwrap();
    let marked: Vec<&str> = hand
        .iter()
        .filter(|line| line.last_deviates)
        .map(|line| &*line.name)
        .collect();
    assert_eq!(
        marked,
        [
            "root shortcut shifts the view",
            "no shortcut with two children",
            "root shortcut drops readonly"
        ]
    );
}
