//! `cargo xtask bench`: measures, prints, compares with the targets.

use holdfast_bench::contest::Effort;
use holdfast_bench::groups::{GROUPS, Group};
use holdfast_bench::heap::Heap;
use holdfast_bench::instructions::{self, Verdict};
use holdfast_bench::machine_code;
use holdfast_bench::operations::OPERATIONS;
use holdfast_bench::report::Report;
use holdfast_bench::targets;
use serde_json::json;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

#[global_allocator]
static HEAP: Heap = Heap;

const HELP: &str = "\
Measures the crates beside their peers.

usage: cargo xtask bench [GROUP]... [--quick | --smoke] [--json FILE] [--svg DIR]
       cargo xtask bench instructions [--update]
       cargo xtask bench profile [OPERATION]...
       cargo xtask bench machine-code

  --quick        fewer and shorter samples
  --smoke        a little of everything, for the errors and not for the figures
  --json FILE    all figures, and the targets, as JSON
  --svg DIR      growth curves, a file for each work that was measured at three sizes or more

  instructions   counts what single operations execute, under valgrind, and compares it with tests/bench/instructions.json
  --update       keeps the counts there instead
  profile        shows by function where the instructions of these operations, or of all, go
  machine-code   looks for read-modify-writes in what readers execute, with objdump; status 1 if there are any

Each group runs in a process of its own. A cell is median (lower-upper quartile), and for a peer [ours by peer]. The table of targets comes last, from the groups that
ran. Without a group (or with the word `targets`) all of them run:
";

