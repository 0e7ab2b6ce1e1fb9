//! The machine of a replay: RAM as the trace says, a virtio-gpu, a copy engine, and room above for the driver's own memory.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hw_virtio_gpu::{
    VirtioGpu,
    edid::DisplaySize,
    gpu::{GpuConfig, ScanoutConfig},
    renderer::{Capset, MemfdRenderer},
    wire::{Command, Request, Response, feature},
};
use memory::{AddressSpace, Backing, Gpa, Offset, Priority, Region, RegionApi, Size};
use qdev::DeviceOps;
use qom::{Child, Machine, ObjectOps, Ref};

use super::{
    dma::{DmaEngine, REGISTER_BYTES, Transfers, Workers},
    failure::{DemoError, During},
    tally::Left,
    witness::{Finalized, Witness},
};
use crate::draw::MapColumn;
use crate::guest::Interrupt;
use crate::trace::{Event, Header, TraceReader};

/// Memory of the driver's own.
const DRIVER_BYTES: u64 = 64 << 20;
/// What lies above begins at a multiple of this.
const STEP: u64 = 1 << 30;
/// Registers of the two devices lie that far apart.
const APART: u64 = 1 << 20;
/// The blob that the recording device refused to map.
const REFUSED: u64 = 0xbad;
/// How many lines are looked through for what the device says of its capsets.
const LOOK: usize = 4096;
/// How long the end of something may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Threads of the copy engine's workers.
const WORKERS: usize = 3;

/// Where everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// The driver's own memory.
    pub(super) driver: (u64, u64),
    /// Registers of the virtio-gpu.
    pub(super) gpu: u64,
    /// Registers of the copy engine.
    pub(super) dma: u64,
    /// The host-visible window.
    pub(super) window: (u64, u64),
}

impl Places {
    /// Above RAM and window; none where that does not fit, or where the two overlap.
    fn of(header: &Header) -> Option<Self> {
        let end = header.window_base.checked_add(header.window_size)?;
        if header.window_size > 0 && header.window_base < header.ram_bytes {
            return None;
        }
        let above = end.max(header.ram_bytes).checked_next_multiple_of(STEP)?;
        let gpu = above.checked_add(DRIVER_BYTES)?;
        let places = Self {
            driver: (above, DRIVER_BYTES),
            gpu,
            dma: gpu.checked_add(APART)?,
            window: (header.window_base, header.window_size),
        };
        places.dma.checked_add(REGISTER_BYTES)?;
        Some(places)
    }
}

/// The machine.
pub(super) struct Board {
    pub(super) machine: Machine,
    pub(super) memory: AddressSpace,
    pub(super) gpu: Ref<VirtioGpu>,
    dma: Ref<DmaEngine>,
    pub(super) workers: Arc<Workers>,
    pub(super) line: Arc<Interrupt>,
    pub(super) witness: Witness,
    pub(super) places: Places,
}

impl Board {
    /// Everything made, plugged and mapped.
    pub(super) fn new(
        header: &Header,
        capsets: Vec<Capset>,
        recording: bool,
    ) -> Result<Self, DemoError> {
        let places = Places::of(header).ok_or_else(|| {
            DemoError::differs("the header", "RAM and window leave no room, or overlap")
        })?;
        let name = format!(
            "{} {}",
            header.kernel.split(' ').next().unwrap_or(""),
            header.workload
        );
        let machine = Machine::builder(&name).recording(recording).build();
        let witness = Witness::of(&machine);
        let root = machine.root();
        let system = Region::container("system", Size::MAX)
            .create(root)
            .during("making a root region")?;
        let memory =
            AddressSpace::open(root, "memory", &system).during("opening the address space")?;
        witness
            .watch(&machine, &memory)
            .during("watching the address space")?;
        witness.made(&system).during("noting the root region")?;
        add_ram(&machine, &system, "ram", 0, header.ram_bytes)?;
        add_ram(
            &machine,
            &system,
            "driver-ram",
            places.driver.0,
            places.driver.1,
        )?;
        let line: Arc<Interrupt> = Arc::default();
        let workers = Workers::start(WORKERS);
        let gpu = plug_gpu(header, capsets, &machine, &memory, &line)?;
        witness.made(gpu.window()).during("noting the window")?;
        let dma = plug_dma(&machine, &system, &workers)?;
        let map = |at, region: &Child<Region>| {
            let done = system.add_subregion(Offset(at), region, Priority(1));
            done.during("mapping a device")
        };
        map(places.gpu, gpu.regs())?;
        map(header.window_base, gpu.window())?;
        map(places.dma, dma.regs())?;
        Ok(Self {
            machine,
            memory,
            gpu,
            dma,
            workers,
            line,
            witness,
            places,
        })
    }

