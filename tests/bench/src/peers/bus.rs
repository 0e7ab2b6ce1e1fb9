//! A bus of the kind that propolis and crosvm have: a tree of ranges behind a lock, handlers behind counted pointers.
//!
//! An access takes the lock, finds the range, copies the pointer, lets go of the lock and calls the handler, so that a handler may change
//! the bus. Written here from that description.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Who answers.
pub trait Handler: Send + Sync {
    /// A read of `data.len()` bytes at `offset` in its range.
    fn read(&self, offset: u64, data: &mut [u8]);
}

struct Entry {
    len: u64,
    handler: Arc<dyn Handler>,
}

/// The bus.
#[derive(Default)]
pub struct Bus {
    ranges: Mutex<BTreeMap<u64, Entry>>,
}

impl Bus {
    /// Puts a handler at a range; whether the range was free.
    pub fn insert(&self, base: u64, len: u64, handler: Arc<dyn Handler>) -> bool {
        let mut ranges = self.ranges.lock().expect("nobody panics under it");
        let before = ranges.range(..base + len).next_back();
        if before.is_some_and(|(other, entry)| other + entry.len > base) {
            return false;
        }
        ranges.insert(base, Entry { len, handler });
        true
    }

    /// Takes the handler away that begins at `base`; whether there was one.
    pub fn remove(&self, base: u64) -> bool {
        let mut ranges = self.ranges.lock().expect("nobody panics under it");
        ranges.remove(&base).is_some()
    }

    /// Reads; whether somebody is there.
    pub fn read(&self, addr: u64, data: &mut [u8]) -> bool {
        let found = {
            let ranges = self.ranges.lock().expect("nobody panics under it");
            let below = ranges.range(..=addr).next_back();
            below
                .filter(|(base, entry)| addr - **base + data.len() as u64 <= entry.len)
                .map(|(base, entry)| (addr - base, entry.handler.clone()))
        };
        match found {
            Some((offset, handler)) => {
                handler.read(offset, data);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Offset;
    impl Handler for Offset {
        fn read(&self, offset: u64, data: &mut [u8]) {
            data.copy_from_slice(&offset.to_le_bytes()[..data.len()]);
        }
    }

    #[test]
    fn finds_who_is_there_and_refuses_what_overlaps() {
        let bus = Bus::default();
        assert!(bus.insert(0x1000, 0x100, Arc::new(Offset)));
        assert!(!bus.insert(0x10ff, 0x100, Arc::new(Offset)));
        assert!(!bus.insert(0xf80, 0x100, Arc::new(Offset)));
        assert!(bus.insert(0x1100, 0x100, Arc::new(Offset)));
        let mut data = [0; 4];
        assert!(bus.read(0x1104, &mut data));
        assert_eq!(u32::from_le_bytes(data), 4);
        assert!(!bus.read(0x11fe, &mut data) && !bus.read(0x1200, &mut data));
        assert!(bus.remove(0x1100) && !bus.read(0x1104, &mut data));
    }
}
