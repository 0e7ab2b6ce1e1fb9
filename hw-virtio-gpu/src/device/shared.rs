//! What the device object, its blobs and its bottom halves share: the core, the registers and the way to guest memory, under one lock.
//!
//! It holds no handle to any object (the device and the window are child handles), so it may outlive the device: a blob that somebody has
//! pinned ends after the device, and the renderer is told then, not before.

use super::hostmem::{self, HostBlob};
use super::mmio::{Effect, QUEUES, Registers, interrupt, status};
use super::rings::{self, RingError};
use super::{Stats, VirtioGpu};
use crate::edid::DisplaySize;
use crate::gpu::{
    Completion, ConfigError, Counts, Disposition, GpuCore, GpuEnv, MappingToken, Placement,
    WindowError,
};
use crate::guest::{GuestMemory, GuestMemoryError};
use crate::renderer::Fence;
use crate::scanout::Frame;
use memory::{AddressSpace, Attrs, Gpa, Region};
use parking_lot::Mutex;
use qdev::Line;
use qom::{Child, MachineHandle, ObjectOps};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

/// How many commands one bottom half takes before it lets others run.
const BATCH: usize = 64;

pub(crate) struct Shared {
    state: Mutex<State>,
    me: Weak<Shared>,
    machine: MachineHandle,
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
    /// Queues that a bottom half is going to look at.
    scheduled: [bool; QUEUES],
    realized: bool,
    broken: Option<RingError>,
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
                        memory,
                        line,
                        blobs: HashMap::new(),
                        device: Child::default(),
                        window: Child::default(),
                        stats: Stats::default(),
                        scheduled: [false; QUEUES],
                        realized: false,
                        broken: None,
                    },
                }),
                me: me.clone(),
                machine: machine.clone(),
                device: OnceLock::new(),
                window: OnceLock::new(),
            }
        })
    }

    fn with<R>(&self, f: impl FnOnce(&mut GpuCore, &mut Outside) -> R) -> R {
        let State { core, outside } = &mut *self.state.lock();
        f(core, outside)
    }

    pub(super) fn realize(&self, window: Option<(u64, u64)>) -> bool {
        self.with(|_, outside| {
            outside.device = self.device.get().cloned().unwrap_or_default();
            outside.window = self.window.get().cloned().unwrap_or_default();
            outside.registers.window = window;
            outside.realized = outside.memory.is_some();
            outside.realized
        })
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
                    outside.update_line(false);
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
        let more = self.with(|core, outside| {
            outside.scheduled[queue] = false;
            match outside.drain(core, queue) {
                Ok(more) => more && !std::mem::replace(&mut outside.scheduled[queue], true),
                Err(error) => {
                    outside.fail(error);
                    false
                }
            }
        });
        if more {
            self.schedule(queue);
        }
    }

    /// Nobody reaches a blob's bytes any more.
    pub(super) fn blob_finalized(&self, token: MappingToken) {
        self.with(|core, outside| {
            outside.blobs.remove(&token);
            outside.stats.finalized_blobs += 1;
            core.blob_finalized(token, outside);
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
        let summary = core.reset(self);
        self.stats.resets += 1;
        self.stats.dropped_commands += summary.dropped_commands as u64;
        self.registers.reset();
        self.broken = None;
        self.line.set(false);
        tracing::debug!(?summary, "device reset");
    }

    /// Takes up to a batch of commands; true: there is more.
    fn drain(&mut self, core: &mut GpuCore, queue: usize) -> Result<bool, RingError> {
        let Some(memory) = self.memory.clone().filter(|_| self.realized) else {
            return Ok(false);
        };
        let kind = rings::kind(queue);
        let limit = core.config().limits.request_bytes;
        rings::notifications(&mut self.registers.queues[queue], &memory, kind, false)?;
        for _ in 0..BATCH {
            if !self.registers.is_running() {
                return Ok(false);
            }
            let Some(command) = rings::pop(&mut self.registers, &memory, kind, limit)? else {
                return rings::notifications(
                    &mut self.registers.queues[queue],
                    &memory,
                    kind,
                    true,
                );
            };
            let span = tracing::debug_span!("command", ?kind, head = command.head);
            let _entered = span.enter();
            self.stats.commands += 1;
            let disposition = core.submit(command, self);
            if disposition == Disposition::Suspended {
                self.stats.suspended_commands += 1;
            }
        }
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

    fn interrupt(&mut self, bit: u32) {
        self.registers.interrupt_status |= bit;
        self.update_line(true);
    }

    /// The line follows the interrupt status. `again`: something new came; an edge-sensitive far end has to see it too, and so it has where an
    /// acknowledgement left a bit standing.
    fn update_line(&mut self, again: bool) {
        let level = self.registers.interrupt_status != 0;
        if level && !again {
            self.line.set(false);
        }
        self.line.set(level);
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
        while left > 0 {
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
        true
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
        let Some(blob) = self.blobs.get(&token) else {
            return;
        };
        self.stats.withdrawn_blobs += 1;
        // Never waiting: the device's lock is held here. The blob is out of the window when this returns.
        if let Err(error) = blob.unparent_async() {
            tracing::debug!(token = token.0, %error, "a blob is gone already");
        }
    }

    fn complete(&mut self, completion: Completion) {
        let Some(memory) = self.memory.clone().filter(|_| self.realized) else {
            self.stats.dropped_commands += 1;
            return;
        };
        self.stats.completed_commands += 1;
        match rings::complete(&mut self.registers, &memory, &completion) {
            Ok(true) => self.interrupt(interrupt::USED),
            Ok(false) => {}
            Err(error) => self.fail(error),
        }
    }
}
