//! The `demo` command: see `holdfast_examples::demo`, and `demo --list`.

use std::{io, process::ExitCode};

use holdfast_examples::demo::{self, DemoError};

fn main() -> ExitCode {
    // What a recorded guest does wrong is a warning, and part of the recording.
    let level = if std::env::args().any(|arg| arg == "--verbose") {
        tracing::Level::WARN
    } else {
        tracing::Level::ERROR
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .init();
    match demo::run(std::env::args().skip(1), &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ DemoError::Usage(_)) => {
            eprintln!("demo: {}", error.chain());
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("demo: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}
