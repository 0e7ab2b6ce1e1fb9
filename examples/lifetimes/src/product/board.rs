//! The machine of blobs: a virtio-gpu with its driver, blobs in its window, and a second address space beside it.

use super::PATIENCE;
use holdfast_examples::guest::{Guest, Interrupt};
use holdfast_examples::trace::Queue;
use hw_virtio_gpu::renderer::{
    BlobHandle, BlobSpec, Capset, Fence, FenceSink, FenceState, MappedBlob, MemfdRenderer,
    Renderer, RendererError,
};
use hw_virtio_gpu::wire::{Command, CreateBlob, Header, Request, Response, feature};
use hw_virtio_gpu::{HostBlob, VirtioGpu};
use memory::{AddressSpace, Attrs, Backing, Gpa, Offset, Priority, Region, RegionApi, Size};
use qdev::DeviceOps;
use qom::{Child, Machine, ObjectOps, Ref};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The driver’s own memory.
const RAM: (u64, u64) = (0, 1 << 20);
const REGS: u64 = 0xfe00_0000;
/// Where the window begins.
const WINDOW: u64 = 0x2_0000_0000;
/// A blob’s bytes.
const BYTES: u64 = 0x1000;
/// Sizes of the two queues.
const ENTRIES: [u16; 2] = [64, 16];
const VERSION_1: u64 = 1 << 32;
/// Room for any reply.
const ROOM: u32 = 0x400;

/// A machine with a device that is up.
pub(super) struct Board {
    pub(super) machine: Machine,
    pub(super) memory: AddressSpace,
    pub(super) gpu: Ref<VirtioGpu>,
    pub(super) other: Other,
    guest: Guest,
    line: Arc<Interrupt>,
    told: Told,
    /// How many commands have had a fence.
    fences: u64,
    /// How many blobs there have been.
    blobs: u32,
}

/// A reply to a command.
pub(super) struct Reply {
    /// When the line went high for it, with the reply in the used ring.
    pub(super) at: Instant,
    /// The fence that it brings back; 0 where it brings none.
    pub(super) fence: u64,
    pub(super) response: Response,
}

/// When the renderer heard last that nobody reaches a blob’s bytes.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Option<Instant>>>);

