//! How long an unplug takes until the last finalizer has run, counted in steps and grace periods.
//!
//! The unplug event that management waits for is sent from the device's finalizer, in QEMU and in Holdfast alike: where the finalizer does not come,
//! the event never does.

use crate::policy::Rules;
use crate::run::Event;
use crate::scenario::{Scenario, Script, play, run_executor};
use crate::state::State;
use crate::step::{Outcome, Step, apply_logged};
use std::fmt;

/// From the first step that ends something to the last finalizer of those who should be gone.
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

/// How long a scenario takes to be rid of everything under a policy; none where it never is.
///
/// ```
/// use holdfast_lifetimes::{Policy, scenario::rows::ROWS, severity::span};
///
/// let row = |name: &str| ROWS.iter().find(|row| row.row == name).unwrap();
/// assert_eq!(span(row("3c"), Policy::SkipSameOwner.rules()), None);
/// assert_eq!(span(row("3c"), Policy::Withdrawal.rules()).unwrap().graces, 1);
/// ```
pub fn span(scenario: &Scenario, rules: &Rules) -> Option<Span> {
    let script = Script::of(scenario);
    let mut state = State::default();
    let mut now: Option<Span> = None;
    let mut last = Span::default();
    let mut take = |state: &mut State, step: Step| {
        let ends = matches!(
            step,
            Step::Unparent(_) | Step::Drop(_) | Step::Reparent { .. }
        );
        let mut events = Vec::new();
        let outcome = apply_logged(state, step, rules, Some(&mut events));
        run_executor(state, rules, &mut events);
        match &mut now {
            Some(now) if step == Step::Grace => now.graces += u32::from(outcome == Outcome::Done),
            Some(now) => now.steps += u32::from(step != Step::Collect),
            None if ends => now = Some(Span::default()),
            None => {}
        }
        let is_end = |event: &Event| matches!(event, Event::Finalized(_));
        if let (Some(now), true) = (now, events.iter().any(is_end)) {
            last = now;
        }
        outcome
    };
    for step in &script.steps {
        take(&mut state, *step);
    }
    while [Step::Grace, Step::Collect].map(|step| take(&mut state, step)) != [Outcome::Nothing; 2] {
    }
    play(scenario, rules).verdict.is_good().then_some(last)
}
