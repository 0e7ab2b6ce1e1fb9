//! Containers and subregions: adding, taking out, moving, and the loops that are refused.

use std::collections::{BTreeMap, BTreeSet};

use super::node::{Children, Placement};
use super::{Node, Priority, RegionKey, Topology, TopologyError};
use crate::addr::Offset;
use smallvec::SmallVec;

/// So many steps up are taken one by one.
const FEW: usize = 32;

impl Topology {
    /// Puts `child` into `parent` at `address`. Among overlapping subregions the higher priority hides
    /// the lower, and among equal ones this one, the newest, hides the others. It need not fit.
    ///
    /// # Errors
    ///
    /// [`TopologyError::UnknownRegion`], [`TopologyError::Withdrawn`] of either;
    /// [`TopologyError::AlreadyContained`]; [`TopologyError::ContainerLoop`] and
    /// [`TopologyError::AliasLoop`] where `parent` would be reached from itself;
    /// [`TopologyError::TooManyPaths`].
    pub fn add_subregion(
        &mut self,
        parent: RegionKey,
        child: RegionKey,
        address: Offset,
        priority: Priority,
    ) -> Result<(), TopologyError> {
        self.live(parent)?;
        if let Some(container) = self.live(child)?.container() {
            return Err(TopologyError::AlreadyContained {
                child,
                parent,
                container,
            });
        }
        self.check_loop(parent, child)?;
        self.widen(parent, self.node(child).paths)?;
        let node = self.node_mut(child);
        node.address = address;
        node.priority = priority;
        self.place(parent, child);
        Ok(())
    }

    /// Takes `child` out of `parent`. Where one of the two is withdrawn it is out already: that is fine.
    ///
    /// # Errors
    ///
    /// [`TopologyError::UnknownRegion`] of either; [`TopologyError::NotContained`].
    pub fn del_subregion(
        &mut self,
        parent: RegionKey,
        child: RegionKey,
    ) -> Result<(), TopologyError> {
        let gone = self.known(parent)?.withdrawn;
        let node = self.known(child)?;
        match node.container() {
            Some(container) if container == parent => {
                self.unplace(child);
                self.narrow(parent, self.node(child).paths);
                Ok(())
            }
            None if gone || node.withdrawn => Ok(()),
            container => Err(TopologyError::NotContained {
                child,
                parent,
                container,
            }),
        }
    }

    /// Moves a region within its container; nothing happens where it is there already. Moved, it is the
    /// newest among its siblings of equal priority. Outside a container this sets where it goes next.
    ///
    /// # Errors
    ///
    /// [`TopologyError::UnknownRegion`].
    pub fn set_address(&mut self, region: RegionKey, address: Offset) -> Result<(), TopologyError> {
        if self.known(region)?.address != address {
            self.replace(region, |this| this.node_mut(region).address = address);
        }
        Ok(())
    }

    /// Changes the priority of a region among its siblings, of whose equals it becomes the newest;
    /// nothing happens where it has it already.
    ///
    /// # Errors
    ///
    /// [`TopologyError::UnknownRegion`].
    pub fn set_priority(
        &mut self,
        region: RegionKey,
        priority: Priority,
    ) -> Result<(), TopologyError> {
        if self.known(region)?.priority != priority {
            self.replace(region, |this| this.node_mut(region).priority = priority);
        }
        Ok(())
    }

    /// Takes a region out of its container, if it is in one, and puts it back changed.
    fn replace(&mut self, region: RegionKey, change: impl FnOnce(&mut Self)) {
        let container = self.node(region).container();
        if container.is_some() {
            self.unplace(region);
        }
        change(self);
        if let Some(container) = container {
            self.place(container, region);
        }
    }

    /// The edge itself, with damage. Neither loops nor paths are looked at.
    fn place(&mut self, container: RegionKey, child: RegionKey) {
        self.touch_container(container);
        let order = self.added;
        self.added += 1;
        let siblings = self.node(container).below().all.len();
        let node = self.node_mut(child);
        node.container = Some(Placement {
            container,
            order,
            at: siblings,
        });
        let enabled = node.enabled;
        let waits = self.with_children(container, child, |children, node| {
            children.add(child, node, order)
        });
        self.unsettled.extend(waits.then_some(container));
        if enabled {
            self.damage(child);
            if self.node(container).enabled {
                self.count();
            }
        }
    }

