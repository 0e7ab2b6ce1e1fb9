//! A device is plugged and unplugged a thousand times while threads read where it is: nothing piles up.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memory::{
    Access, AddressSpace, Attrs, Backing, BackingCounter, Gpa, MemTxError, Offset, Priority,
    Region, RegionApi, RegionOps, Size,
};
use qdev::{Device, DeviceError, DeviceImpl, DeviceOps, RealizeContext};
use qom::{Child, Init, Machine, ObjectImpl, ObjectOps};

use super::{
    failure::{DemoError, During},
    stage::Stage,
};
use crate::draw::{MapColumn, memory_map, reference_graph};

const BASE: u64 = 0x10_0000;
/// Bytes of the card's own memory.
const RAM: u64 = 0x4000;
const REGISTERS: u64 = 0x1000;
const MAGIC: u32 = 0xca4d_ca4d;
/// By how much the process may be larger at the end than after a fifth of the cycles. A leak of one page in each of them is more.
const SLACK: u64 = 2 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

/// A card: registers and memory in one container.
pub(super) struct Card {
    device: Device,
    bar: Child<Region>,
    ram: Child<Region>,
}

qdev::device_type! { Card("demo-card") { device: Device } }

impl ObjectImpl for Card {
    fn init(cx: &mut Init<'_>) -> Self {
        let bar = Region::container("bar", Size::new(REGISTERS + RAM)).create(cx.object());
        let bar = bar.expect("a region of its own");
        let regs = Region::io("regs", Size::new(REGISTERS), Registers).create(cx.object());
        let regs = regs.expect("a region of its own");
        let backing = Backing::anonymous(RAM).expect("a few pages");
        let ram = Region::ram("ram", backing)
            .create(cx.object())
            .expect("a region of its own");
        bar.add_subregion(Offset(0), &regs, Priority(0))
            .expect("its own container");
        bar.add_subregion(Offset(REGISTERS), &ram, Priority(0))
            .expect("its own container");
        Self {
            device: cx.parent(),
            bar,
            ram,
        }
    }
}

impl DeviceImpl for Card {
    fn realize(&self, _: &RealizeContext<'_>) -> Result<(), DeviceError> {
        let ram = self
            .ram
            .get()
            .map_err(|gone| DeviceError::needs("its memory", gone))?;
        let Some(backing) = ram.backing() else {
            return Ok(());
        };
        let done = backing.bytes().fill(0, RAM, 0xa5);
        done.map_err(|error| DeviceError::needs("its memory", error))
    }
}

struct Registers;

impl RegionOps for Registers {
    type Owner = Card;

    fn read(&self, card: &Card, _: Access) -> Result<u64, MemTxError> {
        // A callback is never entered once its owner is withdrawn, so it is realized here.
        Ok(if card.device.is_realized() {
            u64::from(MAGIC)
        } else {
            0
        })
    }

    fn write(&self, _: &Card, _: Access, _: u64) -> Result<(), MemTxError> {
        Ok(())
    }
}

/// The scenario, with its size.
#[derive(Clone, Copy, Debug)]
pub struct Churn {
    /// Plugs and unplugs.
    pub cycles: u64,
}

impl Default for Churn {
    fn default() -> Self {
        Self { cycles: 1000 }
    }
}

/// What the readers found.
#[derive(Default)]
struct Found {
    registers: AtomicU64,
    memory: AtomicU64,
    holes: AtomicU64,
    wrong: AtomicU64,
    stop: AtomicBool,
}

impl Churn {
    /// Shows it.
    ///
    /// # Errors
    /// A reader found what cannot be there, or something piled up.
    pub fn run(self, stage: &mut Stage<'_>) -> Result<(), DemoError> {
        let machine = Machine::builder("hotplug-churn").recording(false).build();
        let system = Region::container("system", Size::MAX)
            .create(machine.root())
            .during("making a root")?;
        let space = AddressSpace::open(machine.root(), "memory", &system).during("opening it")?;
        let found = Found::default();
        let done = std::thread::scope(|scope| {
            for _ in 0..stage.readers() {
                scope.spawn(|| read(&space, &found));
            }
            let done = self.cycle(stage, &machine, &system, &space, &found);
            // ORDERING: Relaxed: nothing but the end is told by it.
            found.stop.store(true, Ordering::Relaxed);
            done
        });
        let (summary, spent) = done?;
        let number = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let per_cycle = spent / u32::try_from(self.cycles.max(1)).unwrap_or(u32::MAX);
        stage.say(format_args!(
            "{} cycles, {per_cycle:.1?} each; readers found {} registers, {} words of memory, {} holes",
            self.cycles,
            number(&found.registers),
            number(&found.memory),
            number(&found.holes)
        ));
        stage.say(summary);
        if number(&found.wrong) > 0 {
            return Err(DemoError::differs(
                "hotplug-churn",
                format_args!("{} reads found what cannot be there", number(&found.wrong)),
            ));
        }
        drop((system, space));
        let closed = machine.close(PATIENCE);
        closed
            .map_err(|(_, error)| error)
            .during("closing the machine")
    }

