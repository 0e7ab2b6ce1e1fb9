//! A blob's unmap on the virtio-gpu, stage by stage: the driver's commands go through the ring, a reader and a peer's transfer are at the blob's bytes, and the
//! ledger is asked after each step.
//!
//! It is the scenario of the same number with the parts played by the real ones: G is the device, W its window, V the object that owns a blob's region
//! ([`HostBlob`](hw_virtio_gpu::HostBlob)), which the device makes and withdraws by itself; only the peer E has no other purpose.

use super::actors::{Card, Part};
use super::album::{self, Players, Snapshot};
use super::board::Board;
use super::reader::Reader;
use super::stage::{Actor, Happened, Stage, Wrong};
use super::{PATIENCE, Report, add_moment, explain};
use crate::scenario::demonstrations::DEMONSTRATIONS;
use crate::scenario::{Scenario, Script};
use crate::state::{Id, State};
use crate::timeline::Moment;
use hw_virtio_gpu::wire::{Command, Response};
use memory::Intent;
use qdev::DeviceOps;
use qom::layer::{Target, create_with};
use qom::{Graph, Machine, MachineEvent, NodeKind, ObjectOps, Ref};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::channel;

/// The scenario that is played so.
pub(super) const ROW: &str = "C14";

/// What is mapped, in bytes.
const LEN: u64 = 0x1000;

/// Who plays what.
struct Play {
    script: Script,
    stage: Arc<Stage>,
    seen: Vec<album::Seen>,
    moments: Vec<Moment>,
}

/// Plays the scenario, which has the parts that are named above.
pub(super) fn play(scenario: &Scenario) -> Report {
    Play::new(scenario).run().0
}

/// The graph and the ledger's word after each step, from the mapped blob on.
///
/// ```
/// let stages = holdfast_lifetimes::product::unmap::stages();
/// let sent = stages.iter().find(|stage| stage.step == "RESOURCE_UNMAP_BLOB is sent").unwrap();
/// assert!(sent.said[0].contains("I/O of /machine/E"), "{:?}", sent.said);
/// ```
///
/// # Panics
///
/// Where the machine refuses what it cannot refuse, or the unmap does not end.
pub fn stages() -> Vec<Snapshot> {
    let scenario = DEMONSTRATIONS.iter().find(|known| known.row == ROW);
    let (report, play) = Play::new(scenario.expect("it is one of them")).run();
    album::snapshots(ROW, &play.script, &report.players, play.seen)
}

impl Play {
    fn new(scenario: &Scenario) -> Self {
        let script = Script::of(scenario);
        let stage = Arc::<Stage>::default();
        stage.set().cast = script.cast;
        Self {
            script,
            stage,
            seen: Vec::new(),
            moments: Vec::new(),
        }
    }

    fn id(&self, name: &str) -> Id {
        let mut all = State::ids();
        all.find(|id| self.script.cast.name(*id) == name)
            .expect("the scenario has this part")
    }

    /// An object plays a part.
    fn enter(&self, name: &str, object: &impl Target, owner: Option<&str>) {
        let id = self.id(name);
        let object = object.pointer().expect("it lives");
        let mut set = self.stage.set();
        set.actors[id.index()] = Some(Actor::new(name, &object));
        set.owners[id.index()] = owner.map(|owner| self.id(owner));
    }

    /// A device that is plugged, and takes part by what it has in flight.
    fn peer(&self, machine: &Machine, name: &str) -> Ref<Card> {
        let part = Part::new(self.id(name), &self.stage);
        let peer = create_with(machine.handle(), None, |cx| Card {
            device: cx.parent(),
            part,
        });
        let peer = peer.expect("a new device");
        let root = machine.root();
        root.add_child(name, &peer).expect("a free name");
        DeviceOps::realize(&peer).expect("nothing can fail");
        peer
    }

    fn look(&mut self, machine: &Machine, step: &str) {
        add_moment(&mut self.moments, &self.stage, step.into());
        let players = album::players(&self.stage);
        let graph = of_players(&machine.reference_graph(), &players);
        self.seen.push((step.into(), (graph, explain(machine))));
    }

