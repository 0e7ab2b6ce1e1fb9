//! The names by which the topology knows regions and address spaces.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::num::NonZeroU32;

/// Names one region of one [`Topology`](super::Topology): a place in its slab and a generation, so that
/// the key of a removed region never names the region that took its place.
///
/// ```
/// use memory::addr::Size;
/// use memory::topology::{RegionSpec, Topology};
/// let mut topology = Topology::new();
/// let old = topology.insert(RegionSpec::ram(Size::new(0x1000)))?;
/// topology.remove(old)?;
/// let new = topology.insert(RegionSpec::ram(Size::new(0x1000)))?;
/// assert_ne!(old, new);
/// assert!(topology.get(old).is_none());
/// # Ok::<(), memory::topology::TopologyError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RegionKey {
    pub(super) index: u32,
    pub(super) generation: NonZeroU32,
}

impl RegionKey {
    /// Both halves as one number, never 0.
    pub fn to_bits(self) -> u64 {
        u64::from(self.index) << 32 | u64::from(self.generation.get())
    }

    /// The key whose [`to_bits`](Self::to_bits) is `bits`, if there can be one.
    pub fn from_bits(bits: u64) -> Option<Self> {
        let index = u32::try_from(bits >> 32).ok()?;
        let generation = u32::try_from(bits & u64::from(u32::MAX)).ok()?;
        Some(Self {
            index,
            generation: NonZeroU32::new(generation)?,
        })
    }
}

impl Hash for RegionKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.to_bits());
    }
}

/// A map by region, for whoever has a lot to look up.
pub(crate) type ByRegion<T> = HashMap<RegionKey, T, BuildHasherDefault<KeyHasher>>;

/// Spreads region keys: they are given out here, so that nobody can choose keys that collide.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u64(&mut self, bits: u64) {
        // An odd multiplier takes each bit upwards, the fold takes what came up down again: a table uses bits of both ends.
        let product = u128::from(self.0 ^ bits) * 0x9e37_79b9_7f4a_7c15;
        let (low, high) = (product, product >> 64);
        self.0 = u64::try_from((low ^ high) & u128::from(u64::MAX)).unwrap_or(0);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl fmt::Debug for RegionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "region {}.{}", self.index, self.generation)
    }
}

impl fmt::Display for RegionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Names one address space. Whoever opens spaces chooses the number and does not use it twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpaceKey(pub u64);

impl fmt::Display for SpaceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "address space {}", self.0)
    }
}
