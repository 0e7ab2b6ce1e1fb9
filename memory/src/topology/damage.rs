//! What changed since the last commit: spans of address spaces that may look different, and counts.

use std::collections::BTreeSet;

use super::{Kind, RegionKey, Slots, SpaceKey, Topology};
use crate::addr::Span;
use smallvec::{SmallVec, smallvec};

/// Addresses that may look different now: a set of spans.
#[derive(Clone, Debug, Default)]
pub struct Damage {
    spans: SmallVec<[Span; 2]>,
    /// How many spans were left when they were last put in order.
    ordered: usize,
}

impl Damage {
    /// Every address.
    pub fn all() -> Self {
        Self {
            spans: smallvec![Span::ALL],
            ordered: 1,
        }
    }

    /// Adds the addresses of `span`.
    pub fn add(&mut self, span: Span) {
        if let Some(last) = self.spans.last_mut()
            && last.touches(span)
        {
            *last = last.hull(span);
            return;
        }
        // Keeps a long transaction that changes the same few places from collecting them for ever.
        // (As long as they are others each time, what it takes to put them in order then is little beside what it takes at the end.)
        if self.spans.len() > 4 * self.ordered + 64 {
            self.put_in_order();
        }
        self.spans.push(span);
    }

    /// How many spans that neither overlap nor touch were there when the spans were last put in order: so many at least have come.
    pub(crate) fn known_apart(&self) -> usize {
        self.ordered
    }

    /// The addresses from the first that is damaged to the last.
    pub(crate) fn hull(&self) -> Option<Span> {
        self.spans.iter().copied().reduce(Span::hull)
    }

    /// Whether no address is damaged.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The damaged addresses as ascending spans that neither overlap nor touch.
    pub fn spans(&mut self) -> &[Span] {
        self.put_in_order();
        &self.spans
    }

    fn put_in_order(&mut self) {
        self.spans.sort_unstable();
        self.spans.dedup_by(|later, kept| {
            let touches = kept.touches(*later);
            if touches {
                *kept = kept.hull(*later);
            }
            touches
        });
        self.ordered = self.spans.len();
    }
}

/// What changed in a [`Topology`] since the last commit.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    pub(super) changes: u64,
    /// Ascending by root. A list, as there are few, and most often one.
    roots: SmallVec<[(RegionKey, Damage); 1]>,
    pub(super) spaces: BTreeSet<SpaceKey>,
}

impl Pending {
    /// Whether a listener's begin and commit are called: whether any change counts.
    ///
    /// This is QEMU's rule, not "a view changed": adding, taking out and moving count if container and
    /// child are enabled themselves at that moment (no ancestor is asked); `set_enabled` and `set_size`
    /// count if they change the value; a flag, a ROM device's mode and an alias offset count if they
    /// change and the region is enabled. Retracting counts where one of these would.
    pub fn notified(&self) -> bool {
        self.changes > 0
    }

    /// How many changes counted.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether no view can differ and no space was opened or closed.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty() && self.spaces.is_empty()
    }

    /// The roots of address spaces whose view, or whose [view root](Topology::resolve_root), may
    /// differ, with the damage in the root's own coordinates. It may be empty.
    pub fn roots(&self) -> impl Iterator<Item = (RegionKey, &Damage)> {
        self.roots.iter().map(|(root, damage)| (*root, damage))
    }

    /// The spaces that were attached, detached, or lost their root by a retraction.
    pub fn spaces(&self) -> impl Iterator<Item = SpaceKey> + '_ {
        self.spaces.iter().copied()
    }

    /// The damage of one root.
    fn root(&mut self, root: RegionKey) -> &mut Damage {
        // Most often the one that is there.
        if let Some(at) = self.roots.len().checked_sub(1)
            && self.roots[at].0 == root
        {
            return &mut self.roots[at].1;
        }
        let at = match self.roots.binary_search_by_key(&root, |&(key, _)| key) {
            Ok(at) => at,
            Err(at) => {
                self.roots.insert(at, (root, Damage::default()));
                at
            }
        };
        &mut self.roots[at].1
    }

    /// Forgets the damage of a root that shows nothing any more.
    pub(super) fn forget_root(&mut self, root: RegionKey) {
        self.roots.retain(|(key, _)| *key != root);
    }

    pub(crate) fn into_parts(
        self,
    ) -> (
        impl ExactSizeIterator<Item = (RegionKey, Damage)>,
        BTreeSet<SpaceKey>,
    ) {
        (self.roots.into_iter(), self.spaces)
    }
}

