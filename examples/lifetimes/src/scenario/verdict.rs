//! What becomes of a scenario under a policy: a verdict, who is left and why, in which order finalizers ran.

use super::{Cast, Scenario, Script};
use crate::checker::{self, Broken, Checked};
use crate::edges::{Edge, edges, why_alive};
use crate::policy::Rules;
use crate::run::{Event, members};
use crate::state::{Faults, Id, OBJECTS, State, flag};
use crate::step::{Outcome, Refusal, Step, apply, apply_logged};
use std::fmt::Write as _;

/// How a scenario ended, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// An assertion failed.
    Abort,
    /// Finalized inside its own finalizer.
    DoubleFinalize,
    /// Freed storage was used, or storage with somebody alive in it was freed.
    UseAfterFree,
    /// A finalized object was used.
    UseAfterFinalize,
    /// Somebody who must be gone is not finalized, or a handle of somebody who is gone is open.
    Leak,
    /// Somebody who was withdrawn was kept, though transfers had completed, kept handles were dropped and links cleared (withdrawal only).
    Late,
    /// Everything is finalized once, but an owner before its region.
    Order,
    /// A step was refused, and nothing is left of it.
    Refused(Refusal),
    /// Everything is finalized, once, after its regions, and nothing went wrong.
    Clean,
}

impl Verdict {
    /// A word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::DoubleFinalize => "twice",
            Self::UseAfterFree => "UAF",
            Self::UseAfterFinalize => "UAFin",
            Self::Leak => "LEAK",
            Self::Late => "late",
            Self::Order => "order",
            Self::Refused(_) => "refused",
            Self::Clean => "ok",
        }
    }

    /// What faults come to, the worst first.
    fn all_of(faults: Faults) -> impl Iterator<Item = Self> {
        [
            (Faults::ABORT, Self::Abort),
            (Faults::DOUBLE_FINALIZE, Self::DoubleFinalize),
            (Faults::USE_AFTER_FREE, Self::UseAfterFree),
            (Faults::USE_AFTER_FINALIZE, Self::UseAfterFinalize),
        ]
        .into_iter()
        .filter_map(move |(fault, verdict)| faults.has(fault).then_some(verdict))
    }

    /// Of faults, the one that decides.
    pub fn of(faults: Faults) -> Option<Self> {
        Self::all_of(faults).next()
    }

    /// Whether everything went that was to go, in whatever order.
    pub const fn is_rid_of_all(self) -> bool {
        matches!(self, Self::Order) || self.is_good()
    }

    /// Whether a policy that promises to end everything may answer so.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Refused(_) | Self::Clean)
    }
}

/// What became of a scenario.
#[derive(Clone, Debug)]
pub struct Report {
    /// In short.
    pub verdict: Verdict,
    /// All that went wrong.
    pub faults: Faults,
    /// Who should be gone and is not.
    pub leaked: Vec<Id>,
    /// A cycle that keeps the first of them, or the chain from who holds it.
    pub why: Vec<Edge>,
    /// Who was withdrawn and kept too long, the first time that somebody was: withdrawal promises that nobody is, and no other policy does.
    pub late: Vec<Id>,
    /// What was refused first.
    pub refused: Option<Refusal>,
    /// Everything that happened.
    pub events: Vec<Event>,
    /// The last state.
    pub state: State,
    /// Who may be left, in words.
    pub expected: String,
    cast: Cast,
}

/// Names, or that there are none.
pub fn or_nobody(names: &[impl AsRef<str>]) -> String {
    if names.is_empty() {
        return "nobody".into();
    }
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    names.join(", ")
}

impl Report {
    /// The cell of the table: all faults, as the given table writes them.
    pub fn cell(&self) -> String {
        let mut words: Vec<_> = Verdict::all_of(self.faults).map(Verdict::word).collect();
        if !self.leaked.is_empty() && !self.is_aborted() {
            words.push(Verdict::Leak.word());
        }
        if words.is_empty() {
            return self.verdict.word().into();
        }
        words.join("+")
    }

