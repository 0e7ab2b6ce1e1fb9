//! Threads that read the host-visible window while blobs come and go in it, and know what they must find.
//!
//! The driver says what it knows of the window: where a blob is mapped and with which word it begins, and where it does not know
//! (between a command and its reply). A reader takes note of the state of that knowledge, reads, and looks whether it still is the
//! same: then the read must have found the blob where one is mapped, and a hole where nothing is known to be.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

use memory::{AddressSpace, Attrs, Gpa};

const PAGE: u64 = 4096;

/// A stretch of the window with a blob in it, or perhaps with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    offset: u64,
    len: u64,
    /// The blob's first word, if it has one that is known.
    word: Option<u32>,
    /// Whether a blob is mapped there for certain.
    certain: bool,
}

/// What is known of the window, by the driver's name for each mapping: where one blob is about to go, another one may be about to come.
type Known = BTreeMap<u64, Stretch>;

/// What the readers found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Reads that found a blob.
    pub(super) hits: AtomicU64,
    /// Reads that found nothing.
    pub(super) holes: AtomicU64,
    /// Reads of what was known at that time, and as it should be.
    pub(super) checked: AtomicU64,
    /// The first read that was not, in words.
    pub(super) wrong: Mutex<Option<String>>,
}

/// The window as driver and readers see it.
pub(super) struct Window {
    space: AddressSpace,
    base: u64,
    len: u64,
    known: Mutex<Arc<Known>>,
    /// Grows with each change of `known`; odd while one is under way.
    version: AtomicU64,
    stop: AtomicBool,
    pub(super) found: Found,
}

impl Window {
    /// Nothing is mapped.
    pub(super) fn new(space: &AddressSpace, base: u64, len: u64) -> Self {
        Self {
            space: space.clone(),
            base,
            len,
            known: Mutex::default(),
            version: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            found: Found::default(),
        }
    }

