//! Prints the table of scenarios and policies, searches every sequence up to a size under every policy, and writes the page that shows all of it.
//!
//! `holdfast-lifetimes --help` says how.

#[macro_use]
mod told;

use holdfast_lifetimes::exhibit::{self, Times};
use holdfast_lifetimes::page::{self, Cell, Contents, Real};
use holdfast_lifetimes::policy::Rule;
use holdfast_lifetimes::scenario::{Script, or_nobody};
use holdfast_lifetimes::search::campaign::{News, Searched, search_all};
use holdfast_lifetimes::search::{Breadth, Search, Size};
use holdfast_lifetimes::severity::{self, Loop, Sizes};
use holdfast_lifetimes::state::Release;
use holdfast_lifetimes::table::{Table, findings};
use holdfast_lifetimes::{Policy, product};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const HELP: &str = "\
Who keeps a memory region alive: every proposal, run through the same scenarios and every sequence of steps up to a size.

usage: holdfast-lifetimes [OPTIONS]

  --steps N        how many steps the searches go (10; under Holdfast's rules until they have met every state)
  --wide           search the wide menu: more holders, roots and containers, four steps less far
  --states N       where a search stops that meets too many (8000000); it says how many steps it has covered
  --policy NAME    search under one policy only, by the head of its column
  --without RULE   search under Holdfast's rules with one of them switched off, and nothing else; fails if that is found
  --table          search nothing
  --row NUMBER     one scenario: its steps, what each policy makes of it and why, what the real crates do, whose doing its leak is, when its
                   unplug event comes, and what it measures, lists or draws (5, C4, C7, C8, C11 to C15, C17, C18)
  --why            say of each word of the table how it came about
  --sequences N    how many generated sequences the crates and the model are compared in (20000)
  --cycles N       how many cycles the loops of severity have (10000), that of --row C4 as well
  --page DIR       write DIR/index.html, with everything on it
  --help           this text

exit status: 0 all is well; 1 a cell of Holdfast's column or of the crates' is neither clean nor refused with nothing left, a
search under Holdfast's rules finds anything, the crates differ from the model, a loop on them leaves something or has too many or
too few unplug events, the ledger does not explain a leak, or an unmap is answered while a reader is there; 2 the command line is wrong
";

struct Arguments {
    /// None: those of the whole demonstration.
    steps: Option<u8>,
    breadth: Breadth,
    /// What each search may meet.
    states: u64,
    searches: bool,
    row: Option<String>,
    why: bool,
    policies: Vec<Policy>,
    without: Option<Rule>,
    cycles: u32,
    sequences: u64,
    page: Option<PathBuf>,
}

const SEQUENCES: u64 = 20_000;
/// More than the core menu has within ten steps under any policy; two searches of so many states are some 5 GB.
const STATES: u64 = 8_000_000;
/// How often each kind of unmap is measured.
const UNMAPS: usize = 15;
/// How far the searches go that are not to meet everything.
const STEPS: u8 = 10;
/// More than any state of the core menu is away from the start, under Holdfast's rules.
const ALL: u8 = 60;

fn steps(policy: Policy, arguments: &Arguments) -> u8 {
    match (arguments.steps, arguments.breadth, policy) {
        (Some(steps), ..) => steps,
        (None, Breadth::Core, Policy::Withdrawal) => ALL,
        (None, ..) => STEPS,
    }
}

/// The arguments; a sentence where they are not understood.
fn arguments() -> Result<Option<Arguments>, String> {
    let mut arguments = Arguments {
        steps: None,
        sequences: SEQUENCES,
        breadth: Breadth::Core,
        states: STATES,
        searches: true,
        row: None,
        why: false,
        policies: Policy::ALL.to_vec(),
        without: None,
        cycles: severity::CYCLES,
        page: None,
    };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        let mut value = || {
            given
                .next()
                .ok_or_else(|| format!("{argument} needs a value"))
        };
        let number = |text: String| {
            text.parse()
                .map_err(|_| format!("`{text}` is no such number"))
        };
        match argument.as_str() {
            "--steps" => arguments.steps = Some(number(value()?).and_then(small)?),
            "--states" => arguments.states = number(value()?)?.into(),
            "--sequences" => arguments.sequences = number(value()?)?.into(),
            "--cycles" => arguments.cycles = number(value()?)?,
            "--wide" => arguments.breadth = Breadth::Wide,
            "--table" => arguments.searches = false,
            "--row" => arguments.row = Some(value()?),
            "--why" => arguments.why = true,
            "--page" => arguments.page = Some(value()?.into()),
            "--policy" => {
                let name = value()?;
                let known = Policy::ALL
                    .into_iter()
                    .find(|policy| policy.rules().short == name);
                arguments.policies = vec![known.ok_or_else(|| {
                    let names = Policy::ALL.map(|policy| policy.rules().short);
                    format!("no policy {name}; there is: {}", names.join(", "))
                })?];
            }
            "--without" => {
                let name = value()?;
                let known = Rule::ALL
                    .into_iter()
                    .find(|rule| format!("{rule:?}") == name);
                arguments.without = Some(known.ok_or_else(|| {
                    let names = Rule::ALL.map(|rule| format!("{rule:?}"));
                    format!("no rule {name}; there is: {}", names.join(", "))
                })?);
            }
            "--help" | "-h" => return Ok(None),
            _ => return Err(format!("unknown argument {argument}")),
        }
    }
    Ok(Some(arguments))
}