    /// In a sentence: who is left and by which cycle, what was used, or what was refused.
    pub fn sentence(&self) -> String {
        let mut text = String::new();
        let mut said = Vec::new();
        for event in &self.events {
            if let Event::Fault(_, id, what) = event
                && !said.contains(&(*id, *what))
            {
                said.push((*id, *what));
                let _ = write!(text, "{} {what}; ", self.cast.name(*id));
            }
        }
        if !self.late.is_empty() {
            let names: Vec<_> = self.late.iter().map(|id| self.cast.name(*id)).collect();
            let _ = write!(text, "kept too long: {}; ", names.join(", "));
        }
        if !self.is_aborted() && self.state.outlived != 0 {
            let pairs = self.out_of_order().into_iter();
            let pairs: Vec<_> = pairs
                .map(|[owner, region]| format!("{owner} before {region}"))
                .collect();
            let _ = write!(text, "in wrong order: {}; ", pairs.join(", "));
        }
        if self.verdict == Verdict::Leak && self.leaked.is_empty() {
            text += "a handle is open in the name of somebody who is gone";
        }
        if !self.leaked.is_empty() && !self.is_aborted() {
            let names: Vec<_> = self.leaked.iter().map(|id| self.cast.name(*id)).collect();
            let _ = write!(text, "left: {}", names.join(", "));
            if let Some(first) = self.why.first() {
                let _ = write!(text, "; {}", self.cast.name(first.from));
            }
            for edge in &self.why {
                let _ = write!(
                    text,
                    " =({})=> {}",
                    edge.reason.word(),
                    self.cast.name(edge.to)
                );
            }
        }
        if let (true, Some(refused)) = (text.is_empty(), self.refused) {
            let _ = write!(text, "refused: {refused:?}");
        }
        text.trim_end_matches("; ").to_owned()
    }

    /// Whether an assertion failed: after that nothing runs, and nothing is left to leak.
    pub const fn is_aborted(&self) -> bool {
        self.faults.has(Faults::ABORT)
    }

    /// The counted edges at the end into whoever is left, each as often as it is counted: `D =(mapping)=> M`. None after an abort, where nothing is left to
    /// keep.
    pub fn counts(&self, rules: &Rules) -> Vec<String> {
        let into_left = |edge: &Edge| self.leaked.contains(&edge.to) && !self.is_aborted();
        let counted = edges(&self.state, rules).into_iter().filter(into_left);
        let told = counted.map(|edge| {
            let (from, to) = (self.cast.name(edge.from), self.cast.name(edge.to));
            format!("{from} =({})=> {to}", edge.reason.word())
        });
        told.collect()
    }

    /// Who is to be left and who is: `expected: nobody; left: D, M`.
    pub fn sets(&self) -> String {
        let left: Vec<_> = self.leaked.iter().map(|id| self.cast.name(*id)).collect();
        if self.is_aborted() {
            return format!("expected: {}; left: not told, as it aborts", self.expected);
        }
        format!("expected: {}; left: {}", self.expected, or_nobody(&left))
    }

    /// The objects in the order in which their finalizers ended.
    pub fn finalized(&self) -> Vec<Id> {
        let finalized = |event: &Event| match event {
            Event::Finalized(id) => Some(*id),
            _ => None,
        };
        self.events.iter().filter_map(finalized).collect()
    }

    /// An object's name.
    pub fn name(&self, id: Id) -> &'static str {
        self.cast.name(id)
    }

    /// Holds what happened against what Holdfast promises of the order of ends.
    ///
    /// # Errors
    ///
    /// The first promise that is broken.
    pub fn check_order(&self) -> Result<Checked, Broken> {
        let mut owners = [None; OBJECTS];
        for (owner, object) in owners.iter_mut().zip(&self.state.objects) {
            *owner = Some(object.owner).filter(|_| object.kind.is_region());
        }
        checker::check(self.events.iter().copied(), &owners)
    }

    /// Their names.
    pub fn order(&self) -> Vec<&'static str> {
        let finalized = self.finalized().into_iter();
        finalized.map(|id| self.cast.name(id)).collect()
    }

    /// The names of owners that were finalized before a region of theirs, each with that region's.
    pub fn out_of_order(&self) -> Vec<[&'static str; 2]> {
        let regions = members(self.state.outlived);
        let pair = |region: Id| [self.state.object(region).owner, region];
        regions
            .map(|region| pair(region).map(|id| self.cast.name(id)))
            .collect()
    }
}

/// Plays a scenario under a policy.
pub fn play(scenario: &Scenario, rules: &Rules) -> Report {
    play_script(&Script::of(scenario), rules)
}

