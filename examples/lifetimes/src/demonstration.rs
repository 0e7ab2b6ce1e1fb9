//! The whole of it: the table, the crates beside it, the searches, the sequences and loops, what is measured, and the page.

use crate::arguments::Arguments;
use crate::told;
use holdfast_lifetimes::page::{self, Contents, Real};
use holdfast_lifetimes::product;
use holdfast_lifetimes::search::Search;
use holdfast_lifetimes::search::campaign::{News, Searched, search_all};
use holdfast_lifetimes::severity::{self, Loop, Sizes};
use holdfast_lifetimes::table::{Table, findings};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often each kind of unmap is measured.
pub(crate) const UNMAPS: usize = 15;

/// Runs it, says what comes of it, and gives what is not as it should be.
pub(crate) fn run(table: &Table, arguments: &Arguments) -> Vec<String> {
    let all = Demonstration {
        table,
        arguments,
        clock: Clock(Instant::now()),
    };
    all.print_table();
    let mut real = all.play();
    let searches = all.search();
    let loops = all.compare_and_repeat(&mut real);
    measure(&mut real);
    let contents = Contents {
        table,
        searches: &searches,
        loops: &loops,
        sizes: Sizes::default(),
        real: Some(&real),
    };
    let unwritten = all.write_page(&contents);
    all.clock.tell("done");
    contents.failures().into_iter().chain(unwritten).collect()
}

struct Demonstration<'a> {
    table: &'a Table,
    arguments: &'a Arguments,
    clock: Clock,
}

/// Says what is done, and when.
#[derive(Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn tell(self, what: &str) {
        eprintln!("{:5.1} s  {what}", self.0.elapsed().as_secs_f32());
    }
}

impl Demonstration<'_> {
    fn print_table(&self) {
        tell!("{}", self.table);
        if self.arguments.why {
            tell!("{}", self.table.reasons());
        }
    }

    /// Every scenario on the real crates; says where they are not clean, or are not as the model has it.
    fn play(&self) -> Real {
        let real = Real::of(self.table);
        let good = real.cells.iter().filter(|cell| cell.is_good).count();
        let all = real.cells.len();
        tell!(
            "on the real crates: {good} of {all} scenarios are clean, or refused with nothing left, as in the model\n"
        );
        self.clock
            .tell(&format!("{all} scenarios played on the real crates"));
        real
    }

    /// Every sequence of steps, where that is asked for.
    fn search(&self) -> Vec<Searched> {
        let (arguments, clock) = (self.arguments, self.clock);
        if !arguments.searches {
            return Vec::new();
        }
        let searches = search_all(
            &arguments.policies,
            |policy| arguments.steps(policy),
            arguments.breadth,
            arguments.states,
            |news| clock.tell(&sentence(news)),
        );
        for searched in &searches {
            print_search(searched);
        }
        searches
    }

    /// Generated sequences on the crates and the model, and meanwhile the loops in the model; then these on the crates.
    fn compare_and_repeat(&self, real: &mut Real) -> Vec<Loop> {
        let (table, cycles, clock) = (self.table, self.arguments.cycles, self.clock);
        // The comparison has one thread, the loops in the model have two.
        let loops = std::thread::scope(|scope| {
            let loops = scope.spawn(move || repeat(table, cycles, clock));
            if self.arguments.searches {
                self.compare(real);
            }
            loops
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        real.repeat(&loops, cycles, |done, of| {
            clock.tell(&format!(
                "{done} of {of} scenarios in a loop of {cycles} cycles on the crates"
            ));
        });
        print_severity(real, &loops);
        loops
    }

    fn compare(&self, real: &mut Real) {
        let (sequences, clock) = (self.arguments.sequences, self.clock);
        let mut told = Instant::now();
        real.compare(sequences, 1, |done| {
            if told.elapsed() > Duration::from_secs(1) {
                told = Instant::now();
                clock.tell(&format!(
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
    }

    /// The page, where that is asked for; says why it cannot be written.
    fn write_page(&self, contents: &Contents<'_>) -> Option<String> {
        let folder = self.arguments.page.as_ref()?;
        match write_page(folder, contents) {
            Ok(file) => tell!("page: {}", file.display()),
            Err(error) => return Some(format!("{}: {error}", folder.display())),
        }
        None
    }
}

/// The bundled devices, the answers to unmaps, and who misbehaves.
fn measure(real: &mut Real) {
    real.look_at_devices();
    tell!("{}", product::devices::text(&real.devices));
    real.measure_unmaps(UNMAPS);
    if let Some(unmaps) = &real.unmaps {
        tell!("{}", product::latency::text(unmaps));
    }
    real.explain();
    tell!(
        "{} devices misbehave on purpose; of each the ledger says whose code it was, the reason and the line",
        real.explained.len()
    );
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
    let far = found.far();
    tell!(
        "{}, devices that close {}, {far}, {:.1?}:",
        searched.policy.rules().name,
        searched.size.habit.when(),
        searched.time
    );
    tell!("  {}", findings(&searched.found, &Search::cast()));
}

/// Each scenario that leaks under some policy, in a loop in the model.
fn repeat(table: &Table, cycles: u32, clock: Clock) -> Vec<Loop> {
    let distinct = table.distinct().into_iter();
    let scenarios = distinct.filter_map(|(scenario, same)| same.is_none().then_some(scenario));
    severity::loops(scenarios, cycles, &Sizes::default(), |done, of| {
        if done == of {
            clock.tell(&format!(
                "{of} scenarios in a loop of {cycles} cycles in the model"
            ));
        }
    })
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
