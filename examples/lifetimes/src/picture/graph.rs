//! The graph of a state: who is there, who counts on whom, and who merely points.

use crate::edges::{Edge, Reason, edges, why_alive};
use crate::policy::{Counted, Rules};
use crate::run::{Event, target};
use crate::scenario::{Report, Script};
use crate::state::{Id, Kind, Release, State, flag};

/// A node's identity: the same in all pictures of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// The machine and its user.
    Machine,
    /// An object.
    Object(Id),
    /// An address space.
    Space(u8),
    /// A mapping.
    Mapping(u8),
    /// A transfer in flight.
    Transfer(u8),
    /// Somebody whom the steps of a scenario do not name.
    Other(u8),
}

/// What a node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// The machine and its user.
    Machine,
    /// A device.
    Device,
    /// An object that is no device.
    Plain,
    /// A region of subregions.
    Container,
    /// A region with bytes or callbacks.
    Region,
    /// A region that shows another.
    Alias,
    /// An address space, with its view.
    Space,
    /// A mapping.
    Mapping,
    /// A transfer in flight.
    Transfer,
    /// What address spaces show.
    View,
}

impl What {
    /// A word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Machine => "machine and user",
            Self::Device => "device",
            Self::Plain => "object",
            Self::Container => "container",
            Self::Region => "region",
            Self::Alias => "alias",
            Self::Space => "address space",
            Self::Mapping => "mapping",
            Self::Transfer => "transfer",
            Self::View => "views",
        }
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Who it is.
    pub who: Who,
    /// What it is.
    pub what: What,
    /// What is written on it.
    pub name: String,
    /// The count that keeps it, of an object.
    pub count: Option<u8>,
    /// How many finalizers had run, this one's included, when its own ended.
    pub order: Option<usize>,
    /// It should be gone and is not.
    pub is_left: bool,
    /// It was used when it was gone, or an assertion about it failed.
    pub is_misused: bool,
    /// It was withdrawn, and is alive.
    pub is_withdrawn: bool,
}

impl Node {
    /// Somebody of whom nothing is known but who it is.
    pub const fn new(who: Who, what: What, name: String) -> Self {
        Self {
            who,
            what,
            name,
            count: None,
            order: None,
            is_left: false,
            is_misused: false,
            is_withdrawn: false,
        }
    }
}

/// A line from who holds or points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Who holds.
    pub from: Who,
    /// Who is held.
    pub to: Who,
    /// Whether it counts, or keeps what is open.
    pub is_counted: bool,
    /// What for.
    pub label: String,
    /// Whether it is part of what keeps somebody who should be gone.
    pub is_red: bool,
}

/// The graph of a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// Who is there: the machine first.
    pub nodes: Vec<Node>,
    /// Lines, at most one of each kind between two nodes in one direction.
    pub lines: Vec<Line>,
}

impl Graph {
    /// The graph of a state under a policy; with what became of the scenario, where that is known.
    pub fn of(state: &State, rules: &Rules, script: &Script, report: Option<&Report>) -> Self {
        let mut graph = Self::default();
        graph.add_nodes(state, script, report);
        graph.add_counts(state, rules);
        graph.add_pointers(state);
        if let Some(report) = report {
            // After an abort nothing is left to keep.
            for id in report.leaked.iter().filter(|_| !report.is_aborted()) {
                for edge in why_alive(state, rules, *id) {
                    graph.redden(state, rules, edge);
                }
            }
        }
        graph
    }

    /// The node of somebody.
    pub fn node(&self, who: Who) -> Option<&Node> {
        self.nodes.iter().find(|node| node.who == who)
    }

    /// Who counts on whom, and why: a line for each edge that is counted.
    pub fn edges_in_words(&self) -> Vec<String> {
        let name = |who: Who| self.node(who).map_or("somebody", |node| &node.name);
        let counted = self.lines.iter().filter(|line| line.is_counted);
        counted
            .map(|line| {
                let (from, to) = (name(line.from), name(line.to));
                format!("{from} =({})=> {to}", line.label)
            })
            .collect()
    }

