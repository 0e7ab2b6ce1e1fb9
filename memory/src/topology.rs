//! Who contains whom: the regions of one machine and their edges, as plain data.
//!
//! A [`Topology`] is a slab of regions. Every change keeps the edges in both directions, finds the
//! *damage* (which addresses of which address spaces may look different now) and counts what QEMU would
//! tell its listeners of. It renders nothing: [`flat`](crate::flat) does, from the damage that
//! [`Topology::take_pending`] hands out at commit.
//!
//! There are no objects, locks or threads here; whoever owns the topology brings its lock.
//!
//! ```
//! use memory::addr::{Offset, Size};
//! use memory::flat::render_full;
//! use memory::topology::{Priority, RegionSpec, Topology};
//!
//! let mut topology = Topology::new();
//! let system = topology.insert(RegionSpec::container(Size::MAX))?;
//! let ram = topology.insert(RegionSpec::ram(Size::new(0x4000)))?;
//! let uart = topology.insert(RegionSpec::io(Size::new(0x100)))?;
//! topology.add_subregion(system, ram, Offset(0), Priority(0))?;
//! topology.add_subregion(system, uart, Offset(0x1000), Priority(1))?;
//! let starts: Vec<u64> = render_full(&topology, Some(system)).iter().map(|r| r.span.first()).collect();
//! assert_eq!(starts, [0, 0x1000, 0x1100]);
//! # Ok::<(), memory::topology::TopologyError>(())
//! ```

mod damage;
mod edges;
mod error;
mod interval;
mod key;
mod node;
mod retract;
mod roots;
mod set;
mod spec;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

pub use damage::{Damage, Pending};
pub use error::TopologyError;
pub(crate) use interval::Interval;
pub(crate) use key::ByRegion;
pub use key::{RegionKey, SpaceKey};
pub use node::Node;
pub use spec::{Kind, Priority, RegionSpec};

/// The regions of one machine, who contains whom, and what changed since the last commit.
///
/// See the [module](self) for an example.
#[derive(Debug, Default)]
pub struct Topology {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// How many regions were ever put into containers: what the next is ordered by.
    added: u64,
    /// Every attached space and its root; `None` where the root was retracted.
    spaces: BTreeMap<SpaceKey, Option<RegionKey>>,
    pending: Pending,
    /// Containers in whose index by address some wait to be put in.
    unsettled: Vec<RegionKey>,
}

#[derive(Debug)]
struct Slot {
    /// Of the region that is here, or of the next.
    generation: NonZeroU32,
    node: Option<Node>,
}

/// The regions apart from the rest, for whoever changes that meanwhile.
#[derive(Clone, Copy)]
struct Slots<'a>(&'a [Slot]);

impl<'a> Slots<'a> {
    fn get(self, region: RegionKey) -> Option<&'a Node> {
        let slot = self.0.get(region.index as usize)?;
        let node = slot.node.as_ref();
        node.filter(|_| slot.generation == region.generation)
    }

    /// A region that an edge leads to.
    fn node(self, region: RegionKey) -> &'a Node {
        // INVARIANT: edges are cut on both sides before a region is removed.
        self.get(region).expect("an edge leads to a region")
    }
}

impl Topology {
    /// How many paths may lead down from one region, through subregions and aliases: 2^22. A renderer
    /// follows each path once at most, so this bounds what one commit can cost.
    pub const MAX_PATHS: u64 = 1 << 22;

