//! The command state machine of the device: what each command does, and when it is answered.
//!
//! [`GpuCore`] is plain data used by one thread at a time (the device keeps it under its lock). It knows nothing of rings
//! and regions: commands come in as copied bytes, and everything that has to happen outside goes through [`GpuEnv`].
//!
//! # Suspension
//!
//! `RESOURCE_UNMAP_BLOB`, and `RESOURCE_UNREF` of a mapped blob, take the blob out of the window at once, but its memory may
//! be given back only when nobody holds it any more: a view that a reader still uses, a mapping, an I/O in flight. So the
//! command is *suspended*. When the blob's region is finalized, [`GpuCore::blob_finalized`] tells the renderer, and only then
//! the command is answered, with its fence if it has one. A suspended command is a head index, a copied list of writable
//! descriptors, and the request: it holds no memory of the guest's, or it would hold what it waits for.
//!
//! Commands behind it go on, unless they concern the same resource, context, scanout or window range as a command that is
//! held before them (the module `held`).
//!
//! # Reset
//!
//! [`GpuCore::reset`] drops every held command (none gets a used entry), forgets all resources, contexts and ranges at once,
//! and starts a new [`Generation`]. Blobs that are in the window leave it now; their memory goes back to the renderer when
//! they are finalized, and counts against the limits until then, but no id and no range waits for that.
//!
//! # Where the recorded driver traces decide
//!
//! * `RESOURCE_UNMAP_BLOB` of a blob that is not mapped is `ERR_INVALID_PARAMETER` (0x1205). QEMU answers OK. The stock driver
//!   sends one after every refused `RESOURCE_MAP_BLOB`.
//! * `TRANSFER_TO_HOST_2D` of a blob is OK and does nothing, also before it was ever scanned out.
//! * A refusal by the renderer at map time is `ERR_INVALID_PARAMETER`, and an error reply has 24 bytes, whatever room there is.
//! * The context id comes back in every reply, fenced or not; flags, fence id and ring index only in fenced ones.
//! * `GET_EDID` is answered also for a scanout that is off.
//! * `RESOURCE_FLUSH` of a blob that no scanout shows is OK: there is nothing to do. QEMU refuses it.
//! * A cursor command is consumed with a used length of 0, whatever it says.

use std::{
    collections::{BTreeMap, HashMap},
    hash::RandomState,
};

use crate::{
    context::ContextTable,
    edid::DisplaySize,
    limits::{Budget, LimitReached},
    renderer::{BlobHandle, Capset, FenceSink, Generation, Guarded, Renderer},
    resource::ResourceTable,
    scanout::{Frame, Scanout},
    wire::{Header, Rect, Request, Response, feature},
};

mod blob_commands;
mod config;
mod context_commands;
mod display_commands;
mod env;
mod error;
mod execute;
mod fences;
mod held;
mod pixel_commands;

pub use config::{ConfigError, GpuConfig, ScanoutConfig};
pub use env::{Completion, GpuEnv, MappingToken, Placement, QueueKind, QueuedCommand, WindowError};
pub use error::GuestError;

use fences::FencedReply;
use held::{Footprint, HeldCommand, HeldCommands, Ticket, Wait};

/// Event bit in the device's config space: a display changed.
pub const EVENT_DISPLAY: u32 = 1 << 0;

/// Length of the device's config space, in bytes.
pub const CONFIG_BYTES: usize = 16;

/// What became of a submitted command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It was answered.
    Answered,
    /// It waits for a blob's finalization.
    Suspended,
    /// It waits for a command before it.
    Waiting,
    /// It is done and waits for its fence.
    Fenced,
}

/// What a reset did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResetSummary {
    /// Commands that will get no used entry.
    pub dropped_commands: usize,
    /// Resources that were forgotten.
    pub resources: usize,
    /// Blobs among them that were in the window, or on their way out.
    pub mapped_blobs: usize,
}

/// The state in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Resources that have an id.
    pub resources: usize,
    /// Blobs in the window.
    pub mapped_blobs: usize,
    /// Blobs taken out of the window whose memory somebody may still hold, of this life and of earlier ones.
    pub leaving_blobs: usize,
    /// Contexts.
    pub contexts: usize,
    /// Commands that wait for a finalization.
    pub suspended_commands: usize,
    /// Commands that wait for another command.
    pub waiting_commands: usize,
    /// Commands that wait for a fence.
    pub fenced_commands: usize,
    /// Host bytes of pixels, frames and cursors.
    pub pixel_bytes: u64,
    /// Host bytes of blobs.
    pub blob_bytes: u64,
}