fn small(number: u32) -> Result<u8, String> {
    u8::try_from(number).map_err(|_| format!("{number} steps are too many"))
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            told::write(format_args!("{HELP}"));
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("holdfast-lifetimes: {message}; see --help");
            return ExitCode::from(2);
        }
    };
    if let Some(rule) = arguments.without {
        return search_without(rule, &arguments);
    }
    let begin = Instant::now();
    let progress = |text: &str| eprintln!("{:5.1} s  {text}", begin.elapsed().as_secs_f32());
    let table = Table::of_everything();
    if let Some(row) = &arguments.row {
        return about(&table, row, &arguments);
    }
    tell!("{table}");
    if arguments.why {
        tell!("{}", table.reasons());
    }
    let mut failures: Vec<String> = table.failures().into_iter().map(Into::into).collect();
    let mut real = Real::of(&table);
    print_differences(&table, &real, &mut failures);
    progress(&format!(
        "{} scenarios played on the real crates",
        real.cells.len()
    ));
    let mut searches = Vec::new();
    if arguments.searches {
        searches = search_all(
            &arguments.policies,
            |policy| steps(policy, &arguments),
            arguments.breadth,
            arguments.states,
            |news| {
                progress(&sentence(news));
            },
        );
        for searched in &searches {
            print_search(searched);
            if searched.policy == Policy::Withdrawal && !searched.found.endings.is_empty() {
                failures.push("search".into());
            }
        }
    }
    // The comparison has one thread, the loops in the model have two.
    let loops = std::thread::scope(|scope| {
        let loops = scope.spawn(|| repeat(&table, arguments.cycles, &progress));
        if arguments.searches {
            compare(&mut real, arguments.sequences, &mut failures, &progress);
        }
        loops
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    repeat_on_crates(&mut real, &loops, arguments.cycles, &progress);
    print_severity(&real, &loops);
    if let Err(error) = real.look_at_devices() {
        failures.push(format!("a bundled device: {error}"));
    }
    tell!("{}", product::devices::text(&real.devices));
    real.measure_unmaps(UNMAPS);
    if let Some(unmaps) = &real.unmaps {
        tell!("{}", product::latency::text(unmaps));
    }
    real.explain();
    tell!(
        "{} devices misbehave on purpose; of each the ledger names holder, reason and line",
        real.explained.len()
    );
    failures.extend(real.failures());
    if let Some(folder) = &arguments.page {
        let contents = Contents {
            table: &table,
            searches: &searches,
            loops: &loops,
            sizes: Sizes::default(),
            real: Some(&real),
        };
        match write_page(folder, &contents) {
            Ok(file) => tell!("page: {}", file.display()),
            Err(error) => failures.push(format!("{}: {error}", folder.display())),
        }
    }
    progress("done");
    if failures.is_empty() {
        return ExitCode::SUCCESS;
    }
    tell!("not clean: {}", failures.join(", "));
    ExitCode::FAILURE
}

/// One scenario, in the model and on the real crates.
fn about(table: &Table, row: &str, arguments: &Arguments) -> ExitCode {
    let known = table.rows().find(|(scenario, _)| scenario.row == row);
    let (Some((scenario, _)), Some(text)) = (known, table.about(row)) else {
        eprintln!("holdfast-lifetimes: no scenario {row}");
        return ExitCode::from(2);
    };
    let cell = Cell::of(scenario);
    told::write(format_args!("{text}"));
    tell!(
        "    {:<10} {:<12} {}\n{:28}finalized: {}\n{:28}expected: {}; left: {}",
        "the crates",
        cell.word,
        cell.refused.as_deref().unwrap_or_default(),
        "",
        or_nobody(&cell.order),
        "",
        Script::of(scenario).expected(),
        or_nobody(&cell.left)
    );
    for (head, list) in [("held meanwhile", &cell.held), ("left", &cell.why)] {
        for line in list.iter().flat_map(|text| text.lines()) {
            tell!("{:28}{head}: {line}", "");
        }
    }
    let times = Times {
        cycles: arguments.cycles,
        unmaps: UNMAPS,
    };
    let is_wrong = match exhibit::show(scenario, times) {
        Ok(shown) => {
            told::write(format_args!("{}", shown.text));
            shown.is_wrong
        }
        Err(error) => {
            tell!("not clean: a bundled device: {error}");
            true
        }
    };
    let is_good = cell.is_good && table.is_good(row) && !is_wrong;
    ExitCode::from(u8::from(!is_good))
}

/// Says where the crates are not clean, or are not as the model has it.
fn print_differences(table: &Table, real: &Real, failures: &mut Vec<String>) {
    for cell in &real.cells {
        let model = table.report(cell.row, Policy::Withdrawal);
        let model = model.map(|report| report.verdict);
        // A refusal's kind as well.
        if model != Some(cell.verdict) {
            failures.push(format!(
                "{}: the crates {:?}, the model {model:?}",
                cell.row, cell.verdict
            ));
        }
    }
    let good = real.cells.iter().filter(|cell| cell.is_good).count();
    tell!(
        "on the real crates: {good} of {} scenarios are clean, or refused with nothing left\n",
        real.cells.len()
    );
}

/// Compares the crates with the model in generated sequences.
fn compare(real: &mut Real, sequences: u64, failures: &mut Vec<String>, progress: &impl Fn(&str)) {
    let mut told = Instant::now();
    real.compare(sequences, 1, |done| {
        if told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            progress(&format!(
                "{done} of {sequences} sequences on crates and model"
            ));
        }
    });
    let Some(agreement) = &real.agreement else {
        return;
    };
    tell!(
        "{} generated sequences, {} steps, {} of them refused, on crates and model: {} differences\n  {}\n  {}\n",
        agreement.sequences,
        agreement.steps,
        agreement.refused,
        agreement.differences.len(),
        agreement.source,
        agreement.checked.sentence()
    );
    for difference in agreement.differences.iter().take(5) {
        tell!("  {difference}");
    }
    if !agreement.differences.is_empty() {
        failures.push("crates and model differ".into());
    }
}

