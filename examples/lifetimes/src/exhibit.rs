//! What some scenarios have to show beside their steps: what is measured, listed or drawn, and all of it as text.
//!
//! The page has the same with its pictures; here is which scenario shows what, and what a terminal gets.

use crate::checker::Checked;
use crate::order;
use crate::policy::Policy;
use crate::product::{self, Followed, devices, latency, unmap};
use crate::scenario::{Scenario, play};
use crate::severity::{self, Course, Loop, Sizes, bytes, grouped};
use crate::step::Outcome;
use crate::table::Table;
use crate::timeline;
use std::error::Error;
use std::fmt::Write as _;

/// What a scenario shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhibit {
    /// What a loop of it leaves under each policy and on the crates.
    Severity,
    /// The bundled devices, and what the withdrawal does for each.
    Devices,
    /// How long the answer to an unmap takes.
    Unmaps,
    /// The crates' reference graph after each step.
    Stages,
    /// What happens in which order, under each policy and on the crates: every scenario's text has that, the page these.
    Timeline,
    /// Which owners are finalized before their regions, in all scenarios.
    Orders,
    /// What a guest loads where an alias is shown, on the crates.
    Loads,
    /// What each call comes to, on the crates.
    Calls,
    /// Which commands fail on a leak that is seeded.
    Commands,
}

/// What a scenario shows, by its number.
pub fn of(row: &str) -> Option<Exhibit> {
    match row {
        "C4" => Some(Exhibit::Severity),
        "C12" => Some(Exhibit::Devices),
        "C13" => Some(Exhibit::Unmaps),
        "C14" => Some(Exhibit::Stages),
        "C7" | "C17" => Some(Exhibit::Timeline),
        "C18" => Some(Exhibit::Orders),
        "5" | "5b" | "C11" => Some(Exhibit::Loads),
        "C8" => Some(Exhibit::Calls),
        "C15" => Some(Exhibit::Commands),
        _ => None,
    }
}

/// How often what is measured is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How many cycles a loop has.
    pub cycles: u32,
    /// How often each kind of unmap is measured.
    pub unmaps: usize,
}

/// What a scenario shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// As text.
    pub text: String,
    /// Something in it must not be: the crates leave something in the loop, or send too many or too few unplug events; an unmap is answered while a reader
    /// is there; a guest still finds something at an alias in the end.
    pub is_wrong: bool,
}

/// What a scenario shows: who can bring its leak about and when its unplug event comes, where it leaks under some policy; and its exhibit, where it
/// has one; and what happens in which order.
///
/// ```
/// use holdfast_lifetimes::exhibit::{self, Times};
/// use holdfast_lifetimes::scenario::demonstrations::DEMONSTRATIONS;
///
/// let late_detach = DEMONSTRATIONS.iter().find(|known| known.row == "C17").unwrap();
/// let shown = exhibit::show(late_detach, Times { cycles: 1, unmaps: 1 })?;
/// assert!(shown.text.contains("M is not in C any more: nothing to do"), "{}", shown.text);
/// assert!(!shown.is_wrong);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// A bundled device that cannot be made, plugged or mapped.
pub fn show(scenario: &Scenario, times: Times) -> Result<Shown, Box<dyn Error>> {
    let mut shown = Shown::default();
    let sizes = Sizes::default();
    let cycles = match of(scenario.row) {
        Some(Exhibit::Severity) => times.cycles,
        _ => 1,
    };
    for one in severity::loops([scenario], cycles, &sizes, |_, _| ()) {
        shown.text += &match of(scenario.row) {
            Some(Exhibit::Severity) => {
                let real = product::severity::course(scenario, cycles);
                shown.is_wrong |= real.leaks() || real.has_wrong_events();
                severity::text(&one, Some(&real)) + &left(&one, &real, &sizes)
            }
            _ => severity::text(&one, None),
        };
    }
    shown.text += &match of(scenario.row) {
        Some(Exhibit::Devices) => devices::text(&devices::all()?),
        Some(Exhibit::Unmaps) => {
            let measured = latency::measure(times.unmaps);
            shown.is_wrong |= measured.is_wrong();
            latency::text(&measured)
        }
        Some(Exhibit::Stages) => stages(),
        Some(Exhibit::Timeline) if scenario.row == "C7" => promises(&mut shown.is_wrong),
        None | Some(Exhibit::Severity | Exhibit::Timeline) => String::new(),
        Some(Exhibit::Orders) => order::text(&Table::of_everything()),
        Some(Exhibit::Loads | Exhibit::Calls | Exhibit::Commands) => {
            let lines = lines(scenario);
            shown.is_wrong |= lines.is_wrong;
            lines.text
        }
    };
    shown.text += &timelines(scenario);
    Ok(shown)
}