    /// No regions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a region, outside every container.
    ///
    /// # Errors
    ///
    /// [`TopologyError::UnknownRegion`], [`TopologyError::Withdrawn`]: of an alias's target.
    /// [`TopologyError::TooManyPaths`]: an alias would show as many regions as its target, and itself.
    ///
    /// # Panics
    ///
    /// With 2^32 regions, which no memory holds.
    pub fn insert(&mut self, spec: RegionSpec) -> Result<RegionKey, TopologyError> {
        let target = match spec.kind {
            Kind::Alias { target, .. } => target,
            _ => None,
        };
        let mut paths = 1;
        if let Some(target) = target {
            paths += self.live(target)?.paths;
        }
        let index = match self.free.last() {
            Some(&index) => index,
            None => u32::try_from(self.slots.len()).expect("fewer than 2^32 regions"),
        };
        let generation = self
            .slots
            .get(index as usize)
            .map_or(NonZeroU32::MIN, |slot| slot.generation);
        let key = RegionKey { index, generation };
        if paths > Self::MAX_PATHS {
            return Err(TopologyError::TooManyPaths {
                region: key,
                paths,
                limit: Self::MAX_PATHS,
            });
        }
        let node = Some(Node::new(spec, paths));
        if self.free.pop().is_some() {
            self.slots[index as usize].node = node;
        } else {
            self.slots.push(Slot { generation, node });
        }
        if let Some(target) = target {
            self.node_mut(target).aliases.insert(key);
        }
        Ok(key)
    }

    /// Forgets a region; where it still has edges it is [retracted](Self::retract) first.
    ///
    /// # Errors
    ///
    /// [`TopologyError::UnknownRegion`].
    pub fn remove(&mut self, region: RegionKey) -> Result<(), TopologyError> {
        self.known(region)?;
        self.retract(&[region]);
        let slot = &mut self.slots[region.index as usize];
        slot.node = None;
        // A place whose generations are used up is never used again.
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            self.free.push(region.index);
        }
        Ok(())
    }

    /// The region of this key, or `None` where it was removed.
    pub fn get(&self, region: RegionKey) -> Option<&Node> {
        Slots(&self.slots).get(region)
    }

    /// How many regions there are.
    pub fn len(&self) -> usize {
        self.slots.iter().filter(|slot| slot.node.is_some()).count()
    }

    /// Whether there are no regions.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every region's key, in no particular order.
    pub fn keys(&self) -> impl Iterator<Item = RegionKey> + '_ {
        (0u32..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.node.is_some())
            .map(|(index, slot)| RegionKey {
                index,
                generation: slot.generation,
            })
    }

    /// What changed since the last call, for the commit of a transaction.
    pub fn take_pending(&mut self) -> Pending {
        self.settle();
        std::mem::take(&mut self.pending)
    }

    /// Puts what waits into the containers' indices.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if !self.unsettled.is_empty() {
            self.settle_containers();
        }
    }

    /// Whether nothing waits.
    #[cfg(test)]
    pub(crate) fn is_settled(&self) -> bool {
        self.unsettled.is_empty()
    }

    fn settle_containers(&mut self) {
        for container in std::mem::take(&mut self.unsettled) {
            // It may have been removed since.
            let slot = self.slots.get_mut(container.index as usize);
            let slot = slot.filter(|slot| slot.generation == container.generation);
            let node = slot.and_then(|slot| slot.node.as_mut());
            if let Some(children) = node.and_then(|node| node.children.as_mut()) {
                children.shown.settle();
            }
        }
    }

    /// What changed since the last [`take_pending`](Self::take_pending).
    pub fn pending(&self) -> &Pending {
        &self.pending
    }

    fn known(&self, region: RegionKey) -> Result<&Node, TopologyError> {
        self.get(region)
            .ok_or(TopologyError::UnknownRegion { region })
    }

    fn live(&self, region: RegionKey) -> Result<&Node, TopologyError> {
        let node = self.known(region)?;
        if node.withdrawn {
            Err(TopologyError::Withdrawn { region })
        } else {
            Ok(node)
        }
    }

    /// A region that an edge leads to.
    pub(crate) fn node(&self, region: RegionKey) -> &Node {
        Slots(&self.slots).node(region)
    }

    fn node_mut(&mut self, region: RegionKey) -> &mut Node {
        debug_assert!(self.get(region).is_some());
        self.slots[region.index as usize]
            .node
            .as_mut()
            .expect("an edge leads to a region")
    }
}

#[cfg(test)]
mod tests;