/// Plays a script under a policy.
pub fn play_script(script: &Script, rules: &Rules) -> Report {
    let mut state = State::default();
    let mut events = Vec::new();
    let mut late = Vec::new();
    for step in &script.steps {
        advance(&mut state, *step, rules, &mut events);
        if late.is_empty() {
            late = kept_too_long(&state, rules);
        }
    }
    settle(&mut state, rules, &mut events);
    let is_left = |id: &Id| {
        state.object(*id).is_alive() && (script.gone.is_empty() || script.gone.contains(id))
    };
    let of_machine = |id: &Id| state.object(*id).owner == Id::MACHINE;
    let leaked: Vec<Id> = State::ids()
        .filter(is_left)
        .filter(|id| !of_machine(id))
        .collect();
    let refused = events.iter().find_map(|event| match event {
        Event::Refused(refusal) => Some(*refusal),
        _ => None,
    });
    let left = || (!leaked.is_empty() || has_orphans(&state)).then_some(Verdict::Leak);
    let verdict = Verdict::of(state.faults)
        .or_else(left)
        .or((!late.is_empty()).then_some(Verdict::Late))
        .or((state.outlived != 0).then_some(Verdict::Order))
        .or(refused.map(Verdict::Refused))
        .unwrap_or(Verdict::Clean);
    let why = leaked
        .first()
        .map_or_else(Vec::new, |id| why_alive(&state, rules, *id));
    Report {
        verdict,
        faults: state.faults,
        leaked,
        why,
        late,
        refused,
        events,
        expected: script.expected(),
        cast: script.cast,
        state,
    }
}

/// Who is withdrawn and would be kept though everything outside ended now: transfers, handles that users kept, links of those who stay. Empty
/// under a policy that knows no withdrawal.
fn kept_too_long(state: &State, rules: &Rules) -> Vec<Id> {
    let is_kept = |state: &State, id: Id| {
        let object = state.object(id);
        object.is_alive() && object.is(flag::WITHDRAWN)
    };
    if rules.withdrawal().is_none() || !State::ids().any(|id| is_kept(state, id)) {
        return Vec::new();
    }
    let mut outside = state.clone();
    for (number, pin) in (0..).zip(state.pins) {
        if pin.is_object() {
            apply(&mut outside, Step::Complete(number), rules);
        }
    }
    for (number, link) in (0..).zip(state.links) {
        if link.from.is_object() && !is_kept(state, link.from) {
            apply(&mut outside, Step::Unlink(number), rules);
        }
    }
    for id in State::ids().filter(|id| is_kept(state, *id)) {
        while outside.object(id).users > 0 {
            apply(&mut outside, Step::Drop(id), rules);
        }
    }
    settle(&mut outside, rules, &mut Vec::new());
    if !outside.faults.none() {
        // That is what the scenario comes to as well, or another one.
        return Vec::new();
    }
    State::ids().filter(|id| is_kept(&outside, *id)).collect()
}

/// Whether a handle is open in the name of somebody who is gone: nobody is left to close it.
pub(crate) fn has_orphans(state: &State) -> bool {
    let gone = |id: Id| id.is_object() && !state.object(id).is_alive();
    state
        .spaces
        .iter()
        .any(|space| space.open && gone(space.holder))
        || state
            .maps
            .iter()
            .any(|map| map.is_open() && gone(map.holder))
}

/// Takes a step, and runs every finalizer that is queued after it.
pub(crate) fn advance(
    state: &mut State,
    step: Step,
    rules: &Rules,
    events: &mut Vec<Event>,
) -> Outcome {
    let outcome = apply_logged(state, step, rules, Some(events));
    run_executor(state, rules, events);
    outcome
}

/// Runs every finalizer that is queued.
pub(crate) fn run_executor(state: &mut State, rules: &Rules, events: &mut Vec<Event>) {
    if rules.withdrawal().is_none() {
        return;
    }
    while let Some(id) =
        State::ids().find(|id| state.object(*id).is_alive() && state.object(*id).count == 0)
    {
        apply_logged(state, Step::Finalize(id), rules, Some(events));
    }
}

/// Lets everything pass that passes by itself: grace periods, the executor, the collector, until nothing changes.
pub fn settle(state: &mut State, rules: &Rules, events: &mut Vec<Event>) {
    run_executor(state, rules, events);
    while [Step::Grace, Step::Collect].map(|step| advance(state, step, rules, events))
        != [Outcome::Nothing; 2]
    {}
}