fn sentence(news: News) -> String {
    match news {
        News::Deeper(policy, habit, depth, states, bad) => format!(
            "{}, devices that close {}: {depth} steps, {states} states, {bad} of them end badly",
            policy.rules().short,
            habit.when()
        ),
        News::Done(done, of) => format!("{done} of {of} searches done"),
    }
}

fn print_search(searched: &Searched) {
    let found = &searched.found;
    let far = match found.depth {
        depth if found.is_whole => format!("nothing new after {depth} steps"),
        depth if found.is_cut => format!("stopped after {depth} steps"),
        depth => format!("{depth} steps"),
    };
    tell!(
        "{}, devices that close {}, {far}, {:.1?}:",
        searched.policy.rules().name,
        searched.size.habit.when(),
        searched.time
    );
    tell!("  {}", findings(&searched.found, &Search::cast()));
}

/// Each scenario that leaks under some policy, in a loop in the model.
fn repeat(table: &Table, cycles: u32, progress: &(impl Fn(&str) + Sync)) -> Vec<Loop> {
    let distinct = table.distinct().into_iter();
    let scenarios = distinct.filter_map(|(scenario, same)| same.is_none().then_some(scenario));
    severity::loops(scenarios, cycles, &Sizes::default(), |done, of| {
        if done == of {
            progress(&format!(
                "{of} scenarios in a loop of {cycles} cycles in the model"
            ));
        }
    })
}

/// Each of these in a loop on the real crates.
fn repeat_on_crates(
    real: &mut Real,
    loops: &[Loop],
    cycles: u32,
    progress: &(impl Fn(&str) + Sync),
) {
    real.repeat(loops, cycles, |done, of| {
        progress(&format!(
            "{done} of {of} scenarios in a loop of {cycles} cycles on the crates"
        ));
    });
}

/// Of each of these: who can bring it about, and how long its unplug event takes.
fn print_severity(real: &Real, loops: &[Loop]) {
    for one in loops.iter().filter(|one| !one.leaks_only_mutually()) {
        let real = real
            .courses
            .iter()
            .find(|(row, _)| *row == one.scenario.row);
        told::write(format_args!(
            "{}",
            severity::text(one, real.map(|(_, course)| course))
        ));
    }
    tell!();
}

fn write_page(folder: &Path, contents: &Contents<'_>) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let file = folder.join("index.html");
    std::fs::write(&file, page::write(contents))?;
    Ok(file)
}

/// Searches under the withdrawal with a seeded defect, and fails if that is found.
fn search_without(rule: Rule, arguments: &Arguments) -> ExitCode {
    let rules = Policy::Withdrawal.rules().without(rule);
    let mut is_found = false;
    for habit in [Release::Finalize, Release::Unrealize] {
        let size = Size {
            steps: arguments.steps.unwrap_or(6),
            habit,
            breadth: arguments.breadth,
        };
        let found = Search::new(&rules, size).run();
        tell!(
            "without {rule:?}, devices that close {}, {} steps:",
            habit.when(),
            size.steps
        );
        tell!("  {}", findings(&found, &Search::cast()));
        is_found |= !found.endings.is_empty();
    }
    ExitCode::from(u8::from(is_found))
}
