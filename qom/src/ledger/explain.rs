//! Why an object is alive: the paths from the roots to it, and the cycles on the way.

use super::graph::{Graph, GraphEdge, NodeKind};
use crate::object::{Object, ObjectId};
use std::collections::VecDeque;
use std::fmt::Write as _;

/// The answer to "why is this object alive?".
///
/// ```
/// use qom::{Container, Machine, ObjectOps};
/// let machine = Machine::builder("doc").recording(true).build();
/// let (slot, user) = (machine.create::<Container>()?, machine.create::<Container>()?);
/// machine.root().add_child("slot", &slot)?;
/// machine.root().add_child("user", &user)?;
/// user.set_link("seat", &slot)?;
/// slot.unparent()?;
/// let why = machine.why_alive(slot.object());
/// assert!(why.is_alive());
/// let text = why.to_string();                   // the link, and the handle with its place in the source
/// assert!(text.contains("/machine/user") && text.contains("user handle"), "{text}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhyAlive {
    /// The object asked about.
    pub object: String,
    /// Counted reasons, user handles included, and user handles.
    pub counts: (u64, u64),
    /// Everything that keeps it, directly or through others.
    pub graph: Graph,
    /// Its node; none where it is gone.
    pub target: Option<usize>,
    /// Shortest path from each root that leads to it; a root is held by nobody. Edge indices, root first.
    pub paths: Vec<Vec<usize>>,
    /// Cycles among what keeps it, as node indices.
    pub cycles: Vec<Vec<usize>>,
}

impl WhyAlive {
    /// Explains an object within the graph of its machine.
    pub(crate) fn of(full: &Graph, object: &Object) -> Self {
        let now = object.counts();
        let counts = (now.storage(), now.users());
        let name = match object.withdrawal() {
            Some(_) => object.last_name().to_string(),
            None => object.describe(),
        };
        Self::explain(full, object.id(), name, counts)
    }

    fn explain(full: &Graph, id: ObjectId, object: String, counts: (u64, u64)) -> Self {
        let Some(target) = full.find(id) else {
            let graph = Graph::default();
            return Self {
                object,
                counts,
                graph,
                target: None,
                paths: Vec::new(),
                cycles: Vec::new(),
            };
        };
        let (graph, target) = backwards(full, target);
        let paths = shortest_paths(&graph, target);
        let cycles = graph.cycles();
        Self {
            object,
            counts,
            graph,
            target: Some(target),
            paths,
            cycles,
        }
    }

    /// Whether anything keeps it.
    pub fn is_alive(&self) -> bool {
        self.target.is_some()
    }

    /// The holders at the far ends of the paths, for error messages: `user handle at src/a.rs:3`.
    pub fn holders(&self) -> Vec<String> {
        let roots = self.paths.iter().filter_map(|p| p.first());
        roots
            .map(|e| self.describe_edge(&self.graph.edges[*e]))
            .collect()
    }

    /// `holder (2) [reason] at place, place`: an edge, with the number and the places of all that lie beside it.
    pub(crate) fn describe_edge(&self, edge: &GraphEdge) -> String {
        let holder = &self.graph.nodes[edge.from];
        let key = |e: &GraphEdge| (e.from, e.to, e.reason);
        let beside = || self.graph.edges.iter().filter(|e| key(e) == key(edge));
        let mut text = holder.label.clone();
        let number = beside().count();
        // The label of handles has their number.
        if number > 1 && holder.kind != NodeKind::Handles {
            let _ = write!(text, " ({number})");
        }
        let _ = write!(text, " [{}]", edge.reason);
        let mut places: Vec<String> = Vec::new();
        for place in beside().filter_map(|e| e.place) {
            let place = format!("{}:{}", place.file(), place.line());
            if !places.contains(&place) {
                places.push(place);
            }
        }
        let more = places.len().saturating_sub(PLACES);
        places.truncate(PLACES);
        if !places.is_empty() {
            let _ = write!(text, " at {}", places.join(", "));
        }
        if more > 0 {
            let _ = write!(text, " and {more} more places");
        }
        let mut takers: Vec<&str> = Vec::new();
        for taker in beside().filter_map(|e| e.taken_by.as_deref()) {
            if takers.len() < PLACES && !takers.contains(&taker) {
                takers.push(taker);
            }
        }
        if !takers.is_empty() {
            let _ = write!(text, ", taken in the code of {}", takers.join(", "));
        }
        text
    }
}

/// How many places, and how many whose code it was, are named for one holder.
const PLACES: usize = 8;

/// The part of `full` from which `target` can be reached, and the target's index in it.
fn backwards(full: &Graph, target: usize) -> (Graph, usize) {
    let mut into: Vec<Vec<usize>> = vec![Vec::new(); full.nodes.len()];
    for (i, e) in full.edges.iter().enumerate() {
        into[e.to].push(i);
    }
    let mut renamed = vec![None; full.nodes.len()];
    let mut graph = Graph::default();
    let mut queue = VecDeque::from([target]);
    renamed[target] = Some(0);
    graph.nodes.push(full.nodes[target].clone());
    while let Some(v) = queue.pop_front() {
        for &e in &into[v] {
            let from = full.edges[e].from;
            if renamed[from].is_none() {
                renamed[from] = Some(graph.nodes.len());
                graph.nodes.push(full.nodes[from].clone());
                queue.push_back(from);
            }
        }
    }
    for e in &full.edges {
        if let (Some(from), Some(to)) = (renamed[e.from], renamed[e.to]) {
            graph.edges.push(GraphEdge {
                from,
                to,
                ..e.clone()
            });
        }
    }
    (graph, 0)
}

fn shortest_paths(graph: &Graph, target: usize) -> Vec<Vec<usize>> {
    let mut into: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes.len()];
    for (i, e) in graph.edges.iter().enumerate() {
        into[e.to].push(i);
    }
    // For each node, the edge by which it leads on towards the target.
    let mut onward: Vec<Option<usize>> = vec![None; graph.nodes.len()];
    let mut seen = vec![false; graph.nodes.len()];
    let mut paths = Vec::new();
    let mut queue = VecDeque::from([target]);
    seen[target] = true;
    while let Some(v) = queue.pop_front() {
        let is_root = into[v].is_empty() || matches!(graph.nodes[v].kind, NodeKind::Root(_));
        if is_root && v != target {
            let mut path = Vec::new();
            let mut at = v;
            while let Some(e) = onward[at] {
                path.push(e);
                at = graph.edges[e].to;
            }
            paths.push(path);
        }
        for &e in &into[v] {
            let from = graph.edges[e].from;
            if !seen[from] {
                seen[from] = true;
                onward[from] = Some(e);
                queue.push_back(from);
            }
        }
    }
    paths
}