    /// Takes the edge away, with damage. Paths are not looked at.
    pub(super) fn unplace(&mut self, child: RegionKey) {
        let node = self.node(child);
        let Some(placement) = node.container else {
            return;
        };
        let container = placement.container;
        if node.enabled {
            self.damage(child);
            if self.node(container).enabled {
                self.count();
            }
        }
        let moved = self.with_children(container, child, |children, node| {
            children.remove(child, node, placement)
        });
        self.node_mut(child).container = None;
        if let Some(moved) = moved
            && let Some(its) = &mut self.node_mut(moved).container
        {
            its.at = placement.at;
        }
        self.touch_container(container);
    }

    /// Lends out the children of one region beside another region.
    pub(super) fn with_children<R>(
        &mut self,
        container: RegionKey,
        child: RegionKey,
        change: impl FnOnce(&mut Children, &Node) -> R,
    ) -> R {
        let at = [container.index, child.index].map(|index| index as usize);
        // INVARIANT: an edge leads to a region, and none to itself.
        let slots = self.slots.get_disjoint_mut(at);
        let [container, child] = slots.expect("no region contains itself");
        let (container, child) = (container.node.as_mut(), child.node.as_ref());
        let container = container.expect("an edge leads to a region");
        let children = container.children.get_or_insert_with(Box::default);
        change(children, child.expect("an edge leads to a region"))
    }

    /// Refuses an edge from `parent` to `child` where `parent` is reached from `child` already.
    fn check_loop(&self, parent: RegionKey, child: RegionKey) -> Result<(), TopologyError> {
        if parent == child {
            return Err(TopologyError::ContainerLoop { child, parent });
        }
        let node = self.node(child);
        if node.below().all.is_empty() && node.paths == 1 {
            return Ok(());
        }
        // Upwards: a region has few ancestors, but may have many descendants.
        let mut containers = Some(parent);
        while let Some(key) = containers {
            if key == child {
                return Err(TopologyError::ContainerLoop { child, parent });
            }
            containers = self.node(key).container();
        }
        let mut seen = BTreeSet::from([parent]);
        let mut next = vec![parent];
        while let Some(key) = next.pop() {
            if key == child {
                return Err(TopologyError::AliasLoop { child, parent });
            }
            let node = self.node(key);
            next.extend(
                node.container()
                    .into_iter()
                    .chain(node.aliases())
                    .filter(|&key| seen.insert(key)),
            );
        }
        Ok(())
    }

    /// Gives `region` and all above it the paths that are added with `more` below it.
    fn widen(&mut self, region: RegionKey, more: u64) -> Result<(), TopologyError> {
        if let Some(most) = self.most_paths_on_the_one_way_up(region)
            && most + more <= Self::MAX_PATHS
        {
            self.change_paths_up(region, |paths| *paths += more);
            return Ok(());
        }
        if let Some(ways) = self.few_ways_up(region) {
            for &key in &ways {
                self.node_mut(key).paths += more;
            }
            let fits = |key: &RegionKey| self.node(*key).paths <= Self::MAX_PATHS;
            if ways.iter().all(fits) {
                return Ok(());
            }
            for &key in &ways {
                self.node_mut(key).paths -= more;
            }
        }
        let mut widened = self.above(region, more);
        for (region, paths) in &mut widened {
            *paths = self.widened(*region, *paths)?;
        }
        self.set_paths(widened);
        Ok(())
    }

    /// The number of paths of `region` with `more`.
    fn widened(&self, region: RegionKey, more: u64) -> Result<u64, TopologyError> {
        let paths = self.node(region).paths.saturating_add(more);
        if paths > Self::MAX_PATHS {
            return Err(TopologyError::TooManyPaths {
                region,
                paths,
                limit: Self::MAX_PATHS,
            });
        }
        Ok(paths)
    }

