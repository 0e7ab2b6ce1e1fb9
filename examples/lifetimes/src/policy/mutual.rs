//! Mutual strong references: a region has a count of its own, and always holds its owner.
//!
//! Nobody proposed it; it is the plain answer that a language with shared pointers invites, and the yardstick for the others. The owner holds
//! its region as its child, so the two hold each other until somebody unparents the region.

use super::{OwnerEdge, Rules, own_count};

/// The rules.
pub const RULES: Rules = Rules {
    name: "mutual strong references",
    short: "mutual",
    owner_edge: OwnerEdge::Always,
    unparents_regions: false,
    finalizes_once: false,
    ..own_count::RULES
};
