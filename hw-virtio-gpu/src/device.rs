//! The device type: a virtio-gpu behind virtio-mmio registers, with a window for host blobs.

mod hostmem;
mod mmio;
mod rings;
mod shared;

pub use hostmem::HostBlob;

use crate::edid::DisplaySize;
use crate::gpu::{ConfigError, Counts, GpuConfig, GpuCore, PAGE};
use crate::renderer::{MemfdRenderer, Renderer};
use crate::scanout::Frame;
use memory::{
    Access, AccessRules, AddressSpace, Endian, MemTxError, Region, RegionError, RegionOps, Size,
    SizeRange,
};
use mmio::{CONFIG, REGION_BYTES, Registers};
use qdev::{Device, DeviceError, DeviceImpl, Line, NoLine, RealizeContext};
use qom::layer::create_with;
use qom::{Child, ClassInit, CreateError, Init, MachineHandle, ObjectImpl, ObjectType, Ref};
use shared::Shared;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The largest control and cursor queue, in entries.
const QUEUE_SIZES: [u16; 2] = [256, 16];
/// No place in the address space yet.
const NOWHERE: u64 = u64::MAX;

/// What a device has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Commands taken from the rings.
    pub commands: u64,
    /// Commands that got a used entry.
    pub completed_commands: u64,
    /// Commands in hand that got none and will get none: dropped by a reset, by a withdrawal, or because their ring is broken or gone. Each is
    /// counted once.
    pub dropped_commands: u64,
    /// Commands that waited for a blob's finalization.
    pub suspended_commands: u64,
    /// Resets.
    pub resets: u64,
    /// Blobs put into the window.
    pub placed_blobs: u64,
    /// Blobs taken out of it, by command or by reset.
    pub withdrawn_blobs: u64,
    /// Blobs finalized: nobody reaches their bytes any more.
    pub finalized_blobs: u64,
}

/// A device could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The object could not be created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// One of its regions could not be made.
    #[error(transparent)]
    Region(#[from] RegionError),
}

/// What a [`VirtioGpu`] is made from.
pub struct VirtioGpuBuilder {
    config: GpuConfig,
    renderer: Option<Box<dyn Renderer>>,
    memory: Option<AddressSpace>,
    line: Arc<dyn Line>,
    keeps_snapshots: bool,
}

impl VirtioGpuBuilder {
    /// Limits, scanouts, window, features.
    #[must_use]
    pub fn config(mut self, config: GpuConfig) -> Self {
        self.config = config;
        self
    }

    /// What renders; a [`MemfdRenderer`] where nothing is said.
    #[must_use]
    pub fn renderer(mut self, renderer: impl Renderer + 'static) -> Self {
        self.renderer = Some(Box::new(renderer));
        self
    }

    /// The address space in which the rings and the guest's buffers are. Realize needs one.
    #[must_use]
    pub fn memory(mut self, memory: &AddressSpace) -> Self {
        self.memory = Some(memory.clone());
        self
    }

    /// Where the interrupt goes.
    #[must_use]
    pub fn line(mut self, line: Arc<dyn Line>) -> Self {
        self.line = line;
        self
    }

    /// Seeds a defect, for tests of how it is found: each suspended command keeps a snapshot of memory, and so what it waits for.
    #[doc(hidden)]
    #[must_use]
    pub fn with_snapshots_kept_by_suspended_commands(mut self) -> Self {
        self.keeps_snapshots = true;
        self
    }

    /// Makes the device: not realized, without a parent.
    ///
    /// # Errors
    /// The configuration makes no sense, or the object could not be made.
    pub fn create(self, machine: &MachineHandle) -> Result<Ref<VirtioGpu>, BuildError> {
        let renderer = self
            .renderer
            .unwrap_or_else(|| Box::new(MemfdRenderer::builder().build()));
        let core = GpuCore::new(self.config, renderer)?;
        let mut failed = None;
        let gpu = create_with(machine, None, |cx| {
            VirtioGpu::assemble(cx, core, self.memory, self.line, &mut failed)
        })?;
        if self.keeps_snapshots {
            gpu.shared.keep_snapshots();
        }
        match failed {
            None => Ok(gpu),
            Some(error) => Err(error.into()),
        }
    }
}

