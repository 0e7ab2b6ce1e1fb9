//! Checks files of recorded flat views: `oracle FILE…`. Exits 1 where anything differs.

use std::path::PathBuf;
use std::process::ExitCode;

use holdfast_tests::oracle::{Report, Topologies, check_file};

fn main() -> ExitCode {
    let files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if files.is_empty() {
        eprintln!("usage: oracle FILE…");
        return ExitCode::from(2);
    }
    let mut report = Report::default();
    for file in &files {
        match check_file::<Topologies>(file) {
            Ok(one) => report.extend(one),
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(2);
            }
        }
    }
    println!("{report}");
    if report.differing.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
