//! Checks files of recorded flat views: `oracle FILE…`. All files are reported on; exits 1 where anything differs, else 2 where anything cannot
//! be read.

use std::path::PathBuf;
use std::process::ExitCode;

use holdfast_tests::oracle::{Machines, Topologies, check_files};

fn main() -> ExitCode {
    let files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if files.is_empty() {
        eprintln!("usage: oracle FILE…");
        return ExitCode::from(2);
    }
    // The pure core, and the product on top of it: each with its incremental renderer, against the recording and the slow one.
    let core = check_files::<Topologies>(&files);
    println!("topology and views: {core}");
    let machines = check_files::<Machines>(&files);
    println!("machine, address space and listener: {machines}");
    let reports = [core, machines];
    if reports.iter().any(|report| !report.differing.is_empty()) {
        ExitCode::FAILURE
    } else if reports.iter().all(|report| report.unreadable.is_empty()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    }
}
