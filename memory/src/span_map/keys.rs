//! The keys of a node, and how the one for an address is found: by a table of hints, or by halving.
//!
//! A search by halving is a chain of dependent loads, some 40 cycles for 32 keys, and a lookup has two or three of them. So each
//! node has a table besides: what its keys span is cut into slots of a power of two of addresses, and for each slot the table says
//! which key comes last at its begin. Guest memory maps are made of aligned pieces, so that most often this is the answer; where keys begin inside
//! slots, one comparison more mostly settles it, and halving is the rest.

use std::hint::{cold_path, select_unpredictable};
use std::ops::Range;

/// The first addresses of a node's entries, ascending; `u64::MAX` behind the last. `N` keys and `SLOTS` slots are powers of two.
///
/// What a lookup reads first is together, and apart from the counts of the pointers to the node, which change while readers read.
#[derive(Clone)]
#[repr(C)]
pub(super) struct Keys<const N: usize, const SLOTS: usize> {
    /// The counts stand right before this, at the begin of a block, which is aligned to 16 bytes: no line of 64 has both them and a key.
    _apart: [u64; 6],
    /// The first key.
    base: u64,
    /// A slot has `1 << shift` addresses; the first begins at the base.
    shift: u32,
    /// For each slot the last key that is not above its begin, as an index; each with [`UNSURE`] unless every key is at the begin of a slot. (Of all slots
    /// or of none, so that a processor guesses right which.)
    hints: [u8; SLOTS],
    first: [u64; N],
}

/// Marks hints that are to be compared with the keys.
const UNSURE: u8 = 0x80;

impl<const N: usize, const SLOTS: usize> Keys<N, SLOTS> {
    /// No keys.
    pub(super) const EMPTY: Self = {
        assert!(N.is_power_of_two() && N <= UNSURE as usize && SLOTS.is_power_of_two());
        Self {
            _apart: [0; 6],
            base: u64::MAX,
            shift: 0,
            hints: [0; SLOTS],
            first: [u64::MAX; N],
        }
    };

    /// Puts a key at one place. [`give_hints`](Self::give_hints) is to follow when all are there.
    pub(super) fn put(&mut self, at: usize, key: u64) {
        self.first[at] = key;
    }

    /// Puts some of another node's keys here, from one place on.
    pub(super) fn copy(&mut self, at: usize, other: &Self, keys: Range<usize>) {
        self.first[at..at + keys.len()].copy_from_slice(&other.first[keys]);
    }

    /// Makes the table for the first `len` keys, which ascend; behind them is `u64::MAX`.
    pub(super) fn give_hints(&mut self, len: usize) {
        let Some(&last) = self.first[..len].last() else {
            return;
        };
        self.base = self.first[0];
        let mut is_exact = true;
        self.hints = [0; SLOTS];
        let bits = u64::BITS - (last - self.base).leading_zeros();
        self.shift = bits.saturating_sub(SLOTS.ilog2());
        // Each key is noted in the first slot that begins at or behind it; of those that share one, the last. The first key is the base.
        for (at, key) in (0..).zip(&self.first[..len]).skip(1) {
            let slot = (key - self.base) >> self.shift;
            let is_at_begin = slot << self.shift == key - self.base;
            is_exact &= is_at_begin;
            // INVARIANT: below SLOTS, as the shift is chosen so; one more where the key is inside the last slot.
            let from = usize::try_from(slot).unwrap_or(SLOTS) + usize::from(!is_at_begin);
            if let Some(hint) = self.hints.get_mut(from) {
                *hint = at;
            }
        }
        // A slot without a note has that of the slot before it: the highest so far. By doubling steps, several slots at once.
        let mut step = 1;
        while step < SLOTS {
            let before = self.hints;
            for (hint, earlier) in self.hints[step..].iter_mut().zip(&before) {
                *hint = (*earlier).max(*hint);
            }
            step *= 2;
        }
        if !is_exact {
            for hint in &mut self.hints {
                *hint |= UNSURE;
            }
        }
    }

    #[inline]
    pub(super) fn at(&self, at: usize) -> u64 {
        self.first[at]
    }

