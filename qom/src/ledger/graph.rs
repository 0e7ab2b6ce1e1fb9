//! The reference graph of a machine: objects and whatever else holds them, with the reason of each edge.

use super::{Holder, Reason};
use crate::machine::MachineInner;
use crate::object::{Object, ObjectId};
use std::collections::HashMap;
use std::panic::Location;
use std::sync::Arc;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// An object that lives.
    Live(ObjectId),
    /// An object that is withdrawn and not finalized.
    Withdrawn(ObjectId),
    /// The root object of the machine.
    Root(ObjectId),
    /// User handles to one object.
    Handles,
    /// Counts to one object that have no name because the ledger was not recording.
    Unrecorded,
    /// Something else that holds: a view, a pin, a table.
    Other,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphNode {
    /// What to call it: a path, or a description.
    pub label: String,
    /// What it is.
    pub kind: NodeKind,
    /// The type's name, for objects.
    pub type_name: Option<&'static str>,
}

/// An edge: `from` keeps `to` alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphEdge {
    /// Index of the holder.
    pub from: usize,
    /// Index of the held.
    pub to: usize,
    /// Why.
    pub reason: Reason,
    /// The source place that made the edge, where it is known.
    pub place: Option<&'static Location<'static>>,
    /// The object whose code (a hook, a finalizer, a property's accessor, a callback of its regions) took a user handle, where it was an object's: the
    /// handle is in its fields, most likely. Its number, where it is gone.
    pub taken_by: Option<String>,
}

/// Who keeps whom alive in a machine, at one moment.
///
/// ```
/// use qom::{Container, Machine, ObjectOps};
/// let machine = Machine::builder("doc").recording(true).build();
/// let (a, b) = (machine.create::<Container>()?, machine.create::<Container>()?);
/// machine.root().add_child("a", &a)?;
/// machine.root().add_child("b", &b)?;
/// a.set_link("peer", &b)?;
/// b.set_link("peer", &a)?;
/// let graph = machine.reference_graph();
/// let at = |object: &qom::Object| graph.find(object.id()).expect("it lives");
/// let (a, b) = (at(a.object()), at(b.object()));
/// assert!(graph.edges.iter().any(|e| (e.from, e.to) == (a, b)));
/// assert_eq!(graph.cycles().len(), 1, "strong both ways");
/// assert!(graph.to_dot().starts_with("digraph"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// The nodes.
    pub nodes: Vec<GraphNode>,
    /// The edges.
    pub edges: Vec<GraphEdge>,
}

impl Graph {
    pub(crate) fn of(machine: &MachineInner) -> Self {
        let mut graph = Self::default();
        let mut index: HashMap<ObjectId, usize> = HashMap::new();
        // Two passes over the tree under its lock; edge lists are read after it, object by object: the picture of a machine at
        // work is as consistent as a picture of moving things can be.
        let (objects, tree_edges) = {
            let tree = machine.tree.lock();
            let objects: Vec<(Arc<Object>, String)> = tree
                .objects()
                .map(|o| {
                    let label = tree
                        .path(o.key)
                        .unwrap_or_else(|| o.last_name().to_string());
                    (o.clone(), label)
                })
                .collect();
            let mut edges = Vec::new();
            for (o, _) in &objects {
                edges.extend(tree.children(o.key).map(|c| (o.id(), c.id())));
            }
            (objects, edges)
        };
        for (object, label) in &objects {
            let now = object.counts();
            let kind = if now.is_withdrawn() {
                NodeKind::Withdrawn(object.id())
            } else if machine.is_root(object) {
                NodeKind::Root(object.id())
            } else {
                NodeKind::Live(object.id())
            };
            index.insert(object.id(), graph.nodes.len());
            graph.nodes.push(GraphNode {
                label: label.clone(),
                kind,
                type_name: Some(object.class().name()),
            });
        }
        for (parent, child) in tree_edges {
            if let (Some(&from), Some(&to)) = (index.get(&parent), index.get(&child)) {
                graph.edges.push(GraphEdge {
                    from,
                    to,
                    reason: Reason::CHILD,
                    place: None,
                    taken_by: None,
                });
            }
        }
        let mut named: HashMap<Arc<str>, usize> = HashMap::new();
        for (object, _) in &objects {
            let Some(&to) = index.get(&object.id()) else {
                continue;
            };
            graph.add_edges_of(object, to, &index, &mut named);
        }
        graph
    }