/// Size of a page of the window, in bytes.
pub(crate) const PAGE: u64 = 4096;

/// A blob on its way out of the window.
#[derive(Debug)]
struct Leaving {
    handle: BlobHandle,
    /// What it counts against [`Limits::blob_bytes`](crate::limits::Limits::blob_bytes).
    span: u64,
    /// The device was reset meanwhile: the blob ends when it is finalized.
    orphan: bool,
}

/// The device's state machine.
///
/// ```
/// use hw_virtio_gpu::{gpu::*, guest::*, renderer::MemfdRenderer, wire::{Command, Header, MemEntry, Request}};
///
/// /// Surroundings without RAM and without a window.
/// #[derive(Default)]
/// struct Bare(Vec<Completion>);
/// impl GuestMemory for Bare {
///     fn read_guest(&self, addr: u64, into: &mut [u8]) -> Result<(), GuestMemoryError> {
///         Err(GuestMemoryError { addr, len: into.len() as u64 })
///     }
///     fn is_guest_ram(&self, _: u64, _: u64) -> bool { false }
/// }
/// impl GpuEnv for Bare {
///     fn place(&mut self, _: Placement) -> Result<(), WindowError> { unreachable!("nothing is mapped here") }
///     fn withdraw(&mut self, _: MappingToken) {}
///     fn complete(&mut self, completion: Completion) { self.0.push(completion) }
/// }
///
/// let mut gpu = GpuCore::new(GpuConfig::default(), Box::new(MemfdRenderer::builder().build()))?;
/// let mut env = Bare::default();
/// let request = Request::new(Header::default(), Command::GetDisplayInfo).encode();
/// let command = QueuedCommand {
///     queue: QueueKind::Control, head: 0, writable: vec![MemEntry { addr: 0x1000, len: 408 }], request,
/// };
/// assert_eq!(gpu.submit(command, &mut env), Disposition::Answered);
/// assert_eq!(env.0[0].response.len(), 408);
/// # Ok::<(), ConfigError>(())
/// ```
#[derive(Debug)]
pub struct GpuCore {
    config: GpuConfig,
    /// Negotiated.
    features: u64,
    generation: Generation,
    renderer: Guarded,
    capsets: Vec<Capset>,
    resources: ResourceTable,
    contexts: ContextTable,
    scanouts: Vec<Scanout>,
    /// Blobs in the window, by offset: their length.
    window: BTreeMap<u64, u64>,
    leaving: HashMap<MappingToken, Leaving>,
    next_token: u64,
    held: HeldCommands,
    fenced: Vec<FencedReply>,
    events: u32,
    pixel_bytes: Budget,
    blob_bytes: Budget,
    backing_entries: Budget,
    attachments: Budget,
    held_bytes: Budget,
    uuid_seed: RandomState,
}

/// What executing a command led to.
enum Outcome {
    Reply(Response),
    Suspend(MappingToken),
}

