//! A board: RAM, ROM, one or more GPUs with a renderer that writes down what it is told, and whoever else holds memory.

use super::driver::{Driver, LINUX, LONG};
use hw_virtio_gpu::gpu::GpuConfig;
use hw_virtio_gpu::renderer::{
    BlobHandle, BlobSpec, Fence, FenceSink, FenceState, MappedBlob, MemfdRenderer, Renderer,
    RendererError,
};
use hw_virtio_gpu::{VirtioGpu, VirtioGpuBuilder};
use memory::{AddressSpace, Backing, Gpa, Intent, Offset, Pin, Priority, Region, RegionApi, Size};
use qdev::{DeviceOps, EventFdLine};
use qom::{Child, Container, Machine, MachineEvent, ObjectOps, Ref, Subscription};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

pub(crate) const RAM_BYTES: u64 = 8 << 20;
pub(crate) const ROM: u64 = 0x1000_0000;
pub(crate) const REGS: u64 = 0xfe00_0000;
pub(crate) const WINDOW: u64 = 0x2_0000_0000;
pub(crate) const WINDOW_BYTES: u64 = 16 << 20;
/// RAM that no driver uses for itself.
pub(crate) const FREE: u64 = 0x40_0000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Created(BlobHandle),
    Mapped(BlobHandle),
    Unmapped(BlobHandle),
    Destroyed(BlobHandle),
    Reset,
}

/// What a renderer was told, and whether it panics.
#[derive(Default)]
pub(crate) struct Log {
    told: Mutex<Vec<Told>>,
    pub(crate) panics: AtomicBool,
}

impl Log {
    pub(crate) fn all(&self) -> Vec<Told> {
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn count(&self, is: impl Fn(&Told) -> bool) -> usize {
        self.all().iter().filter(|t| is(t)).count()
    }

    pub(crate) fn unmapped(&self) -> usize {
        self.count(|t| matches!(t, Told::Unmapped(_)))
    }

    pub(crate) fn destroyed(&self) -> usize {
        self.count(|t| matches!(t, Told::Destroyed(_)))
    }

    fn tell(&self, told: Told) {
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(told);
        let panics = self.panics.load(Ordering::SeqCst);
        assert!(!panics, "planned panic of the renderer");
    }
}

/// A renderer that checks that what it is told makes sense.
struct Watched {
    inner: MemfdRenderer,
    log: Arc<Log>,
    live: HashSet<BlobHandle>,
    mapped: HashSet<BlobHandle>,
}

impl Renderer for Watched {
    fn connect(&mut self, fences: FenceSink) {
        self.inner.connect(fences);
    }

    fn fence(&mut self, fence: Fence) -> FenceState {
        self.inner.fence(fence)
    }

    fn create_blob(&mut self, blob: BlobHandle, spec: &BlobSpec) -> Result<(), RendererError> {
        self.log.tell(Told::Created(blob));
        assert!(self.live.insert(blob), "{blob} is created twice");
        self.inner.create_blob(blob, spec)
    }

    fn map_blob(&mut self, blob: BlobHandle) -> Result<MappedBlob, RendererError> {
        self.log.tell(Told::Mapped(blob));
        assert!(self.mapped.insert(blob), "{blob} is mapped twice");
        self.inner.map_blob(blob)
    }

    fn unmap_blob(&mut self, blob: BlobHandle) {
        assert!(self.mapped.remove(&blob), "{blob} is not mapped");
        self.log.tell(Told::Unmapped(blob));
    }

    fn destroy_blob(&mut self, blob: BlobHandle) {
        assert!(!self.mapped.contains(&blob), "{blob} ends while mapped");
        assert!(self.live.remove(&blob), "{blob} ends twice");
        self.log.tell(Told::Destroyed(blob));
        self.inner.destroy_blob(blob);
    }

