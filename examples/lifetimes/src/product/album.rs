//! The product's own reference graphs, drawn as the model's are: who keeps whom by the ledger, with nothing of the model in it but the names.
//!
//! [`draw`] has a scenario before anything is taken away and at the end; a [`Snapshot`] is one after a step, with what the ledger says of whom.

use super::Report;
use super::stage::Stage;
use crate::picture::arrange;
use crate::picture::graph::{Graph, Line, Node, What, Who};
use crate::picture::svg;
use crate::scenario::{Scenario, Script};
use crate::state::{Id, Kind, State};
use crate::step::Step;
use qom::{GraphEdge, GraphNode, NodeKind, ObjectId};

/// A step, and the machine's graph after it with what the ledger says of those who are on their way out.
pub(super) type Seen = (String, (qom::Graph, Vec<String>));

/// Who is who: the machine's objects by their parts.
pub(crate) type Players = Vec<(ObjectId, Id)>;

/// A scenario after one of its steps, on the real crates.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The step that was taken.
    pub step: String,
    /// The reference graph after it.
    pub svg: String,
    /// The same, one line for each edge: who keeps whom, and why.
    pub edges: Vec<String>,
    /// What the ledger says of those who are withdrawn and not finalized.
    pub said: Vec<String>,
}

/// The two pictures of a scenario that was played: before the first step that takes anything away, and at the end.
///
/// ```
/// use holdfast_lifetimes::{product, scenario::rows::ROWS};
///
/// let row = ROWS.iter().find(|row| row.row == "12b").unwrap();
/// let [before, after] = product::album::draw(row, &product::play(row));
/// assert!(before.contains("mapping") && !after.contains("mapping"));
/// ```
pub fn draw(scenario: &Scenario, report: &Report) -> [String; 2] {
    let script = Script::of(scenario);
    let view = View {
        script: &script,
        players: &report.players,
    };
    let mut others = Vec::new();
    let before = view.graph(&report.graph_before, &mut others);
    let mut after = view.graph(&report.graph_after, &mut others);
    for node in &before.nodes {
        let order = report.order.iter().position(|name| *name == node.name);
        if order.is_some() && after.node(node.who).is_none() {
            after.nodes.push(Node {
                order: order.map(|at| at + 1),
                ..node.clone()
            });
        }
    }
    let mut left = Vec::new();
    for node in &mut after.nodes {
        node.is_left = report.left.contains(&node.name);
        if node.is_left {
            left.push(node.who);
        }
    }
    for line in &mut after.lines {
        line.is_red = left.contains(&line.to);
    }
    let pictures = svgs(scenario.row, &[before, after]);
    pictures.try_into().unwrap_or_default()
}

/// The pictures of what was seen after each step, and the same in words.
pub(super) fn snapshots(
    row: &str,
    script: &Script,
    players: &Players,
    seen: Vec<Seen>,
) -> Vec<Snapshot> {
    let view = View { script, players };
    let mut others = Vec::new();
    let graphs: Vec<Graph> = seen
        .iter()
        .map(|(_, (graph, _))| view.graph(graph, &mut others))
        .collect();
    let pictures = svgs(row, &graphs);
    // A step that changes nothing, as one that other policies ask for, has no picture.
    let mut last: Option<(Graph, Vec<String>)> = None;
    let mut snapshots = Vec::new();
    for (((step, (_, said)), graph), svg) in seen.into_iter().zip(graphs).zip(pictures) {
        let now = (graph, said.clone());
        if last.as_ref() != Some(&now) {
            snapshots.push(Snapshot {
                step,
                svg,
                edges: now.0.edges_in_words(),
                said,
            });
        }
        last = Some(now);
    }
    snapshots
}

/// Who plays which part, those who are finalized too.
pub(crate) fn players(stage: &Stage) -> Players {
    let set = stage.set();
    let mut players = Players::new();
    for (id, actor) in State::ids().zip(&set.actors) {
        players.extend(actor.as_ref().map(|actor| (actor.id, id)));
    }
    players
}

fn svgs(row: &str, graphs: &[Graph]) -> Vec<String> {
    let (layout, drawings) = arrange(&graphs.iter().collect::<Vec<_>>());
    let title = format!("Row {row} on the crates");
    let pairs = graphs.iter().zip(&drawings);
    pairs
        .map(|(graph, drawing)| svg::write(graph, &layout, drawing, &title))
        .collect()
}

/// How a machine's graph is read.
struct View<'a> {
    script: &'a Script,
    players: &'a Players,
}

