//! Counting the subregion: piggyback, but a container counts a subregion of its own owner on the subregion.
//!
//! Source: the series "v4" to "v9" on qemu-devel, August 2024 to August 2025; not merged. The region is kept by its container then,
//! and is finalized with it.

use super::{Rules, SameOwner, piggyback};

/// The rules.
pub const RULES: Rules = Rules {
    name: "counting the subregion",
    short: "count-sub",
    same_owner: SameOwner::Subregion,
    ..piggyback::RULES
};
