//! Own count plus unparent: a region has a count of its own, and once unparented it keeps its owner.
//!
//! Source: "memory: Stop piggybacking on memory region owners" on qemu-devel, September 2025, second version; not merged. A device that is
//! unparented unparents the regions that are its direct children; a region's unparent callback takes a count on the owner, and its free
//! hook, which runs after its finalizer, drops it. Where an owner is already being finalized when its regions are unparented,
//! its count rises and falls to zero again inside its own finalizer: the patch "Do not finalize twice" of the same series returns
//! from a finalizer that is entered again. [`UNGUARDED`] is the series without that patch.

use super::{Counted, End, OwnerEdge, Rules, SameOwner};

/// The rules, with the finalize-once guard.
pub const RULES: Rules = Rules {
    name: "own count plus unparent",
    short: "own-count",
    counted: Counted::Region,
    same_owner: SameOwner::AsAnyOther,
    owner_edge: OwnerEdge::FromUnparent,
    unparents_regions: true,
    finalizes_once: true,
    detaches_itself: false,
    end: End::Count,
};

/// The rules without the guard.
pub const UNGUARDED: Rules = Rules {
    name: "own count plus unparent, without the finalize-once guard",
    short: "unguarded",
    finalizes_once: false,
    ..RULES
};
