//! Withdrawal's first step: everything that leads to a region, and from it, is cut.

use super::{Kind, RegionKey, Topology};

impl Topology {
    /// Cuts the regions off, for good: takes them out of their containers, cuts the aliases to them
    /// (which are holes from then on), empties the address spaces rooted at them, and drops their own
    /// subregions and alias targets. Nothing can be attached to them any more.
    ///
    /// Keys of regions that are withdrawn already, or removed, are passed over.
    pub fn retract(&mut self, regions: &[RegionKey]) {
        for &region in regions {
            if self.get(region).is_some_and(|node| !node.withdrawn) {
                self.retract_one(region);
            }
        }
    }

    fn retract_one(&mut self, region: RegionKey) {
        if let Some(container) = self.node(region).container() {
            self.unplace(region);
            self.narrow(container, self.node(region).paths);
        }
        while let Some(&alias) = self.node(region).aliases.first() {
            self.cut_alias(alias);
        }
        for space in std::mem::take(&mut self.node_mut(region).spaces) {
            self.spaces.insert(space, None);
            self.pending.spaces.insert(space);
            self.count();
        }
        // From here on nothing leads to the region, so that what follows damages nothing.
        self.pending.forget_root(region);
        let children = self.node_mut(region).children.take();
        for child in children.into_iter().flat_map(|children| children.all) {
            self.node_mut(child.key).container = None;
        }
        if let Kind::Alias {
            target: Some(target),
            offset,
        } = self.node(region).kind
        {
            self.node_mut(target).aliases.remove(&region);
            self.node_mut(region).kind = Kind::Alias {
                target: None,
                offset,
            };
        }
        let node = self.node_mut(region);
        node.paths = 1;
        node.withdrawn = true;
    }

    fn cut_alias(&mut self, alias: RegionKey) {
        let Kind::Alias {
            target: Some(target),
            offset,
        } = self.node(alias).kind
        else {
            return;
        };
        self.damage(alias);
        if self.node(alias).enabled {
            self.count();
        }
        self.node_mut(target).aliases.remove(&alias);
        self.node_mut(alias).kind = Kind::Alias {
            target: None,
            offset,
        };
        self.narrow(alias, self.node(target).paths);
    }
}
