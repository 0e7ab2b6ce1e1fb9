//! Room in the guest's RAM for what its driver puts there: rings, requests, replies.

use std::collections::BTreeMap;

/// Everything is given out in whole pages, so that no two commands share one.
const PAGE: u64 = 4096;

/// Guest addresses to be had and given back.
#[derive(Debug)]
pub(super) struct Arena {
    /// Free stretches: first address and length, apart from each other.
    free: BTreeMap<u64, u64>,
    taken: BTreeMap<u64, u64>,
}

impl Arena {
    /// All of `len` bytes from `base` on.
    pub(super) fn new(base: u64, len: u64) -> Self {
        Self {
            free: BTreeMap::from([(base, len)]),
            taken: BTreeMap::new(),
        }
    }

    /// The address of at least `len` bytes; none where there is no such room.
    pub(super) fn take(&mut self, len: u64) -> Option<u64> {
        let len = len.max(1).checked_next_multiple_of(PAGE)?;
        let (&at, &room) = self.free.iter().find(|(_, room)| **room >= len)?;
        self.free.remove(&at);
        if room > len {
            self.free.insert(at + len, room - len);
        }
        self.taken.insert(at, len);
        Some(at)
    }

    /// Gives back what was taken at that address.
    pub(super) fn give(&mut self, at: u64) {
        let Some(mut len) = self.taken.remove(&at) else {
            debug_assert!(false, "{at:#x} was not taken");
            return;
        };
        let mut at = at;
        if let Some(behind) = self.free.remove(&(at + len)) {
            len += behind;
        }
        if let Some((&before, &room)) = self.free.range(..at).next_back()
            && before + room == at
        {
            self.free.remove(&before);
            at = before;
            len += room;
        }
        self.free.insert(at, len);
    }

    /// How many stretches are taken.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_becomes_whole_again() {
        let mut arena = Arena::new(0x10_0000, 16 * PAGE);
        let mut taken: Vec<u64> = (1..=5).map(|n| arena.take(n * 3000).unwrap()).collect();
        assert!(arena.take(16 * PAGE).is_none());
        for index in [1, 2, 0, 1, 0] {
            arena.give(taken.remove(index));
        }
        assert_eq!(arena.taken(), 0);
        assert_eq!(arena.take(16 * PAGE), Some(0x10_0000));
    }

    #[test]
    fn stretches_never_overlap() {
        let mut arena = Arena::new(0, 64 * PAGE);
        let mut live: Vec<(u64, u64)> = Vec::new();
        let mut state = 7_u64;
        for _ in 0..2000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let len = 1 + (state >> 33) % (5 * PAGE);
            if state & (1 << 32) == 0 {
                if let Some(at) = arena.take(len) {
                    assert!(live.iter().all(|&(a, n)| at + len <= a || a + n <= at));
                    live.push((at, len));
                }
            } else if let Some((at, _)) = live.pop() {
                arena.give(at);
            }
        }
    }
}