    /// Takes `fewer` paths from `region` and what they were above it.
    pub(super) fn narrow(&mut self, region: RegionKey, fewer: u64) {
        if self.most_paths_on_the_one_way_up(region).is_some() {
            return self.change_paths_up(region, |paths| *paths -= fewer);
        }
        if let Some(ways) = self.few_ways_up(region) {
            for &key in &ways {
                self.node_mut(key).paths -= fewer;
            }
            return;
        }
        let mut narrowed = self.above(region, fewer);
        for (region, paths) in &mut narrowed {
            *paths = self.node(*region).paths - *paths;
        }
        self.set_paths(narrowed);
    }

    /// The most paths that `region` or one above it has, where the way up is one container after the other: most often. None where an alias
    /// forks it.
    fn most_paths_on_the_one_way_up(&self, region: RegionKey) -> Option<u64> {
        let (mut most, mut next) = (0, Some(region));
        while let Some(key) = next {
            let node = self.node(key);
            if !node.aliases.is_empty() {
                return None;
            }
            most = most.max(node.paths);
            next = node.container();
        }
        Some(most)
    }

    /// Changes the paths of `region`, and of each that it is in.
    fn change_paths_up(&mut self, region: RegionKey, change: impl Fn(&mut u64)) {
        let mut next = Some(region);
        while let Some(key) = next {
            let node = self.node_mut(key);
            change(&mut node.paths);
            next = node.container();
        }
    }

    /// `region` and all above it, each as often as there are ways to it: where no sums over ways are needed. None where the ways are many.
    fn few_ways_up(&self, region: RegionKey) -> Option<SmallVec<[RegionKey; FEW]>> {
        let mut met: SmallVec<[RegionKey; FEW]> = SmallVec::new();
        met.push(region);
        let mut at = 0;
        while let Some(&key) = met.get(at) {
            let node = self.node(key);
            if let Some(container) = node.container() {
                met.push(container);
            }
            for alias in node.aliases() {
                met.push(alias);
            }
            at += 1;
            if met.len() > FEW {
                return None;
            }
        }
        Some(met)
    }

    fn set_paths(&mut self, paths: Vec<(RegionKey, u64)>) {
        for (region, paths) in paths {
            self.node_mut(region).paths = paths;
        }
    }

    /// How many more paths each region has if `region` has `more`: along every way up, each region
    /// once.
    fn above(&self, region: RegionKey, more: u64) -> Vec<(RegionKey, u64)> {
        let mut found = vec![(region, more)];
        let mut key = region;
        while self.node(key).aliases.is_empty() {
            let Some(container) = self.node(key).container() else {
                return found;
            };
            found.push((container, more));
            key = container;
        }
        // From the first fork on: every region after all below it, so that its sum is complete.
        let order = self.ancestors(key);
        let mut sums = BTreeMap::from([(key, more)]);
        for &key in &order {
            let sum = sums[&key];
            let node = self.node(key);
            for above in node.container().into_iter().chain(node.aliases()) {
                let total = sums.entry(above).or_insert(0);
                *total = total.saturating_add(sum);
            }
        }
        found.extend(order.into_iter().skip(1).map(|key| (key, sums[&key])));
        found
    }

    /// `region` and all above it, each after everything below it.
    fn ancestors(&self, region: RegionKey) -> Vec<RegionKey> {
        enum Step {
            Enter(RegionKey),
            Leave(RegionKey),
        }
        let mut seen = BTreeSet::new();
        let mut left = Vec::new();
        let mut next = vec![Step::Enter(region)];
        while let Some(step) = next.pop() {
            match step {
                Step::Enter(key) if seen.insert(key) => {
                    next.push(Step::Leave(key));
                    let node = self.node(key);
                    next.extend(
                        node.container()
                            .into_iter()
                            .chain(node.aliases())
                            .map(Step::Enter),
                    );
                }
                Step::Enter(_) => {}
                Step::Leave(key) => left.push(key),
            }
        }
        left.reverse();
        left
    }
}