    /// Unplugs the virtio-gpu: from its return on nothing reaches it.
    pub(super) fn unplug_gpu(&self) -> Result<(), DemoError> {
        let ticket = self.gpu.unparent().during("unplugging the virtio-gpu")?;
        ticket
            .wait(PATIENCE)
            .during("waiting for the virtio-gpu's withdrawal")
    }

    /// Unplugs the copy engine and lets what it has in flight end.
    pub(super) fn unplug_dma(&self) -> Result<(), DemoError> {
        let ticket = self.dma.unparent().during("unplugging the copy engine")?;
        ticket
            .wait(PATIENCE)
            .during("waiting for the copy engine's withdrawal")
    }

    /// What the address spaces show; the window by itself too.
    pub(super) fn map(&self) -> Vec<MapColumn> {
        let mut columns = vec![MapColumn::of(&self.memory)];
        let mut window = columns[0].clone();
        let (base, len) = self.places.window;
        "window alone".clone_into(&mut window.title);
        window
            .ranges
            .retain(|r| r.first >= base && r.first - base < len);
        columns.push(window);
        columns
    }

    /// Waits until both devices are finalized, checks that nothing is open or pinned, closes the machine, and checks that nothing is left.
    pub(super) fn close(self, alone: bool) -> Result<Closed, DemoError> {
        let Self {
            machine,
            memory,
            gpu,
            dma,
            workers,
            witness,
            ..
        } = self;
        workers.release();
        let (weak_gpu, weak_dma) = (gpu.downgrade(), dma.downgrade());
        drop((gpu, dma));
        machine
            .wait_finalized(&weak_dma, PATIENCE)
            .during("waiting for the copy engine's end")?;
        machine
            .wait_finalized(&weak_gpu, PATIENCE)
            .during("waiting for the virtio-gpu's end")?;
        machine
            .quiesce(PATIENCE)
            .during("waiting for what is retired")?;
        let open = memory::counters(&machine);
        if open.live_pins != 0 || open.open_mappings != 0 || open.live_snapshots != 0 {
            return Err(DemoError::differs(
                "the end of both devices",
                format_args!("something is left: {open:?}"),
            ));
        }
        drop(memory);
        workers.stop();
        let handle = machine.handle().clone();
        let closed = machine.close(PATIENCE);
        closed
            .map_err(|(_, error)| error)
            .during("closing the machine")?;
        let left = Left::of(&handle, alone);
        if !left.is_nothing() {
            return Err(DemoError::differs("the end, left", left));
        }
        let finalized = witness
            .report()
            .map_err(|what| DemoError::differs("the finalizers", what))?;
        Ok(Closed {
            finalized,
            left,
            transfers: workers.transfers.clone(),
        })
    }
}

/// What is known at the end.
pub(super) struct Closed {
    pub(super) finalized: Finalized,
    pub(super) left: Left,
    pub(super) transfers: Arc<Transfers>,
}

fn plug_gpu(
    header: &Header,
    capsets: Vec<Capset>,
    machine: &Machine,
    memory: &AddressSpace,
    line: &Arc<Interrupt>,
) -> Result<Ref<VirtioGpu>, DemoError> {
    let scanout = |index: u32| ScanoutConfig {
        display: (index == 0 && header.scanout0_enabled).then(DisplaySize::default),
        edid: Some(DisplaySize::default()),
    };
    let config = GpuConfig {
        scanouts: (0..header.scanouts).map(scanout).collect(),
        window: header.window_size,
        features: header.features_offered & feature::ALL,
        ..GpuConfig::default()
    };
    let mut renderer = MemfdRenderer::builder().refuse_map(REFUSED);
    for capset in capsets {
        renderer = renderer.capset(capset);
    }
    let gpu = VirtioGpu::builder()
        .config(config)
        .renderer(renderer.build())
        .memory(memory)
        .line(line.clone())
        .create(machine)
        .during("making the virtio-gpu")?;
    machine
        .root()
        .add_child("gpu", &gpu)
        .during("plugging the virtio-gpu")?;
    if header.window_size > 0 {
        gpu.set_property("window-base", header.window_base)
            .during("placing the window")?;
    }
    gpu.realize().during("realizing the virtio-gpu")?;
    Ok(gpu)
}

