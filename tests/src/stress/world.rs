//! What all threads and devices of one machine know: which generations are over, and where to report.
//!
//! Plain data without a handle in it, so that devices may keep it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;
use qom::{MachineEvent, ObjectId};

use super::tally::{Op, Tally};
use super::words::{Place, expected, generation_at};

/// How what a failed realize leaves has ended: it is in no container, but neither it nor its device is withdrawn yet.
pub const TAKEN_OUT: &str = "a realize that failed";

/// The shared facts of one machine.
#[derive(Debug)]
pub struct World {
    /// Counts and violations of the whole run.
    pub tally: Arc<Tally>,
    /// The machine is being closed under its users: whatever fails now may fail.
    pub closing: AtomicBool,
    newest: Vec<AtomicU32>,
    buried: Vec<AtomicU32>,
    /// When the withdrawal of each generation had returned, by the clock.
    graves: Mutex<Graves>,
    clock: AtomicU32,
    /// Up to which generation all of a place have been buried.
    floors: Mutex<HashMap<u8, u32>>,
    ends: Mutex<Ends>,
}

/// By place and generation: the time, and how it ended.
type Graves = HashMap<(u8, u32), (u32, &'static str)>;

/// Who has been finalized.
#[derive(Debug, Default)]
struct Ends {
    ids: HashSet<ObjectId>,
    paths: HashSet<String>,
}

impl World {
    /// A world in which nothing has been plugged.
    pub fn new(tally: &Arc<Tally>) -> Self {
        let zeroes = || (0..Place::COUNT).map(|_| AtomicU32::new(0)).collect();
        Self {
            tally: tally.clone(),
            closing: AtomicBool::new(false),
            newest: zeroes(),
            buried: zeroes(),
            graves: Mutex::default(),
            clock: AtomicU32::new(1),
            floors: Mutex::default(),
            ends: Mutex::default(),
        }
    }

    /// Whether failures are to be expected.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// A generation for what is about to be plugged.
    pub fn fresh(&self, place: Place) -> u32 {
        self.newest[usize::from(place.0)].fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The newest generation so far.
    pub fn newest(&self, place: Place) -> u32 {
        self.newest[usize::from(place.0)].load(Ordering::Relaxed)
    }

    /// Says that the withdrawal of a generation has returned. Of this one: an older one at the same place may still be on its way out.
    pub fn bury(&self, place: Place, generation: u32, how: &'static str) {
        let key = (place.0, generation);
        let mut graves = self.graves.lock();
        // ORDERING: AcqRel pairs with the Acquire in `now`: whoever reads a later time begins its access after the withdrawal returned.
        let grave = || (self.clock.fetch_add(1, Ordering::AcqRel), how);
        let (_, known) = graves.entry(key).or_insert_with(grave);
        if *known == TAKEN_OUT && how != TAKEN_OUT {
            graves.insert(key, grave());
        }
        drop(graves);
        self.buried[usize::from(place.0)].fetch_max(generation, Ordering::AcqRel);
    }

    /// Says the same of a generation and of all before it: where their device has gone, none of them is on its way out any more,
    /// and none is plugged before its forerunner has gone.
    pub fn bury_all(&self, place: Place, generation: u32, how: &'static str) {
        let known = self.floors.lock().insert(place.0, generation).unwrap_or(0);
        for one in known.min(generation)..generation {
            self.bury(place, one + 1, how);
        }
    }

    /// The time: later than that of every burial that has returned.
    pub fn now(&self) -> u32 {
        // ORDERING: Acquire: see `bury`.
        self.clock.load(Ordering::Acquire)
    }

    /// Whether a generation was buried before `time`.
    fn was_buried(&self, place: Place, generation: u32, time: u32) -> bool {
        let newest = self.buried.get(usize::from(place.0));
        // ORDERING: Acquire: what is newer than this has not been buried; the common case, without a lock.
        newest.is_some_and(|n| generation <= n.load(Ordering::Acquire))
            && self
                .graves
                .lock()
                .get(&(place.0, generation))
                .is_some_and(|(buried, _)| *buried < time)
    }

    /// How what an address shows was withdrawn before `time`. Not where it was only taken out: a mapping goes on then.
    pub fn withdrawn_at(&self, addr: u64, generation: u32, time: u32) -> Option<&'static str> {
        let (place, _) = expected(addr)?;
        let graves = self.graves.lock();
        let (buried, how) = graves.get(&(place.0, generation))?;
        (*buried < time && *how != TAKEN_OUT).then_some(*how)
    }

    /// Checks a word that was read at `addr` by an access that began at `time`.
    pub fn check_word(&self, addr: u64, word: u64, time: u32) {
        let Some((place, _)) = expected(addr) else {
            return self.tally.violation(format_args!(
                "{word:#018x} was read at {addr:#x}, where nothing ever is"
            ));
        };
        match generation_at(addr, word) {
            Err(what) => self.tally.violation(what),
            Ok(_) if addr < super::words::BASE_BYTES => {}
            Ok(generation) => self.tally.check(!self.was_buried(place, generation, time), || {
                let how = self.graves.lock().get(&(place.0, generation)).map_or("", |(_, how)| how);
                format!("generation {generation} was read at {addr:#x} after its end had returned: {how}")
            }),
        }
    }

    /// Checks what a failure came to: a violation, unless the machine is being closed.
    pub fn failed(&self, what: &str, error: impl std::fmt::Display) {
        if !self.is_closing() {
            self.tally.violation(format_args!("{what}: {error}"));
        }
    }

    /// Takes note of a machine's event.
    pub fn heard(&self, event: &MachineEvent) {
        match event {
            MachineEvent::Finalized {
                id,
                path,
                type_name,
            } => {
                self.tally.did(Op::Finalized);
                let mut ends = self.ends.lock();
                let first = ends.ids.insert(*id);
                self.tally
                    .check(first, || format!("{path} was finalized twice"));
                // Names are not used twice, but for those that the library gives.
                if *type_name == "memory-region"
                    && !path.contains("/unattached/")
                    && let Some((owner, _)) = path.rsplit_once('/')
                {
                    let owner_is_gone = ends.paths.contains(owner);
                    self.tally.check(!owner_is_gone, || {
                        format!("{path} was finalized after its owner {owner}")
                    });
                }
                ends.paths.insert(path.clone());
            }
            MachineEvent::Panicked {
                object,
                what,
                message,
            } => {
                let ours = message == super::card::PANIC;
                self.tally
                    .check(ours, || format!("{what} of {object} panicked: {message}"));
            }
            _ => {}
        }
    }

    /// How many objects have been finalized.
    pub fn finalized(&self) -> usize {
        self.ends.lock().ids.len()
    }
}
