//! Which of the bundled devices would lose what without the withdrawal: each is made, plugged, mapped as a board does and unplugged, on the real crates.
//!
//! Between the end of its own unrealize and its withdrawal a device is what it would be if its author had to do everything: what still is in a
//! container then, nobody but the withdrawal takes out. Who is gone after the unplug is hot-unpluggable; of who is not, the ledger says why.

use hw_virtio_gpu::VirtioGpu;
use memory::{AddressSpace, Offset, Priority, Region, RegionApi, RegionKind, Size};
use qdev::{Device, DeviceOps, regions_of};
use qom::layer::Target;
use qom::{Child, Class, Machine, Object, ObjectOps, Ref, RootObject};
use std::error::Error;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// How long a device may take to go. One that goes at all takes a thousandth of it.
const PATIENCE: Duration = Duration::from_millis(500);
/// From one region that the board maps to the next.
const APART: u64 = 1 << 40;

/// A bundled device.
#[derive(Clone, Debug)]
pub struct Bundled {
    /// Its type.
    pub name: &'static str,
    /// Its regions.
    pub regions: Vec<Placed>,
    /// How long it took from the unplug until it was finalized; of one that stays, what keeps it.
    pub gone: Result<Duration, String>,
}

/// A region of a bundled device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its name below the device.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// The container that it is in while the device is plugged.
    pub container: String,
    /// That is one of the device’s own.
    pub is_own: bool,
    /// Its author’s unrealize leaves it there: without the withdrawal it would be found in it, or lost with it.
    pub is_left: bool,
}

/// Plugs, maps and unplugs each device type that this program knows, its own actors left out, and looks.
///
/// ```
/// let devices = holdfast_lifetimes::product::devices::all()?;
/// let gpu = devices.iter().find(|device| device.name == "virtio-gpu-mmio").unwrap();
/// assert!(gpu.gone.is_ok());
/// assert!(gpu.regions.iter().all(|region| region.is_left), "its author detaches nothing");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// A device that cannot be made, plugged or mapped.
pub fn all() -> Result<Vec<Bundled>, Box<dyn Error>> {
    holdfast_examples::demo::register_devices()?;
    qom::register::<VirtioGpu>()?;
    let is_bundled = |class: &&&Class| {
        class.is_a::<Device>() && !class.is_abstract() && !class.name().starts_with("lifetimes-")
    };
    let classes = qom::classes();
    let bundled = classes.iter().filter(is_bundled);
    bundled.map(|class| look(class.name())).collect()
}

fn look(name: &'static str) -> Result<Bundled, Box<dyn Error>> {
    let machine = Machine::builder("devices").recording(true).build();
    let system = Region::container("system", Size::MAX).create(machine.root())?;
    let space = AddressSpace::open(machine.root(), "memory", &system)?;
    let device = make(&machine, name, &space)?;
    machine.root().add_child("device", &device)?;
    device.set_link("memory", &system)?;
    device.realize()?;
    for (at, region) in (1..).zip(regions_of(&device)) {
        if region.contained_in()?.is_none() {
            system.add_subregion(Offset(at * APART), &region, Priority(0))?;
        }
    }
    let mut regions = Vec::new();
    for region in regions_of(&device) {
        regions.extend(placed(&device, &region)?);
    }
    device.unrealize()?;
    for (region, placed) in regions_of(&device).iter().zip(&mut regions) {
        placed.is_left = region.contained_in()?.is_some();
    }
    let weak = device.downgrade();
    let begin = Instant::now();
    device.unparent()?;
    drop(device);
    let waited = machine.wait_finalized(&weak, PATIENCE);
    let gone = match waited {
        Ok(()) => Ok(begin.elapsed()),
        Err(_) => {
            let left = machine.leftovers();
            let why: Vec<String> = left.iter().map(ToString::to_string).collect();
            Err(why.join("\n"))
        }
    };
    // With somebody left a machine would wait for him; so it ends by itself.
    if gone.is_ok() {
        drop(space);
        machine.close(PATIENCE).map_err(|(_, error)| error)?;
    }
    Ok(Bundled {
        name,
        regions,
        gone,
    })
}

fn make(
    machine: &Machine,
    name: &str,
    memory: &AddressSpace,
) -> Result<Ref<RootObject>, Box<dyn Error>> {
    // Its rings are in an address space that no property can name.
    if name == "virtio-gpu-mmio" {
        let gpu = VirtioGpu::builder().memory(memory).create(machine)?;
        return Ok(gpu.cast::<RootObject>()?);
    }
    Ok(machine.create_named(name)?)
}

fn placed(
    device: &Ref<RootObject>,
    region: &Child<Region>,
) -> Result<Option<Placed>, Box<dyn Error>> {
    let Some(container) = region.contained_in()? else {
        return Ok(None);
    };
    let container = container.pointer()?;
    let owner = container
        .instance::<Region>()
        .map(|region| region.owner().id());
    let kind = match region.info()?.kind {
        RegionKind::Container => "container",
        RegionKind::Ram => "RAM",
        _ => "registers",
    };
    Ok(Some(Placed {
        name: last(&*region.pointer()?),
        kind: kind.into(),
        container: last(&container),
        is_own: owner == Some(device.object().id()),
        is_left: false,
    }))
}

/// The last name of an object’s path, without its number.
fn last(object: &Object) -> String {
    let path = object.describe();
    let name = path.rsplit('/').next().unwrap_or(&path);
    name.split('[').next().unwrap_or(name).to_owned()
}

/// The list, as text.
pub fn text(devices: &[Bundled]) -> String {
    let mut text = String::from(
        "bundled devices; regions that their authors leave where they are are marked with *:\n",
    );
    for device in devices {
        let regions: Vec<String> = device
            .regions
            .iter()
            .map(|region| {
                let mark = if region.is_left { "*" } else { "" };
                format!("{}{mark} in {}", region.name, region.container)
            })
            .collect();
        let gone = match &device.gone {
            Ok(took) => format!("hot-unpluggable, gone after {} µs", took.as_micros()),
            Err(why) => format!("stays: {}", why.lines().collect::<Vec<_>>().join(" ")),
        };
        let _ = writeln!(text, "  {:<18} {}; {gone}", device.name, regions.join(", "));
    }
    text
}