impl GpuCore {
    /// A device, not yet negotiated with.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(config: GpuConfig, renderer: Box<dyn Renderer>) -> Result<Self, ConfigError> {
        config.check()?;
        let limits = config.limits;
        let scanouts = config.scanouts.iter();
        Ok(Self {
            features: config.features,
            generation: Generation::default(),
            capsets: renderer.capsets().to_vec(),
            renderer: Guarded::new(renderer),
            resources: ResourceTable::new(),
            contexts: ContextTable::new(),
            scanouts: scanouts.map(|s| Scanout::new(s.display, s.edid)).collect(),
            window: BTreeMap::new(),
            leaving: HashMap::new(),
            next_token: 0,
            held: HeldCommands::default(),
            fenced: Vec::new(),
            events: 0,
            pixel_bytes: Budget::new("bytes of pixels", limits.pixel_bytes),
            blob_bytes: Budget::new("bytes of host blobs", limits.blob_bytes),
            backing_entries: Budget::new("backing entries", limits.backing_entries as u64),
            attachments: Budget::new("attachments", limits.attachments as u64),
            held_bytes: Budget::new("bytes of held commands", limits.held_bytes as u64),
            uuid_seed: RandomState::new(),
            config,
        })
    }

    /// Tells the renderer where to report fences. What arrives there is to be passed on to [`GpuCore::fence_reached`], not from inside the sink.
    pub fn connect_fences(&mut self, sink: FenceSink) {
        self.renderer.tell("connect", |r| r.connect(sink));
    }

    /// What the device was made with.
    pub fn config(&self) -> &GpuConfig {
        &self.config
    }

    /// The device's present life: the number of resets so far.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Takes the negotiated features; those that are not on offer do not count. Until the first call all that are offered count.
    pub fn set_features(&mut self, accepted: u64) {
        self.features = accepted & self.config.features;
    }

    /// The state in numbers.
    pub fn counts(&self) -> Counts {
        let suspended = self.held.suspended();
        Counts {
            resources: self.resources.len(),
            mapped_blobs: self.window.len() - self.leaving.values().filter(|l| !l.orphan).count(),
            leaving_blobs: self.leaving.len(),
            contexts: self.contexts.len(),
            suspended_commands: suspended,
            waiting_commands: self.held.len() - suspended,
            fenced_commands: self.fenced.len(),
            pixel_bytes: self.pixel_bytes.used(),
            blob_bytes: self.blob_bytes.used(),
        }
    }

    /// What a viewer of a scanout sees; none if it is off.
    pub fn frame(&self, scanout: u32) -> Option<&Frame> {
        let scanout = self.scanouts.get(usize::try_from(scanout).ok()?)?;
        scanout.shows.as_ref().map(|(_, frame)| frame)
    }

    /// Takes a command from a queue. It is answered, now or later, through [`GpuEnv::complete`], exactly once unless a reset comes first.
    pub fn submit(&mut self, mut command: QueuedCommand, env: &mut dyn GpuEnv) -> Disposition {
        let ticket = Ticket::of(&mut command);
        let bytes = command.request;
        let limit = self.config.limits.request_bytes;
        let parsed = if bytes.len() > limit {
            let len = bytes.len();
            Err(GuestError::RequestTooLong { len, limit })
        } else {
            Request::parse(&bytes).map_err(GuestError::from)
        };
        let request = match parsed.and_then(|r| self.check(&r, ticket.queue).map(|()| r)) {
            Ok(request) => request,
            Err(error) => {
                let header = Header::parse(&bytes).unwrap_or_default();
                return self.answer(ticket, &header, Err(error), env);
            }
        };
        let len = bytes.len() as u64;
        drop(bytes);
        let mut footprint = Footprint::of(&request);
        footprint.range = self.range(&request);
        let blocked = self.held.blocks(&footprint);
        let mut held = HeldCommand {
            ticket,
            bytes: len,
            request,
            footprint,
            wait: Wait::Turn,
        };
        let may_stay = blocked || held.request.header.is_fenced() || self.suspends(&held.request);
        if may_stay && let Err(error) = self.room(&held) {
            return self.answer(held.ticket, &held.request.header, Err(error), env);
        }
        if blocked {
            self.held_bytes.charge(held.bytes).ok();
            self.held.push(held);
            return Disposition::Waiting;
        }
        match self.execute(&held.request, env) {
            Ok(Outcome::Suspend(token)) => {
                held.wait = Wait::Finalization(token);
                self.held_bytes.charge(held.bytes).ok();
                self.held.push(held);
                Disposition::Suspended
            }
            Ok(Outcome::Reply(reply)) => {
                self.answer(held.ticket, &held.request.header, Ok(reply), env)
            }
            Err(error) => self.answer(held.ticket, &held.request.header, Err(error), env),
        }
    }

    /// Takes note that nobody holds a blob any more that was withdrawn from the window: tells the renderer, answers the
    /// command that waited for it, and lets those go on that waited for that. Tokens that are not on their way out are ignored.
    pub fn blob_finalized(&mut self, token: MappingToken, env: &mut dyn GpuEnv) {
        let Some(leaving) = self.leaving.remove(&token) else {
            tracing::debug!(token = token.0, "a finalization that nobody waits for");
            return;
        };
        let handle = leaving.handle;
        self.renderer.tell("unmap_blob", |r| r.unmap_blob(handle));
        if leaving.orphan {
            self.renderer
                .tell("destroy_blob", |r| r.destroy_blob(handle));
            self.blob_bytes.release(leaving.span);
            return;
        }
        self.forget_mapping(handle.resource);
        if let Some(held) = self.held.take_finalized(token) {
            self.held_bytes.release(held.bytes);
            let result = self.resume(&held.request, env);
            self.answer(held.ticket, &held.request.header, result, env);
        }
        self.advance(env);
    }

    /// Resets the device: see the module's text. The negotiated features go back to those on offer.
    pub fn reset(&mut self, env: &mut dyn GpuEnv) -> ResetSummary {
        let summary = ResetSummary {
            dropped_commands: self.held_len(),
            resources: self.resources.len(),
            mapped_blobs: self.window.len(),
        };
        self.generation.0 += 1;
        self.held.clear();
        self.fenced = Vec::new();
        for leaving in self.leaving.values_mut() {
            leaving.orphan = true;
        }
        self.abandon_resources(env);
        self.window.clear();
        self.contexts.clear();
        for id in 0..self.scanouts.len() {
            self.turn_off(id, env);
            self.hide_cursor(id, env);
        }
        let limits = self.config.limits;
        self.backing_entries = Budget::new("backing entries", limits.backing_entries as u64);
        self.attachments = Budget::new("attachments", limits.attachments as u64);
        self.held_bytes = Budget::new("bytes of held commands", limits.held_bytes as u64);
        self.renderer.tell("reset", |r| r.reset());
        self.features = self.config.features;
        summary
    }

    /// Connects a display of another size to a scanout, or none. The guest sees the change in the config space's events;
    /// the caller raises the config interrupt. Whether anything changed.
    ///
    /// # Errors
    /// [`ConfigError::UnknownScanout`].
    pub fn set_display(
        &mut self,
        scanout: u32,
        size: Option<DisplaySize>,
    ) -> Result<bool, ConfigError> {
        let found = usize::try_from(scanout)
            .ok()
            .and_then(|i| self.scanouts.get_mut(i));
        let found = found.ok_or(ConfigError::UnknownScanout(scanout))?;
        let changed = found.display != size;
        if changed {
            found.display = size;
            self.events |= EVENT_DISPLAY;
        }
        Ok(changed)
    }

    /// The device's config space: pending events, events to clear (reads as zero), scanouts, capsets; 32 bits each.
    pub fn config_space(&self) -> [u8; CONFIG_BYTES] {
        let offered = self.config.features & feature::VIRGL != 0;
        let capsets = if offered { self.capsets.len() } else { 0 };
        let words = [self.events as usize, 0, self.scanouts.len(), capsets];
        let mut bytes = [0; CONFIG_BYTES];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&u32::try_from(word).unwrap_or(u32::MAX).to_le_bytes());
        }
        bytes
    }

    /// A guest's write to the config space. Only events can be cleared, by writing ones to the word at 4; anything else is ignored.
    pub fn write_config(&mut self, offset: u64, data: &[u8]) {
        let Ok(bytes) = <[u8; 4]>::try_from(data) else {
            return;
        };
        if offset == 4 {
            self.events &= !u32::from_le_bytes(bytes);
        }
    }

    /// Executes the held commands whose turn it is.
    fn advance(&mut self, env: &mut dyn GpuEnv) {
        let mut from = 0;
        while let Some((index, mut held)) = self.held.take_ready(from) {
            // What lies before `index` stays: executing a command frees only those behind it.
            from = index;
            let result = match self.execute(&held.request, env) {
                Ok(Outcome::Suspend(token)) => {
                    held.wait = Wait::Finalization(token);
                    held.footprint.range = self.range(&held.request);
                    self.held.insert(index, held);
                    continue;
                }
                Ok(Outcome::Reply(reply)) => Ok(reply),
                Err(error) => Err(error),
            };
            self.held_bytes.release(held.bytes);
            self.answer(held.ticket, &held.request.header, result, env);
        }
    }

    /// Whether one more command can be held.
    fn room(&self, held: &HeldCommand) -> Result<(), GuestError> {
        let limit = self.config.limits.held_commands as u64;
        let used = self.held_len() as u64;
        if used >= limit {
            return Err(GuestError::Limit(LimitReached {
                what: "held commands",
                asked: 1,
                used,
                limit,
            }));
        }
        Ok(self.held_bytes.clone().charge(held.bytes)?)
    }
}

/// The whole of a frame.
fn whole(frame: &Frame) -> Rect {
    Rect::new(0, 0, frame.width(), frame.height())
}