    fn run(mut self) -> (Report, Self) {
        let machine = Machine::builder("unmap").recording(true).build();
        let _finalized = Stage::subscribe(&self.stage, &machine);
        let (tell, withdrawn) = channel();
        let _withdrawn = machine.subscribe(move |event| {
            if let MachineEvent::Withdrawn { id, .. } = event {
                // Nobody listens any more at the end.
                let _ = tell.send(*id);
            }
        });
        let mut board = Board::new(machine);
        let peer = self.peer(&board.machine, "E");
        let (resource, word) = board.map();
        let blob = self.enter_all(&board, &peer);
        self.look(&board.machine, "RESOURCE_MAP_BLOB");

        let reader = Reader::enter(board.machine.handle());
        let transfer = board
            .memory
            .pin(&peer, Board::place(), LEN, Intent::ReadWrite)
            .expect("the blob is there");
        drop(peer);
        self.look(
            &board.machine,
            "a reader enters its section, and E begins a transfer",
        );

        let (unmap, fence) = board.send(Command::ResourceUnmapBlob { resource });
        while withdrawn.recv_timeout(PATIENCE).expect("it is withdrawn") != blob {}
        self.look(&board.machine, "RESOURCE_UNMAP_BLOB is sent");
        self.expect_no_reply(&board, "a reader and a transfer are there");

        drop(reader);
        quiesce(&board.machine);
        self.look(&board.machine, "the reader leaves");
        self.expect_no_reply(&board, "a transfer is there");
        if transfer.bytes().load_u32(0) != Some(word) {
            self.wrong("the transfer finds other bytes");
        }

        drop(transfer);
        let reply = board.wait(unmap);
        let is_right = (reply.fence, reply.response) == (fence, Response::Ok);
        quiesce(&board.machine);
        if !is_right || board.told().is_none() || !board.is_free() {
            self.wrong("the reply comes before the blob has ended");
        }
        self.look(
            &board.machine,
            "E’s transfer is complete, and the reply is in the ring",
        );

        let board = board.unplug();
        quiesce(&board.machine);
        self.look(&board.machine, "the GPU is unplugged");
        let peer = board.machine.resolve("/machine/E").expect("it is plugged");
        let _waited_for = peer.unparent().expect("it is plugged");
        drop(peer);
        quiesce(&board.machine);
        self.look(&board.machine, "E is unplugged");
        let why = explain(&board.machine);
        if !board.close() {
            self.wrong("somebody is left in the machine");
        }
        (self.report(why), self)
    }

    /// Everybody enters; gives the blob’s identity.
    fn enter_all(&self, board: &Board, peer: &Ref<Card>) -> qom::ObjectId {
        let blob = board.blob();
        let (_, region) = blob.children().remove(0);
        self.enter("G", &board.gpu, None);
        self.enter("W", board.gpu.window(), Some("G"));
        self.enter("V", &blob, None);
        self.enter("blob", &region, Some("V"));
        self.enter("E", peer, None);
        blob.object().id()
    }

    fn expect_no_reply(&self, board: &Board, meanwhile: &str) {
        if board.is_answered() || board.told().is_some() || board.is_free() {
            self.wrong(&format!("the blob has ended while {meanwhile}"));
        }
        if board.word().is_some() {
            self.wrong("a new access reaches the blob");
        }
    }

    fn wrong(&self, what: &str) {
        self.stage
            .note(Happened::Wrong(Wrong::UseAfterFinalize, what.into()));
    }

    fn report(&self, why: Vec<String>) -> Report {
        let graph = |seen: Option<&album::Seen>| seen.map(|(_, (graph, _))| graph.clone());
        let mut said = self.seen.iter().map(|(_, (_, said))| said);
        let held = said.find(|said| !said.is_empty());
        Report::of_stage(
            &self.stage,
            &self.script.gone,
            [
                // Before anything ends.
                graph(self.seen.get(1)).unwrap_or_default(),
                graph(self.seen.last()).unwrap_or_default(),
            ],
            [held.cloned().unwrap_or_default(), why],
            self.moments.clone(),
        )
    }
}

fn quiesce(machine: &Machine) {
    machine.quiesce(PATIENCE).expect("nobody reads");
}

/// Of a machine’s graph the machine, and what counts on those who play a part.
fn of_players(graph: &Graph, players: &Players) -> Graph {
    let nodes: Vec<usize> = players
        .iter()
        .filter_map(|(id, _)| graph.find(*id))
        .collect();
    let mut part = Graph::default();
    let mut places = HashMap::new();
    let mut place = |at: usize, part: &mut Graph| {
        *places.entry(at).or_insert_with(|| {
            part.nodes.push(graph.nodes[at].clone());
            part.nodes.len() - 1
        })
    };
    for (at, node) in graph.nodes.iter().enumerate() {
        if matches!(node.kind, NodeKind::Root(_)) {
            place(at, &mut part);
        }
    }
    for edge in &graph.edges {
        if nodes.contains(&edge.to) {
            let (from, to) = (place(edge.from, &mut part), place(edge.to, &mut part));
            part.edges.push(qom::GraphEdge {
                from,
                to,
                ..edge.clone()
            });
        }
    }
    part
}
