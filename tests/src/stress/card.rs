//! The device that is plugged and unplugged: registers, RAM, and children that own RAM as blobs do.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use memory::{
    Access, AccessRules, AddressSpace, Attrs, Backing, BackingCounter, Endian, Gpa, Intent,
    Mapping, MemTxError, Offset, Priority, Region, RegionApi, RegionError, RegionOps, Size,
    SizeRange,
};
use parking_lot::Mutex;
use qdev::{Device, DeviceError, DeviceImpl, RealizeContext};
use qom::layer::Target;
use qom::{Child, Init, ObjectImpl, ObjectOps, Ref, RootObject};

use super::tally::Op;
use super::words::{
    BAR_BYTES, BASE_BYTES, BLOB_BYTES, BLOBS, Place, RAM_BYTES, REGS_BYTES, expected, fill,
    generation_at, ram_index, slot_at, word,
};
use super::world::World;

/// Registers that do something when they are written.
pub mod register {
    /// Moves the window to its other address.
    pub const MOVE: u64 = 0x100;
    /// Hides or shows the RAM.
    pub const HIDE: u64 = 0x108;
    /// Unparents the device.
    pub const UNPLUG: u64 = 0x110;
    /// Unparents a blob.
    pub const UNBLOB: u64 = 0x118;
    /// Panics.
    pub const PANIC: u64 = 0x120;
    /// Reads and writes RAM of the machine.
    pub const DMA: u64 = 0x128;
    /// Reads its own registers, which is refused.
    pub const REENTER: u64 = 0x130;
}

/// What the callback that panics says.
pub const PANIC: &str = "a callback of the stress program";

const HOOK_HAS_RUN: u8 = 1;
const FINALIZED: u8 = 2;

/// Where a device is to be. It keeps nothing that counts.
pub struct Wiring {
    /// The slot.
    pub slot: u8,
    /// Which plugging.
    pub generation: u32,
    /// Whether realize is to fail.
    pub fails: bool,
    /// The shared facts.
    pub world: Arc<World>,
    /// The machine's memory.
    pub space: AddressSpace,
    /// Its root.
    pub system: Child<Region>,
}

/// The device.
pub struct Card {
    device: Device,
    bar: Child<Region>,
    regs: Child<Region>,
    ram: OnceLock<Child<Region>>,
    wiring: OnceLock<Wiring>,
    bytes: BackingCounter,
    mapping: Mutex<Option<Mapping>>,
    blobs: Mutex<Vec<Child<Blob>>>,
    calls: AtomicU32,
    stage: AtomicU8,
    /// Written before anybody else sees the device and freed behind its last callback: a race detector watches it.
    secret: Box<[u64; 4]>,
}

qdev::device_type! { Card("stress-card") { device: Device } }

impl ObjectImpl for Card {
    fn init(cx: &mut Init<'_>) -> Self {
        let bar = Region::container("bar", Size::new(BAR_BYTES))
            .create(cx.object())
            .unwrap_or_else(|error| ends_init(&error));
        let regs = Region::io("regs", Size::new(REGS_BYTES), Regs)
            .rules(AccessRules {
                endian: Endian::Little,
                valid: SizeRange::new(1, 8),
                implemented: SizeRange::new(1, 8),
            })
            .create(cx.object())
            .unwrap_or_else(|error| ends_init(&error));
        bar.add_subregion(Offset(0), &regs, Priority(0))
            .unwrap_or_else(|error| ends_init(&error));
        Self {
            device: cx.parent(),
            bar,
            regs,
            ram: OnceLock::new(),
            wiring: OnceLock::new(),
            bytes: BackingCounter::new(),
            mapping: Mutex::default(),
            blobs: Mutex::default(),
            calls: AtomicU32::new(0),
            stage: AtomicU8::new(0),
            secret: Box::new([1, 2, 3, 4]),
        }
    }

    fn unparent(&self) {
        let before = self.stage.swap(HOOK_HAS_RUN, Ordering::AcqRel);
        if let Some(wiring) = self.wiring.get() {
            wiring.world.tally.check(before == 0, || {
                format!("the unparent hook of a device found it at stage {before}")
            });
        }
    }