fn plug_dma(
    machine: &Machine,
    system: &Child<Region>,
    workers: &Arc<Workers>,
) -> Result<Ref<DmaEngine>, DemoError> {
    let dma = machine
        .create::<DmaEngine>()
        .during("making the copy engine")?;
    dma.employ(workers);
    machine
        .root()
        .add_child("dma", &dma)
        .during("plugging the copy engine")?;
    dma.set_link("memory", system)
        .during("linking it to memory")?;
    dma.realize().during("realizing the copy engine")?;
    Ok(dma)
}

fn add_ram(
    machine: &Machine,
    system: &Child<Region>,
    name: &str,
    at: u64,
    bytes: u64,
) -> Result<(), DemoError> {
    if bytes == 0 {
        return Ok(());
    }
    let backing = Backing::anonymous(bytes).during("reserving guest RAM")?;
    let ram = Region::ram(name, backing)
        .create(machine.root())
        .during("making RAM")?;
    system
        .add_subregion(Offset(at), &ram, Priority(0))
        .during("mapping RAM")
}

/// The capsets that the recorded device told of; their content is filler. Where it was not asked, the two that its kind has.
pub(super) fn capsets(path: &Path, header: &Header) -> Result<Vec<Capset>, DemoError> {
    let wanted = header.capsets as usize;
    let filler = |id, max_version, bytes: u32| Capset {
        id,
        max_version,
        data: vec![0; bytes as usize],
    };
    let mut found: Vec<Option<Capset>> = vec![None; wanted.min(64)];
    for recorded in TraceReader::open(path)
        .during("reading the trace")?
        .take(LOOK)
    {
        if found.iter().all(Option::is_some) {
            break;
        }
        let Ok(recorded) = recorded else { break };
        let Event::Command(command) = recorded.event else {
            continue;
        };
        let request = Request::parse(&command.request).map(|r| r.command);
        let reply = Response::parse(&command.response).map(|(_, reply)| reply);
        if let (
            Ok(Command::GetCapsetInfo { index }),
            Ok(Response::CapsetInfo {
                id,
                max_version,
                max_size,
            }),
        ) = (request, reply)
            && let Some(place) = found.get_mut(index as usize)
        {
            *place = Some(filler(id, max_version, max_size.min(1 << 20)));
        }
    }
    let usual = [(2, 1, 1384), (5, 1, 16)];
    let usual = |i: usize| {
        usual
            .get(i)
            .map(|&(id, version, bytes)| filler(id, version, bytes))
    };
    Ok(found
        .into_iter()
        .enumerate()
        .filter_map(|(i, c)| c.or_else(|| usual(i)))
        .collect())
}

/// The address of a byte of the window.
pub(super) fn in_window(places: &Places, offset: u64) -> Gpa {
    Gpa(places.window.0 + offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Transport;

    fn header(ram_bytes: u64, window: (u64, u64)) -> Header {
        Header {
            kernel: "6.1 x".to_owned(),
            transport: Transport::Mmio,
            ram_bytes,
            features_offered: 0,
            features_accepted: 0,
            window_base: window.0,
            window_size: window.1,
            queues: [256, 16],
            scanouts: 1,
            capsets: 0,
            scanout0_enabled: false,
            workload: "x".to_owned(),
        }
    }

    #[test]
    fn the_drivers_memory_is_outside_ram_and_window() {
        for (ram, window) in [
            (256 << 20, (0x2_0000_0000, 0x1000_0000)),
            (16 << 30, (1 << 40, 1 << 30)),
            (1 << 20, (0, 0)),
        ] {
            let places = Places::of(&header(ram, window)).unwrap();
            for at in [places.driver.0, places.gpu, places.dma] {
                assert!(at >= ram && at >= window.0 + window.1);
            }
            assert!(places.gpu >= places.driver.0 + places.driver.1);
        }
        assert_eq!(
            Places::of(&header(1 << 30, (0, 4096))),
            None,
            "a window in RAM"
        );
        assert_eq!(Places::of(&header(0, (u64::MAX - 4095, 4096))), None);
    }
}