/// A virtio-gpu behind virtio-mmio registers (version 2), with a window for host-visible blobs.
///
/// Each method takes the device's lock, which is outside the topology's: they are not for listeners and not for open memory transactions.
///
/// The board maps [`regs`](Self::regs) and [`window`](Self::window); the property `window-base` tells the guest where the latter is. Guests
/// reach everything by accesses to the address space. Commands run on the machine's executor.
///
/// Unplugged, it drops the commands in hand; blobs end when the last view, mapping and pin of them does, the renderer is told then, and the
/// device itself ends after them.
///
/// ```
/// use hw_virtio_gpu::VirtioGpu;
/// use memory::{AddressSpace, Attrs, Gpa, Offset, Priority, Region, RegionApi, Size};
/// use qdev::DeviceOps;
/// use qom::{Machine, ObjectOps};
///
/// let machine = Machine::new("doc");
/// let system = Region::container("system", Size::MAX).create(machine.root())?;
/// let memory = AddressSpace::open(machine.root(), "memory", &system)?;
/// let gpu = VirtioGpu::builder().memory(&memory).create(&machine)?;
/// machine.root().add_child("gpu", &gpu)?;
/// gpu.set_property("window-base", 0x2_0000_0000_u64)?;
/// gpu.realize()?;
/// system.add_subregion(Offset(0xfe00_0000), gpu.regs(), Priority(0))?;
/// system.add_subregion(Offset(0x2_0000_0000), gpu.window(), Priority(0))?;
/// assert_eq!(memory.load::<u32>(Gpa(0xfe00_0000), Attrs::default())?, u32::from_le_bytes(*b"virt"));
/// assert_eq!(memory.load::<u32>(Gpa(0xfe00_0008), Attrs::default())?, 16);
/// gpu.unparent()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct VirtioGpu {
    device: Device,
    regs: Child<Region>,
    window: Child<Region>,
    window_base: AtomicU64,
    window_len: u64,
    shared: Arc<Shared>,
}

qdev::device_type! { VirtioGpu("virtio-gpu-mmio") { device: Device } }

impl ObjectImpl for VirtioGpu {
    /// With the defaults, as in introspection; it cannot be realized, as it has no memory.
    fn init(cx: &mut Init<'_>) -> Self {
        let core = GpuCore::new(
            GpuConfig::default(),
            Box::new(MemfdRenderer::builder().build()),
        )
        .unwrap_or_else(|error| unreachable!("the default configuration is legal: {error}"));
        let mut failed = None;
        let gpu = Self::assemble(cx, core, None, Arc::new(NoLine), &mut failed);
        if let Some(error) = failed {
            tracing::error!(%error, "a device without its regions");
        }
        gpu
    }

    fn class_init(class: &mut ClassInit<'_>) {
        class.property(
            qdev::property::<u64>("window-base")
                .get(|gpu: &Self| gpu.window_base.load(Ordering::Relaxed))
                .set(|gpu: &Self, base: u64| {
                    gpu.window_base.store(base, Ordering::Relaxed);
                    Ok(())
                }),
        );
    }

    fn post_init(&self) {
        let _ = self.shared.device.set(self.this());
        let _ = self.shared.window.set(self.window.clone());
    }
}

impl DeviceImpl for VirtioGpu {
    fn realize(&self, cx: &RealizeContext<'_>) -> Result<(), DeviceError> {
        let wrong = |property, reason| DeviceError::Property { property, reason };
        let Some(memory) = self.shared.memory() else {
            let reason = "the device was built without an address space for its rings";
            return Err(wrong("memory", reason.into()));
        };
        if !memory.machine().is_same(&cx.machine()) {
            let reason = format!("{memory:?} belongs to {:?}", memory.machine());
            return Err(wrong("memory", reason));
        }
        let base = self.window_base.load(Ordering::Relaxed);
        let has_place = base != NOWHERE && self.window_len > 0;
        if has_place && !base.is_multiple_of(PAGE) {
            let reason = format!("{base:#x} is not a multiple of the page size {PAGE:#x}");
            return Err(wrong("window-base", reason));
        }
        if has_place && base.checked_add(self.window_len - 1).is_none() {
            let reason = format!(
                "{base:#x} leaves no room for a window of {:#x} bytes",
                self.window_len
            );
            return Err(wrong("window-base", reason));
        }
        self.shared
            .realize(has_place.then_some((base, self.window_len)));
        Ok(())
    }

