//! Surroundings for the core, and a guest that sends commands to it.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use hw_virtio_gpu::{
    gpu::{
        Completion, Disposition, GpuConfig, GpuCore, GpuEnv, MappingToken, Placement, QueueKind,
        QueuedCommand, WindowError,
    },
    guest::{GuestMemory, GuestMemoryError},
    renderer::{
        BlobHandle, BlobSpec, Capset, Fence, FenceSink, FenceState, MappedBlob, MemfdRenderer,
        Renderer, RendererError,
    },
    scanout::{CursorImage, Frame},
    wire::{
        Command, CreateBlob, CursorPosition, ErrorCode, Header, MemEntry, Rect, Request, Response,
    },
};

/// Bytes of guest RAM, from address 0.
pub(crate) const RAM: u64 = 1 << 20;

pub(crate) const WINDOW: u64 = 16 << 20;

/// What the renderer was told about blobs, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Created(BlobHandle),
    Mapped(BlobHandle),
    Unmapped(BlobHandle),
    Destroyed(BlobHandle),
    Reset,
}

/// A renderer that writes down what it is told and checks that it makes sense.
pub(crate) struct Watched {
    inner: MemfdRenderer,
    told: Arc<Mutex<Vec<Told>>>,
    live: HashSet<BlobHandle>,
    mapped: HashSet<BlobHandle>,
    /// Panics at the next call that maps or submits.
    pub(crate) panics: Arc<Mutex<bool>>,
}

impl Watched {
    fn tell(&self, told: Told) {
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(told);
    }

    fn maybe_panic(&self) {
        let panics = *self.panics.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!panics, "the renderer panics, as it was asked to");
    }
}

impl Renderer for Watched {
    fn capsets(&self) -> &[Capset] {
        self.inner.capsets()
    }

    fn connect(&mut self, fences: FenceSink) {
        self.inner.connect(fences);
    }

    fn submit(&mut self, context: u32, commands: &[u8]) -> Result<(), RendererError> {
        self.maybe_panic();
        self.inner.submit(context, commands)
    }

    fn fence(&mut self, fence: Fence) -> FenceState {
        self.inner.fence(fence)
    }

    fn create_blob(&mut self, blob: BlobHandle, spec: &BlobSpec) -> Result<(), RendererError> {
        assert!(self.live.insert(blob), "{blob} is created twice");
        self.tell(Told::Created(blob));
        self.inner.create_blob(blob, spec)
    }

    fn map_blob(&mut self, blob: BlobHandle) -> Result<MappedBlob, RendererError> {
        self.maybe_panic();
        assert!(self.live.contains(&blob), "{blob} does not live");
        let mapped = self.inner.map_blob(blob)?;
        assert!(self.mapped.insert(blob), "{blob} is mapped twice");
        self.tell(Told::Mapped(blob));
        Ok(mapped)
    }

    fn unmap_blob(&mut self, blob: BlobHandle) {
        assert!(self.mapped.remove(&blob), "{blob} is not mapped");
        self.tell(Told::Unmapped(blob));
        self.inner.unmap_blob(blob);
    }

    fn destroy_blob(&mut self, blob: BlobHandle) {
        assert!(
            !self.mapped.contains(&blob),
            "{blob} is destroyed while mapped"
        );
        assert!(self.live.remove(&blob), "{blob} is destroyed twice");
        self.tell(Told::Destroyed(blob));
        self.inner.destroy_blob(blob);
    }

    fn read_blob(
        &mut self,
        blob: BlobHandle,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), RendererError> {
        self.inner.read_blob(blob, offset, into)
    }

    fn reset(&mut self) {
        self.tell(Told::Reset);
        self.inner.reset();
    }
}

/// The surroundings.
pub(crate) struct Env {
    pub(crate) ram: Vec<u8>,
    pub(crate) window: BTreeMap<u64, (MappingToken, u64)>,
    places: HashMap<MappingToken, u64>,
    /// Blobs that left the window, oldest first.
    pub(crate) withdrawn: Vec<MappingToken>,
    pub(crate) completions: Vec<Completion>,
    pub(crate) window_refuses: bool,
    /// RAM that went away.
    pub(crate) hole: Option<std::ops::Range<u64>>,
    pub(crate) reads: Cell<usize>,
    pub(crate) shown: HashMap<u32, Option<(u32, u32)>>,
    pub(crate) damage: Vec<(u32, Rect)>,
    pub(crate) cursor: Option<(CursorPosition, Option<CursorImage>)>,
}

impl GuestMemory for Env {
    fn read_guest(&self, addr: u64, into: &mut [u8]) -> Result<(), GuestMemoryError> {
        self.reads.set(self.reads.get() + 1);
        let len = into.len() as u64;
        if !self.is_guest_ram(addr, len) {
            return Err(GuestMemoryError { addr, len });
        }
        let begin = usize::try_from(addr).expect("small");
        into.copy_from_slice(&self.ram[begin..begin + into.len()]);
        Ok(())
    }

