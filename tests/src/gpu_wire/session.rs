//! One device and its guest, from the first command until nothing is left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hw_virtio_gpu::edid::DisplaySize;
use hw_virtio_gpu::gpu::{
    Counts, Disposition, GpuConfig, GpuCore, MappingToken, QueueKind, QueuedCommand, ScanoutConfig,
};
use hw_virtio_gpu::renderer::{Capset, Fence, FenceControl, MemfdRenderer};
use hw_virtio_gpu::wire::{MemEntry, feature};
use memory::host::live_backing_bytes;
use parking_lot::Mutex;

use super::behind::{Checked, Known};
use super::commands::{fair, guest_bytes};
use super::replies::Sent;
use super::surroundings::Surroundings;
use super::{LIMITS, Outcome, Tally, WINDOW, check};
use crate::random::Random;

/// What one command may take: it moves at most a few megabytes.
const SLOW: Duration = Duration::from_secs(10);

struct Session {
    random: Random,
    gpu: GpuCore,
    world: Surroundings,
    control: Arc<FenceControl>,
    reached: Arc<Mutex<Vec<Fence>>>,
    next_head: u16,
    features: u64,
}

/// Runs one; the rest of the case's sequence decides everything.
pub(super) fn run(random: Random) -> Outcome<Tally> {
    let before = live_backing_bytes();
    let mut session = Session::new(random)?;
    let steps = 40 + session.random.below(400);
    for _ in 0..steps {
        session.step()?;
    }
    session.end()?;
    let tally = session.world.tally;
    drop(session);
    let left = live_backing_bytes();
    check(left == before, || {
        format!("{left} bytes of blobs are left, {before} were there before")
    })?;
    Ok(tally)
}

impl Session {
    fn new(mut random: Random) -> Outcome<Self> {
        let control = Arc::<FenceControl>::default();
        let mut builder = MemfdRenderer::builder().refuse_map(3);
        for capset in 1..=random.below(3) {
            builder = builder.capset(Capset {
                id: u32::try_from(capset).unwrap_or(1),
                max_version: 1,
                data: vec![7; random.index(100)],
            });
        }
        if random.chance(60) {
            builder = builder.hold_fences(&control);
        }
        let known = Arc::new(Mutex::new(Known::new(Random::new(random.next()))));
        let renderer = Checked {
            inner: builder.build(),
            known: known.clone(),
        };
        let config = GpuConfig {
            limits: LIMITS,
            scanouts: vec![ScanoutConfig::default(); 2],
            window: if random.chance(95) { WINDOW } else { 0 },
            features: feature::ALL,
        };
        let mut gpu = GpuCore::new(config, Box::new(renderer)).map_err(|e| e.to_string())?;
        let reached = Arc::new(Mutex::new(Vec::new()));
        let sink = reached.clone();
        gpu.connect_fences(Arc::new(move |fence| sink.lock().push(fence)));
        let mut this = Self {
            random,
            gpu,
            world: Surroundings::new(known),
            control,
            reached,
            next_head: 0,
            features: feature::ALL,
        };
        if this.random.chance(10) {
            let accepted = this.random.next();
            this.negotiate(accepted);
        }
        Ok(this)
    }

    fn negotiate(&mut self, accepted: u64) {
        self.features = accepted & feature::ALL;
        self.gpu.set_features(accepted);
    }

    fn step(&mut self) -> Outcome {
        let begun = Instant::now();
        match self.random.below(200) {
            0..164 => self.send()?,
            164..180 => self.finalize_one(),
            180..190 => self.signal_one(),
            190 => self.world.refuse_placements = self.random.chance(20),
            191 => {
                let moody = if self.random.chance(20) { 10 } else { 0 };
                self.world.known.lock().moody = moody;
            }
            192 | 193 => {
                let sizes = [
                    None,
                    Some(DisplaySize::default()),
                    DisplaySize::new(640, 480).ok(),
                ];
                let (scanout, size) = (fair(&mut self.random, 3), self.random.pick(&sizes));
                let known = self.gpu.set_display(scanout, size).is_ok();
                check(known == (scanout < 2), || {
                    format!("display {scanout}: {known}")
                })?;
            }
            194 | 195 => {
                let len = self.random.index(9);
                let data: Vec<u8> = (0..len).map(|_| self.random.byte()).collect();
                self.gpu.write_config(self.random.below(24), &data);
                let space = self.gpu.config_space();
                check(space[4..8] == [0; 4] && space[8] == 2, || {
                    format!("the config space is {space:?}")
                })?;
            }
            196 | 197 => {
                let all = self.random.chance(90);
                let accepted = if all { u64::MAX } else { self.random.next() };
                self.negotiate(accepted);
            }
            _ => self.reset()?,
        }
        let took = begun.elapsed();
        check(took < SLOW, || format!("a step took {took:?}"))?;
        self.world.verdict()?;
        self.agree()
    }

