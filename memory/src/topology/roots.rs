//! Address spaces: their roots, and the view roots by which they share views.

use super::{Kind, RegionKey, SpaceKey, Topology, TopologyError};
use crate::addr::Offset;

impl Topology {
    /// Makes `root` the root of an address space: its byte 0 is the space's address 0, wherever the
    /// region is otherwise.
    ///
    /// # Errors
    ///
    /// [`TopologyError::SpaceAttached`]; [`TopologyError::UnknownRegion`] and
    /// [`TopologyError::Withdrawn`] of the root.
    pub fn attach_root(&mut self, space: SpaceKey, root: RegionKey) -> Result<(), TopologyError> {
        if let Some(&Some(root)) = self.spaces.get(&space) {
            return Err(TopologyError::SpaceAttached { space, root });
        }
        self.live(root)?;
        self.spaces.insert(space, Some(root));
        self.node_mut(root).spaces.push(space);
        self.pending.spaces.insert(space);
        Ok(())
    }

    /// Takes an address space off its root.
    ///
    /// # Errors
    ///
    /// [`TopologyError::UnknownSpace`].
    pub fn detach_root(&mut self, space: SpaceKey) -> Result<(), TopologyError> {
        let root = self
            .spaces
            .remove(&space)
            .ok_or(TopologyError::UnknownSpace { space })?;
        if let Some(root) = root {
            self.node_mut(root).spaces.retain(|&other| other != space);
        }
        self.pending.spaces.insert(space);
        Ok(())
    }

    /// The root of an attached space; `None` also where the root was retracted.
    pub fn root_of(&self, space: SpaceKey) -> Option<RegionKey> {
        self.spaces.get(&space).copied().flatten()
    }

    /// Whether a space is attached, be it to a root that was retracted since.
    pub fn is_attached(&self, space: SpaceKey) -> bool {
        self.spaces.contains_key(&space)
    }

    /// Every attached space and its root; `None` where the root was retracted.
    pub fn spaces(&self) -> impl Iterator<Item = (SpaceKey, Option<RegionKey>)> + '_ {
        self.spaces.iter().map(|(&space, &root)| (space, root))
    }

    /// The region whose view an address space rooted at `root` shows: spaces with the same view root
    /// share one view. `None` where nothing can show.
    ///
    /// From an alias with offset 0 that is no smaller than its target it goes on to the target, from a
    /// container without callbacks whose only enabled subregion lies at 0 and is no bigger to that one.
    /// Unlike QEMU's, this walk steps only over regions without flags, and the region where it ends is
    /// seen at 0, wherever its container has it: so the view is the root's own in every respect.
    pub fn resolve_root(&self, root: RegionKey) -> Option<RegionKey> {
        let mut key = root;
        loop {
            let node = self.get(key)?;
            if !node.enabled || node.withdrawn {
                return None;
            }
            let (next, fits_at) = match node.kind {
                Kind::Alias { target, offset } => (target?, offset),
                Kind::Container { terminates: false } if node.below().enabled == 0 => return None,
                Kind::Container { terminates: false } => match node.only_enabled_child() {
                    Some(child) => (child, self.node(child).address),
                    None => return Some(key),
                },
                _ => return Some(key),
            };
            if node.has_flags() || fits_at != Offset(0) || self.node(next).size > node.size {
                return Some(key);
            }
            key = next;
        }
    }
}
