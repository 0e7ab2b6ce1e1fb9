//! The product itself: the same steps on a real machine of Holdfast's crates, with real devices, regions, mappings and finalizers.
//!
//! [`play`] takes a [`Scenario`] and gives a [`Report`] with the verdict in the model's words, and with what only
//! the product can tell: the texts of its typed errors, and the ledger's answer to who keeps whom. [`agree()`] plays generated sequences beside the
//! model and compares after every step. The modules of the model import nothing from here.
//!
//! Reading order: `world` (what each step is in the product's calls, and what of the product's own scheduling makes a step automatic), `stage`
//! and `actors` (what the hooks of the real devices do), `watch` (in which order things happen), `reader`, `sections`, `refusal`; `look` and `agree` (what is compared); `follow`; [`misbehaviour`], [`severity`]; [`album`]; [`devices`]; `board` (a virtio-gpu and
//! its driver) with [`latency`] and [`unmap`].

mod actors;
mod agree;
pub mod album;
mod board;
pub mod devices;
mod follow;
pub mod latency;
mod look;
pub mod misbehaviour;
mod reader;
mod refusal;
mod sections;
pub mod severity;
mod stage;
pub mod unmap;
mod watch;
mod world;

pub use agree::{Agreement, Disagreement, agree};
pub use follow::{Followed, follow};

use crate::checker::Checked;
use crate::run::Event;
use crate::scenario::{Cast, Scenario, Script, Verdict};
use crate::state::{Id, State};
use crate::step::Refusal;
use crate::timeline::Moment;
use look::Seen;
use qom::{Graph, Machine};
use stage::{Happened, Stage, Wrong};
use std::time::Duration;
use world::{World, turns};

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of a scenario on the real crates.
#[derive(Clone, Debug)]
pub struct Report {
    /// In short, in the words of the model.
    pub verdict: Verdict,
    /// Who was finalized, in order.
    pub order: Vec<String>,
    /// What was refused first: the text of the product's typed error.
    pub refused: Option<String>,
    /// What went wrong first, where the crates did what they must not.
    pub wrong: Option<String>,
    /// Who should be gone and is not.
    pub left: Vec<String>,
    /// The ledger's explanation of each that is left: holder, reason and source line.
    pub why: Vec<String>,
    /// The ledger's explanation of each that was withdrawn and still held, right after the first step that left such a one: a transfer in
    /// flight, readers, a handle that the user keeps.
    pub held: Vec<String>,
    /// Who keeps whom, before the first step that takes anything away.
    pub graph_before: Graph,
    /// And when everything has passed that passes by itself.
    pub graph_after: Graph,
    /// What happened, in order, a sentence each: after each step that set anything off, and in the end by itself.
    pub moments: Vec<Moment>,
    /// The orders of ends that were looked at and found right.
    pub checked: Checked,
    /// Who is who in the graphs.
    players: album::Players,
}

/// Plays a scenario on the real crates: on devices that have no other purpose, but the one of a blob's unmap (C14) on the virtio-gpu and by its ring.
///
/// ```
/// use holdfast_lifetimes::{product, scenario::{Verdict, rows::ROWS}};
///
/// let ring = ROWS.iter().find(|row| row.row == "12b").unwrap();
/// let report = product::play(ring);
/// assert_eq!(report.verdict, Verdict::Clean);
/// assert_eq!(report.order, ["a", "b", "A", "B"]);      // in one grace period; the model takes A before b, which is as good
/// ```
pub fn play(scenario: &Scenario) -> Report {
    if scenario.row == unmap::ROW {
        return unmap::play(scenario);
    }
    let Script {
        cast, steps, gone, ..
    } = &Script::of(scenario);
    let mut world = World::new("lifetimes");
    world.cast(*cast, steps);
    let mut graph_before = None;
    let mut held = Vec::new();
    let mut moments = Vec::new();
    for (_, step, rest) in turns(steps) {
        if step.takes_away() {
            graph_before.get_or_insert_with(|| world.machine.reference_graph());
        }
        world.take(step, rest);
        world.run_executor();
        Seen::of_world(&world);
        add_moment(&mut moments, &world.stage, step.show(cast));
        if held.is_empty() {
            held = explain(&world.machine);
        }
    }
    for _ in 0..3 {
        world.grace();
        Seen::of_world(&world);
    }
    let graph_after = world.machine.reference_graph();
    let graph_before = graph_before.unwrap_or_else(|| graph_after.clone());
    let why = explain(&world.machine);
    let graphs = [graph_before, graph_after];
    let stage = world.stage.clone();
    let mut report = Report::of_stage(&stage, gone, graphs, [held, why], moments);
    let outlived = world.end();
    if outlived > 0 && report.left.is_empty() {
        report
            .left
            .push(format!("{outlived} objects that play no part"));
        if report.verdict.is_good() {
            report.verdict = Verdict::Leak;
        }
    }
    report
}