    fn is_guest_ram(&self, addr: u64, len: u64) -> bool {
        let Some(end) = addr.checked_add(len) else {
            return false;
        };
        let hole = self.hole.clone().unwrap_or(0..0);
        end <= RAM && (end <= hole.start || addr >= hole.end)
    }
}

impl GpuEnv for Env {
    fn place(&mut self, placement: Placement) -> Result<(), WindowError> {
        let Placement {
            token, offset, len, ..
        } = placement;
        if self.window_refuses {
            return Err(WindowError {
                reason: "as it was asked to".to_owned(),
                source: None,
            });
        }
        assert!(len > 0 && len.is_multiple_of(4096) && offset.is_multiple_of(4096));
        assert!(offset + len <= WINDOW, "outside the window");
        assert!(placement.blob.backing.len() >= len);
        let mut there = self.window.iter();
        let taken = there.any(|(&at, &(_, n))| at < offset + len && offset < at + n);
        assert!(!taken, "placed over another blob");
        self.window.insert(offset, (token, len));
        assert!(self.places.insert(token, offset).is_none(), "a token twice");
        Ok(())
    }

    fn withdraw(&mut self, token: MappingToken) {
        let offset = self.places.remove(&token).expect("withdrawn once");
        assert_eq!(self.window.remove(&offset).map(|(t, _)| t), Some(token));
        self.withdrawn.push(token);
    }

    fn complete(&mut self, completion: Completion) {
        self.completions.push(completion);
    }

    fn scanout_changed(&mut self, scanout: u32, frame: Option<&Frame>, damage: Rect) {
        if let Some(frame) = frame {
            assert!(damage.is_inside(frame.width(), frame.height()));
        }
        let size = frame.map(|f| (f.width(), f.height()));
        self.shown.insert(scanout, size);
        self.damage.push((scanout, damage));
    }

    fn cursor_changed(&mut self, position: CursorPosition, image: Option<&CursorImage>) {
        self.cursor = Some((position, image.cloned()));
    }
}

/// A device, its surroundings, and a guest.
pub(crate) struct World {
    pub(crate) gpu: GpuCore,
    pub(crate) env: Env,
    pub(crate) told: Arc<Mutex<Vec<Told>>>,
    pub(crate) panics: Arc<Mutex<bool>>,
    next_head: u16,
    in_flight: HashMap<u16, Header>,
}

/// What became of a command that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) head: u16,
    pub(crate) disposition: Disposition,
}

