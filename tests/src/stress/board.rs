//! One machine under stress, as its threads see it: handles that keep nothing alive, and the queue of the worker that completes pins.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use memory::{
    AddressSpace, Attrs, Backing, Gpa, MemTxError, Offset, Pin, Priority, Region, RegionApi, Size,
};
use parking_lot::{Condvar, Mutex};
use qom::{Child, Container, Machine, MachineHandle};

use super::tally::{Op, Tally};
use super::words::{
    ALIAS_BYTES, BASE_BYTES, BLOB_BYTES, BLOBS, Place, RAM_BYTES, REGS_BYTES, SLOTS, alias_at,
    fill, slot_at,
};
use super::world::World;
use crate::random::Random;

/// An I/O in flight, and where its bytes were.
pub struct InFlight {
    /// What keeps the bytes.
    pub pin: Pin,
    /// The address that was pinned.
    pub addr: u64,
}

/// The machine's threads' common ground.
pub struct Board {
    /// The machine.
    pub machine: MachineHandle,
    /// Its root object.
    pub root: Child<Container>,
    /// The root of its memory.
    pub system: Child<Region>,
    /// Its memory.
    pub space: AddressSpace,
    /// The shared facts.
    pub world: Arc<World>,
    stop: AtomicBool,
    in_flight: Mutex<VecDeque<InFlight>>,
    more: Condvar,
}

/// Waits are bounded only to find what hangs.
pub const LONG: Duration = Duration::from_mins(2);

impl Board {
    /// Sets the machine up.
    ///
    /// # Errors
    /// It cannot be.
    pub fn new(machine: &Machine, world: Arc<World>) -> Result<Self, Box<dyn std::error::Error>> {
        let system = Region::container("system", Size::MAX).create(machine.root())?;
        let backing = Backing::memfd("base", BASE_BYTES)?;
        backing
            .bytes()
            .write(0, &fill(Place::BASE, 0, 0, BASE_BYTES))?;
        let base = Region::ram("base", backing).create(machine.root())?;
        system.add_subregion(Offset(0), &base, Priority(0))?;
        let space = AddressSpace::open(machine.root(), "memory", &system)?;
        Ok(Self {
            machine: machine.handle().clone(),
            root: machine.root().clone(),
            system,
            space,
            world,
            stop: AtomicBool::new(false),
            in_flight: Mutex::default(),
            more: Condvar::new(),
        })
    }

    /// Where to count and to report.
    pub fn tally(&self) -> &Tally {
        &self.world.tally
    }

    /// Whether the threads are to end.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Ends the threads.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.more.notify_all();
    }

    /// Hands an I/O to the worker.
    pub fn start_io(&self, io: InFlight) {
        self.tally().did(Op::PinMade);
        self.in_flight.lock().push_back(io);
        self.more.notify_one();
    }

    /// The next I/O for the worker; none: it is to end, and nothing is left.
    pub fn next_io(&self) -> Option<InFlight> {
        let mut queue = self.in_flight.lock();
        loop {
            if let Some(io) = queue.pop_front() {
                return Some(io);
            }
            if self.is_stopping() {
                return None;
            }
            self.more.wait_for(&mut queue, Duration::from_millis(20));
        }
    }

    /// How many I/Os the worker has not begun.
    pub fn ios_waiting(&self) -> usize {
        self.in_flight.lock().len()
    }

    /// Where there may be something, aligned to eight bytes, and how many bytes there are from there on.
    pub fn somewhere(random: &mut Random) -> (u64, u64) {
        let slot = u8::try_from(random.below(SLOTS.into())).unwrap_or(0);
        let spot = random.below(2);
        let (start, len) = match random.below(16) {
            0..2 => (0, BASE_BYTES),
            2..6 => (slot_at(slot, spot), REGS_BYTES),
            6..11 => (slot_at(slot, spot) + REGS_BYTES, RAM_BYTES),
            11..13 => (
                slot_at(slot, spot) + REGS_BYTES + RAM_BYTES,
                BLOB_BYTES * u64::from(BLOBS),
            ),
            _ => (alias_at(slot), ALIAS_BYTES),
        };
        let at = random.below(len / 8) * 8;
        (start + at, len - at)
    }

    /// Checks that nothing of a slot is reached any more; called by the one thread that plugs there.
    pub fn check_hole(&self, slot: u8) {
        let addrs = [0, 1].into_iter().flat_map(|spot| {
            let at = slot_at(slot, spot);
            [at, at + REGS_BYTES, at + REGS_BYTES + RAM_BYTES]
        });
        for addr in addrs.chain([alias_at(slot)]) {
            let found = self.space.load::<u64>(Gpa(addr), Attrs::default());
            self.tally().check(found == Err(MemTxError::DECODE), || {
                format!("{addr:#x} is no hole after the unparent: {found:x?}")
            });
        }
    }
}
