//! Which fingerprints have been met: a table of nothing but them.
//!
//! A search looks for some ten million states in a table that is in no cache, and that is most of the time that it waits. Here a look is at one place of memory
//! where a general table has two (its own bytes, then the entry), and places can be asked for ahead, many together.

/// A set of fingerprints. They are spread already.
#[derive(Debug)]
pub(super) struct Seen {
    /// A power of two of them; each is at the place that its upper bits name or, where others were there first, at one of the next. Zero: nobody's.
    places: Vec<u128>,
    len: usize,
    has_zero: bool,
}

impl Seen {
    /// None have been met.
    pub(super) fn new() -> Self {
        Self {
            places: vec![0; 1 << 10],
            len: 0,
            has_zero: false,
        }
    }

    /// Adds one; false: it was there.
    pub(super) fn insert(&mut self, print: u128) -> bool {
        if print == 0 {
            return !std::mem::replace(&mut self.has_zero, true);
        }
        // At most half full, so that others are seldom in the way.
        if self.len * 2 >= self.places.len() {
            self.grow();
        }
        let is_new = put(&mut self.places, print);
        self.len += usize::from(is_new);
        is_new
    }

    /// Reads the places of some that are going to be added, as a processor waits for many together.
    pub(super) fn ahead(&self, prints: impl Iterator<Item = u128>) {
        let places = prints.map(|print| self.places[begin(&self.places, print)]);
        std::hint::black_box(places.fold(0, std::ops::BitXor::bitxor));
    }

    fn grow(&mut self) {
        let mut places = vec![0; self.places.len() * 2];
        for print in self.places.iter().filter(|print| **print != 0) {
            put(&mut places, *print);
        }
        self.places = places;
    }
}

/// Where a fingerprint is looked for first.
fn begin(places: &[u128], print: u128) -> usize {
    let bits = places.len().ilog2();
    usize::try_from(print >> (u128::BITS - bits)).unwrap_or(0)
}

/// Puts one where it belongs; false: it is there.
fn put(places: &mut [u128], print: u128) -> bool {
    let mut at = begin(places, print);
    loop {
        match places[at] {
            0 => {
                places[at] = print;
                return true;
            }
            there if there == print => return false,
            _ => at = (at + 1) % places.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Seen;
    use std::collections::HashSet;

    /// Fingerprints that want the same few places, zero among them, and the last place, behind which the first is.
    #[test]
    fn as_in_a_set() {
        let mut seen = Seen::new();
        let mut oracle = HashSet::new();
        for round in 0..3_u128 {
            for low in 0..3000_u128 {
                for high in [0, 1, 0x3ff, u128::from(u64::MAX)] {
                    let print = high << 118 | (low * (round + 1) % 2500);
                    seen.ahead([print].into_iter());
                    assert_eq!(seen.insert(print), oracle.insert(print), "{print:#x}");
                }
            }
        }
        assert_eq!(seen.len + usize::from(seen.has_zero), oracle.len());
        assert!(seen.len * 2 <= seen.places.len());
    }
}