    fn send(&mut self) -> Outcome {
        let random = &mut self.random;
        let request = guest_bytes(random, 256);
        let cursor = if random.chance(90) {
            request.get(1) == Some(&3)
        } else {
            random.chance(50)
        };
        let queue = if cursor {
            QueueKind::Cursor
        } else {
            QueueKind::Control
        };
        // Mostly as much room as a driver gives; now and then descriptors of any length.
        let writable: Vec<MemEntry> = if random.chance(80) {
            vec![MemEntry {
                addr: 0x1000,
                len: 2048,
            }]
        } else {
            let entry = |random: &mut Random| MemEntry {
                addr: random.next(),
                len: fair(random, 600),
            };
            (0..random.below(4)).map(|_| entry(random)).collect()
        };
        // A head is in use until its answer has come.
        while self.world.open.contains_key(&self.next_head) {
            self.next_head = self.next_head.wrapping_add(1);
        }
        let head = self.next_head;
        self.next_head = self.next_head.wrapping_add(1);
        let sent = Sent {
            queue,
            request: request.clone(),
            room: writable.iter().map(|e| u64::from(e.len)).sum(),
            features: self.features,
        };
        self.world.open.insert(head, sent);
        self.world.tally.sent += 1;
        let command = QueuedCommand {
            queue,
            head,
            writable,
            request,
        };
        let disposition = self.gpu.submit(command, &mut self.world);
        let held = self.world.open.contains_key(&head);
        self.world.tally.held += u64::from(held);
        check(held == (disposition != Disposition::Answered), || {
            format!("command {head} is {disposition:?}, and open: {held}")
        })
    }

    fn finalize_one(&mut self) {
        let waiting = &mut self.world.withdrawn;
        let token = if waiting.is_empty() || self.random.chance(3) {
            MappingToken(self.random.below(100))
        } else {
            let at = self.random.index(waiting.len());
            waiting.swap_remove(at)
        };
        // One that is in the window, or still held, is not finalized.
        let placed = (self.world.window.values()).any(|(there, _)| *there == token);
        if !placed && !self.world.withdrawn.contains(&token) {
            self.world.let_go(token);
            self.gpu.blob_finalized(token, &mut self.world);
        }
    }

    fn signal_one(&mut self) {
        let pending = self.control.pending();
        if !pending.is_empty() {
            let fence = pending[self.random.index(pending.len())];
            self.control.signal(fence.timeline, fence.id);
        }
        for fence in std::mem::take(&mut *self.reached.lock()) {
            self.gpu.fence_reached(fence, &mut self.world);
        }
    }

    fn reset(&mut self) -> Outcome {
        self.world.life += 1;
        // What is not answered before will not be.
        let open = std::mem::take(&mut self.world.open).len();
        let summary = self.gpu.reset(&mut self.world);
        self.features = feature::ALL;
        self.world.tally.dropped += open as u64;
        let window = self.world.window.len();
        let counts = self.gpu.counts();
        let right = summary.dropped_commands == open
            && window == 0
            && counts.resources == 0
            && counts.leaving_blobs == self.world.withdrawn.len();
        check(right, || {
            format!("{open} were open and {window} are in the window: {summary:?}, {counts:?}")
        })
    }

    /// The core's numbers are those that the observers have counted, and within the limits.
    fn agree(&self) -> Outcome {
        let counts = self.gpu.counts();
        let known = self.world.known.lock();
        let pages = |blob: &super::behind::Blob| blob.size.next_multiple_of(4096);
        let blob_bytes: u64 = known.blobs.values().map(pages).sum();
        let held = counts.suspended_commands + counts.waiting_commands + counts.fenced_commands;
        let within = counts.pixel_bytes <= LIMITS.pixel_bytes
            && blob_bytes <= LIMITS.blob_bytes
            && counts.resources <= LIMITS.resources
            && known.blobs.len() <= LIMITS.resources
            && counts.contexts <= LIMITS.contexts
            && held <= LIMITS.held_commands;
        check(within, || {
            format!("beyond the limits: {counts:?}, {blob_bytes} bytes of blobs")
        })?;
        let (open, window) = (self.world.open.len(), self.world.window.len());
        let leaving = self.world.withdrawn.len();
        let agrees = open == held
            && window == counts.mapped_blobs
            && leaving == counts.leaving_blobs
            && leaving + window == self.world.placed.len()
            && blob_bytes == counts.blob_bytes
            && known.contexts.len() == counts.contexts
            && (counts.suspended_commands > 0 || counts.waiting_commands == 0);
        check(agrees, || {
            format!(
                "{open} open, {window} in the window, {leaving} leaving, {blob_bytes} bytes, {} contexts, but {counts:?}",
                known.contexts.len()
            )
        })
    }

    /// All that is waited for comes; then all is answered. After a reset nothing is left.
    fn end(&mut self) -> Outcome {
        for _ in 0..10 * LIMITS.held_commands {
            self.finalize_all();
            while !self.control.pending().is_empty() {
                self.signal_one();
            }
        }
        self.world.verdict()?;
        let (open, counts) = (self.world.open.len(), self.gpu.counts());
        check(open == 0, || {
            format!("{open} commands are never answered: {counts:?}")
        })?;
        self.reset()?;
        self.finalize_all();
        self.world.verdict()?;
        self.agree()?;
        let left = self.gpu.counts();
        check(left == Counts::default(), || {
            format!("left after a reset: {left:?}")
        })
    }

    fn finalize_all(&mut self) {
        while !self.world.withdrawn.is_empty() {
            self.finalize_one();
        }
    }
}