impl View<'_> {
    /// A machine's graph with the names of a scenario. `others` are those who play no part, the same in all graphs that are drawn together.
    fn graph(&self, graph: &qom::Graph, others: &mut Vec<String>) -> Graph {
        let mut drawn = Graph::default();
        let mut who = Vec::new();
        for (at, node) in graph.nodes.iter().enumerate() {
            let me = self.who(graph, at, others);
            who.push(me);
            if drawn.node(me).is_none() {
                let mut node = self.node(me, node);
                let contains = |edge: &GraphEdge| edge.from == at && edge.reason.0 == "subregion";
                // A region that plays no part: what contains none is a window.
                if node.what == What::Alias && graph.edges.iter().any(contains) {
                    node.what = What::Container;
                }
                drawn.nodes.push(node);
            }
        }
        // The machine is first in every picture.
        drawn.nodes.sort_by_key(|node| node.who != Who::Machine);
        for edge in &graph.edges {
            let (Some(from), Some(to)) = (who.get(edge.from), who.get(edge.to)) else {
                continue;
            };
            if *to == Who::Machine {
                continue;
            }
            let label = word(edge.reason.0);
            let same = |line: &&mut Line| (line.from, line.to) == (*from, *to);
            match drawn.lines.iter_mut().find(same) {
                // As of two address spaces that show the same leaf.
                Some(line) if line.label.split(", ").any(|known| known == label) => {}
                Some(line) => line.label = format!("{}, {label}", line.label),
                None => drawn.lines.push(Line {
                    from: *from,
                    to: *to,
                    is_counted: true,
                    label: label.into(),
                    is_red: false,
                }),
            }
        }
        drawn
    }

    fn who(&self, graph: &qom::Graph, at: usize, others: &mut Vec<String>) -> Who {
        let GraphNode { label, kind, .. } = &graph.nodes[at];
        let name = match kind {
            // User handles are the user's.
            NodeKind::Root(_) | NodeKind::Handles => return Who::Machine,
            NodeKind::Live(id) | NodeKind::Withdrawn(id) => {
                if let Some((_, id)) = self.players.iter().find(|(known, _)| known == id) {
                    return Who::Object(*id);
                }
                label.clone()
            }
            NodeKind::Unrecorded | NodeKind::Other => label.clone(),
        };
        let place = others.iter().position(|known| *known == name);
        let place = place.unwrap_or_else(|| {
            others.push(name);
            others.len() - 1
        });
        Who::Other(u8::try_from(place).unwrap_or(u8::MAX))
    }

    fn node(&self, who: Who, node: &GraphNode) -> Node {
        let (what, name) = match who {
            Who::Machine => (What::Machine, "machine".to_owned()),
            Who::Object(id) => (self.what(id), self.script.cast.name(id).to_owned()),
            _ if node.type_name == Some("memory-region") => (What::Alias, last(&node.label)),
            _ if node.type_name.is_some() => (What::Plain, last(&node.label)),
            _ => match (node.label.as_str(), node.label.strip_prefix("I/O of ")) {
                (_, Some(of)) => (What::Transfer, format!("I/O of {}", last(of))),
                ("flat views", _) => (What::View, "flat views".to_owned()),
                (label, _) => {
                    let name = label.trim_start_matches("address space ");
                    (What::Space, name.trim_matches('`').to_owned())
                }
            },
        };
        Node {
            is_withdrawn: matches!(node.kind, NodeKind::Withdrawn(_)),
            ..Node::new(who, what, name)
        }
    }

    /// What a part is, by the steps of the scenario.
    fn what(&self, me: Id) -> What {
        let mut what = What::Plain;
        for step in &self.script.steps {
            what = match *step {
                Step::Make(id, Kind::Device) | Step::Init(id, Kind::Device) if id == me => {
                    What::Device
                }
                Step::Region { region, kind, .. } if region == me => match kind {
                    Kind::Container => What::Container,
                    _ => What::Region,
                },
                Step::Alias { alias, .. } if alias == me => What::Alias,
                _ => what,
            };
        }
        what
    }
}

/// The last name of a path.
fn last(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

/// A reason of the ledger's, as short as there is room for beside a line.
fn word(reason: &str) -> &str {
    match reason {
        "withdrawn region → owner" => "owner",
        "shown by a view" => "view",
        "address space root" => "root",
        "alias target" => "target",
        "pin (I/O in flight)" => "transfer",
        "user handle" => "handle",
        "a blob of it is not finalized" => "blob",
        other => other,
    }
}
