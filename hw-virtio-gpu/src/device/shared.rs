//! What the device object, its blobs and its bottom halves share: the core, the registers and the way to guest memory, under one lock.
//!
//! It holds no handle to any object (the device and the window are child handles), so it keeps nothing alive: a bottom half that comes late finds
//! it gone, or not realized. A blob that somebody has pinned ends after the device's withdrawal, and the renderer is told then, not before.
//!
//! # Locks
//!
//! The one lock is a device lock: outermost. Under it blobs are placed and withdrawn (topology, tree), guest memory is read and written
//! (read sections, never callbacks: only RAM is reached), the renderer and the line are called. Nothing is waited for under it: the executor, on which
//! commands run, is let through where too much memory is retired. What a guest can make it retire is bounded all the same: as long as a reader
//! holds up what was retired no unmap is answered, and blobs, leaving ones included, are limited.
//!
//! The lock is released after each command, so that a guest's register access waits for one command, not for a batch.

use super::hostmem::{self, HostBlob};
use super::mmio::{Effect, QUEUES, Registers, interrupt, status};
use super::rings::{self, RingError};
use super::{Stats, VirtioGpu};
use crate::edid::DisplaySize;
use crate::gpu::{
    Completion, ConfigError, Counts, GpuCore, GpuEnv, MappingToken, Placement, WindowError,
};
use crate::guest::{GuestMemory, GuestMemoryError};
use crate::renderer::Fence;
use crate::scanout::Frame;
use memory::{AddressSpace, Attrs, Gpa, Region, Snapshot};
use parking_lot::Mutex;
use qdev::Line;
use qom::{Child, MachineHandle, ObjectOps};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, Weak};

/// How many commands one bottom half takes before it lets others run.
const BATCH: usize = 64;
/// In how many pieces a stretch of a guest's RAM may lie. A guest can have thousands of small blobs side by side in the window, and name them all in
/// each of thousands of entries.
const PIECES: usize = 64;

pub(crate) struct Shared {
    state: Mutex<State>,
    me: Weak<Shared>,
    machine: MachineHandle,
    /// The same as in the state, to be had without the lock.
    memory: Option<AddressSpace>,
    /// Set when the device has been made.
    pub(super) device: OnceLock<Child<VirtioGpu>>,
    pub(super) window: OnceLock<Child<Region>>,
}

struct State {
    core: GpuCore,
    outside: Outside,
}

/// All but the core: what the core calls.
struct Outside {
    shared: Weak<Shared>,
    registers: Registers,
    memory: Option<AddressSpace>,
    line: Arc<dyn Line>,
    blobs: HashMap<MappingToken, Child<HostBlob>>,
    device: Child<VirtioGpu>,
    window: Child<Region>,
    stats: Stats,
    /// While the device is reset: blobs that are to leave the window together.
    leaving: Option<Vec<MappingToken>>,
    /// Queues that a bottom half is going to look at.
    scheduled: [bool; QUEUES],
    realized: bool,
    broken: Option<RingError>,
    /// None but in tests: the seeded defect of a suspended command that keeps what it waits for.
    kept: Option<HashMap<MappingToken, Snapshot>>,
}