impl Report {
    /// What a stage has noted by the end of a scenario after which those in `gone` must be gone, or everybody.
    fn of_stage(
        stage: &Stage,
        gone: &[Id],
        graphs: [Graph; 2],
        [held, why]: [Vec<String>; 2],
        mut moments: Vec<Moment>,
    ) -> Self {
        stage.observe();
        let (log, checked) = {
            let mut set = stage.set();
            let is_wrong = |happened: &Happened| matches!(happened, Happened::Wrong(..));
            if let (Some((wrong, what)), false) = (set.broken_order(), set.log.iter().any(is_wrong))
            {
                set.push(Happened::Wrong(wrong, what));
            }
            (set.log.clone(), set.checker.checked())
        };
        add_moment(&mut moments, stage, "whatever passes by itself".into());
        let [graph_before, graph_after] = graphs;
        let mut report = Self {
            verdict: Verdict::Clean,
            order: order(stage, &log),
            refused: None,
            wrong: None,
            why,
            held,
            graph_before,
            graph_after,
            moments,
            checked,
            players: album::players(stage),
            left: left(stage, gone),
        };
        report.judge(&log, has_orphans(stage));
        report
    }

    fn judge(&mut self, log: &[Happened], orphans: bool) {
        let refused = log.iter().find_map(|happened| match happened {
            Happened::Refused(refusal, text) => Some((*refusal, text)),
            _ => None,
        });
        self.refused = refused.map(|(_, text)| text.clone());
        self.wrong = log.iter().find_map(|happened| match happened {
            Happened::Wrong(_, text) => Some(text.clone()),
            _ => None,
        });
        let wrong = |which: Wrong| {
            log.iter()
                .any(|happened| matches!(happened, Happened::Wrong(wrong, _) if *wrong == which))
        };
        self.verdict = if wrong(Wrong::Unexpected) {
            Verdict::Abort
        } else if wrong(Wrong::Twice) {
            Verdict::DoubleFinalize
        } else if wrong(Wrong::UseAfterFinalize) {
            Verdict::UseAfterFinalize
        } else if orphans || wrong(Wrong::Orphan) || !self.left.is_empty() {
            Verdict::Leak
        } else if wrong(Wrong::Order) {
            Verdict::Order
        } else {
            refused.map_or(Verdict::Clean, |(refusal, _): (Refusal, _)| {
                Verdict::Refused(refusal)
            })
        };
    }
}

/// The middle one of what was measured, which no single slow one moves; none of none.
fn middle(mut all: Vec<Duration>) -> Option<Duration> {
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

/// The ledger's explanation of each object that is withdrawn and not finalized.
fn explain(machine: &Machine) -> Vec<String> {
    let leftovers = machine.leftovers();
    leftovers.iter().map(ToString::to_string).collect()
}

/// Who should be gone and is not: all but the machine's own, where nobody is named.
fn left(stage: &Stage, gone: &[Id]) -> Vec<String> {
    let is_left = |id: &Id| {
        let set = stage.set();
        set.actors[id.index()]
            .as_ref()
            .is_some_and(|actor| !actor.finalized)
            && set.owners[id.index()] != Some(Id::MACHINE)
            && (gone.is_empty() || gone.contains(id))
    };
    State::ids()
        .filter(is_left)
        .map(|id| stage.name(id))
        .collect()
}

/// Whether a handle is open whose holder is finalized.
fn has_orphans(stage: &Stage) -> bool {
    let set = stage.set();
    let is_gone = |id: Id| {
        id.is_object()
            && set.actors[id.index()]
                .as_ref()
                .is_none_or(|actor| actor.finalized)
    };
    let space = set
        .spaces
        .iter()
        .flatten()
        .any(|opened| !opened.space.is_closed() && is_gone(opened.holder));
    let map = set
        .maps
        .iter()
        .flatten()
        .any(|mapped| mapped.mapping.is_open() && is_gone(mapped.holder));
    space || map
}

fn order(stage: &Stage, log: &[Happened]) -> Vec<String> {
    let finalized = log.iter().filter_map(|happened| match happened {
        Happened::Did(Event::Finalized(id)) => Some(*id),
        _ => None,
    });
    finalized.map(|id| stage.name(id)).collect()
}

/// What has been noted since the last of them; nothing where nothing has.
fn add_moment(moments: &mut Vec<Moment>, stage: &Stage, step: String) {
    stage.observe();
    let set = stage.set();
    let told: usize = moments
        .iter()
        .map(|moment: &Moment| moment.happened.len())
        .sum();
    let happened: Vec<String> = set.log[told..]
        .iter()
        .map(|happened| sentence(&set.cast, happened))
        .collect();
    if !happened.is_empty() {
        moments.push(Moment { step, happened });
    }
}

fn sentence(cast: &Cast, happened: &Happened) -> String {
    match happened {
        Happened::Did(event) => event.show(cast),
        Happened::Refused(_, text) => format!("refused: {text}"),
        Happened::Panicked(what) => format!("caught: {what}"),
        Happened::Fetched(id, [at, names]) => format!(
            "{}: reads the descriptor at {at:#x}, which names {names:#x}",
            cast.name(*id)
        ),
        Happened::Wrong(_, what) => format!("wrong: {what}"),
    }
}
