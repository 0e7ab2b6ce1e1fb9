//! What an address space shows: a topology rendered to a flat list of ranges.
//!
//! Reading order: [`FlatRange`] is one range; [`render_full`] is the renderer one can check by reading
//! it, slow, and the yardstick of the other; [`FlatView`] is a view in a persistent map, each range with
//! a [value](RangeValue) of its user's; [`FlatView::update`] renders only what is damaged and keeps the rest;
//! [`Views`] does that for all the address spaces of a [`Topology`](crate::topology::Topology) and lets
//! those with the same view root share one view.
//!
//! The rules are QEMU's:
//!
//! 1. The root is at 0. A region at base *b* covers [b, b + size) of what its parent left of it; arithmetic
//!    is exact, nothing wraps, size 0 shows nothing.
//! 2. A disabled region shows nothing, nor does anything reached through it.
//! 3. An alias at *b* shows its target as if that were at *b* - offset, clipped to the alias. The target's
//!    own place does not matter; its size, enabled, flags and subregions do.
//! 4. Subregions hide the region they are in. Among them the higher priority wins, then the newest.
//! 5. `readonly`, `nonvolatile`, `unmergeable` add up from the root down the path, aliases included.
//! 6. Neighbouring ranges of one region, contiguous in offset too, with equal flags and not unmergeable,
//!    are one range.

mod added;
mod full;
mod range;
mod render;
mod update;
mod view;
mod views;

pub use added::{Added, AddedIter};
pub use full::render_full;
pub use range::FlatRange;
pub use update::{Difference, Ranges};
pub(crate) use view::Values;
pub use view::{FlatView, RangeValue};
pub use views::{SpaceChange, Views};

#[cfg(test)]
mod tests;