    fn add_edges_of(
        &mut self,
        object: &Object,
        to: usize,
        index: &HashMap<ObjectId, usize>,
        named: &mut HashMap<Arc<str>, usize>,
    ) {
        let now = object.counts();
        let mut known = u64::from(now.is_parented());
        let mut known_users = 0;
        let mut handles = None;
        for edge in object.named_edges() {
            known += 1;
            known_users += u64::from(edge.reason == Reason::USER_HANDLE);
            let from = match &edge.holder {
                Holder::Object(weak) => weak.upgrade().and_then(|o| index.get(&o.id()).copied()),
                Holder::Named(name) => Some(*named.entry(name.clone()).or_insert_with(|| {
                    self.nodes.push(GraphNode {
                        label: name.to_string(),
                        kind: NodeKind::Other,
                        type_name: None,
                    });
                    self.nodes.len() - 1
                })),
                Holder::Outside | Holder::Code(_) => None,
            };
            let taken_by = match &edge.holder {
                Holder::Code(id) => Some(index.get(id).map_or_else(
                    || format!("#{}, which is gone", id.0),
                    |at| self.nodes[*at].label.clone(),
                )),
                _ => None,
            };
            let from = from.unwrap_or_else(|| {
                *handles.get_or_insert_with(|| {
                    self.nodes.push(GraphNode {
                        label: format!("handles outside ({})", now.users()),
                        kind: NodeKind::Handles,
                        type_name: None,
                    });
                    self.nodes.len() - 1
                })
            });
            self.edges.push(GraphEdge {
                from,
                to,
                reason: edge.reason,
                place: edge.place,
                taken_by,
            });
        }
        let unnamed = now.storage().saturating_sub(known);
        let unnamed_users = now.users().saturating_sub(known_users);
        if unnamed > 0 {
            let all_users = unnamed <= unnamed_users;
            let kind = if all_users {
                NodeKind::Handles
            } else {
                NodeKind::Unrecorded
            };
            let label = if all_users {
                format!("{unnamed} user handles, not recorded")
            } else {
                format!(
                    "{unnamed} counts, not recorded ({unnamed_users} user handles; pins, snapshots)"
                )
            };
            self.nodes.push(GraphNode {
                label,
                kind,
                type_name: None,
            });
            let reason = if all_users {
                Reason::USER_HANDLE
            } else {
                Reason("unrecorded")
            };
            self.edges.push(GraphEdge {
                from: self.nodes.len() - 1,
                to,
                reason,
                place: None,
                taken_by: None,
            });
        }
    }

    /// Index of the node that stands for an object.
    pub fn find(&self, id: ObjectId) -> Option<usize> {
        self.nodes.iter().position(|n| match n.kind {
            NodeKind::Live(i) | NodeKind::Withdrawn(i) | NodeKind::Root(i) => i == id,
            _ => false,
        })
    }

    /// Groups of nodes that keep each other alive: the strongly connected components with a cycle in them.
    pub fn cycles(&self) -> Vec<Vec<usize>> {
        let mut out: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for e in &self.edges {
            out[e.from].push(e.to);
        }
        Components::new(&out).run()
    }
}

/// Tarjan's components, without recursion: graphs can be as deep as the machine is large.
struct Components<'a> {
    out: &'a [Vec<usize>],
    order: Vec<usize>,
    low: Vec<usize>,
    on_stack: Vec<bool>,
    stack: Vec<usize>,
    next: usize,
    found: Vec<Vec<usize>>,
}

const UNSEEN: usize = usize::MAX;

impl<'a> Components<'a> {
    fn new(out: &'a [Vec<usize>]) -> Self {
        let n = out.len();
        Self {
            out,
            order: vec![UNSEEN; n],
            low: vec![0; n],
            on_stack: vec![false; n],
            stack: Vec::new(),
            next: 0,
            found: Vec::new(),
        }
    }

    fn run(mut self) -> Vec<Vec<usize>> {
        for start in 0..self.out.len() {
            if self.order[start] == UNSEEN {
                self.visit(start);
            }
        }
        self.found
    }

    fn open(&mut self, v: usize) {
        self.order[v] = self.next;
        self.low[v] = self.next;
        self.next += 1;
        self.stack.push(v);
        self.on_stack[v] = true;
    }

    fn visit(&mut self, start: usize) {
        let mut work = vec![(start, 0)];
        self.open(start);
        while let Some(top) = work.last_mut() {
            let (v, at) = *top;
            if let Some(&w) = self.out[v].get(at) {
                top.1 += 1;
                if self.order[w] == UNSEEN {
                    self.open(w);
                    work.push((w, 0));
                } else if self.on_stack[w] {
                    self.low[v] = self.low[v].min(self.order[w]);
                }
                continue;
            }
            work.pop();
            if let Some((parent, _)) = work.last() {
                self.low[*parent] = self.low[*parent].min(self.low[v]);
            }
            if self.low[v] == self.order[v] {
                self.close(v);
            }
        }
    }

    fn close(&mut self, v: usize) {
        let mut group = Vec::new();
        while let Some(w) = self.stack.pop() {
            self.on_stack[w] = false;
            group.push(w);
            if w == v {
                break;
            }
        }
        let is_cycle = group.len() > 1 || self.out[v].contains(&v);
        if is_cycle {
            group.reverse();
            self.found.push(group);
        }
    }
}