    fn finalize(&self) {
        let before = self.stage.swap(FINALIZED, Ordering::AcqRel);
        let Some(wiring) = self.wiring.get() else {
            return;
        };
        let tally = &wiring.world.tally;
        tally.check(before == HOOK_HAS_RUN, || {
            format!("a device was finalized at stage {before}")
        });
        let left = self.bytes.bytes();
        tally.check(left == 0, || {
            format!("{left} bytes of a device's RAM are left when it is finalized")
        });
        tally.check(self.bar.get().is_err() && self.regs.get().is_err(), || {
            "a finalized device can reach its regions".into()
        });
    }
}

/// No region can be had: the machine is closing. Ends the init as a panic does, without its noise.
fn ends_init<T>(error: &RegionError) -> T {
    std::panic::resume_unwind(Box::new(error.to_string()))
}

impl DeviceImpl for Card {
    fn realize(&self, cx: &RealizeContext<'_>) -> Result<(), DeviceError> {
        let Some(wiring) = self.wiring.get() else {
            return Ok(());
        };
        let opened = AddressSpace::open(cx.object(), "device", &self.bar);
        let space = opened.map_err(|e| DeviceError::needs("its own address space", e))?;
        let at = Gpa(u64::from(wiring.slot) * 0x100);
        let mapping = wiring.space.map(cx.object(), at, 0x80, Intent::ReadWrite);
        let mapping = mapping.map_err(|e| DeviceError::needs("a mapping", e))?;
        if wiring.fails {
            let at = Offset(slot_at(wiring.slot, 0));
            let placed = wiring.system.add_subregion(at, &self.bar, Priority(0));
            placed.map_err(|e| DeviceError::needs("a place", e))?;
            return Err(DeviceError::Property {
                property: "fails",
                reason: "it was told to".into(),
            });
        }
        drop(space);
        *self.mapping.lock() = Some(mapping);
        Ok(())
    }

    fn unrealize(&self) {
        let mapping = self.mapping.lock().take();
        drop(mapping);
        let Some(wiring) = self.wiring.get() else {
            return;
        };
        // Half of the devices tidy up as QEMU's do; the others leave it to the withdrawal.
        if wiring.generation.is_multiple_of(2) {
            match wiring.system.del_subregion(&self.bar) {
                Ok(()) | Err(RegionError::NotInContainer { .. }) => {}
                Err(error) => wiring
                    .world
                    .failed("taking the window out in unrealize", error),
            }
        }
    }
}

impl Card {
    /// Says where the device is, and makes its RAM. Once, before anybody else sees it.
    ///
    /// # Errors
    /// The machine is closing, or has no memory.
    ///
    /// # Panics
    /// If it is done twice.
    pub fn wire(&self, wiring: Wiring) -> Result<(), Box<dyn std::error::Error>> {
        let (place, generation) = (Place::card(wiring.slot), wiring.generation);
        let backing = Backing::anonymous_in(RAM_BYTES, &self.bytes)?;
        backing
            .bytes()
            .write(0, &fill(place, generation, ram_index(0), RAM_BYTES))?;
        let ram = Region::ram("ram", backing).create(self)?;
        self.bar
            .add_subregion(Offset(REGS_BYTES), &ram, Priority(0))?;
        let fresh = self.ram.set(ram).is_ok() && self.wiring.set(wiring).is_ok();
        assert!(fresh, "a device is wired once");
        Ok(())
    }

    /// The device as its own code names it.
    pub fn handle(&self) -> Child<Device> {
        self.device.handle()
    }

    /// Its window.
    pub fn bar(&self) -> &Child<Region> {
        &self.bar
    }

    /// Its RAM, once it is wired.
    pub fn ram(&self) -> Option<&Child<Region>> {
        self.ram.get()
    }

