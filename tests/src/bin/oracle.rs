//! Checks files of recorded flat views: `oracle FILE…`. Exits 1 where anything differs.

use std::path::PathBuf;
use std::process::ExitCode;

use holdfast_tests::oracle::{Machines, Report, Topologies, check_file};

fn main() -> ExitCode {
    let files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if files.is_empty() {
        eprintln!("usage: oracle FILE…");
        return ExitCode::from(2);
    }
    let mut same = true;
    // The pure core, and the product on top of it: each with its incremental renderer, against the recording and the slow one.
    for (name, check) in [
        (
            "topology and views",
            check_file::<Topologies> as fn(&std::path::Path) -> _,
        ),
        (
            "machine, address space and listener",
            check_file::<Machines>,
        ),
    ] {
        let mut report = Report::default();
        for file in &files {
            match check(file) {
                Ok(one) => report.extend(one),
                Err(error) => {
                    eprintln!("{error}");
                    return ExitCode::from(2);
                }
            }
        }
        println!("{name}: {report}");
        same &= report.differing.is_empty();
    }
    if same {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