impl Shared {
    pub(super) fn new(
        machine: &MachineHandle,
        mut core: GpuCore,
        registers: Registers,
        memory: Option<AddressSpace>,
        line: Arc<dyn Line>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me: &Weak<Self>| {
            let (sink, machine_of_sink) = (me.clone(), machine.clone());
            core.connect_fences(Arc::new(move |fence| {
                let sink = sink.clone();
                machine_of_sink.defer(move || {
                    if let Some(shared) = sink.upgrade() {
                        shared.fence_reached(fence);
                    }
                });
            }));
            Self {
                state: Mutex::new(State {
                    core,
                    outside: Outside {
                        shared: me.clone(),
                        registers,
                        memory: memory.clone(),
                        line,
                        blobs: HashMap::new(),
                        device: Child::default(),
                        window: Child::default(),
                        stats: Stats::default(),
                        leaving: None,
                        scheduled: [false; QUEUES],
                        realized: false,
                        broken: None,
                        kept: None,
                    },
                }),
                me: me.clone(),
                machine: machine.clone(),
                memory,
                device: OnceLock::new(),
                window: OnceLock::new(),
            }
        })
    }

    fn with<R>(&self, f: impl FnOnce(&mut GpuCore, &mut Outside) -> R) -> R {
        let State { core, outside } = &mut *self.state.lock();
        f(core, outside)
    }

    /// Seeds the defect: from now on each suspended command keeps a snapshot of memory until it ends.
    pub(super) fn keep_snapshots(&self) {
        self.with(|_, outside| outside.kept = Some(HashMap::new()));
    }

    /// The address space of the rings, if the device has one.
    pub(super) fn memory(&self) -> Option<&AddressSpace> {
        self.memory.as_ref()
    }

    pub(super) fn realize(&self, window: Option<(u64, u64)>) {
        self.with(|_, outside| {
            outside.device = self.device.get().cloned().unwrap_or_default();
            outside.window = self.window.get().cloned().unwrap_or_default();
            outside.registers.window = window;
            outside.realized = true;
        });
    }

    /// The device is being withdrawn: commands in hand are dropped, the line goes low, nothing is taken from the rings any more.
    pub(super) fn unrealize(&self) {
        self.with(|core, outside| {
            outside.realized = false;
            outside.reset(core);
        });
    }

    pub(super) fn read_register(&self, offset: u64) -> u32 {
        self.with(|_, outside| outside.registers.read(offset))
    }

    pub(super) fn read_config(&self, offset: u64, size: u8) -> u64 {
        let space = self.with(|core, _| core.config_space());
        let mut value = [0; 8];
        for (i, byte) in value.iter_mut().take(usize::from(size)).enumerate() {
            let at = usize::try_from(offset).ok().and_then(|o| o.checked_add(i));
            *byte = at.and_then(|a| space.get(a)).copied().unwrap_or(0);
        }
        u64::from_le_bytes(value)
    }

    pub(super) fn write_config(&self, offset: u64, size: u8, value: u64) {
        let bytes = value.to_le_bytes();
        self.with(|core, _| core.write_config(offset, &bytes[..usize::from(size)]));
    }

    pub(super) fn write_register(&self, offset: u64, value: u32) {
        let schedule = self.with(
            |core, outside| match outside.registers.write(offset, value) {
                Effect::None => None,
                Effect::Reset => {
                    outside.reset(core);
                    None
                }
                Effect::FeaturesOk => {
                    core.set_features(outside.registers.accepted);
                    None
                }
                Effect::Notify(queue) => {
                    let running = outside.realized && outside.registers.is_running();
                    let fresh = running && !std::mem::replace(&mut outside.scheduled[queue], true);
                    fresh.then_some(queue)
                }
                Effect::Acknowledged => {
                    outside.acknowledged();
                    None
                }
            },
        );
        if let Some(queue) = schedule {
            self.schedule(queue);
        }
    }

    fn schedule(&self, queue: usize) {
        let shared = self.me.clone();
        self.machine.defer(move || {
            if let Some(shared) = shared.upgrade() {
                shared.work_on(queue);
            }
        });
    }

    /// The bottom half of a queue: takes commands until there are none, at most a batch of them.
    fn work_on(&self, queue: usize) {
        self.with(|_, outside| outside.scheduled[queue] = false);
        let mut first = true;
        for _ in 0..BATCH {
            let more = self.with(|core, outside| {
                outside
                    .step(core, queue, std::mem::take(&mut first))
                    .unwrap_or_else(|error| {
                        outside.fail(error);
                        false
                    })
            });
            if !more {
                return;
            }
        }
        let fresh = self.with(|_, outside| !std::mem::replace(&mut outside.scheduled[queue], true));
        if fresh {
            self.schedule(queue);
        }
    }

    /// Nobody reaches a blob's bytes any more.
    pub(super) fn blob_finalized(&self, token: MappingToken) {
        self.with(|core, outside| {
            // One that never came into the window is nobody's business.
            if outside.blobs.remove(&token).is_some() {
                outside.kept.as_mut().map(|kept| kept.remove(&token));
                outside.stats.finalized_blobs += 1;
                core.blob_finalized(token, outside);
            }
        });
    }

    fn fence_reached(&self, fence: Fence) {
        self.with(|core, outside| core.fence_reached(fence, outside));
    }

    pub(super) fn set_display(
        &self,
        scanout: u32,
        size: Option<DisplaySize>,
    ) -> Result<bool, ConfigError> {
        self.with(|core, outside| {
            let changed = core.set_display(scanout, size)?;
            if changed {
                outside.registers.config_generation =
                    outside.registers.config_generation.wrapping_add(1);
                outside.interrupt(interrupt::CONFIG);
            }
            Ok(changed)
        })
    }

    pub(super) fn frame(&self, scanout: u32) -> Option<Frame> {
        self.with(|core, _| core.frame(scanout).cloned())
    }

    pub(super) fn counts(&self) -> Counts {
        self.with(|core, _| core.counts())
    }

    pub(super) fn stats(&self) -> Stats {
        self.with(|_, outside| outside.stats)
    }

    pub(super) fn broken(&self) -> Option<String> {
        self.with(|_, outside| outside.broken.as_ref().map(ToString::to_string))
    }
}

