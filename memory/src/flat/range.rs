//! One range of a flat view, and when two of them are one.

use crate::addr::{Offset, Span};
use crate::topology::{Node, RegionKey};

/// Consecutive addresses that show consecutive bytes of one region, with the flags they are seen with.
///
/// Two ranges are the same to a listener where all fields are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own, as a listener is told"
)]
pub struct FlatRange {
    /// The addresses.
    pub span: Span,
    /// The region, never an alias nor a container without callbacks.
    pub region: RegionKey,
    /// The place in the region that the first address shows.
    pub offset: Offset,
    /// Whether any region on the path is read-only.
    pub readonly: bool,
    /// Whether the region is a ROM device in direct mode.
    pub romd: bool,
    /// Whether any region on the path is non-volatile.
    pub nonvolatile: bool,
    /// Whether any region on the path is unmergeable.
    pub unmergeable: bool,
}

impl FlatRange {
    /// The part of the range within `span`, if any.
    pub fn clipped(&self, span: Span) -> Option<Self> {
        let span = self.span.intersection(span)?;
        let skipped = span.first() - self.span.first();
        Some(Self {
            span,
            offset: Offset(self.offset.0 + skipped),
            ..*self
        })
    }

    /// Whether `next` begins where this ends, in addresses and in the region, and both are seen alike.
    pub(super) fn merges_with(&self, next: &Self) -> bool {
        self.span.last().checked_add(1) == Some(next.span.first())
            && self.region == next.region
            && self
                .offset
                .0
                .checked_add(self.span.last() - self.span.first())
                .and_then(|o| o.checked_add(1))
                == Some(next.offset.0)
            && self.flags() == next.flags()
            && !self.unmergeable
    }

    /// Appends a range that lies behind all of `ranges`, merged with the last where that is the rule.
    pub(super) fn append(self, ranges: &mut Vec<Self>) {
        if let Some(last) = ranges.last_mut()
            && last.merges_with(&self)
        {
            last.span = last.span.hull(self.span);
        } else {
            ranges.push(self);
        }
    }

    fn flags(&self) -> [bool; 4] {
        [self.readonly, self.romd, self.nonvolatile, self.unmergeable]
    }
}

/// A region on its way into a view: where its byte 0 is, what is left of it, with which flags.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) region: RegionKey,
    /// Where byte 0 would be: below 0 or above 2^64 when reached through aliases.
    base: i128,
    /// Which addresses the regions above left of it.
    pub(super) clip: Span,
    readonly: bool,
    nonvolatile: bool,
    unmergeable: bool,
}

impl Place {
    pub(super) fn root(region: RegionKey, clip: Span) -> Self {
        Self {
            region,
            base: 0,
            clip,
            readonly: false,
            nonvolatile: false,
            unmergeable: false,
        }
    }

    /// Rules 1, 2 and 5: the same with the region's own size and flags, or `None` where it does not show.
    pub(super) fn entered(self, node: &Node) -> Option<Self> {
        if !node.is_enabled() || node.is_withdrawn() {
            return None;
        }
        let last = self.base + i128::try_from(node.size().get()).ok()? - 1;
        let first = u64::try_from(self.base.max(0)).ok()?;
        let last = u64::try_from(last.min(i128::from(u64::MAX))).ok()?;
        Some(Self {
            clip: Span::new(first, last)?.intersection(self.clip)?,
            readonly: self.readonly || node.is_readonly(),
            nonvolatile: self.nonvolatile || node.is_nonvolatile(),
            unmergeable: self.unmergeable || node.is_unmergeable(),
            ..self
        })
    }

    /// Rule 1: a subregion `address` bytes into this one.
    pub(super) fn child(self, region: RegionKey, address: Offset) -> Self {
        Self {
            region,
            base: self.base + i128::from(address.0),
            ..self
        }
    }

    /// Rule 3: a target, seen from `offset` on where this one is.
    pub(super) fn target(self, region: RegionKey, offset: Offset) -> Self {
        Self {
            region,
            base: self.base - i128::from(offset.0),
            ..self
        }
    }

    /// What is left of the region, in its own coordinates. Only after [`entered`](Self::entered).
    pub(super) fn window(self) -> Span {
        // INVARIANT: entered() left a clip within [base, base + size).
        let own = |address: u64| u64::try_from(i128::from(address) - self.base).unwrap_or(0);
        Span::new(own(self.clip.first()), own(self.clip.last())).unwrap_or(Span::ALL)
    }

    /// The range of the region itself, which is `node`, at `span`, a part of the clip.
    pub(super) fn range(self, node: &Node, span: Span) -> FlatRange {
        let own = u64::try_from(i128::from(span.first()) - self.base).unwrap_or(0);
        FlatRange {
            span,
            region: self.region,
            offset: Offset(own),
            readonly: self.readonly,
            romd: node.is_direct(),
            nonvolatile: self.nonvolatile,
            unmergeable: self.unmergeable,
        }
    }
}