    fn change(&self, f: impl FnOnce(&mut Known)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // ORDERING: SeqCst: in front of the command that makes it come true, and in the same order for all.
        self.version.fetch_add(1, Ordering::SeqCst);
        let mut next = Known::clone(&known);
        f(&mut next);
        *known = Arc::new(next);
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    /// Mapping `name` is about to come or to go there. To be said before the command is sent.
    pub(super) fn uncertain(&self, name: u64, offset: u64, len: u64) {
        self.set(name, offset, len, None, false);
    }

    /// A blob is mapped there; it begins with that word, if with any.
    pub(super) fn mapped(&self, name: u64, offset: u64, len: u64, word: Option<u32>) {
        self.set(name, offset, len, word, true);
    }

    fn set(&self, name: u64, offset: u64, len: u64, word: Option<u32>, certain: bool) {
        let stretch = Stretch {
            offset,
            len,
            word,
            certain,
        };
        self.change(|known| {
            known.insert(name, stretch);
        });
    }

    /// Mapping `name` is no more.
    pub(super) fn gone(&self, name: u64) {
        self.change(|known| {
            known.remove(&name);
        });
    }

    /// Nobody knows what is where: the device is about to be reset or unplugged.
    pub(super) fn all_uncertain(&self) {
        let whole = Stretch {
            offset: 0,
            len: self.len,
            word: None,
            certain: false,
        };
        self.change(|known| *known = Known::from([(0, whole)]));
    }

    /// There is nothing at all in the window.
    pub(super) fn empty(&self) {
        self.change(Known::clear);
    }

    /// Ends the readers.
    pub(super) fn stop(&self) {
        // ORDERING: Relaxed: nothing but the end is told by it.
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Reads until [`stop`](Self::stop), as fast as it can.
    pub(super) fn read(&self, seed: u64) {
        let reader = self.space.reader();
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let (mut hits, mut holes, mut checked) = (0, 0, 0);
        while !self.stop.load(Ordering::Relaxed) {
            let version = self.version.load(Ordering::SeqCst);
            let known = self
                .known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            for _ in 0..64 {
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                let Some((offset, expected)) = self.choose(&known, dice) else {
                    break;
                };
                let value = reader
                    .enter()
                    .load::<u32>(Gpa(self.base + offset), Attrs::default());
                if value.is_ok() {
                    hits += 1;
                } else {
                    holes += 1;
                }
                // ORDERING: what was read comes before the second look at the version.
                fence(Ordering::SeqCst);
                if self.version.load(Ordering::SeqCst) != version || version % 2 == 1 {
                    break;
                }
                match (expected, value) {
                    (Expected::Anything, _) => continue,
                    (Expected::Hole, Err(_)) | (Expected::Blob(None), Ok(_)) => {}
                    (Expected::Blob(Some(word)), Ok(value)) if word == value => {}
                    (expected, value) => self.report(offset, expected, value.ok()),
                }
                checked += 1;
            }
        }
        self.found.hits.fetch_add(hits, Ordering::Relaxed);
        self.found.holes.fetch_add(holes, Ordering::Relaxed);
        self.found.checked.fetch_add(checked, Ordering::Relaxed);
    }

    fn report(&self, offset: u64, expected: Expected, value: Option<u32>) {
        let found = value.map_or_else(|| "a hole".to_owned(), |v| format!("{v:#x}"));
        let text =
            format!("a read at {offset:#x} of the window found {found} instead of {expected:?}");
        let mut wrong = self
            .found
            .wrong
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        wrong.get_or_insert(text);
    }

    /// Where to read, and what is to be found there. Three of four times at the begin of something that may be there.
    fn choose(&self, known: &Known, dice: u64) -> Option<(u64, Expected)> {
        let pages = self.len / PAGE;
        if pages == 0 {
            return None;
        }
        let mut offset = (dice >> 8) % pages * PAGE;
        if !known.is_empty() && !dice.is_multiple_of(4) {
            let index = usize::try_from((dice >> 8) % known.len() as u64).ok()?;
            offset = known.values().nth(index)?.offset;
        }
        let mut expected = Expected::Hole;
        for stretch in known.values() {
            if offset < stretch.offset || offset - stretch.offset >= stretch.len {
                continue;
            }
            if !stretch.certain {
                return Some((offset, Expected::Anything));
            }
            expected = Expected::Blob(stretch.word.filter(|_| stretch.offset == offset));
        }
        Some((offset, expected))
    }
}

/// What a read is to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Anything,
    Hole,
    Blob(Option<u32>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use memory::{Backing, Offset, Priority, Region, RegionApi, Size};
    use qom::Machine;
    use std::time::{Duration, Instant};

    /// A window of 16 pages with a blob of two pages at its second one.
    fn window(machine: &Machine) -> Window {
        let root = Region::container("root", Size::new(0x1_0000))
            .create(machine.root())
            .unwrap();
        let bytes = Backing::anonymous(2 * PAGE).unwrap();
        bytes.bytes().write(0, &7_u32.to_le_bytes()).unwrap();
        let blob = Region::ram("blob", bytes).create(machine.root()).unwrap();
        root.add_subregion(Offset(PAGE), &blob, Priority(0))
            .unwrap();
        let space = AddressSpace::open(machine.root(), "memory", &root).unwrap();
        Window::new(&space, 0, 0x1_0000)
    }

    fn found_wrong(window: &Window) -> Option<String> {
        let until = Instant::now() + Duration::from_secs(20);
        std::thread::scope(|scope| {
            scope.spawn(|| window.read(1));
            let wrong = || window.found.wrong.lock().unwrap().clone();
            let enough = Instant::now() + Duration::from_millis(50);
            while wrong().is_none() && Instant::now() < enough.min(until) {
                std::thread::yield_now();
            }
            window.stop();
        });
        window.found.wrong.lock().unwrap().clone()
    }

    #[test]
    fn what_is_as_it_is_known_is_fine() {
        let machine = Machine::new("window");
        let window = window(&machine);
        window.mapped(1, PAGE, 2 * PAGE, Some(7));
        assert_eq!(found_wrong(&window), None);
        let number = |n: &AtomicU64| n.load(Ordering::Relaxed);
        assert!(number(&window.found.hits) > 0 && number(&window.found.holes) > 0);
        assert!(number(&window.found.checked) > 0);
    }

    #[test]
    fn a_wrong_word_a_hole_and_a_leftover_are_found() {
        let machine = Machine::new("window");
        let wrong = |say: fn(&Window)| {
            let window = window(&machine);
            say(&window);
            found_wrong(&window)
        };
        assert!(wrong(|w| w.mapped(1, PAGE, 2 * PAGE, Some(8))).is_some_and(|t| t.contains("0x7")));
        assert!(wrong(|w| w.mapped(1, 0, PAGE, None)).is_some_and(|t| t.contains("hole")));
        assert!(wrong(Window::empty).is_some_and(|t| t.contains("Hole")));
        assert!(wrong(Window::all_uncertain).is_none());
    }
}