    /// Adds a blob: a plain child that owns RAM, shown in the window.
    ///
    /// # Errors
    /// The device is withdrawn, or there is no memory.
    pub fn add_blob(&self, which: u8) -> Result<(), Box<dyn std::error::Error>> {
        let Some(wiring) = self.wiring.get() else {
            return Ok(());
        };
        let place = Place::blob(wiring.slot, which);
        let generation = wiring.world.fresh(place);
        let machine = qom::layer::machine_of(self.bar.get()?.owner());
        let blob: Ref<Blob> = machine.create()?;
        let fill = fill(place, generation, 0, BLOB_BYTES);
        blob.wire(wiring.world.clone(), place, generation, &fill)?;
        self.add_child(&format!("blob-{which}-{generation}"), &blob)?;
        self.blobs.lock().push(blob.child());
        let at = Offset(REGS_BYTES + RAM_BYTES + u64::from(which) * BLOB_BYTES);
        if let Some(ram) = blob.ram.get() {
            self.bar.add_subregion(at, ram, Priority(0))?;
        }
        Ok(())
    }

    /// Its blobs, oldest first; withdrawn ones are left out from the next call on.
    pub fn blobs(&self) -> Vec<Child<Blob>> {
        let mut blobs = self.blobs.lock();
        blobs.retain(|b| b.get().is_ok());
        blobs.clone()
    }

    /// Unparents the device and says from when on it is gone, where it is this call that did it.
    fn unplug_inside(&self, wiring: &Wiring) {
        let gone = gone_with(&wiring.world, wiring.slot, wiring.generation);
        let before = is_withdrawn(self);
        let first = ObjectOps::unparent(self);
        // A device without a parent stays where it is. Where its last handle is being dropped since, the second call overtakes that.
        let is_ours = !before && is_withdrawn(self);
        match first.and_then(|_| ObjectOps::unparent(self)) {
            Ok(_) if is_ours => {
                for (place, generation) in gone {
                    wiring
                        .world
                        .bury_all(place, generation, "unparented in a callback");
                }
            }
            Ok(_) => {}
            Err(error) => wiring.world.failed("unparent in a callback", error),
        }
        wiring.world.tally.did(Op::UnplugInside);
    }

    fn command(&self, wiring: &Wiring, access: Access, value: u64) {
        let tally = &wiring.world.tally;
        match access.offset {
            register::MOVE => {
                let to = Offset(slot_at(wiring.slot, value));
                changed(wiring, self.bar.set_address(to));
                tally.did(Op::MoveInside);
            }
            register::HIDE => {
                if let Some(ram) = self.ram.get() {
                    changed(wiring, ram.set_enabled(value & 1 == 0));
                }
                tally.did(Op::HideInside);
            }
            register::UNPLUG => self.unplug_inside(wiring),
            register::UNBLOB => {
                if let Some(blob) = self.blobs().first().and_then(|b| b.get().ok()) {
                    blob.withdraw(false);
                    tally.did(Op::UnblobInside);
                }
            }
            register::PANIC => {
                tally.did(Op::CallbackPanic);
                std::panic::resume_unwind(Box::new(PANIC));
            }
            register::DMA => {
                let at = value % (BASE_BYTES / 8) * 8;
                if let Ok(found) = wiring.space.load::<u64>(Gpa(at), Attrs::default()) {
                    wiring.world.check_word(at, found, 0);
                }
                tally.did(Op::Dma);
            }
            register::REENTER => {
                for spot in 0..2 {
                    let at = slot_at(wiring.slot, spot);
                    match wiring.space.load::<u64>(Gpa(at), Attrs::default()) {
                        Err(MemTxError::ACCESS) => tally.did(Op::Reentry),
                        Ok(found) => {
                            let same = generation_at(at, found) == Ok(wiring.generation);
                            tally.check(!same, || "a device read its own registers".into());
                        }
                        Err(_) => {}
                    }
                }
            }
            _ => {}
        }
    }
}

/// A running callback keeps its own region; a sibling of a withdrawn one may be gone.
fn changed(wiring: &Wiring, outcome: Result<(), RegionError>) {
    match outcome {
        Ok(()) | Err(RegionError::Gone(_)) => {}
        Err(error) => wiring.world.failed("a change in a callback", error),
    }
}

/// Whether an object has been withdrawn, without borrowing it: a borrower would keep a device without a parent where it is.
fn is_withdrawn(object: &impl Target) -> bool {
    object.pointer().is_ok_and(|o| o.is_withdrawn())
}