impl Outside {
    /// Resets core and registers. The status reads 0 at once, ids and ranges are free at once; blobs go when nobody reaches them any more.
    fn reset(&mut self, core: &mut GpuCore) {
        self.leaving = Some(Vec::new());
        let summary = core.reset(self);
        self.kept.as_mut().map(HashMap::clear);
        self.withdraw_all();
        self.stats.resets += 1;
        self.stats.dropped_commands += summary.dropped_commands as u64;
        self.registers.reset();
        self.broken = None;
        self.set_line(false);
        tracing::debug!(?summary, "device reset");
    }

    /// Takes the blobs of a device that was reset out of the window, in one commit.
    fn withdraw_all(&mut self) {
        let tokens = self.leaving.take().unwrap_or_default();
        let Some(memory) = self.memory.as_ref().filter(|_| !tokens.is_empty()) else {
            return;
        };
        let all = || tokens.iter().for_each(|token| self.withdraw_now(*token));
        // Where too much is retired nothing new is begun; taking out is always allowed, one by one.
        if let Err(error) = memory::transaction(memory.machine(), |_| all()) {
            tracing::debug!(%error, "blobs are withdrawn one by one");
            all();
        }
    }

    fn withdraw_now(&self, token: MappingToken) {
        let Some(blob) = self.blobs.get(&token) else {
            return;
        };
        // Never waiting: the device's lock is held here. The blob is out of the window when this returns, or at the end of the transaction.
        if let Err(error) = blob.unparent_async() {
            tracing::debug!(token = token.0, %error, "a blob is gone already");
        }
    }

    /// Takes one command; true: there may be more. `first`: of a batch.
    fn step(&mut self, core: &mut GpuCore, queue: usize, first: bool) -> Result<bool, RingError> {
        let running = self.realized && self.registers.is_running();
        let Some(memory) = self.memory.clone().filter(|_| running) else {
            return Ok(false);
        };
        let kind = rings::kind(queue);
        let limit = core.config().limits.request_bytes;
        if first {
            rings::notifications(&mut self.registers.queues[queue], &memory, kind, false)?;
        }
        let Some(command) = rings::pop(&mut self.registers, &memory, kind, limit)? else {
            return rings::notifications(&mut self.registers.queues[queue], &memory, kind, true);
        };
        let span = tracing::debug_span!("command", ?kind, head = command.head);
        let _entered = span.enter();
        self.stats.commands += 1;
        core.submit(command, self);
        Ok(true)
    }

