//! A tracing collector: nothing is counted, what no root reaches is finalized, in no particular order.
//!
//! Source: named in the text of the series of [`super::own_count`] as what other systems do; nobody implemented it. Every edge is
//! traced, region to owner and alias to target among them, so that all cycles go. But the members of a cycle have finalizers, and no order among
//! them is right by construction: a finalizer that touches another object of the same collection finds it finalized in some order.
//! The model reports that as a use after finalize, whichever order would be taken.

use super::{Counted, End, OwnerEdge, Rules, SameOwner};

/// The rules.
pub const RULES: Rules = Rules {
    name: "tracing collector",
    short: "tracing",
    counted: Counted::Nothing,
    same_owner: SameOwner::AsAnyOther,
    owner_edge: OwnerEdge::Pointer,
    unparents_regions: false,
    finalizes_once: true,
    detaches_itself: true,
    end: End::Collector,
};
