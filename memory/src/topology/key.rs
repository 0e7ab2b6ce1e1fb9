//! The names by which the topology knows regions and address spaces.

use std::fmt;
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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionKey {
    pub(super) index: u32,
    pub(super) generation: NonZeroU32,
}

impl RegionKey {
    /// Both halves as one number, never 0.
    pub fn to_bits(self) -> u64 {
        u64::from(self.index) << 32 | u64::from(self.generation.get())
    }

    /// Where in memory the topology has the region: the nearer to another's, the likelier both were made together.
    pub(crate) fn place(self) -> u32 {
        self.index
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

/// A map by region, for whoever has a lot to look up: a slab that has its values where the topology has the regions.
#[derive(Debug)]
pub(crate) struct ByRegion<T> {
    slots: Vec<Option<(NonZeroU32, T)>>,
}

impl<T> Default for ByRegion<T> {
    fn default() -> Self {
        Self { slots: Vec::new() }
    }
}

impl<T> ByRegion<T> {
    pub(crate) fn get(&self, key: RegionKey) -> Option<&T> {
        let (generation, value) = self.slots.get(key.index as usize)?.as_ref()?;
        (*generation == key.generation).then_some(value)
    }

    pub(crate) fn get_mut(&mut self, key: RegionKey) -> Option<&mut T> {
        let (generation, value) = self.slots.get_mut(key.index as usize)?.as_mut()?;
        (*generation == key.generation).then_some(value)
    }

    /// Puts a value there; the one that was at this place before, of this region or an earlier one, goes.
    pub(crate) fn insert(&mut self, key: RegionKey, value: T) {
        let at = key.index as usize;
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, || None);
        }
        self.slots[at] = Some((key.generation, value));
    }

    pub(crate) fn remove(&mut self, key: RegionKey) -> Option<T> {
        self.get(key)?;
        let taken = self.slots[key.index as usize].take();
        taken.map(|(_, value)| value)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten().map(|(_, value)| value)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32, generation: u32) -> RegionKey {
        RegionKey {
            index,
            generation: NonZeroU32::new(generation).unwrap(),
        }
    }

    #[test]
    fn what_is_kept_of_a_region_is_not_found_by_the_key_of_another() {
        let mut map = ByRegion::default();
        map.insert(key(3, 1), "old");
        assert_eq!(map.get(key(3, 1)), Some(&"old"));
        assert!(map.get(key(3, 2)).is_none() && map.get(key(4, 1)).is_none());
        assert!(map.get_mut(key(3, 2)).is_none() && map.remove(key(3, 2)).is_none());
        map.insert(key(3, 2), "new");
        map.insert(key(0, 1), "first");
        assert!(map.get(key(3, 1)).is_none() && map.remove(key(3, 1)).is_none());
        *map.get_mut(key(3, 2)).unwrap() = "newer";
        assert_eq!(
            map.values().copied().collect::<Vec<_>>(),
            ["first", "newer"]
        );
        assert_eq!(map.remove(key(3, 2)), Some("newer"));
        assert_eq!(map.values().copied().collect::<Vec<_>>(), ["first"]);
    }
}