    fn reset(&mut self) {
        self.log.tell(Told::Reset);
        self.inner.reset();
    }
}

/// One GPU on a board.
pub(crate) struct Slot {
    pub(crate) gpu: Ref<VirtioGpu>,
    pub(crate) line: Arc<EventFdLine>,
    pub(crate) log: Arc<Log>,
}

/// The board.
pub(crate) struct Board {
    pub(crate) machine: Machine,
    pub(crate) system: Child<Region>,
    pub(crate) memory: AddressSpace,
    finalized: Arc<Mutex<Vec<String>>>,
    panics: Arc<Mutex<Vec<String>>>,
    _events: Subscription,
}

pub(crate) fn config() -> GpuConfig {
    GpuConfig {
        window: WINDOW_BYTES,
        ..GpuConfig::default()
    }
}

impl Board {
    /// RAM and ROM; no GPU.
    pub(crate) fn new() -> Self {
        Self::of(Machine::builder("board").recording(true).build())
    }

    /// The same in a machine of one's own.
    pub(crate) fn of(machine: Machine) -> Self {
        let system = Region::container("system", Size::MAX)
            .create(machine.root())
            .unwrap();
        let memory = AddressSpace::open(machine.root(), "memory", &system).unwrap();
        let ram = Region::ram("ram", Backing::anonymous(RAM_BYTES).unwrap());
        let ram = ram.create(machine.root()).unwrap();
        let rom = Region::rom("rom", Backing::anonymous(0x1_0000).unwrap());
        let rom = rom.create(machine.root()).unwrap();
        // In one commit, which is waited for: with little room for what is retired the next change may come too early on a busy machine.
        memory::transaction(machine.handle(), |_| {
            system.add_subregion(Offset(0), &ram, Priority(0)).unwrap();
            let rom = system.add_subregion(Offset(ROM), &rom, Priority(0));
            rom.unwrap();
        })
        .unwrap();
        machine.quiesce(super::driver::LONG).unwrap();
        let (finalized, panics) = (
            Arc::<Mutex<Vec<String>>>::default(),
            Arc::<Mutex<Vec<String>>>::default(),
        );
        let (f, p) = (finalized.clone(), panics.clone());
        let events = machine.subscribe(move |event| match event {
            MachineEvent::Finalized { path, .. } => f.lock().unwrap().push(path.clone()),
            MachineEvent::Panicked { what, message, .. } => {
                p.lock().unwrap().push(format!("{what}: {message}"));
            }
            _ => {}
        });
        Self {
            machine,
            system,
            memory,
            finalized,
            panics,
            _events: events,
        }
    }

    /// Plugs the `n`-th GPU.
    pub(crate) fn plug(&self, n: u64, config: GpuConfig, inner: MemfdRenderer) -> Slot {
        self.plug_built(n, config, inner, |builder| builder)
    }

    /// The same, with a last word on how it is built.
    pub(crate) fn plug_built(
        &self,
        n: u64,
        config: GpuConfig,
        inner: MemfdRenderer,
        last: impl FnOnce(VirtioGpuBuilder) -> VirtioGpuBuilder,
    ) -> Slot {
        let log = Arc::<Log>::default();
        let line = Arc::new(EventFdLine::new().unwrap());
        let watched = Watched {
            inner,
            log: log.clone(),
            live: HashSet::new(),
            mapped: HashSet::new(),
        };
        let builder = VirtioGpu::builder()
            .config(config)
            .renderer(watched)
            .memory(&self.memory)
            .line(line.clone());
        let gpu = last(builder).create(&self.machine).unwrap();
        let name = format!("gpu{n}");
        self.machine.root().add_child(&name, &gpu).unwrap();
        let (regs, window) = (REGS + n * 0x1000, WINDOW + n * WINDOW_BYTES);
        gpu.set_property("window-base", window).unwrap();
        gpu.realize().unwrap();
        for (at, region) in [(regs, gpu.regs()), (window, gpu.window())] {
            self.system
                .add_subregion(Offset(at), region, Priority(0))
                .unwrap();
        }
        Slot { gpu, line, log }
    }

