//! Stresses machines for a while: `stress [--seconds N] [--seed S] [--engine membarrier|epoch]`. Exits 1 where anything is not as it must be.

use std::process::ExitCode;

use holdfast_tests::bounded::Bounded;
use holdfast_tests::stress;
use qom::grace::{EngineKind, choose_engine, engine};

fn main() -> ExitCode {
    let bounded = match Bounded::from_args(5).and_then(|b| settle(&b).map(|()| b)) {
        Ok(bounded) => bounded,
        Err(error) => {
            eprintln!(
                "stress: {error}\nusage: stress [--seconds N] [--seed S] [--engine membarrier|epoch]"
            );
            return ExitCode::from(2);
        }
    };
    let seed = bounded.seed();
    println!(
        "stress: {:?}, seed {seed}, engine {}",
        bounded.time,
        engine()
    );
    let tally = stress::run(bounded.time, seed);
    println!("{tally}");
    if tally.violations() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn settle(bounded: &Bounded) -> Result<(), String> {
    for (name, value) in &bounded.others {
        let kind = match (name.as_str(), value.as_str()) {
            ("--engine", "membarrier") => EngineKind::Membarrier,
            ("--engine", "epoch") => EngineKind::Epoch,
            _ => return Err(format!("unknown argument {name} {value}")),
        };
        choose_engine(kind).map_err(|e| e.to_string())?;
    }
    Ok(())
}