    fn add_nodes(&mut self, state: &State, script: &Script, report: Option<&Report>) {
        let mut add = |who, what, name| self.nodes.push(Node::new(who, what, name));
        add(Who::Machine, What::Machine, "machine".into());
        for id in State::ids().filter(|id| state.object(*id).kind != Kind::Empty) {
            let object = state.object(id);
            let what = match object.kind {
                Kind::Device => What::Device,
                Kind::Container => What::Container,
                Kind::Leaf if object.alias != Id::NONE => What::Alias,
                Kind::Leaf => What::Region,
                Kind::Plain | Kind::Empty => What::Plain,
            };
            add(Who::Object(id), what, script.cast.name(id).into());
        }
        let handles = |word: &str, number: u8, of: u8| match of {
            1 => word.to_owned(),
            _ => format!("{word} {}", number + 1),
        };
        for (number, space) in numbered(&state.spaces) {
            if space.open {
                let name = handles("space", number, script.handles().0);
                add(Who::Space(number), What::Space, name);
            }
        }
        for (number, map) in numbered(&state.maps) {
            if map.is_open() {
                let name = handles("map", number, script.handles().1);
                add(Who::Mapping(number), What::Mapping, name);
            }
        }
        for (number, pin) in numbered(&state.pins) {
            if pin.is_object() {
                let name = handles("transfer", number, script.handles().2);
                add(Who::Transfer(number), What::Transfer, name);
            }
        }
        let order = report.map(Report::finalized).unwrap_or_default();
        for node in &mut self.nodes {
            let Who::Object(id) = node.who else { continue };
            let object = state.object(id);
            node.count = object.is_alive().then_some(object.count);
            node.order = order.iter().position(|gone| *gone == id).map(|at| at + 1);
            node.is_withdrawn = object.is_alive() && object.is(flag::WITHDRAWN);
            let Some(report) = report else { continue };
            node.is_left = report.leaked.contains(&id) && !report.is_aborted();
            let is_fault =
                |event: &Event| matches!(event, Event::Fault(_, whose, _) if *whose == id);
            node.is_misused = report.events.iter().any(is_fault);
        }
    }

    fn add_counts(&mut self, state: &State, rules: &Rules) {
        for (number, space) in numbered(&state.spaces) {
            if space.open {
                self.holds(space.holder, Who::Space(number), space.release);
            }
        }
        for (number, map) in numbered(&state.maps) {
            if map.is_open() {
                self.holds(map.holder, Who::Mapping(number), map.release);
            }
        }
        for edge in edges(state, rules) {
            if !is_of_handle(edge.reason) {
                self.join(
                    Who::from(edge.from),
                    Who::Object(edge.to),
                    true,
                    edge.reason.word(),
                );
            }
        }
        for (handle, region, reason) in of_handles(state) {
            let to = counted(state, rules, region);
            if to.is_object() {
                self.join(handle, Who::Object(to), true, reason.word());
            }
        }
    }

    /// What is open is kept by the one in whose name it is, whose code closes it at some point.
    fn holds(&mut self, holder: Id, handle: Who, release: Release) {
        let until = match (holder, release) {
            (Id::MACHINE, _) | (_, Release::Completion) => "open",
            (_, Release::Unrealize) => "until unrealize",
            (_, Release::Finalize) => "until finalize",
        };
        self.join(Who::from(holder), handle, true, until);
    }

    fn add_pointers(&mut self, state: &State) {
        for (number, holder) in numbered(&state.pin_holders) {
            if holder.is_object() {
                self.point(Who::Object(*holder), Who::Transfer(number), "its I/O");
            }
        }
        for id in State::ids().filter(|id| state.object(*id).is_alive()) {
            let object = state.object(id);
            let me = Who::Object(id);
            self.point(me, Who::from(object.owner), "owner");
            if object.container.is_object() {
                self.point(Who::Object(object.container), me, "subregion");
            }
            if object.alias.is_object() {
                self.point(me, Who::from(object.alias), "target");
            }
        }
        for (handle, region, reason) in of_handles(state) {
            self.point(handle, Who::from(region), reason.word());
        }
    }

    fn has(&self, who: Who) -> bool {
        self.node(who).is_some()
    }