struct Options {
    effort: Effort,
    groups: Vec<&'static Group>,
    json: Option<PathBuf>,
    svg: Option<PathBuf>,
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
    let done = match args.first().map(String::as_str) {
        Some("count") => count(&args[1..]),
        Some("measure") => measure(&args[1..]),
        Some("instructions") => compare(&args[1..]),
        Some("profile") => profiles(&args[1..]),
        Some("machine-code") => Ok(read_machine_code()),
        _ => options(args).and_then(|options| run(&options)),
    };
    match done {
        Ok(code) => code,
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
        svg: None,
    };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match &*arg {
            "--quick" => options.effort = Effort::Quick,
            "--smoke" => options.effort = Effort::Smoke,
            "--json" => options.json = Some(args.next().ok_or("--json needs a file")?.into()),
            "--svg" => options.svg = Some(args.next().ok_or("--svg needs a folder")?.into()),
            "targets" => {}
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

/// Measures one group, for [`run`], and says what came of it.
fn measure(args: &[String]) -> Result<ExitCode, String> {
    let [name, effort] = args else {
        return Err("measure needs a group and an effort".to_owned());
    };
    let group = GROUPS.iter().find(|g| g.name == name);
    let group = group.ok_or_else(|| format!("no group `{name}`"))?;
    let effort = Effort::ALL.into_iter().find(|e| e.name() == effort);
    holdfast_bench::ours::touch_ram();
    let mut report = Report::default();
    (group.run)(effort.ok_or("no such effort")?, &mut report);
    println!("{}", report.to_json());
    Ok(ExitCode::SUCCESS)
}

/// Has a group measured in a process of its own: what the others have left of the heap is no part of its figures.
fn measure_apart(group: &'static Group, effort: Effort, report: &mut Report) -> Result<(), String> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", group.name);
    let program = std::env::current_exe().map_err(|e| told(&e))?;
    let mut command = Command::new(program);
    command.args(["measure", group.name, effort.name()]);
    let done = command.stderr(Stdio::inherit()).output();
    let done = done.map_err(|e| told(&e))?;
    if !done.status.success() {
        return Err(told(&done.status));
    }
    let figures = serde_json::from_slice(&done.stdout).map_err(|e| told(&e))?;
    report.add_json(group.name, &figures)
}

fn run(options: &Options) -> Result<ExitCode, String> {
    let mut report = Report::default();
    for group in &options.groups {
        let start = Instant::now();
        measure_apart(group, options.effort, &mut report)?;
        println!("{}", report.table(group.name));
        eprintln!("{}: {:.1} s", group.name, start.elapsed().as_secs_f64());
    }
    let rows = targets::rows(&report);
    println!("targets\n{}", targets::table(&rows));
    if let Some(path) = &options.json {
        let mut all = report.to_json();
        all["targets"] = targets::to_json(&rows);
        all["effort"] = json!(options.effort.name());
        let text = serde_json::to_string_pretty(&all).map_err(|e| e.to_string())?;
        std::fs::write(path, text + "\n").map_err(|e| format!("{}: {e}", path.display()))?;
    }
    if let Some(folder) = &options.svg {
        std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for (name, svg) in holdfast_bench::chart::pictures(&report) {
            let path = folder.join(name);
            std::fs::write(&path, svg).map_err(|e| format!("{}: {e}", path.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What valgrind runs: one operation, so many times.
fn count(args: &[String]) -> Result<ExitCode, String> {
    let [name, rounds] = args else {
        return Err("count needs an operation and a number".to_owned());
    };
    let operation = OPERATIONS.iter().find(|o| o.name == name);
    let operation = operation.ok_or_else(|| format!("no operation `{name}`"))?;
    let rounds = rounds
        .parse()
        .map_err(|_| format!("`{rounds}` is no number"))?;
    (operation.run)(rounds);
    Ok(ExitCode::SUCCESS)
}

/// Shows where the instructions of operations go.
fn profiles(args: &[String]) -> Result<ExitCode, String> {
    if let Err(reason) = instructions::available() {
        println!("profile: SKIPPED ({reason})");
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(unknown) = args
        .iter()
        .find(|a| OPERATIONS.iter().all(|o| o.name != **a))
    {
        let names: Vec<_> = OPERATIONS.iter().map(|o| o.name).collect();
        return Err(format!(
            "no operation `{unknown}` among\n  {}",
            names.join("\n  ")
        ));
    }
    println!(
        "instructions of one round, of the calling thread, by the function that executes them"
    );
    for operation in OPERATIONS {
        if args.is_empty() || args.iter().any(|a| a == operation.name) {
            println!("\n{}", instructions::profile(operation)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows what readers execute, and whether there is a read-modify-write in it.
fn read_machine_code() -> ExitCode {
    let found = match machine_code::look() {
        Ok(found) => found,
        Err(reason) => {
            println!("machine-code: SKIPPED ({reason})");
            return ExitCode::SUCCESS;
        }
    };
    println!("what readers execute\n{}", machine_code::table(&found));
    let read_modify_writes: u32 = found.values().map(|f| f.read_modify_writes).sum();
    println!("machine-code: {read_modify_writes} read-modify-writes");
    // All three probes and the way to a callback, or not all has been looked at.
    let looked_at = found
        .keys()
        .filter(|name| name.contains("::probe_") || name.contains("::bound::load_of"))
        .count();
    if looked_at < 4 || read_modify_writes > 0 {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Counts instructions, and compares them with those that are kept, or keeps them.
fn compare(args: &[String]) -> Result<ExitCode, String> {
    let update = match args {
        [] => false,
        [flag] if flag == "--update" => true,
        _ => return Err("instructions takes --update and nothing else".to_owned()),
    };
    if let Err(reason) = instructions::available() {
        println!("instructions: SKIPPED ({reason})");
        return Ok(ExitCode::SUCCESS);
    }
    let kept = if update {
        None
    } else {
        Some(instructions::kept()?)
    };
    println!("instructions of one round, of the calling thread");
    let now = instructions::count_all()?;
    let Some(kept) = kept else {
        instructions::keep(&now)?;
        println!("kept in {}", instructions::kept_in().display());
        return Ok(ExitCode::SUCCESS);
    };
    let mut verdict = instructions::compare(&kept, &now);
    if matches!(verdict, Verdict::Different { .. }) {
        println!("once more, as the other threads' pace shows in some of them:");
        verdict = instructions::compare(&kept, &now.or_less(instructions::count_all()?));
    }
    match verdict {
        Verdict::OtherCompiler { kept, now } => {
            println!(
                "instructions: SKIPPED (counted with `{kept}`, built with `{now}`; `cargo xtask bench instructions --update` counts anew)"
            );
        }
        Verdict::Same { better } if better.is_empty() => println!("instructions: as kept"),
        Verdict::Same { better } => println!(
            "instructions: less than kept, `cargo xtask bench instructions --update` keeps them\n  {}",
            better.join("\n  ")
        ),
        Verdict::Different { worse } => {
            println!("instructions: more than kept\n  {}", worse.join("\n  "));
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}
