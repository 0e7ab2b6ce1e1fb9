//! Holdfast's withdrawal: everything that leads to a region is cut before its owner is let go, by rules that know no devices.
//!
//! Source: `ARCHITECTURE.md`, "Withdrawal, step by step". Containers, aliases, address spaces, views, mappings and pins count on the region; a region points to
//! its owner, and holds it from the mark phase of its withdrawal on. Unparenting withdraws the object and all below it; an object without a
//! parent is withdrawn when its last user handle goes. The switches are [`super::Rule`].

use super::{Counted, End, OwnerEdge, Rules, SameOwner, Withdrawal};

/// The rules.
pub const RULES: Rules = Rules {
    name: "Holdfast's withdrawal",
    short: "Holdfast",
    counted: Counted::Region,
    same_owner: SameOwner::AsAnyOther,
    owner_edge: OwnerEdge::FromWithdrawal,
    unparents_regions: false,
    finalizes_once: true,
    detaches_itself: false,
    end: End::Withdrawal(Withdrawal::WHOLE),
};
