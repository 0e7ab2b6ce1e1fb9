//! The scenarios and the command line that chooses among them.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    time::Instant,
};

use super::{churn::Churn, failure::DemoError, overlap, stage::Stage, traces::Traces, why_alive};

/// One demonstration.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows, in one line.
    pub shows: &'static str,
    run: fn(&mut Stage<'_>) -> Result<(), DemoError>,
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scenario({})", self.name)
    }
}

impl Scenario {
    /// Shows it.
    ///
    /// # Errors
    /// It did not come out as it says.
    pub fn run(&self, stage: &mut Stage<'_>) -> Result<(), DemoError> {
        (self.run)(stage)
    }
}

/// All scenarios; the first is the one that runs when none is named.
pub fn scenarios() -> &'static [Scenario] {
    &[
        Scenario {
            name: "traces",
            shows: "recorded driver traces through real rings under readers, then reset, unplug and close; nothing is left",
            run: |stage| Traces::given().run(stage),
        },
        Scenario {
            name: "hotplug-churn",
            shows: "1,000 plugs and unplugs of a device under readers, and memory stays flat",
            run: |stage| Churn::default().run(stage),
        },
        Scenario {
            name: "why-alive",
            shows: "a device that keeps a handle to its own region, and the ledger's answer",
            run: why_alive::run,
        },
        Scenario {
            name: "overlap",
            shows: "overlapping regions and priorities, and what the address space shows of them",
            run: overlap::run,
        },
    ]
}

const USAGE: &str =
    "usage: demo [--verbose] [--out DIR] [--readers N] [NAME | all | trace FILE... | --list]";

/// What the command line says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    list: bool,
    help: bool,
    out: Option<PathBuf>,
    readers: Option<usize>,
    words: Vec<String>,
}

impl Options {
    fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, DemoError> {
        let mut options = Self::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || {
                let missing = || DemoError::Usage(format!("{arg} needs a value; {USAGE}"));
                args.next().ok_or_else(missing)
            };
            match arg.as_str() {
                "--list" => options.list = true,
                "--help" | "-h" => options.help = true,
                // The caller's: how much is logged.
                "--verbose" => {}
                "--out" => options.out = Some(value()?.into()),
                "--readers" => {
                    let number = value()?;
                    let readers = number.parse().ok().filter(|n| *n <= 64);
                    let wrong =
                        || DemoError::Usage(format!("--readers {number}: not a number up to 64"));
                    options.readers = Some(readers.ok_or_else(wrong)?);
                }
                flag if flag.starts_with('-') => {
                    return Err(DemoError::Usage(format!("{flag} is not known; {USAGE}")));
                }
                _ => options.words.push(arg),
            }
        }
        Ok(options)
    }
}

/// Runs the command: the scenario that is named, or the first one.
///
/// # Errors
/// The command line makes no sense, or a scenario did not come out as it says.
pub fn run(args: impl IntoIterator<Item = String>, out: &mut dyn Write) -> Result<(), DemoError> {
    let options = Options::parse(args)?;
    if options.help || options.list {
        let mut stage = Stage::new(out);
        if options.help {
            stage.say(USAGE);
        }
        for scenario in scenarios() {
            stage.say(format_args!("{:14} {}", scenario.name, scenario.shows));
        }
        return Ok(());
    }
    let mut stage = Stage::new(out).terminal(std::io::stdout().is_terminal());
    if let Some(readers) = options.readers {
        stage = stage.with_readers(readers);
    }
    if let Some(directory) = &options.out {
        stage = stage.directory(directory)?;
    }
    let start = Instant::now();
    match options.words.as_slice() {
        [] => scenarios()[0].run(&mut stage)?,
        [all] if all == "all" => {
            for scenario in scenarios() {
                stage.say(format_args!("== {}: {}", scenario.name, scenario.shows));
                scenario.run(&mut stage)?;
            }
        }
        [trace] if trace == "trace" => {
            return Err(DemoError::Usage(format!("trace needs a file; {USAGE}")));
        }
        [trace, files @ ..] if trace == "trace" => {
            Traces::of(files.iter().map(PathBuf::from)).run(&mut stage)?;
        }
        [name] => {
            let found = scenarios().iter().find(|s| s.name == name);
            let unknown =
                || DemoError::Usage(format!("no scenario is called {name}; see demo --list"));
            found.ok_or_else(unknown)?.run(&mut stage)?;
        }
        _ => return Err(DemoError::Usage(USAGE.to_owned())),
    }
    stage.say(format_args!(
        "all as it should be, in {:.1} s",
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, DemoError> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_command_line_is_understood() {
        let options = parse("overlap --out out/x --readers 3").unwrap();
        assert_eq!(options.out.as_deref(), Some("out/x".as_ref()));
        assert_eq!(
            (options.readers, options.words.as_slice()),
            (Some(3), &["overlap".to_owned()][..])
        );
        for wrong in ["--out", "--readers x", "--readers 65", "--frob"] {
            assert!(matches!(parse(wrong), Err(DemoError::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn a_scenario_that_does_not_exist_is_named() {
        let error = run(["frob".to_owned()], &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("frob"), "{error}");
    }

    #[test]
    fn each_scenario_is_listed_in_one_line() {
        let mut out = Vec::new();
        run(["--list".to_owned()], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), scenarios().len());
    }
}