pub(crate) fn config() -> GpuConfig {
    GpuConfig {
        window: WINDOW,
        features: hw_virtio_gpu::wire::feature::ALL,
        ..GpuConfig::default()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(config(), MemfdRenderer::builder().refuse_map(0xbad))
    }

    pub(crate) fn with(
        config: GpuConfig,
        renderer: hw_virtio_gpu::renderer::MemfdRendererBuilder,
    ) -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let panics = Arc::new(Mutex::new(false));
        let capset = Capset {
            id: 5,
            max_version: 1,
            data: vec![1; 16],
        };
        let empty = Capset {
            id: 6,
            max_version: 1,
            data: Vec::new(),
        };
        let watched = Watched {
            inner: renderer.capset(capset).capset(empty).build(),
            told: Arc::clone(&told),
            live: HashSet::new(),
            mapped: HashSet::new(),
            panics: Arc::clone(&panics),
        };
        Self {
            gpu: GpuCore::new(config, Box::new(watched)).expect("a good configuration"),
            env: Env {
                ram: vec![0; usize::try_from(RAM).expect("small")],
                window: BTreeMap::new(),
                places: HashMap::new(),
                withdrawn: Vec::new(),
                completions: Vec::new(),
                window_refuses: false,
                hole: None,
                reads: Cell::new(0),
                shown: HashMap::new(),
                damage: Vec::new(),
                cursor: None,
            },
            told,
            panics,
            next_head: 0,
            in_flight: HashMap::new(),
        }
    }

    /// Sends bytes; the reply has room for any.
    pub(crate) fn send_bytes(&mut self, queue: QueueKind, request: Vec<u8>) -> Sent {
        let head = self.next_head;
        self.next_head = self.next_head.wrapping_add(1);
        let header = Header::parse(&request).unwrap_or_default();
        assert!(self.in_flight.insert(head, header).is_none());
        let writable = match queue {
            QueueKind::Control => vec![MemEntry { addr: 0, len: 2048 }],
            QueueKind::Cursor => Vec::new(),
        };
        let command = QueuedCommand {
            queue,
            head,
            writable,
            request,
        };
        let disposition = self.gpu.submit(command, &mut self.env);
        Sent { head, disposition }
    }

    pub(crate) fn send_with(&mut self, header: Header, command: Command) -> Sent {
        let queue = match &command {
            Command::UpdateCursor(_) | Command::MoveCursor(_) => QueueKind::Cursor,
            _ => QueueKind::Control,
        };
        self.send_bytes(queue, Request::new(header, command).encode())
    }

    pub(crate) fn send(&mut self, command: Command) -> Sent {
        self.send_with(Header::default(), command)
    }

    /// The reply to a command: none as long as it is not answered. Each reply can be taken once.
    pub(crate) fn reply(&mut self, sent: Sent) -> Option<(Header, Response)> {
        let found = self
            .env
            .completions
            .iter()
            .position(|c| c.head == sent.head);
        let completion = self.env.completions.remove(found?);
        self.in_flight
            .remove(&completion.head)
            .expect("answered once");
        assert_eq!(completion.generation, self.gpu.generation());
        assert!(!completion.writable.is_empty() || completion.response.is_empty());
        Some(Response::parse(&completion.response).expect("a reply"))
    }

    /// Sends a command that is answered at once.
    pub(crate) fn ask_with(&mut self, header: Header, command: Command) -> Response {
        let sent = self.send_with(header, command);
        assert_eq!(sent.disposition, Disposition::Answered);
        self.reply(sent).expect("answered").1
    }

    pub(crate) fn ask(&mut self, command: Command) -> Response {
        self.ask_with(Header::default(), command)
    }

    pub(crate) fn ok(&mut self, command: Command) {
        let shown = format!("{command:?}");
        assert_eq!(self.ask(command), Response::Ok, "{shown}");
    }

    pub(crate) fn refused(&mut self, command: Command, code: ErrorCode) {
        let shown = format!("{command:?}");
        assert_eq!(self.ask(command), Response::Error(code), "{shown}");
    }

    /// A host blob that can be mapped.
    pub(crate) fn blob(&mut self, resource: u32, size: u64) {
        self.ok(host_blob(resource, u64::from(resource), size));
    }

    /// A host blob in the window.
    pub(crate) fn mapped(&mut self, resource: u32, size: u64, offset: u64) {
        self.blob(resource, size);
        let reply = self.ask(Command::ResourceMapBlob { resource, offset });
        assert!(matches!(reply, Response::MapInfo(_)), "{reply:?}");
    }

    /// A 2D resource with as much backing as it needs, from `addr` on.
    pub(crate) fn two_d(&mut self, resource: u32, width: u32, height: u32, addr: u64) {
        self.ok(create_2d(resource, width, height));
        let len = width * height * 4;
        self.ok(Command::ResourceAttachBacking {
            resource,
            entries: vec![MemEntry { addr, len }],
        });
    }

    /// Says that the `index`-th blob that left the window is held by nobody any more.
    pub(crate) fn finalize(&mut self, index: usize) {
        let token = self.env.withdrawn.remove(index);
        self.gpu.blob_finalized(token, &mut self.env);
    }

    pub(crate) fn finalize_all(&mut self) {
        while !self.env.withdrawn.is_empty() {
            self.finalize(0);
        }
    }

    pub(crate) fn reset(&mut self) -> hw_virtio_gpu::gpu::ResetSummary {
        let summary = self.gpu.reset(&mut self.env);
        self.in_flight.clear();
        summary
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn unanswered(&self) -> usize {
        self.in_flight.len() - self.env.completions.len()
    }
}

pub(crate) fn host_blob(resource: u32, blob_id: u64, size: u64) -> Command {
    Command::ResourceCreateBlob(CreateBlob {
        resource,
        memory: CreateBlob::HOST3D,
        flags: CreateBlob::MAPPABLE,
        blob_id,
        size,
        entries: Vec::new(),
    })
}

pub(crate) fn guest_blob(resource: u32, size: u64, entries: Vec<MemEntry>) -> Command {
    Command::ResourceCreateBlob(CreateBlob {
        resource,
        memory: CreateBlob::GUEST,
        flags: 0,
        blob_id: 0,
        size,
        entries,
    })
}

pub(crate) fn create_2d(resource: u32, width: u32, height: u32) -> Command {
    Command::ResourceCreate2d {
        resource,
        format: 2,
        width,
        height,
    }
}

pub(crate) fn unmap(resource: u32) -> Command {
    Command::ResourceUnmapBlob { resource }
}

pub(crate) fn unref(resource: u32) -> Command {
    Command::ResourceUnref { resource }
}

pub(crate) fn fenced(fence_id: u64) -> Header {
    Header {
        flags: Header::FENCE,
        fence_id,
        ..Header::default()
    }
}

pub(crate) fn in_context(ctx_id: u32) -> Header {
    Header {
        ctx_id,
        ..Header::default()
    }
}
