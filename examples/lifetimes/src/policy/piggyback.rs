//! Piggyback as it was: every reference to a region is counted on its owner.
//!
//! Source: QEMU since 2013 (dfde4e6e1a); ownerless regions are not counted since 2015 (612263cf33), and neither are alias targets
//! (52c91dac6b). It ends the cycle of region and device, N regions cost one count, and a device outlives every mapping of its memory. A container
//! of the device counts on the device for each region of the device in it, so the device holds itself.

use super::{Counted, End, OwnerEdge, Rules, SameOwner};

/// The rules.
pub const RULES: Rules = Rules {
    name: "piggyback as it was",
    short: "piggyback",
    counted: Counted::Owner,
    same_owner: SameOwner::AsAnyOther,
    owner_edge: OwnerEdge::Pointer,
    unparents_regions: false,
    finalizes_once: false,
    detaches_itself: false,
    end: End::Count,
};
