//! A device with registers: plugged, read and written by a guest, and unplugged while a thread reads it.

use std::error::Error;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use memory::{
    Access, AddressSpace, Attrs, Gpa, MemTxError, Offset, Priority, Region, RegionApi, RegionOps,
    Size,
};
use qdev::{Device, DeviceError, DeviceImpl, DeviceOps, RealizeContext};
use qom::{Child, Init, Machine, ObjectImpl, ObjectOps};

struct Thermometer {
    device: Device,
    regs: Child<Region>,
    milli: AtomicU64,
}

qdev::device_type! { Thermometer("example-thermometer") { device: Device } }

impl ObjectImpl for Thermometer {
    fn init(cx: &mut Init<'_>) -> Self {
        let regs = Region::io("regs", Size::new(8), Regs).create(cx.object());
        Self {
            device: cx.parent(),
            regs: regs.expect("a region of one's own"),
            milli: AtomicU64::new(21_000),
        }
    }
}

impl DeviceImpl for Thermometer {
    fn realize(&self, _: &RealizeContext<'_>) -> Result<(), DeviceError> {
        Ok(())
    }
}

struct Regs;

impl RegionOps for Regs {
    type Owner = Thermometer;
    fn read(&self, thermometer: &Thermometer, _: Access) -> Result<u64, MemTxError> {
        Ok(thermometer.milli.load(Relaxed))
    }
    fn write(&self, thermometer: &Thermometer, _: Access, value: u64) -> Result<(), MemTxError> {
        thermometer.milli.store(value, Relaxed);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    show(&mut io::stdout())
}

pub(crate) fn show(out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    const AT: Gpa = Gpa(0x1000);
    let machine = Machine::new("board");
    let system = Region::container("system", Size::MAX).create(machine.root())?;
    let space = AddressSpace::open(machine.root(), "memory", &system)?;
    let device = machine.create::<Thermometer>()?;
    machine.root().add_child("thermometer", &device)?;
    device.realize()?;
    system.add_subregion(Offset(AT.0), &device.regs, Priority(0))?;
    writeln!(
        out,
        "plugged: {} m°C",
        space.load::<u32>(AT, Attrs::default())?
    )?;
    space.store::<u32>(AT, 19_500, Attrs::default())?;
    writeln!(
        out,
        "written: {} m°C",
        space.load::<u32>(AT, Attrs::default())?
    )?;

    let (reading, gone) = (AtomicBool::new(false), AtomicBool::new(false));
    let values = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut values = Vec::new();
            while let Ok(value) = space.load::<u32>(AT, Attrs::default()) {
                reading.store(true, Relaxed);
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            gone.store(true, Relaxed);
            values
        });
        while !reading.load(Relaxed) {
            std::thread::yield_now();
        }
        let unplugged = device.unparent();
        unplugged.map(|_| reader.join().unwrap_or_default())
    })?;
    writeln!(
        out,
        "a thread read {values:?} until the unplug, then a hole: {}",
        gone.load(Relaxed)
    )?;
    writeln!(out, "realized: {}", device.is_realized())?;
    Ok(())
}
