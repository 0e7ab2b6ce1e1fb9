//! One region as the topology keeps it.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::interval::{Interval, IntervalIndex};
use super::{Kind, Priority, RegionKey, RegionSpec, SpaceKey};
use crate::addr::{Offset, Size, Span};

/// One region as the topology keeps it: what it was made from, its place, its edges both ways.
///
/// Read with [`Topology::get`](super::Topology::get), changed only through the topology's methods.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own, settable by itself"
)]
pub struct Node {
    pub(super) kind: Kind,
    pub(super) size: Size,
    pub(super) readonly: bool,
    pub(super) nonvolatile: bool,
    pub(super) unmergeable: bool,
    pub(super) enabled: bool,
    pub(super) withdrawn: bool,
    pub(super) address: Offset,
    pub(super) priority: Priority,
    pub(super) container: Option<Placement>,
    /// In a block of their own: most regions have none, and of those that do not a change of a large view looks at thousands.
    pub(super) children: Option<Box<Children>>,
    /// The aliases whose target this is.
    pub(super) aliases: BTreeSet<RegionKey>,
    /// The address spaces whose root this is.
    pub(super) spaces: Vec<SpaceKey>,
    /// How many paths lead down from here, the one that ends here included.
    pub(super) paths: u64,
}

/// Where a region is contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) container: RegionKey,
    /// When it was added: the higher the later, in the whole topology.
    pub(super) order: u64,
    /// Where it is on the container's list.
    pub(super) at: usize,
}

/// One subregion on its container's list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sibling {
    pub(super) key: RegionKey,
    priority: Priority,
    order: u64,
}

/// The subregions of one container.
#[derive(Debug)]
pub(super) struct Children {
    /// All of them, in no order: who asks for one puts them in it, and changes come more often.
    pub(super) all: Vec<Sibling>,
    /// Those that are enabled and not of size 0, by address.
    pub(super) shown: IntervalIndex,
    /// How many are enabled.
    pub(super) enabled: usize,
    /// The keys of the enabled ones, exclusive-ored: where there is one only, its key.
    pub(super) enabled_keys: u64,
}

impl Node {
    pub(super) fn new(spec: RegionSpec, paths: u64) -> Self {
        Self {
            kind: spec.kind,
            size: spec.size,
            readonly: spec.readonly,
            nonvolatile: spec.nonvolatile,
            unmergeable: spec.unmergeable,
            enabled: spec.enabled,
            withdrawn: false,
            address: Offset(0),
            priority: Priority(0),
            container: None,
            children: None,
            aliases: BTreeSet::new(),
            spaces: Vec::new(),
            paths,
        }
    }

    /// What the region shows.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How many bytes it has.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Its own flag; what is seen of it may be read-only for another region's sake.
    pub fn is_readonly(&self) -> bool {
        self.readonly
    }

    /// Its own flag; what is seen of it may be non-volatile for another region's sake.
    pub fn is_nonvolatile(&self) -> bool {
        self.nonvolatile
    }

    /// Its own flag; what is seen of it may be unmergeable for another region's sake.
    pub fn is_unmergeable(&self) -> bool {
        self.unmergeable
    }

