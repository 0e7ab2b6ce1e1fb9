//! The ledger's answers as text and as DOT.

use super::explain::WhyAlive;
use super::graph::{Graph, NodeKind};
use std::collections::HashSet;
use std::fmt::{Display, Formatter, Result, Write as _};

impl Display for WhyAlive {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (storage, users) = self.counts;
        if !self.is_alive() {
            return write!(f, "{} is not alive: nothing keeps it", self.object);
        }
        write!(
            f,
            "{} is alive: {storage} counted, {users} of them user handles",
            self.object
        )?;
        for path in &self.paths {
            for (i, edge) in path.iter().enumerate() {
                let edge = &self.graph.edges[*edge];
                let indent = 2 + 2 * i;
                write!(f, "\n{:indent$}{}", "", self.describe_edge(edge))?;
                if i + 1 == path.len() {
                    write!(f, " → {}", self.graph.nodes[edge.to].label)?;
                }
            }
        }
        for cycle in &self.cycles {
            f.write_str("\n  cycle: ")?;
            for node in cycle {
                write!(f, "{} → ", self.graph.nodes[*node].label)?;
            }
            if let Some(first) = cycle.first() {
                f.write_str(&self.graph.nodes[*first].label)?;
            }
        }
        Ok(())
    }
}

impl Graph {
    /// The graph in DOT; edges on a cycle are red. Deterministic for one graph.
    pub fn to_dot(&self) -> String {
        let on_cycle: Vec<HashSet<usize>> = self
            .cycles()
            .into_iter()
            .map(|c| c.into_iter().collect())
            .collect();
        let mut dot =
            String::from("digraph references {\n  rankdir=LR;\n  node [fontname=\"monospace\"];\n");
        for (i, node) in self.nodes.iter().enumerate() {
            let shape = match node.kind {
                NodeKind::Root(_) => "shape=doubleoctagon",
                NodeKind::Live(_) => "shape=box",
                NodeKind::Withdrawn(_) => "shape=box, style=dashed",
                NodeKind::Handles | NodeKind::Unrecorded => "shape=note",
                NodeKind::Other => "shape=ellipse",
            };
            let label = escape(&node.label);
            let _ = match node.type_name {
                Some(t) => writeln!(dot, "  n{i} [{shape}, label=\"{label}\\n{t}\"];"),
                None => writeln!(dot, "  n{i} [{shape}, label=\"{label}\"];"),
            };
        }
        for edge in &self.edges {
            let red = on_cycle
                .iter()
                .any(|c| c.contains(&edge.from) && c.contains(&edge.to));
            let color = if red { ", color=red" } else { "" };
            let _ = writeln!(
                dot,
                "  n{} -> n{} [label=\"{}\"{color}];",
                edge.from,
                edge.to,
                escape(edge.reason.0)
            );
        }
        dot.push_str("}\n");
        dot
    }
}

impl WhyAlive {
    /// The part of the reference graph that keeps the object, in DOT.
    pub fn to_dot(&self) -> String {
        self.graph.to_dot()
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