impl Topology {
    /// Counts a change for the listeners.
    pub(super) fn count(&mut self) {
        self.pending.changes += 1;
    }

    /// Damages every address at which `region` may show at this moment, through containers and alias
    /// windows, in every address space. Taken before and after each change.
    pub(super) fn damage(&mut self, region: RegionKey) {
        // Apart from what is pending, so that a region is looked up once on the way.
        let (slots, pending) = (Slots(&self.slots), &mut self.pending);
        let node = slots.node(region);
        let Some(extent) = node.extent() else {
            return;
        };
        // The common way up is one container after the other; only aliases fork it.
        let mut forks: SmallVec<[_; 8]> = SmallVec::new();
        let mut next = Some((region, node, extent));
        while let Some((key, node, span)) = next {
            next = None;
            if node.enabled {
                if !node.spaces.is_empty() {
                    pending.root(key).add(span);
                }
                if let Some(placement) = node.container {
                    let container = slots.node(placement.container);
                    if !container.kind.is_alias()
                        && let Some(extent) = container.extent()
                        && let Some(span) = span.shifted_up(node.address.0)
                        && let Some(span) = span.intersection(extent)
                    {
                        next = Some((placement.container, container, span));
                    }
                }
                for &alias in &node.aliases {
                    let window = slots.node(alias);
                    if let Kind::Alias { offset, .. } = window.kind
                        && let Some(extent) = window.extent()
                        && let Some(span) = span.shifted_down(offset.0)
                        && let Some(span) = span.intersection(extent)
                    {
                        forks.push((alias, window, span));
                    }
                }
            }
            next = next.or_else(|| forks.pop());
        }
    }

    /// Notes every root whose view root may lead to `container` at this moment, which is about to gain
    /// an enabled subregion, or just lost one: even one that covers nothing, and so damages nothing, can
    /// be the reason why the way to the view root ends here.
    pub(super) fn touch_container(&mut self, container: RegionKey) {
        let (slots, pending) = (Slots(&self.slots), &mut self.pending);
        let node = slots.node(container);
        if node.below().enabled > 1 {
            return;
        }
        let mut forks: SmallVec<[_; 8]> = SmallVec::new();
        let mut next = Some((container, node));
        while let Some((key, node)) = next {
            if !node.spaces.is_empty() {
                pending.root(key);
            }
            next = node
                .container()
                .map(|container| (container, slots.node(container)))
                .filter(|(_, container)| container.below().enabled <= 1);
            for &alias in &node.aliases {
                let window = slots.node(alias);
                if matches!(window.kind, Kind::Alias { offset, .. } if offset.0 == 0) {
                    forks.push((alias, window));
                }
            }
            next = next.or_else(|| forks.pop());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Size;

    #[test]
    fn long_transactions_keep_little_damage() {
        let mut damage = Damage::default();
        for round in 0..100_000u64 {
            damage.add(Span::clipped(round % 10 * 100, Size::new(50)).unwrap());
            assert!(damage.spans.len() < 200);
        }
        assert_eq!(damage.known_apart(), 10);
        assert_eq!(damage.hull(), Span::new(0, 949));
        assert_eq!(damage.spans().len(), 10);
        damage.add(Span::ALL);
        assert_eq!(damage.spans(), [Span::ALL]);
    }
}
