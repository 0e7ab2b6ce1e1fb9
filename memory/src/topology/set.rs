//! A region's own values: enabled, size, flags, mode, alias offset.

use super::{Kind, Node, RegionKey, Topology, TopologyError};
use crate::addr::{Offset, Size};

impl Topology {
    /// Shows a region, or hides it and everything reached through it. Its place among its siblings
    /// stays.
    ///
    /// # Errors
    ///
    /// [`TopologyError::UnknownRegion`].
    pub fn set_enabled(&mut self, region: RegionKey, enabled: bool) -> Result<(), TopologyError> {
        let node = self.known(region)?;
        if node.enabled == enabled {
            return Ok(());
        }
        let placement = node.container;
        if let Some(placement) = placement {
            self.touch_container(placement.container);
        }
        self.damage(region);
        self.node_mut(region).enabled = enabled;
        if let Some(placement) = placement {
            let waits = self.with_children(placement.container, region, |children, node| {
                if enabled {
                    return children.show(region, node, placement.order);
                }
                children.hide(region, node, placement.order);
                false
            });
            self.unsettled.extend(waits.then_some(placement.container));
            self.touch_container(placement.container);
        }
        self.damage(region);
        self.count_unless_withdrawn(region);
        Ok(())
    }

    /// Gives a region another size, 0 to 2^64. Its place among its siblings stays.
    ///
    /// # Errors
    ///
    /// [`TopologyError::UnknownRegion`].
    pub fn set_size(&mut self, region: RegionKey, size: Size) -> Result<(), TopologyError> {
        let node = self.known(region)?;
        if node.size == size {
            return Ok(());
        }
        let shown = node.container.filter(|_| node.enabled);
        self.damage(region);
        if let Some(placement) = shown {
            self.with_children(placement.container, region, |children, node| {
                children.hide(region, node, placement.order);
            });
        }
        self.node_mut(region).size = size;
        if let Some(placement) = shown {
            let waits = self.with_children(placement.container, region, |children, node| {
                children.show(region, node, placement.order)
            });
            self.unsettled.extend(waits.then_some(placement.container));
        }
        self.damage(region);
        self.count_unless_withdrawn(region);
        Ok(())
    }

    /// Sets the `readonly` flag.
    ///
    /// # Errors
    ///
    /// [`TopologyError::UnknownRegion`].
    pub fn set_readonly(&mut self, region: RegionKey, readonly: bool) -> Result<(), TopologyError> {
        if self.known(region)?.readonly != readonly {
            self.set_value(region, |node| node.readonly = readonly);
        }
        Ok(())
    }

    /// Sets the `nonvolatile` flag.
    ///
    /// # Errors
    ///
    /// [`TopologyError::UnknownRegion`].
    pub fn set_nonvolatile(
        &mut self,
        region: RegionKey,
        nonvolatile: bool,
    ) -> Result<(), TopologyError> {
        if self.known(region)?.nonvolatile != nonvolatile {
            self.set_value(region, |node| node.nonvolatile = nonvolatile);
        }
        Ok(())
    }

    /// Sets the `unmergeable` flag.
    ///
    /// # Errors
    ///
    /// [`TopologyError::UnknownRegion`].
    pub fn set_unmergeable(
        &mut self,
        region: RegionKey,
        unmergeable: bool,
    ) -> Result<(), TopologyError> {
        if self.known(region)?.unmergeable != unmergeable {
            self.set_value(region, |node| node.unmergeable = unmergeable);
        }
        Ok(())
    }

    /// Switches a ROM device between direct reads and callbacks.
    ///
    /// # Errors
    ///
    /// [`TopologyError::UnknownRegion`]; [`TopologyError::NotRomDevice`].
    pub fn set_romd(&mut self, region: RegionKey, direct: bool) -> Result<(), TopologyError> {
        let Kind::RomDevice { direct: old } = self.known(region)?.kind else {
            return Err(TopologyError::NotRomDevice { region });
        };
        if old != direct {
            self.set_value(region, |node| node.kind = Kind::RomDevice { direct });
        }
        Ok(())
    }

    /// Moves an alias's window over its target.
    ///
    /// # Errors
    ///
    /// [`TopologyError::UnknownRegion`]; [`TopologyError::NotAlias`].
    pub fn set_alias_offset(
        &mut self,
        region: RegionKey,
        offset: Offset,
    ) -> Result<(), TopologyError> {
        let Kind::Alias {
            target,
            offset: old,
        } = self.known(region)?.kind
        else {
            return Err(TopologyError::NotAlias { region });
        };
        if old != offset {
            self.set_value(region, |node| node.kind = Kind::Alias { target, offset });
        }
        Ok(())
    }

    /// A change that leaves the region's place alone, so that one damage covers before and after.
    fn set_value(&mut self, region: RegionKey, change: impl FnOnce(&mut Node)) {
        self.damage(region);
        change(self.node_mut(region));
        if self.node(region).enabled {
            self.count_unless_withdrawn(region);
        }
    }

    fn count_unless_withdrawn(&mut self, region: RegionKey) {
        if !self.node(region).withdrawn {
            self.count();
        }
    }
}
