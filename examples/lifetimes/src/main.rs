//! Prints the table of scenarios and policies, searches every sequence up to a size under every policy, and writes the page that shows all of it.
//!
//! `holdfast-lifetimes --help` says how. `--policy Holdfast --steps 40` ends by itself after fewer steps: it has met every state that the core
//! menu leads to.

use holdfast_lifetimes::Policy;
use holdfast_lifetimes::page::{self, Contents};
use holdfast_lifetimes::policy::Rule;
use holdfast_lifetimes::search::campaign::{News, Searched, search_all};
use holdfast_lifetimes::search::{Breadth, Search, Size};
use holdfast_lifetimes::severity::{self, Sizes};
use holdfast_lifetimes::state::Release;
use holdfast_lifetimes::table::{Table, findings};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const HELP: &str = "\
Who keeps a memory region alive: every proposal, run through the same scenarios and every sequence of steps up to a size.

usage: holdfast-lifetimes [OPTIONS]

  --steps N        how many steps the searches go (10)
  --wide           search the wide menu: more holders, roots and containers, four steps less far
  --policy NAME    search under one policy only, by the head of its column
  --without RULE   search under Holdfast's rules with one of them switched off, and nothing else; fails if that is found
  --table          search nothing
  --why            say of each word of the table how it came about
  --cycles N       how many cycles the loops of severity have (10000)
  --page DIR       write DIR/index.html, with everything on it
  --help           this text

exit status: 0 all is well; 1 a cell of Holdfast's column is neither clean nor refused with nothing left, or a search under
its rules finds anything; 2 the command line is wrong
";

struct Arguments {
    steps: u8,
    breadth: Breadth,
    searches: bool,
    why: bool,
    policies: Vec<Policy>,
    without: Option<Rule>,
    cycles: u32,
    page: Option<PathBuf>,
}

/// The arguments; a sentence where they are not understood.
fn arguments() -> Result<Option<Arguments>, String> {
    let mut arguments = Arguments {
        steps: 10,
        breadth: Breadth::Core,
        searches: true,
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
            "--steps" => arguments.steps = number(value()?).and_then(small)?,
            "--cycles" => arguments.cycles = number(value()?)?,
            "--wide" => arguments.breadth = Breadth::Wide,
            "--table" => arguments.searches = false,
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
            print!("{HELP}");
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
    println!("{table}");
    if arguments.why {
        println!("{}", table.reasons());
    }
    let mut failures: Vec<String> = table.failures().into_iter().map(Into::into).collect();
    let mut searches = Vec::new();
    if arguments.searches {
        searches = search_all(
            &arguments.policies,
            arguments.steps,
            arguments.breadth,
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
    if let Some(folder) = &arguments.page {
        match write_page(folder, &table, &searches, arguments.cycles, &progress) {
            Ok(file) => println!("page: {}", file.display()),
            Err(error) => {
                println!("page: {}: {error}", folder.display());
                failures.push("page".into());
            }
        }
    }
    progress("done");
    if failures.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("not clean: {}", failures.join(", "));
    ExitCode::FAILURE
}

fn sentence(news: News) -> String {
    match news {
        News::Deeper(policy, depth, states) => {
            format!("{}: step {depth}, {states} states", policy.rules().short)
        }
        News::Done(done, of) => format!("{done} of {of} searches done"),
    }
}

fn print_search(searched: &Searched) {
    let Size { steps, habit, .. } = searched.size;
    println!(
        "{}, devices that close {}, {steps} steps, {:.1?}:",
        searched.policy.rules().name,
        at(habit),
        searched.time
    );
    println!("  {}", findings(&searched.found, &Search::cast()));
}

fn write_page(
    folder: &Path,
    table: &Table,
    searches: &[Searched],
    cycles: u32,
    progress: &(impl Fn(&str) + Sync),
) -> std::io::Result<PathBuf> {
    let sizes = Sizes::default();
    let distinct = table.distinct().into_iter();
    let scenarios = distinct.filter_map(|(scenario, same)| same.is_none().then_some(scenario));
    let loops = severity::loops(scenarios, cycles, &sizes, |done, of| {
        if done == of {
            progress(&format!("{of} loops of {cycles} cycles done"));
        }
    });
    let text = page::write(&Contents {
        table,
        searches,
        loops: &loops,
        sizes,
        real: None,
    });
    std::fs::create_dir_all(folder)?;
    let file = folder.join("index.html");
    std::fs::write(&file, text)?;
    Ok(file)
}

/// Searches under the withdrawal with a seeded defect, and fails if that is found.
fn search_without(rule: Rule, arguments: &Arguments) -> ExitCode {
    let rules = Policy::Withdrawal.rules().without(rule);
    let mut is_found = false;
    for habit in [Release::Finalize, Release::Unrealize] {
        let size = Size {
            steps: arguments.steps,
            habit,
            breadth: arguments.breadth,
        };
        let found = Search::new(&rules, size).run();
        println!(
            "without {rule:?}, devices that close {}, {} steps:",
            at(habit),
            size.steps
        );
        println!("  {}", findings(&found, &Search::cast()));
        is_found |= !found.endings.is_empty();
    }
    ExitCode::from(u8::from(is_found))
}

const fn at(habit: Release) -> &'static str {
    match habit {
        Release::Completion => "at a completion",
        Release::Unrealize => "in unrealize",
        Release::Finalize => "in their finalizer",
    }
}
