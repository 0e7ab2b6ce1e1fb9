//! Skip-same-owner, as it landed: piggyback, but a container counts nothing for a subregion of its own owner.
//!
//! Source: QEMU ac7a892fd3 (September 2025). A region that is finalized inside a container of its own owner leaves it by itself, so
//! the order in which an owner's regions go is free. Address spaces, mappings, aliases and foreign containers are as before.

use super::{Rules, SameOwner, piggyback};

/// The rules.
pub const RULES: Rules = Rules {
    name: "skip-same-owner as it landed",
    short: "skip-same",
    same_owner: SameOwner::Nothing,
    detaches_itself: true,
    ..piggyback::RULES
};