    /// The last key that is not above `addr`, as an index; any index where the first is above it. Not for `u64::MAX`.
    #[inline]
    pub(super) fn find(&self, addr: u64) -> usize {
        self.find_at_once(addr)
            .unwrap_or_else(|| self.last_not_above(addr))
    }

    /// The same where the table and two comparisons say it; else none. It calls nothing. For `u64::MAX` it may be an index behind the used ones.
    #[inline]
    pub(super) fn find_at_once(&self, addr: u64) -> Option<usize> {
        let slot = addr.wrapping_sub(self.base) >> self.shift;
        let slot = usize::try_from(slot).unwrap_or(SLOTS).min(SLOTS - 1);
        let hint = self.hints[slot];
        if hint & UNSURE == 0 {
            return Some(usize::from(hint) & (N - 1));
        }
        cold_path();
        let hint = usize::from(hint) & (N - 1);
        let next = (hint + 1).min(N - 1);
        let at = select_unpredictable(self.first[next] <= addr, next, hint);
        let next = (at + 1).min(N - 1);
        (next == at || self.first[next] > addr).then_some(at)
    }

    /// The last key that is not above `addr`, as an index; 0 also where the first is above it. For
    /// `u64::MAX` it may be behind the used ones.
    ///
    /// Compares and conditional moves only: a branch here would be guessed wrong half of the time.
    #[inline(never)]
    pub(super) fn last_not_above(&self, addr: u64) -> usize {
        let mut at = 0;
        let mut step = N / 2;
        while step > 0 {
            at = select_unpredictable(self.first[at | step] <= addr, at | step, at);
            step /= 2;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::{Keys, UNSURE};
    use proptest::prelude::*;

    fn keys_of(keys: &[u64]) -> Keys<16, 32> {
        let mut first = [u64::MAX; 16];
        first[..keys.len()].copy_from_slice(keys);
        let mut found = Keys {
            first,
            ..Keys::EMPTY
        };
        found.give_hints(keys.len());
        found
    }

    fn check(keys: &[u64], addrs: impl IntoIterator<Item = u64>) {
        let found = keys_of(keys);
        for addr in addrs {
            let Some(expected) = keys.iter().rposition(|key| *key <= addr) else {
                continue;
            };
            assert_eq!(found.last_not_above(addr), expected, "{keys:x?} {addr:#x}");
            assert_eq!(found.find(addr), expected, "{keys:x?} {addr:#x}");
        }
    }

    #[test]
    fn at_the_ends() {
        let top = u64::MAX - 1;
        for keys in [
            vec![0],
            vec![top],
            vec![0, top],
            vec![0, 1, top - 1, top],
            (0..16).collect(),
            (0..16).map(|i| top - i).rev().collect(),
            (0..16).map(|i| 1 << (i * 4)).collect(),
            (0..16).map(|i| (i << 60) + i).collect(),
        ] {
            let around = keys.iter().flat_map(|k| [k.saturating_sub(1), *k, k + 1]);
            check(&keys, around.filter(|a| *a != u64::MAX).collect::<Vec<_>>());
        }
    }

    fn is_exact(keys: &[u64]) -> bool {
        keys_of(keys).hints.iter().all(|hint| hint & UNSURE == 0)
    }

    #[test]
    fn aligned_keys_are_found_by_the_table_alone() {
        for step in [1, 2, 0x1000, 1 << 40] {
            let aligned: Vec<_> = (0..16).map(|i| 7 + i * step).collect();
            assert!(is_exact(&aligned));
        }
        assert!(!is_exact(&[0, 3, 1 << 30]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn as_in_a_list(
            keys in prop::collection::btree_set(prop_oneof![0u64..100, 0u64..0x1_0000_0000, any::<u64>(), (0u64..64).prop_map(|b| 1 << b)], 1..=16),
            addrs in prop::collection::vec(any::<u64>(), 20),
        ) {
            let keys: Vec<u64> = keys.into_iter().filter(|key| *key != u64::MAX).collect();
            let around = keys.iter().flat_map(|key| [key.saturating_sub(1), *key, key + 1]).collect::<Vec<_>>();
            check(&keys, around.into_iter().chain(addrs).filter(|addr| *addr != u64::MAX));
        }
    }
}