    fn fail(&mut self, error: RingError) {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "guest error: the device needs a reset"
        );
        self.broken = Some(error);
        self.registers.status |= status::NEEDS_RESET;
        self.interrupt(interrupt::CONFIG);
    }

    /// Something is to be told to the driver, if there is one yet.
    fn interrupt(&mut self, bit: u32) {
        if self.registers.is_driven() {
            self.registers.interrupt_status |= bit;
            self.set_line(true);
        }
    }

    /// The driver has acknowledged something: the line follows the interrupt status, and where a bit is left an edge-sensitive far end has to see
    /// that, too.
    fn acknowledged(&mut self) {
        self.set_line(false);
        if self.registers.interrupt_status != 0 {
            self.set_line(true);
        }
    }

    /// A line's panic is its own: what the device has written to the rings stands.
    fn set_line(&self, level: bool) {
        let line = &self.line;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| line.set(level))) {
            let message = qom::layer::message_of(panic);
            tracing::error!(level, message, "an interrupt line panicked");
        }
    }
}

impl GuestMemory for Outside {
    fn read_guest(&self, addr: u64, into: &mut [u8]) -> Result<(), GuestMemoryError> {
        let error = GuestMemoryError {
            addr,
            len: into.len() as u64,
        };
        let memory = self.memory.as_ref().ok_or(error)?;
        let result = memory.read(Gpa(addr), into, Attrs::PLAIN.with_memory_only(true));
        if result.is_ok() { Ok(()) } else { Err(error) }
    }

    fn is_guest_ram(&self, addr: u64, len: u64) -> bool {
        let Some(memory) = &self.memory else {
            return false;
        };
        let guard = memory.enter();
        let view = guard.view();
        let mut at = addr;
        let mut left = len;
        for _ in 0..PIECES {
            if left == 0 {
                return true;
            }
            let Some((span, leaf)) = view.find(Gpa(at)) else {
                return false;
            };
            let offset = at - span.first();
            let here = leaf.bytes().map_or(0, |b| b.len().saturating_sub(offset));
            if here == 0 {
                return false;
            }
            if here >= left {
                return true;
            }
            left -= here;
            let Some(next) = at.checked_add(here) else {
                return false;
            };
            at = next;
        }
        false
    }
}

impl GpuEnv for Outside {
    fn place(&mut self, placement: Placement) -> Result<(), WindowError> {
        let gone = || WindowError {
            reason: "the device is being withdrawn".into(),
            source: None,
        };
        let shared = self
            .shared
            .upgrade()
            .filter(|_| self.realized)
            .ok_or_else(gone)?;
        let placed = hostmem::place(
            &shared,
            &self.device,
            &self.window,
            placement.token,
            placement.offset,
            placement.len,
            &placement.blob.backing,
        );
        let blob = placed.map_err(|error| WindowError {
            reason: format!("resource {} at {:#x}", placement.resource, placement.offset),
            source: Some(Box::new(error)),
        })?;
        self.blobs.insert(placement.token, blob);
        self.stats.placed_blobs += 1;
        Ok(())
    }

    fn withdraw(&mut self, token: MappingToken) {
        self.stats.withdrawn_blobs += 1;
        if let Some(leaving) = &mut self.leaving {
            leaving.push(token);
            return;
        }
        // Outside of a reset it is a command that takes a blob out, and it waits for the blob's end.
        self.stats.suspended_commands += 1;
        if let (Some(kept), Some(memory)) = (&mut self.kept, &self.memory)
            && let Ok(snapshot) = memory.snapshot(&self.device)
        {
            kept.insert(token, snapshot);
        }
        self.withdraw_now(token);
    }

    fn complete(&mut self, completion: Completion) {
        let running = self.realized && self.registers.is_running();
        let memory = self.memory.clone().filter(|_| running);
        let done = memory
            .map(|memory| rings::complete(&mut self.registers, &memory, &completion))
            .transpose();
        match done {
            Ok(Some(Some(wants_interrupt))) => {
                self.stats.completed_commands += 1;
                if wants_interrupt {
                    self.interrupt(interrupt::USED);
                }
            }
            Ok(None | Some(None)) => self.stats.dropped_commands += 1,
            Err(error) => {
                self.stats.dropped_commands += 1;
                self.fail(error);
            }
        }
    }
}