    /// A pointer, where no count goes the same way.
    fn point(&mut self, from: Who, to: Who, label: &str) {
        let is_counted = |line: &&Line| line.is_counted && (line.from, line.to) == (from, to);
        if to != Who::Machine && !self.lines.iter().any(|line| is_counted(&line)) {
            self.join(from, to, false, label);
        }
    }

    fn join(&mut self, from: Who, to: Who, is_counted: bool, label: &str) {
        if !self.has(from) || !self.has(to) {
            return;
        }
        let same =
            |line: &&mut Line| (line.from, line.to, line.is_counted) == (from, to, is_counted);
        if let Some(line) = self.lines.iter_mut().find(same) {
            match line.label.rsplit_once(", ").map_or(&*line.label, |it| it.1) {
                last if last == label => line.label += " ×2",
                last if last.strip_suffix(" ×2") == Some(label) => {
                    line.label.truncate(line.label.len() - 1);
                    line.label += "3";
                }
                _ => line.label = format!("{}, {label}", line.label),
            }
            return;
        }
        self.lines.push(Line {
            from,
            to,
            is_counted,
            label: label.into(),
            is_red: false,
        });
    }

    /// Marks an edge of the answer to why somebody is left, and on its way the handle that stands for it.
    fn redden(&mut self, state: &State, rules: &Rules, edge: Edge) {
        for from in sources(state, rules, edge) {
            let holder = Who::from(edge.from);
            for line in self.lines.iter_mut().filter(|line| line.is_counted) {
                let is_count = (line.from, line.to) == (from, Who::Object(edge.to));
                let is_holding = (line.from, line.to) == (holder, from);
                line.is_red |= is_count || is_holding;
            }
        }
    }
}

impl From<Id> for Who {
    fn from(id: Id) -> Self {
        if id.is_object() {
            Self::Object(id)
        } else {
            Self::Machine
        }
    }
}

fn numbered<T>(list: &[T]) -> impl Iterator<Item = (u8, &T)> {
    (0..).zip(list)
}

/// What a reference to a region is counted on; by the collector on itself.
fn counted(state: &State, rules: &Rules, region: Id) -> Id {
    match rules.counted {
        Counted::Nothing => region,
        Counted::Owner | Counted::Region => target(state, rules, region),
    }
}

const fn is_of_handle(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Root | Reason::View | Reason::Section | Reason::Mapping | Reason::Transfer
    )
}

/// What each handle refers to, and as what.
fn of_handles(state: &State) -> Vec<(Who, Id, Reason)> {
    let mut all = Vec::new();
    for (number, space) in numbered(&state.spaces) {
        if !space.open {
            continue;
        }
        let who = Who::Space(number);
        if space.root.is_object() {
            all.push((who, space.root, Reason::Root));
        }
        for leaf in State::ids().filter(|id| space.view & id.bit() != 0) {
            all.push((who, leaf, Reason::View));
            if space.listens {
                all.push((who, leaf, Reason::Section));
            }
        }
    }
    for (number, map) in numbered(&state.maps) {
        if map.is_open() {
            all.push((Who::Mapping(number), map.region, Reason::Mapping));
        }
    }
    for (number, pin) in numbered(&state.pins) {
        if pin.is_object() {
            all.push((Who::Transfer(number), *pin, Reason::Transfer));
        }
    }
    all
}

/// The nodes that stand for the source of an edge: the handles of that holder that are counted there, or the holder.
fn sources(state: &State, rules: &Rules, edge: Edge) -> Vec<Who> {
    if !is_of_handle(edge.reason) {
        return vec![Who::from(edge.from)];
    }
    let is_of_holder = |handle: Who| match handle {
        Who::Space(number) => state.spaces[usize::from(number)].holder == edge.from,
        Who::Mapping(number) => state.maps[usize::from(number)].holder == edge.from,
        Who::Transfer(number) => state.pin_holders[usize::from(number)] == edge.from,
        _ => edge.from == Id::MACHINE,
    };
    of_handles(state)
        .into_iter()
        .filter(|(handle, region, reason)| {
            *reason == edge.reason
                && counted(state, rules, *region) == edge.to
                && is_of_holder(*handle)
        })
        .map(|(handle, ..)| handle)
        .collect()
}