    /// The driver of the `n`-th GPU.
    pub(crate) fn driver(&self, n: u64) -> Driver {
        Driver::new(&self.memory, REGS + n * 0x1000, 0x10_0000 * (n + 1))
    }

    /// A board with one GPU that its driver has brought up.
    pub(crate) fn running() -> (Self, Slot, Driver) {
        Self::running_with(config(), MemfdRenderer::builder().build())
    }

    pub(crate) fn running_with(config: GpuConfig, renderer: MemfdRenderer) -> (Self, Slot, Driver) {
        let board = Self::new();
        let slot = board.plug(0, config, renderer);
        let mut driver = board.driver(0);
        driver.bring_up(LINUX);
        (board, slot, driver)
    }

    /// Somebody else on the board.
    pub(crate) fn other(&self, name: &str) -> Ref<Container> {
        let other = self.machine.create::<Container>().unwrap();
        self.machine.root().add_child(name, &other).unwrap();
        other
    }

    /// An I/O of somebody else on the window's bytes.
    #[track_caller]
    pub(crate) fn pin(&self, holder: &Ref<Container>, offset: u64) -> Pin {
        let pin = self
            .memory
            .pin(holder, Gpa(WINDOW + offset), 16, Intent::ReadWrite);
        pin.expect("a blob in the window")
    }

    pub(crate) fn word(&self, addr: u64) -> Option<u32> {
        self.memory.load(Gpa(addr), memory::Attrs::default()).ok()
    }

    /// The paths of what was finalized, in order.
    pub(crate) fn finalized(&self) -> Vec<String> {
        self.finalized.lock().unwrap().clone()
    }

    pub(crate) fn panics(&self) -> Vec<String> {
        self.panics.lock().unwrap().clone()
    }

    /// Asserts that the objects whose paths end so were finalized in this order.
    #[track_caller]
    pub(crate) fn finalized_in_order(&self, paths: &[&str]) {
        // The guest is answered from a finalizer; the machine's event follows it.
        super::driver::eventually("all of them are finalized", || {
            let all = self.finalized();
            paths.iter().all(|p| all.iter().any(|f| f == p))
        });
        let all = self.finalized();
        let places: Vec<_> = paths
            .iter()
            .map(|p| {
                all.iter()
                    .position(|f| f == p)
                    .unwrap_or_else(|| panic!("{p}: {all:?}"))
            })
            .collect();
        assert!(places.is_sorted(), "{paths:?} in {all:?}");
    }

    /// Closes the machine; everything must go.
    #[track_caller]
    pub(crate) fn close(self) {
        let panics = self.panics();
        assert!(panics.is_empty(), "{panics:?}");
        if let Err((_, error)) = self.machine.close(LONG) {
            panic!("{error}");
        }
    }
}

/// A thread parked in a read section, with the bytes that it saw there.
pub(crate) struct Parked {
    go_on: Sender<()>,
    thread: JoinHandle<Vec<u8>>,
}

impl Parked {
    /// Parks a thread that looks at `len` bytes at `addr`.
    pub(crate) fn at(memory: &AddressSpace, addr: u64, len: usize) -> Self {
        let (go_on, wait): (Sender<()>, Receiver<()>) = channel();
        let (inside, is_inside) = channel();
        let memory = memory.clone();
        let thread = std::thread::spawn(move || {
            let guard = memory.enter();
            let bytes = guard.view().slice(Gpa(addr), len as u64).unwrap();
            inside.send(()).unwrap();
            let _ = wait.recv();
            // The same bytes, long after they have left the guest's map.
            let mut seen = vec![0; len];
            bytes.read(0, &mut seen).unwrap();
            seen
        });
        is_inside.recv().unwrap();
        Self { go_on, thread }
    }

    /// Lets it go on: what it saw last.
    pub(crate) fn leave(self) -> Vec<u8> {
        let _ = self.go_on.send(());
        self.thread.join().unwrap()
    }
}