/// The generations that end with a device.
pub fn gone_with(world: &World, slot: u8, generation: u32) -> Vec<(Place, u32)> {
    let blobs = (0..BLOBS).map(|b| Place::blob(slot, b));
    blobs
        .map(|place| (place, world.newest(place)))
        .chain([(Place::card(slot), generation)])
        .collect()
}

struct Regs;

impl Regs {
    /// Notes a call; no callback runs once its owner is finalized.
    fn enter(card: &Card) -> Result<&Wiring, MemTxError> {
        let wiring = card.wiring.get().ok_or(MemTxError::DEVICE)?;
        let tally = &wiring.world.tally;
        tally.did(Op::Callback);
        card.calls.fetch_add(1, Ordering::Relaxed);
        let finalized = card.stage.load(Ordering::Relaxed) == FINALIZED;
        tally.check(!finalized && *card.secret == [1, 2, 3, 4], || {
            "a callback of a finalized device".into()
        });
        Ok(wiring)
    }
}

impl RegionOps for Regs {
    type Owner = Card;

    fn read(&self, card: &Card, access: Access) -> Result<u64, MemTxError> {
        let wiring = Self::enter(card)?;
        let [kind, ..] = card.calls.load(Ordering::Relaxed).to_le_bytes();
        let (place, index) = (Place::card(wiring.slot), access.offset / 8);
        debug_assert_eq!(
            expected(slot_at(wiring.slot, 0) + access.offset),
            Some((place, index))
        );
        let whole = word(place, wiring.generation, index, kind);
        Ok(whole >> (access.offset % 8 * 8))
    }

    fn write(&self, card: &Card, access: Access, value: u64) -> Result<(), MemTxError> {
        let wiring = Self::enter(card)?;
        card.command(wiring, access, value);
        let finalized = card.stage.load(Ordering::Relaxed) == FINALIZED;
        wiring
            .world
            .tally
            .check(!finalized && card.secret[3] == 4, || {
                "a device was finalized under its callback".into()
            });
        Ok(())
    }
}

/// A child of a device that owns RAM, as a renderer's blob does.
pub struct Blob {
    object: RootObject,
    ram: OnceLock<Child<Region>>,
    life: OnceLock<(Arc<World>, Place, u32)>,
    bytes: BackingCounter,
    stage: AtomicU8,
}

qom::object_type! { Blob("stress-blob") { object: RootObject } }

impl ObjectImpl for Blob {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
            ram: OnceLock::new(),
            life: OnceLock::new(),
            bytes: BackingCounter::new(),
            stage: AtomicU8::new(0),
        }
    }

    fn finalize(&self) {
        let before = self.stage.swap(FINALIZED, Ordering::AcqRel);
        if let Some((world, ..)) = self.life.get() {
            let left = self.bytes.bytes();
            world.tally.check(before == 0 && left == 0, || {
                format!("a blob was finalized at stage {before} with {left} bytes")
            });
        }
    }
}

impl Blob {
    fn wire(
        &self,
        world: Arc<World>,
        place: Place,
        generation: u32,
        fill: &[u8],
    ) -> Result<(), Box<dyn std::error::Error>> {
        let backing = Backing::anonymous_in(BLOB_BYTES, &self.bytes)?;
        backing.bytes().write(0, fill)?;
        let ram = Region::ram("ram", backing).create(self)?;
        let fresh = self.ram.set(ram).is_ok() && self.life.set((world, place, generation)).is_ok();
        debug_assert!(fresh, "a blob is wired once");
        Ok(())
    }

    /// Unparents it and says from when on it is gone.
    pub fn withdraw(&self, asynchronously: bool) {
        let Some((world, place, generation)) = self.life.get() else {
            return;
        };
        let before = is_withdrawn(self);
        let ticket = if asynchronously {
            self.unparent_async()
        } else {
            ObjectOps::unparent(self)
        };
        match ticket {
            Ok(ticket) => {
                if !before || ticket.is_done() {
                    world.bury(*place, *generation, "a blob, unparented");
                }
                world.tally.did(Op::Unblob);
            }
            Err(error) => world.failed("unparent of a blob", error),
        }
    }
}
