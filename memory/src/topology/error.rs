//! Why a change of the topology was refused.

use thiserror::Error;

use super::{RegionKey, SpaceKey};

/// Why a change of the topology was refused. A refused change has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// The key names no region: it was removed, or is of another topology.
    #[error("{region} does not exist (any more)")]
    UnknownRegion {
        /// The key.
        region: RegionKey,
    },
    /// A withdrawn region takes no new edges.
    #[error("{region} is withdrawn and takes no subregions, containers, aliases or address spaces")]
    Withdrawn {
        /// The withdrawn region.
        region: RegionKey,
    },
    /// A region has one container at most.
    #[error("{child} cannot join {parent}: it is in {container} already")]
    AlreadyContained {
        /// The region to be added.
        child: RegionKey,
        /// Where it was to be added.
        parent: RegionKey,
        /// Where it is.
        container: RegionKey,
    },
    /// The region to be taken out is not in this container.
    #[error("{child} is not in {parent}")]
    NotContained {
        /// The region to be taken out.
        child: RegionKey,
        /// Where it was to be taken out of.
        parent: RegionKey,
        /// Where it is, if anywhere.
        container: Option<RegionKey>,
    },
    /// The container would contain itself.
    #[error("{child} cannot join {parent}: it contains it, or is the same region")]
    ContainerLoop {
        /// The region to be added.
        child: RegionKey,
        /// Where it was to be added.
        parent: RegionKey,
    },
    /// The container would be seen through an alias inside itself.
    #[error("{child} cannot join {parent}: it shows it through an alias already")]
    AliasLoop {
        /// The region to be added.
        child: RegionKey,
        /// Where it was to be added.
        parent: RegionKey,
    },
    /// More ways lead down from a region, through subregions and aliases, than a renderer follows.
    #[error("{region} would show regions along {paths} paths, the limit is {limit}")]
    TooManyPaths {
        /// The region that would become too wide.
        region: RegionKey,
        /// How many paths there would be; at `u64::MAX`, that many or more.
        paths: u64,
        /// How many there may be.
        limit: u64,
    },
    /// Only an alias has an alias offset.
    #[error("{region} is not an alias")]
    NotAlias {
        /// The region.
        region: RegionKey,
    },
    /// Only a ROM device has a direct mode.
    #[error("{region} is not a ROM device")]
    NotRomDevice {
        /// The region.
        region: RegionKey,
    },
    /// The space has a root.
    #[error("{space} has {root} as its root already")]
    SpaceAttached {
        /// The space.
        space: SpaceKey,
        /// Its root.
        root: RegionKey,
    },
    /// The space was never attached, or is detached.
    #[error("{space} is not attached")]
    UnknownSpace {
        /// The space.
        space: SpaceKey,
    },
}
