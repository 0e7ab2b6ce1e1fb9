//! Pictures: the reference graph of a scenario under a policy, before anything is taken away and at the end, as SVG.
//!
//! [`graph`] makes nodes and lines of a state: objects, address spaces, mappings and transfers; a solid line is a count, a dashed one a bare
//! pointer. [`layout`] gives every node of a scenario one place for all its pictures, so that two policies can be held beside each other. [`route`]
//! bends the lines round the nodes and finds room for what is written on them; [`svg`] writes the result. All of it is deterministic, and
//! made for graphs of at most a few dozen lines.
//!
//! ```
//! use holdfast_lifetimes::{picture, scenario::rows::ROWS};
//!
//! let row = ROWS.iter().find(|row| row.row == "3c").unwrap();
//! let album = picture::album(row);
//! let piggyback = &album.plates[0];
//! assert_eq!(piggyback.step, "unplug D");
//! assert!(piggyback.after.svg.contains("class=\"line red\""));
//! ```

pub mod geometry;
pub mod graph;
pub mod layout;
pub mod route;
pub mod svg;

use crate::policy::{Policy, Rules};
use crate::scenario::{Report, Scenario, Script, advance, play_script};
use crate::state::State;
use crate::step::Step;
use graph::Graph;
use layout::Layout;
use route::Drawing;

/// All pictures of a scenario.
#[derive(Clone, Debug)]
pub struct Album {
    /// One for each policy, in the order of [`Policy::ALL`].
    pub plates: Vec<Plate>,
}

/// The two pictures of a scenario under one policy.
#[derive(Clone, Debug)]
pub struct Plate {
    /// The policy.
    pub policy: Policy,
    /// The first step that takes something away, in words.
    pub step: String,
    /// Before that step.
    pub before: Picture,
    /// When nothing happens any more.
    pub after: Picture,
    /// What became of the scenario.
    pub report: Report,
}

/// One picture.
#[derive(Clone, Debug)]
pub struct Picture {
    /// What it shows.
    pub graph: Graph,
    /// Where everything is.
    pub drawing: Drawing,
    /// It as an `svg` element, which does not name the policy: the same picture of two policies is the same text.
    pub svg: String,
}

/// The state before a script's first step that takes something away, and that step.
fn built(script: &Script, rules: &Rules) -> (State, Option<Step>) {
    let mut state = State::default();
    let mut events = Vec::new();
    for step in &script.steps {
        if step.takes_away() {
            return (state, Some(*step));
        }
        advance(&mut state, *step, rules, &mut events);
    }
    (state, None)
}

/// Draws a scenario under every policy.
pub fn album(scenario: &Scenario) -> Album {
    let script = Script::of(scenario);
    let scenes: Vec<_> = Policy::ALL
        .into_iter()
        .map(|policy| {
            let rules = policy.rules();
            let report = play_script(&script, rules);
            let (before, step) = built(&script, rules);
            let step = step.map_or_else(|| "the end".into(), |step| step.show(&script.cast));
            let before = Graph::of(&before, rules, &script, None);
            let after = Graph::of(&report.state, rules, &script, Some(&report));
            (policy, step, before, after, report)
        })
        .collect();
    let graphs: Vec<&Graph> = scenes
        .iter()
        .flat_map(|(_, _, before, after, _)| [before, after])
        .collect();
    let (layout, drawings) = arrange(&graphs);
    let mut drawings = drawings.into_iter();
    let plates = scenes
        .into_iter()
        .filter_map(|(policy, step, before, after, report)| {
            let mut picture = |graph: Graph, when: &str| {
                let drawing = drawings.next()?;
                let title = format!("Row {}, {when}", scenario.row);
                let svg = svg::write(&graph, &layout, &drawing, &title);
                Some(Picture {
                    graph,
                    drawing,
                    svg,
                })
            };
            Some(Plate {
                before: picture(before, "before")?,
                after: picture(after, "at the end")?,
                policy,
                step,
                report,
            })
        })
        .collect();
    Album { plates }
}

/// A layout for all graphs of a scenario, with as much space between the rows as the writing needs.
pub(crate) fn arrange(graphs: &[&Graph]) -> (Layout, Vec<Drawing>) {
    let places = layout::places(graphs);
    let mut best: Option<(usize, Layout, Vec<Drawing>)> = None;
    for spread in 0..4 {
        let layout = Layout::new(&places, spread);
        let mut drawings: Vec<Drawing> = Vec::new();
        for (at, graph) in graphs.iter().enumerate() {
            // Many policies build the same graph.
            let same = graphs[..at].iter().position(|known| known == graph);
            let drawing = match same.and_then(|known| drawings.get(known)) {
                Some(known) => known.clone(),
                None => route::draw(graph, &layout),
            };
            drawings.push(drawing);
        }
        let clashes = drawings.iter().map(|drawing| drawing.clashes).sum();
        if best.as_ref().is_none_or(|(least, ..)| clashes < *least) {
            best = Some((clashes, layout, drawings));
        }
        if clashes == 0 {
            break;
        }
    }
    best.map_or_else(
        || (Layout::new(&places, 0), Vec::new()),
        |(_, layout, drawings)| (layout, drawings),
    )
}

#[cfg(test)]
mod tests;