    fn cycle(
        self,
        stage: &mut Stage<'_>,
        machine: &Machine,
        system: &(impl RegionApi + ?Sized),
        space: &AddressSpace,
        found: &Found,
    ) -> Result<(String, Duration), DemoError> {
        let start = Instant::now();
        let backings = BackingCounter::new();
        let objects = machine.counters().live_objects;
        picture(stage, machine, space, "before")?;
        let mut resident_then = resident();
        for n in 0..self.cycles {
            self.one(stage, machine, system, space, &backings, n)?;
            // Every cycle begins with what the last one left, but for what readers hold up; from time to time it is all waited for.
            if n % 50 == 49 || n + 1 == self.cycles {
                machine
                    .quiesce(PATIENCE)
                    .during("waiting for what is retired")?;
                let now = machine.counters().live_objects;
                if now != objects || backings.live() != 0 {
                    let what = format!(
                        "{now} objects instead of {objects}, {} backings",
                        backings.live()
                    );
                    return Err(DemoError::differs(
                        format_args!("hotplug-churn, cycle {n}"),
                        what,
                    ));
                }
            }
            if n == self.cycles / 5 {
                resident_then = resident();
            }
            stage.progress(|| {
                let holes = found.holes.load(Ordering::Relaxed);
                format!("cycle {n}, {holes} holes seen")
            });
        }
        picture(stage, machine, space, "after")?;
        let resident_now = resident();
        let grown = resident_now.saturating_sub(resident_then);
        if grown > SLACK {
            let what = format!("{grown} bytes more are resident than after a fifth of the cycles");
            return Err(DemoError::differs("hotplug-churn", what));
        }
        let counters = machine.counters();
        let summary = format!(
            "{} objects finalized, {objects} left as before; resident: {} KiB after a fifth, {} KiB at the end; retired and not freed: {} bytes",
            counters.finalized,
            resident_then >> 10,
            resident_now >> 10,
            counters.grace.retired_bytes
        );
        Ok((summary, start.elapsed()))
    }

    fn one(
        self,
        stage: &mut Stage<'_>,
        machine: &Machine,
        system: &(impl RegionApi + ?Sized),
        space: &AddressSpace,
        backings: &BackingCounter,
        n: u64,
    ) -> Result<(), DemoError> {
        let card = machine.create::<Card>().during("making a card")?;
        machine
            .root()
            .add_child("card", &card)
            .during("plugging it")?;
        let ram = card.ram.get().during("its memory")?;
        if let Some(backing) = ram.backing() {
            backing.count_in(backings);
        }
        drop(ram);
        card.realize().during("realizing it")?;
        system
            .add_subregion(Offset(BASE), &card.bar, Priority(0))
            .during("mapping it")?;
        let word = space.load::<u32>(Gpa(BASE), Attrs::default());
        if word != Ok(MAGIC) {
            return Err(DemoError::differs(
                format_args!("hotplug-churn, cycle {n}"),
                format_args!("the registers of a plugged card read {word:x?}"),
            ));
        }
        if n == self.cycles / 2 {
            picture(stage, machine, space, "during")?;
        }
        card.unparent().during("unplugging it")?;
        for at in [BASE, BASE + REGISTERS] {
            let word = space.load::<u32>(Gpa(at), Attrs::default());
            if let Ok(word) = word {
                return Err(DemoError::differs(
                    format_args!("hotplug-churn, cycle {n}"),
                    format_args!("{at:#x} of an unplugged card reads {word:#x}"),
                ));
            }
        }
        Ok(())
    }
}

fn read(space: &AddressSpace, found: &Found) {
    let reader = space.reader();
    let one_more = |n: &AtomicU64| n.fetch_add(1, Ordering::Relaxed);
    while !found.stop.load(Ordering::Relaxed) {
        for _ in 0..64 {
            let guard = reader.enter();
            match guard.load::<u32>(Gpa(BASE + 8), Attrs::default()) {
                Ok(MAGIC) => one_more(&found.registers),
                // Between its place in the map and its realize there is nothing; a callback that runs may overlap the unrealize.
                Ok(0) | Err(_) => one_more(&found.holes),
                Ok(_) => one_more(&found.wrong),
            };
            match guard.load::<u32>(Gpa(BASE + REGISTERS + 64), Attrs::default()) {
                Ok(0xa5a5_a5a5) => one_more(&found.memory),
                Ok(_) => one_more(&found.wrong),
                Err(_) => one_more(&found.holes),
            };
        }
    }
}

/// Bytes of this process that are in memory; 0 where the system does not say.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

fn picture(
    stage: &mut Stage<'_>,
    machine: &Machine,
    space: &AddressSpace,
    when: &str,
) -> Result<(), DemoError> {
    let title = format!("Hotplug churn, {when}");
    stage.file(&format!("hotplug-churn-graph-{when}.svg"), || {
        reference_graph(&title, &machine.reference_graph())
    })?;
    stage.file(&format!("hotplug-churn-map-{when}.svg"), || {
        memory_map(&title, &[MapColumn::of(space)])
    })
}