/// The part of it that is lines of text on the page as well: what a guest loads, what each call comes to, which commands fail. Of other scenarios nothing.
pub fn lines(scenario: &Scenario) -> Shown {
    match of(scenario.row) {
        Some(Exhibit::Loads) => {
            let followed = product::follow(scenario);
            // Whoever an alias shows has been unplugged by then.
            let last = followed.iter().rev().find(|step| !step.loads.is_empty());
            let is_hole = |last: &Followed| last.loads.iter().all(|(_, _, found)| found.is_err());
            Shown {
                is_wrong: !last.is_some_and(is_hole),
                text: loads(followed),
            }
        }
        Some(Exhibit::Calls) => Shown {
            is_wrong: false,
            text: calls(scenario),
        },
        Some(Exhibit::Commands) => Shown {
            is_wrong: false,
            text: COMMANDS.into(),
        },
        _ => Shown::default(),
    }
}

/// Of all scenarios: the orders of ends that were looked at, in the model under Holdfast's rules and on the crates; and which were wrong.
fn promises(is_wrong: &mut bool) -> String {
    let (mut scenarios, mut model, mut crates) = (0, Checked::default(), Checked::default());
    let mut text = String::new();
    for (scenario, _) in Table::of_everything().rows() {
        scenarios += 1;
        let played = play(scenario, Policy::Withdrawal.rules());
        match played.check_order() {
            Ok(checked) => model.add(checked),
            Err(broken) => {
                *is_wrong = true;
                let what = broken.show(|id| played.name(id).into());
                let _ = writeln!(text, "  {}: the model: {what}", scenario.row);
            }
        }
        let real = product::play(scenario);
        crates.add(real.checked);
        for what in real.moments.iter().flat_map(|moment| &moment.happened) {
            if what.starts_with("wrong") {
                *is_wrong = true;
                let _ = writeln!(text, "  {}: the crates: {what}", scenario.row);
            }
        }
    }
    format!(
        "the order of ends in all {scenarios} scenarios:\n  Holdfast’s rules: {}\n  the crates: {}\n{text}",
        model.sentence(),
        crates.sentence()
    )
}

/// What the loop leaves in each column.
fn left(one: &Loop, real: &Course, sizes: &Sizes) -> String {
    let mut text = format!("left by the loop, with {}:\n", sizes.sentence());
    for course in one.courses.iter().chain([real]) {
        let Some(last) = course.points.last() else {
            continue;
        };
        let _ = writeln!(
            text,
            "  {:<10} {:>7} objects, {:>8}, after {} cycles{}",
            course.name,
            grouped(last.objects),
            bytes(last.bytes),
            grouped(last.cycle.into()),
            if course.is_aborted { ": it aborts" } else { "" }
        );
    }
    text
}

/// What the stages are of.
pub const STAGES: &str = "the crates’ reference graph at each stage, on the virtio-gpu and by its ring (G is the device, W its window, V the object that it makes for a blob)";

fn stages() -> String {
    let mut text = format!("{STAGES}:\n");
    for (number, stage) in (1..).zip(unmap::stages()) {
        let _ = writeln!(text, "  {number}. after “{}”", stage.step);
        for edge in &stage.edges {
            let _ = writeln!(text, "       {edge}");
        }
        for line in stage.said.iter().flat_map(|said| said.lines()) {
            let _ = writeln!(text, "     the ledger: {line}");
        }
    }
    text
}

/// Each is to end with status 1, or to say that what it seeds is found.
const COMMANDS: &str = "\
commands that seed a leak and show that it is found:
  cargo xtask demo lifetimes --without CloseOpened --steps 6    the model’s search: exit status 1
  cargo xtask defects                                           the crates built without the rule: their tests must fail
  cargo test -p holdfast-lifetimes --test product ledger        the same leak by handles, which the withdrawal cannot cut: the ledger names it
";

fn loads(followed: Vec<Followed>) -> String {
    let mut text = String::from("a guest’s loads where the alias is, on the crates:\n");
    for followed in followed {
        for (name, at, found) in followed.loads {
            let found = match found {
                Ok(value) => format!("reads as {value:#x}"),
                Err(error) => format!("reads as unassigned: {error}"),
            };
            let _ = writeln!(
                text,
                "  after “{}”: {name}, at {at:#x}, {found}",
                followed.step
            );
        }
    }
    text
}

fn calls(scenario: &Scenario) -> String {
    let mut text = String::from(
        "what each call comes to on the crates, where “free the node” is to close the address space a second time:\n",
    );
    for followed in product::follow(scenario) {
        let came_to = match followed.outcome {
            Outcome::Done => "done".to_owned(),
            Outcome::Nothing => "a no-op: done before".to_owned(),
            Outcome::Refused(refusal) => format!("refused: {refusal:?}"),
        };
        let _ = writeln!(text, "  {}: {came_to}", followed.step);
    }
    text
}

fn timelines(scenario: &Scenario) -> String {
    let mut text = String::from("who did what when:\n");
    let model = timeline::under_every_policy(scenario);
    let crates = (vec!["the crates"], product::play(scenario).moments);
    for (names, moments) in model.into_iter().chain([crates]) {
        let _ = writeln!(text, "  {}", names.join(", "));
        for moment in moments {
            let _ = writeln!(text, "    {}", moment.step);
            for what in &moment.happened {
                let _ = writeln!(text, "      {what}");
            }
        }
    }
    text
}
