//! Places in no order, the same in every run: drawn before anything is timed.

use std::hint::black_box;

/// Numbers that look random, from a seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number. By Steele, Lea and Flood's `SplitMix64`.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// The next number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// Puts a list out of order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            let other = usize::try_from(self.below(last as u64 + 1)).expect("an index");
            list.swap(last, other);
        }
    }
}

/// How many addresses a pool has. A power of two.
const POOL: usize = 4096;

/// Addresses that are visited one after another, again and again.
#[derive(Clone, Debug)]
pub struct Pool(Vec<u64>);

impl Pool {
    /// What `draw` draws.
    pub fn of(mut draw: impl FnMut() -> u64) -> Self {
        Self((0..POOL).map(|_| draw()).collect())
    }

    /// Random addresses below `end`, each a multiple of `step`.
    pub fn below(end: u64, step: u64) -> Self {
        let mut random = Random::new(end ^ step);
        Self::of(|| random.below(end / step) * step)
    }

    /// One and the same address each time: the first of this pool. Drawn like any other, so that the loop is the same.
    pub fn hot(&self) -> Self {
        Self(vec![self.0[0]; POOL])
    }

    /// The addresses, in their order.
    pub fn addresses(&self) -> &[u64] {
        &self.0
    }

    /// Visits `rounds` addresses, beginning with number `from`. The compiler knows nothing of them.
    #[inline]
    pub fn each(&self, from: u64, rounds: u64, mut visit: impl FnMut(u64)) {
        let pool: &[u64; POOL] = self.0.first_chunk().expect("a whole pool");
        for round in from..from + rounds {
            #[expect(clippy::cast_possible_truncation, reason = "taken modulo the pool")]
            let addr = pool[round as usize % POOL];
            visit(black_box(addr));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_aligned_spread_and_the_same_again() {
        let pool = Pool::below(1 << 20, 4);
        let addresses = pool.addresses();
        assert!(addresses.iter().all(|a| *a < 1 << 20 && a % 4 == 0));
        assert!(addresses.iter().any(|a| *a < 1 << 16) && addresses.iter().any(|a| *a > 15 << 16));
        assert_eq!(addresses, Pool::below(1 << 20, 4).addresses());
        let (mut seen, mut hot) = (Vec::new(), Vec::new());
        pool.each(POOL as u64 - 1, 2, |a| seen.push(a));
        assert_eq!(seen, [addresses[POOL - 1], addresses[0]]);
        pool.hot().each(5, 2, |a| hot.push(a));
        assert_eq!(hot, [addresses[0]; 2]);
    }

    #[test]
    fn shuffling_keeps_everything_and_the_order_of_little() {
        let mut list: Vec<u64> = (0..1000).collect();
        Random::new(1).shuffle(&mut list);
        assert!(
            list.iter()
                .enumerate()
                .filter(|(i, x)| *i as u64 == **x)
                .count()
                < 20
        );
        list.sort_unstable();
        assert_eq!(list, (0..1000).collect::<Vec<_>>());
    }
}