    /// Whether it shows at all.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether it was [retracted](super::Topology::retract).
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn
    }

    /// Its place in its container, kept when it leaves it.
    pub fn address(&self) -> Offset {
        self.address
    }

    /// Its priority in its container, kept when it leaves it.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// The region that contains it.
    pub fn container(&self) -> Option<RegionKey> {
        self.container.map(|placement| placement.container)
    }

    /// Its subregions.
    pub(super) fn below(&self) -> &Children {
        static NONE: Children = Children::new();
        self.children.as_deref().unwrap_or(&NONE)
    }

    /// Its subregions, in the order in which they hide each other.
    pub fn children(&self) -> impl DoubleEndedIterator<Item = RegionKey> + '_ {
        let mut all = self.below().all.clone();
        all.sort_unstable_by_key(|one| (Reverse(one.priority), Reverse(one.order)));
        all.into_iter().map(|one| one.key)
    }

    /// Its subregions, in no order.
    pub(crate) fn children_by_chance(&self) -> impl Iterator<Item = RegionKey> + '_ {
        self.below().all.iter().map(|one| one.key)
    }

    /// The aliases whose target it is.
    pub fn aliases(&self) -> impl DoubleEndedIterator<Item = RegionKey> + '_ {
        self.aliases.iter().copied()
    }

    /// The address spaces whose root it is.
    pub fn spaces(&self) -> &[SpaceKey] {
        &self.spaces
    }

    /// All its bytes, in its own coordinates; `None` at size 0.
    pub(crate) fn extent(&self) -> Option<Span> {
        Span::at(0, self.size)
    }

    pub(crate) fn is_direct(&self) -> bool {
        matches!(self.kind, Kind::RomDevice { direct: true })
    }

    pub(crate) fn has_flags(&self) -> bool {
        self.readonly || self.nonvolatile || self.unmergeable
    }

    /// Whether it has enabled subregions that are not of size 0.
    pub(crate) fn shows_others(&self) -> bool {
        !self.below().shown.is_empty()
    }

    /// Hands out the enabled subregions that overlap `span`, by address, some at a time.
    pub(crate) fn shown_in(&self, span: Span, found: &mut impl FnMut(&[Interval])) {
        self.below().shown.overlapping(span, found);
    }

    /// Looks at what a renderer asks of it, to have that in the caches. What it says does not matter.
    pub(crate) fn look(&self) -> usize {
        usize::from(self.size.is_zero())
            + usize::from(self.enabled)
            + usize::from(self.kind.terminates())
            + usize::from(self.children.is_some())
    }

    /// The subregion that shows, where exactly one is enabled.
    pub(super) fn only_enabled_child(&self) -> Option<RegionKey> {
        let below = self.below();
        if below.enabled == 1 {
            RegionKey::from_bits(below.enabled_keys)
        } else {
            None
        }
    }
}

impl Default for Children {
    fn default() -> Self {
        Self::new()
    }
}

impl Children {
    pub(super) const fn new() -> Self {
        Self {
            all: Vec::new(),
            shown: IntervalIndex::new(),
            enabled: 0,
            enabled_keys: 0,
        }
    }

    /// Adds one, at the end of the list. Whether the index is to be settled now, and was not before.
    #[must_use]
    pub(super) fn add(&mut self, key: RegionKey, child: &Node, order: u64) -> bool {
        self.all.push(Sibling {
            key,
            priority: child.priority,
            order,
        });
        child.enabled && self.show(key, child, order)
    }

    /// Takes out the one at `at` of the list. Gives the one that is there now, if another is.
    pub(super) fn remove(
        &mut self,
        key: RegionKey,
        child: &Node,
        Placement { order, at, .. }: Placement,
    ) -> Option<RegionKey> {
        let removed = self.all.swap_remove(at);
        debug_assert_eq!(removed.key, key, "a subregion knows its place on the list");
        if child.enabled {
            self.hide(key, child, order);
        }
        self.all.get(at).map(|moved| moved.key)
    }

    /// Whether the index is to be settled now, and was not before.
    #[must_use]
    pub(super) fn show(&mut self, key: RegionKey, child: &Node, order: u64) -> bool {
        self.enabled += 1;
        self.enabled_keys ^= key.to_bits();
        let span = Span::clipped(child.address.0, child.size);
        span.is_some_and(|span| {
            self.shown.insert(Interval {
                span,
                priority: child.priority,
                order,
                region: key,
            })
        })
    }

    pub(super) fn hide(&mut self, key: RegionKey, child: &Node, order: u64) {
        self.enabled -= 1;
        self.enabled_keys ^= key.to_bits();
        if !child.size.is_zero() {
            self.shown.remove(child.address.0, order);
        }
    }
}
