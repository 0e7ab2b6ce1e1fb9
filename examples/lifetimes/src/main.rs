//! Prints the table of scenarios and policies, and searches every sequence up to a size under every policy.
//!
//! ```text
//! holdfast-lifetimes [--steps N] [--wide] [--table] [--why] [--policy NAME] [--without RULE]
//! ```
//!
//! `--steps` sets how far the searches go (10). `--wide` searches the wide menu, four steps less far. `--table` searches nothing, `--why` says of each
//! cell of the table how it came about. `--policy` searches under one policy only, by the head of its column; `--without` switches one rule of the withdrawal off and searches that alone. The exit status is 1 if Holdfast's column has a cell that is neither clean nor refused
//! with nothing left, or a search under Holdfast's rules finds anything; 2 where an argument is not understood.
//!
//! `--policy Holdfast --steps 40` ends by itself after fewer steps: it has met every state that the core menu leads to.

use holdfast_lifetimes::Policy;
use holdfast_lifetimes::policy::Rule;
use holdfast_lifetimes::search::{Breadth, Found, Search, Size};
use holdfast_lifetimes::state::Release;
use holdfast_lifetimes::table::{Table, findings};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Two searches at a time.
const THREADS: usize = 2;

struct Arguments {
    steps: u8,
    breadth: Breadth,
    searches: bool,
    why: bool,
    policies: Vec<Policy>,
    without: Option<Rule>,
}

fn arguments() -> Option<Arguments> {
    let mut arguments = Arguments {
        steps: 10,
        breadth: Breadth::Core,
        searches: true,
        why: false,
        policies: Policy::ALL.to_vec(),
        without: None,
    };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--steps" => arguments.steps = given.next()?.parse().ok()?,
            "--wide" => arguments.breadth = Breadth::Wide,
            "--table" => arguments.searches = false,
            "--why" => arguments.why = true,
            "--policy" => {
                let name = given.next()?;
                arguments
                    .policies
                    .retain(|policy| policy.rules().short == name);
                arguments.policies.first()?;
            }
            "--without" => {
                let name = given.next()?;
                arguments.without = Some(
                    Rule::ALL
                        .into_iter()
                        .find(|rule| format!("{rule:?}") == name)?,
                );
            }
            _ => return None,
        }
    }
    Some(arguments)
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!(
            "usage: holdfast-lifetimes [--steps N] [--wide] [--table] [--why] [--policy NAME] [--without RULE]"
        );
        return ExitCode::from(2);
    };
    if let Some(rule) = arguments.without {
        return search_without(rule, &arguments);
    }
    let table = Table::of_everything();
    println!("{table}");
    if arguments.why {
        println!("{}", table.reasons());
    }
    let mut failures = table.failures();
    if arguments.searches {
        for (policy, size, found, time) in search_all(&arguments) {
            let Size { steps, habit, .. } = size;
            println!(
                "{}, devices that close {}, {steps} steps, {time:.1?}:",
                policy.rules().name,
                at(habit)
            );
            println!("  {}", findings(&found, &Search::cast()));
            if policy == Policy::Withdrawal && !found.endings.is_empty() {
                failures.push("search");
            }
        }
    }
    if failures.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("not clean: {}", failures.join(", "));
    ExitCode::FAILURE
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

type Result = (Policy, Size, Found, Duration);

/// Searches under every policy: with devices that close in their finalizer, which is where the proposals differ most, and with devices that
/// close in unrealize.
fn search_all(arguments: &Arguments) -> Vec<Result> {
    let steps = match arguments.breadth {
        Breadth::Core => arguments.steps,
        Breadth::Wide => arguments.steps.saturating_sub(4),
    };
    let sizes = [(Release::Finalize, steps), (Release::Unrealize, steps)];
    let mut queue = Vec::new();
    for (habit, steps) in sizes {
        queue.extend(arguments.policies.iter().map(|policy| {
            (
                *policy,
                Size {
                    steps,
                    habit,
                    breadth: arguments.breadth,
                },
            )
        }));
    }
    let (total, order) = (queue.len(), queue.clone());
    let queue = Mutex::new(queue.into_iter());
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let Some((policy, size)) = queue.lock().ok().and_then(|mut queue| queue.next())
                    else {
                        return;
                    };
                    let result = search(policy, size);
                    if let Ok(mut results) = results.lock() {
                        results.push((policy, size, result.0, result.1));
                        eprintln!("{} of {total} searches done", results.len());
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(policy, size, ..)| {
        order.iter().position(|known| *known == (*policy, *size))
    });
    results
}

fn search(policy: Policy, size: Size) -> (Found, Duration) {
    let begin = Instant::now();
    let mut search = Search::new(policy.rules(), size);
    let mut told = begin;
    while search.deepen() {
        if told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            eprintln!(
                "{}: step {} of {}, {} states",
                policy.rules().short,
                search.depth(),
                size.steps,
                search.found().states
            );
        }
    }
    (search.found().clone(), begin.elapsed())
}