    fn unrealize(&self) {
        self.shared.unrealize();
    }
}

impl VirtioGpu {
    /// A device to be made.
    pub fn builder() -> VirtioGpuBuilder {
        VirtioGpuBuilder {
            config: GpuConfig::default(),
            renderer: None,
            memory: None,
            line: Arc::new(NoLine),
            keeps_snapshots: false,
        }
    }

    fn assemble(
        cx: &mut Init<'_>,
        core: GpuCore,
        memory: Option<AddressSpace>,
        line: Arc<dyn Line>,
        failed: &mut Option<RegionError>,
    ) -> Self {
        let device = cx.parent();
        let window_len = core.config().window;
        let features = core.config().features;
        let mut keep = |made: Result<Child<Region>, RegionError>| {
            made.unwrap_or_else(|error| {
                *failed = Some(error);
                Child::default()
            })
        };
        let regs = Region::io("regs", Size::new(REGION_BYTES), Regs)
            .rules(RULES)
            .create(cx.object());
        let regs = keep(regs);
        let window = keep(Region::container("hostmem", Size::new(window_len)).create(cx.object()));
        let registers = Registers::new(features, QUEUE_SIZES)
            .unwrap_or_else(|error| unreachable!("the queue sizes are powers of two: {error}"));
        let machine = qom::layer::machine_of(cx.object());
        let shared = Shared::new(&machine, core, registers, memory, line);
        Self {
            device,
            regs,
            window,
            window_base: AtomicU64::new(NOWHERE),
            window_len,
            shared,
        }
    }

    /// The registers, 0x200 bytes, to be mapped by the board.
    pub fn regs(&self) -> &Child<Region> {
        &self.regs
    }

    /// The window for host blobs, a container of the configured length, to be mapped by the board.
    pub fn window(&self) -> &Child<Region> {
        &self.window
    }

    /// Connects a display of another size, or none, and tells the guest. Whether anything changed. Any thread.
    ///
    /// # Errors
    /// No such scanout.
    pub fn set_display(
        &self,
        scanout: u32,
        size: Option<DisplaySize>,
    ) -> Result<bool, ConfigError> {
        self.shared.set_display(scanout, size)
    }

    /// A copy of what a viewer of a scanout sees; none if it is off. Any thread.
    pub fn frame(&self, scanout: u32) -> Option<Frame> {
        self.shared.frame(scanout)
    }

    /// The state in numbers.
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// What it has done so far.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Why the device needs a reset, if it does.
    pub fn broken(&self) -> Option<String> {
        self.shared.broken()
    }
}

const RULES: AccessRules = AccessRules {
    endian: Endian::Little,
    valid: SizeRange {
        min: 1,
        max: 8,
        unaligned: false,
    },
    implemented: SizeRange {
        min: 1,
        max: 8,
        unaligned: false,
    },
};

/// The callbacks of the registers.
struct Regs;

impl RegionOps for Regs {
    type Owner = VirtioGpu;

    fn read(&self, gpu: &VirtioGpu, access: Access) -> Result<u64, MemTxError> {
        match access.offset.checked_sub(CONFIG) {
            Some(offset) => Ok(gpu.shared.read_config(offset, access.size)),
            None => Ok(u64::from(gpu.shared.read_register(access.offset))),
        }
    }

    fn write(&self, gpu: &VirtioGpu, access: Access, value: u64) -> Result<(), MemTxError> {
        match access.offset.checked_sub(CONFIG) {
            Some(offset) => gpu.shared.write_config(offset, access.size, value),
            None => match u32::try_from(value) {
                Ok(value) => gpu.shared.write_register(access.offset, value),
                Err(_) => return Err(MemTxError::DEVICE),
            },
        }
        Ok(())
    }

    /// Registers are 32 bits wide; the config space takes every size (virtio 1.2, 4.2.2.2).
    fn accepts(&self, _gpu: &VirtioGpu, access: Access, _is_write: bool) -> bool {
        access.offset >= CONFIG || access.size == 4
    }
}
