//! How long an unplug takes until the last finalizer has run, counted in steps and grace periods, and how many unplug events each cycle of plug and unplug has.
//!
//! The unplug event that management waits for is sent from the device's finalizer, in QEMU and in Holdfast alike: where the finalizer does not come,
//! the event never does; where it ran twice, so would the event.

use crate::policy::Rules;
use crate::run::Event;
use crate::scenario::{Report, Scenario, Script, Stretch, Verdict, advance, play};
use crate::state::State;
use crate::step::{Outcome, Step};
use std::fmt;

/// From the first step that ends somebody to the last finalizer of those who should be gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Steps of the scenario that were taken after the first, grace periods left out.
    pub steps: u32,
    /// Grace periods that had to pass.
    pub graces: u32,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |number| if number == 1 { "" } else { "s" };
        match (self.steps, self.graces) {
            (0, 0) => f.write_str("at once"),
            (0, graces) => write!(f, "after {graces} grace period{}", plural(graces)),
            (steps, 0) => write!(f, "after {steps} more step{}", plural(steps)),
            (steps, graces) => write!(
                f,
                "after {steps} more step{} and {graces} grace period{}",
                plural(steps),
                plural(graces)
            ),
        }
    }
}

/// What a cycle of plug and unplug comes to; a scenario is one where it does not say otherwise ([`Script::cycle`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Whom its steps unplug or drop, and how many unplug events that device has sent.
    pub events: Vec<(&'static str, u32)>,
    /// How long it took to be rid of all that was made in it; none where it never is, or something went wrong.
    pub span: Option<Span>,
}

/// The cycles of a scenario under a policy.
///
/// ```
/// use holdfast_lifetimes::{Policy, scenario::demonstrations::DEMONSTRATIONS, severity::unplugs};
///
/// let twice = DEMONSTRATIONS.iter().find(|known| known.row == "C4").unwrap();
/// let [first, second] = &unplugs(twice, Policy::SkipSameOwner.rules())[..] else { panic!() };
/// assert_eq!((&first.events[..], &second.events[..]), (&[("D1", 0)][..], &[("D2", 0)][..]));
/// let [first, second] = &unplugs(twice, Policy::Withdrawal.rules())[..] else { panic!() };
/// assert_eq!((&first.events[..], &second.events[..]), (&[("D1", 1)][..], &[("D2", 1)][..]));
/// ```
pub fn unplugs(scenario: &Scenario, rules: &Rules) -> Vec<Cycle> {
    let script = Script::of(scenario);
    let mut clocks: Vec<Clock> = script.cycles().into_iter().map(Clock::new).collect();
    let mut state = State::default();
    let mut take = |at: usize, step: Step| {
        let mut events = Vec::new();
        let outcome = advance(&mut state, step, rules, &mut events);
        for clock in &mut clocks {
            clock.pass(at, step, outcome, &events);
        }
        outcome
    };
    for (at, step) in script.steps.iter().enumerate() {
        take(at, *step);
    }
    let end = script.steps.len();
    while [Step::Grace, Step::Collect].map(|step| take(end, step)) != [Outcome::Nothing; 2] {}
    let report = play(scenario, rules);
    clocks
        .into_iter()
        .map(|clock| clock.stop(&script, &report))
        .collect()
}

/// How long a scenario takes to be rid of everything under a policy, the longest of its cycles; none where it never is.
///
/// ```
/// use holdfast_lifetimes::{Policy, scenario::rows::ROWS, severity::span};
///
/// let row = |name: &str| ROWS.iter().find(|row| row.row == name).unwrap();
/// assert_eq!(span(row("3c"), Policy::SkipSameOwner.rules()), None);
/// assert_eq!(span(row("3c"), Policy::Withdrawal.rules()).unwrap().graces, 1);
/// ```
pub fn span(scenario: &Scenario, rules: &Rules) -> Option<Span> {
    let cycles = unplugs(scenario, rules);
    let spans: Option<Vec<Span>> = cycles.into_iter().map(|cycle| cycle.span).collect();
    spans?
        .into_iter()
        .max_by_key(|span| (span.graces, span.steps))
}

/// Cycles in words: how many unplug events each has, where there are several, and how long they take.
pub fn in_words(cycles: &[Cycle]) -> String {
    let time = |cycle: &Cycle| {
        cycle
            .span
            .map_or_else(|| "never".to_owned(), |span| span.to_string())
    };
    let count = |cycle: &Cycle| match cycle.span {
        // Where something was touched that is gone, nothing can be said of what follows.
        None => "none".to_owned(),
        Some(_) => match cycle.events.iter().map(|(_, times)| times).sum::<u32>() {
            0 => "none".to_owned(),
            1 => format!("one, {}", time(cycle)),
            times => format!("{times}, {}", time(cycle)),
        },
    };
    match cycles {
        [] => "there is none".into(),
        [one] => time(one),
        [first, rest @ ..] if rest.iter().all(|cycle| count(cycle) == count(first)) => {
            format!("in each of {} cycles {}", cycles.len(), count(first))
        }
        _ => {
            let each = (1..).zip(cycles);
            let each = each.map(|(number, cycle)| format!("in cycle {number} {}", count(cycle)));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// Measures a cycle.
struct Clock {
    stretch: Stretch,
    /// None before its first step that ends somebody.
    now: Option<Span>,
    last: Span,
    events: Vec<u32>,
}

impl Clock {
    fn new(stretch: Stretch) -> Self {
        Self {
            events: vec![0; stretch.unplugged.len()],
            now: None,
            last: Span::default(),
            stretch,
        }
    }

    fn pass(&mut self, at: usize, step: Step, outcome: Outcome, events: &[Event]) {
        match &mut self.now {
            Some(now) if step == Step::Grace => now.graces += u32::from(outcome == Outcome::Done),
            Some(now) => now.steps += u32::from(step != Step::Collect),
            None if self.stretch.steps.contains(&at) && step.ends_somebody() => {
                self.now = Some(Span::default());
            }
            None => {}
        }
        for event in events {
            let Event::Finalized(id) = event else {
                continue;
            };
            if let (Some(now), true) = (self.now, self.stretch.made.contains(id)) {
                self.last = now;
            }
            let devices = self.stretch.unplugged.iter().zip(&mut self.events);
            for (_, times) in devices.filter(|(device, _)| *device == id) {
                *times += 1;
            }
        }
    }

    fn stop(self, script: &Script, report: &Report) -> Cycle {
        let is_rid = match report.verdict {
            Verdict::Leak if !report.leaked.is_empty() => {
                let made = &self.stretch.made;
                !report.leaked.iter().any(|id| made.contains(id))
            }
            verdict => verdict.is_rid_of_all(),
        };
        let names = self.stretch.unplugged.iter();
        let names = names.map(|id| script.cast.name(*id));
        Cycle {
            events: names.zip(self.events).collect(),
            span: is_rid.then_some(self.last),
        }
    }
}
