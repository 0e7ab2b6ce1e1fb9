//! What happens in a scenario under a policy, in order: each step, and under it what it set off.

use crate::policy::{Policy, Rules};
use crate::run::Event;
use crate::scenario::{Cast, Scenario, Script, advance, settle};
use crate::state::{Hook, State};

/// A step, and what it set off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The step, in words.
    pub step: String,
    /// What happened in it, in order and in words.
    pub happened: Vec<String>,
}

/// The timeline of a scenario, from the first step on that sets anything off.
///
/// ```
/// use holdfast_lifetimes::{Policy, scenario::rows::ROWS, timeline};
///
/// let row = ROWS.iter().find(|row| row.row == "10").unwrap();
/// let ours = timeline::of(row, Policy::Withdrawal.rules());
/// let unplug = ours.iter().find(|moment| moment.step == "unplug D").unwrap();
/// let out = unplug.happened.iter().position(|what| what == "M leaves C").unwrap();
/// let last = ours.last().unwrap();
/// assert!(unplug.happened[..out].contains(&"D is marked".to_owned()));
/// assert!(last.happened.contains(&"M is not in C any more: nothing to do".to_owned()), "{last:?}");
/// ```
pub fn of(scenario: &Scenario, rules: &Rules) -> Vec<Moment> {
    let script = Script::of(scenario);
    let mut state = State::default();
    let mut moments = Vec::new();
    let mut add = |step: String, events: Vec<Event>| {
        let happened: Vec<String> = events
            .iter()
            .map(|event| event.show(&script.cast))
            .collect();
        if !happened.is_empty() {
            moments.push(Moment { step, happened });
        }
    };
    for step in &script.steps {
        let mut events = Vec::new();
        advance(&mut state, *step, rules, &mut events);
        add(step.show(&script.cast), events);
    }
    let mut events = Vec::new();
    settle(&mut state, rules, &mut events);
    add("whatever passes by itself".into(), events);
    moments
}

/// The timelines of a scenario: the heads of the columns in which it is the same, and what happens in them.
pub fn under_every_policy(scenario: &Scenario) -> Vec<(Vec<&'static str>, Vec<Moment>)> {
    Policy::alike(|rules| of(scenario, rules))
}

impl Event {
    /// In a few words, with the names of a cast.
    pub fn show(&self, cast: &Cast) -> String {
        let n = |id| cast.name(id);
        match *self {
            Self::Unrealized(id) => format!("{} is unrealized", n(id)),
            Self::Withdrawn(id) => format!("{} is marked", n(id)),
            Self::Began(Hook::Unrealize, id) => format!("unrealize of {} runs", n(id)),
            Self::Began(Hook::Finalize, id) => format!("the finalizer of {} runs", n(id)),
            Self::Left { sub, container } => format!("{} leaves {}", n(sub), n(container)),
            Self::WasOut { sub, container } => {
                format!(
                    "{} is not in {} any more: nothing to do",
                    n(sub),
                    n(container)
                )
            }
            Self::Opened { space, holder } => {
                format!("space {space} is opened in the name of {}", n(holder))
            }
            Self::Shown { space, region } => format!("space {space} shows {}", n(region)),
            Self::Hidden { space, region } => {
                format!("space {space} shows {} no more", n(region))
            }
            Self::Closed(space) => format!("space {space} is closed"),
            Self::Mapped { map, region } => format!("map {map} is of {}", n(region)),
            Self::Unmapped(map) => format!("map {map} is closed"),
            Self::Grace => "a grace period ends".into(),
            Self::Finalized(id) => format!("{} is finalized", n(id)),
            Self::Fault(_, id, what) => format!("wrong: {} {what}", n(id)),
            Self::Refused(refusal) => format!("refused: {refusal:?}"),
        }
    }
}
