//! `cargo xtask bench`: measures, prints, compares with the targets.

use holdfast_bench::contest::Effort;
use holdfast_bench::groups::{GROUPS, Group};
use holdfast_bench::heap::Heap;
use holdfast_bench::report::Report;
use holdfast_bench::targets;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

#[global_allocator]
static HEAP: Heap = Heap;

const HELP: &str = "\
Measures the crates beside their peers.

usage: cargo xtask bench [GROUP]... [--quick | --smoke] [--json FILE]

  --quick        fewer and shorter samples
  --smoke        a little of everything, for the errors and not for the figures
  --json FILE    all figures, and the targets, as JSON

A cell is median (lower-upper quartile), and for a peer [ours by peer]. Without a group all of them run:
";

struct Options {
    effort: Effort,
    groups: Vec<&'static Group>,
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args
        .iter()
        .any(|a| matches!(&**a, "--help" | "-h" | "help"))
    {
        print!("{HELP}");
        for group in GROUPS {
            println!("  {:12} {}", group.name, group.about);
        }
        return ExitCode::SUCCESS;
    }
    match options(args).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("bench: {message}");
            ExitCode::from(2)
        }
    }
}

fn options(args: Vec<String>) -> Result<Options, String> {
    let mut options = Options {
        effort: Effort::Full,
        groups: Vec::new(),
        json: None,
    };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match &*arg {
            "--quick" => options.effort = Effort::Quick,
            "--smoke" => options.effort = Effort::Smoke,
            "--json" => options.json = Some(args.next().ok_or("--json needs a file")?.into()),
            name => {
                let group = GROUPS.iter().find(|g| g.name == name);
                options
                    .groups
                    .push(group.ok_or_else(|| format!("no group `{name}`; --help lists them"))?);
            }
        }
    }
    if options.groups.is_empty() {
        options.groups = GROUPS.iter().collect();
    }
    Ok(options)
}

fn run(options: &Options) -> Result<(), String> {
    let mut report = Report::default();
    for group in &options.groups {
        let start = Instant::now();
        (group.run)(options.effort, &mut report);
        println!("{}", report.table(group.name));
        eprintln!("{}: {:.1} s", group.name, start.elapsed().as_secs_f64());
    }
    let rows = targets::rows(&report);
    println!("targets\n{}", targets::table(&rows));
    if let Some(path) = &options.json {
        let mut all = report.to_json();
        all["targets"] = targets::to_json(&rows);
        all["effort"] = json!(format!("{:?}", options.effort).to_lowercase());
        let text = serde_json::to_string_pretty(&all).map_err(|e| e.to_string())?;
        std::fs::write(path, text + "\n").map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}