impl Told {
    fn set(&self, at: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    fn get(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The renderer that comes with the device, and a note of when it is told.
struct Noting(MemfdRenderer, Told);

impl Renderer for Noting {
    fn capsets(&self) -> &[Capset] {
        self.0.capsets()
    }

    fn connect(&mut self, fences: FenceSink) {
        self.0.connect(fences);
    }

    fn fence(&mut self, fence: Fence) -> FenceState {
        self.0.fence(fence)
    }

    fn create_blob(&mut self, blob: BlobHandle, spec: &BlobSpec) -> Result<(), RendererError> {
        self.0.create_blob(blob, spec)
    }

    fn map_blob(&mut self, blob: BlobHandle) -> Result<MappedBlob, RendererError> {
        self.0.map_blob(blob)
    }

    fn unmap_blob(&mut self, blob: BlobHandle) {
        self.1.set(Some(Instant::now()));
        self.0.unmap_blob(blob);
    }

    fn destroy_blob(&mut self, blob: BlobHandle) {
        self.0.destroy_blob(blob);
    }
}

/// An address space that the device is not in, and a region that comes and goes there.
pub(super) struct Other {
    space: AddressSpace,
    root: Child<Region>,
    region: Child<Region>,
}

impl Other {
    fn new(machine: &Machine) -> Self {
        let root = Region::container("aside", Size::MAX)
            .create(machine.root())
            .expect("a region of the machine’s");
        let space = AddressSpace::open(machine.root(), "aside", &root).expect("it lives");
        let region = ram(machine, "aside-ram", BYTES);
        Self {
            space,
            root,
            region,
        }
    }

    /// Puts the region in, writes and reads it there, and takes it out: two commits. Whether each was seen at once.
    pub(super) fn goes_on(&self) -> bool {
        let word = || self.space.load::<u32>(Gpa(BYTES), Attrs::default());
        let put = self
            .root
            .add_subregion(Offset(BYTES), &self.region, Priority(0));
        let seen = put.is_ok()
            && self
                .space
                .store(Gpa(BYTES), 7_u32, Attrs::default())
                .is_ok()
            && word() == Ok(7);
        seen && self.root.del_subregion(&self.region).is_ok() && word().is_err()
    }
}

fn ram(machine: &Machine, name: &str, bytes: u64) -> Child<Region> {
    Region::ram(name, Backing::anonymous(bytes).expect("memory"))
        .create(machine.root())
        .expect("a region of the machine’s")
}

impl Board {
    /// Everything plugged and mapped on a new machine, the device brought up by its driver.
    pub(super) fn new(machine: Machine) -> Self {
        let system = Region::container("system", Size::MAX)
            .create(machine.root())
            .expect("a region of the machine’s");
        let memory = AddressSpace::open(machine.root(), "memory", &system).expect("it lives");
        let line: Arc<Interrupt> = Arc::default();
        let told = Told::default();
        let gpu = VirtioGpu::builder()
            .renderer(Noting(MemfdRenderer::builder().build(), told.clone()))
            .memory(&memory)
            .line(line.clone())
            .create(&machine)
            .expect("the default configuration");
        let root = machine.root();
        root.add_child("gpu", &gpu).expect("a free name");
        gpu.set_property("window-base", WINDOW)
            .expect("a multiple of the page size");
        gpu.realize().expect("it has its memory");
        let ram = ram(&machine, "ram", RAM.1);
        for (at, region) in [(RAM.0, &ram), (REGS, gpu.regs()), (WINDOW, gpu.window())] {
            system
                .add_subregion(Offset(at), region, Priority(0))
                .expect("it is nowhere");
        }
        let mut guest = Guest::new(&memory, REGS, RAM, ENTRIES, &line);
        guest.probe().expect("a virtio-gpu");
        guest
            .bring_up(VERSION_1 | feature::VIRGL | feature::RESOURCE_BLOB)
            .expect("it comes up");
        Self {
            other: Other::new(&machine),
            machine,
            memory,
            gpu,
            guest,
            line,
            told,
            fences: 0,
            blobs: 0,
        }
    }

    /// Creates the next blob and has it put at the begin of the window. Its number, and the word that is read there.
    pub(super) fn map(&mut self) -> (u32, u32) {
        self.blobs += 1;
        let resource = self.blobs;
        let create = CreateBlob {
            resource,
            memory: CreateBlob::HOST3D,
            flags: CreateBlob::MAPPABLE,
            blob_id: u64::from(resource),
            size: BYTES,
            entries: Vec::new(),
        };
        let created = self.ask(Command::ResourceCreateBlob(create)).response;
        assert_eq!(created, Response::Ok, "a blob");
        let offset = 0;
        let mapped = self.ask(Command::ResourceMapBlob { resource, offset });
        assert!(matches!(mapped.response, Response::MapInfo(_)));
        let word = MemfdRenderer::first_word(u64::from(resource));
        assert_eq!(self.word(), Some(word), "it is in the window");
        self.told.set(None);
        self.machine.quiesce(PATIENCE).expect("nobody reads yet");
        (resource, word)
    }

    /// Where a blob is while it is mapped.
    pub(super) fn place() -> Gpa {
        Gpa(WINDOW)
    }

    /// The word at the begin of the window, as a new access reads it; none where nothing is there.
    pub(super) fn word(&self) -> Option<u32> {
        self.memory.load(Self::place(), Attrs::default()).ok()
    }

    /// The object of the blob that is mapped.
    pub(super) fn blob(&self) -> Ref<HostBlob> {
        let children = self.gpu.children().into_iter();
        let mut blobs = children.filter_map(|(_, child)| child.get().ok()?.cast::<HostBlob>().ok());
        blobs.next().expect("one is mapped")
    }

    /// Whether each blob that was ever in the window is finalized, by the device’s own count.
    pub(super) fn is_free(&self) -> bool {
        let stats = self.gpu.stats();
        stats.finalized_blobs == stats.placed_blobs
    }

    /// When the renderer was told that nobody reaches the bytes of the blob that was mapped last, if it was.
    pub(super) fn told(&self) -> Option<Instant> {
        self.told.get()
    }

    /// Sends a command with a fence of its own: the command’s number and the fence’s.
    pub(super) fn send(&mut self, command: Command) -> (u64, u64) {
        self.fences += 1;
        let header = Header {
            flags: Header::FENCE,
            fence_id: self.fences,
            ..Header::default()
        };
        let (queue, room) = match command {
            Command::UpdateCursor(_) | Command::MoveCursor(_) => (Queue::Cursor, 0),
            _ => (Queue::Control, ROOM),
        };
        let request = Request::new(header, command).encode();
        let sent = self.guest.send(queue, &request, room);
        (sent.expect("the rings have room"), self.fences)
    }

    /// Waits for the next interrupt and collects the replies that are there then: the numbers of their commands, and what they are. A cursor’s
    /// command has no reply: it is answered with nothing.
    pub(super) fn collect(&mut self) -> Vec<(u64, Reply)> {
        let at = self.line.wait(PATIENCE).expect("the device answers");
        self.guest.acknowledge().expect("a register");
        let mut all = Vec::new();
        while let Some(reply) = self.guest.poll().expect("a ring that is in order") {
            let (fence, response) = match Response::parse(&reply.bytes) {
                _ if reply.bytes.is_empty() => (0, Response::Ok),
                Ok((header, response)) => (header.fence_id, response),
                Err(error) => panic!("no reply: {error}"),
            };
            all.push((
                reply.number,
                Reply {
                    at,
                    fence,
                    response,
                },
            ));
        }
        all
    }

    /// Waits for the reply to a command that is the only one with the device.
    pub(super) fn wait(&mut self, sent: u64) -> Reply {
        loop {
            let mut all = self.collect();
            if let Some((number, reply)) = all.pop() {
                assert_eq!((number, all.len()), (sent, 0), "the one command");
                return reply;
            }
        }
    }

    /// Sends a command and waits for its reply.
    pub(super) fn ask(&mut self, command: Command) -> Reply {
        let (sent, fence) = self.send(command);
        let reply = self.wait(sent);
        assert_eq!(reply.fence, fence, "it brings its fence back");
        reply
    }

    /// Whether the interrupt line is high: there is a reply.
    pub(super) fn is_answered(&self) -> bool {
        self.line.wait(Duration::ZERO).is_some()
    }

    /// Unplugs the device; its driver goes with it.
    pub(super) fn unplug(self) -> Empty {
        let Self {
            machine,
            memory,
            gpu,
            other,
            guest,
            ..
        } = self;
        drop(guest);
        let ticket = gpu.unparent().expect("it is plugged");
        drop(gpu);
        ticket.wait(PATIENCE).expect("nobody is in it");
        Empty {
            machine,
            memory,
            other,
        }
    }

    /// Unplugs the device and ends the machine.
    pub(super) fn close(self) {
        // Whoever is left has been told of by a panic above.
        let _ends_by_itself = self.unplug().close();
    }
}

/// The machine without the device.
pub(super) struct Empty {
    pub(super) machine: Machine,
    memory: AddressSpace,
    other: Other,
}

impl Empty {
    /// Ends the machine; says whether nobody was left in it.
    pub(super) fn close(self) -> bool {
        self.memory.close();
        self.other.space.close();
        drop((self.memory, self.other));
        self.machine.close(PATIENCE).is_ok()
    }
}
