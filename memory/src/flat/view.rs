//! A rendered view: a persistent map of ranges, each with a value of its user's.

use std::fmt;

use super::FlatRange;
use crate::addr::Span;
use crate::span_map::{self, SpanMap};

/// What goes with a range of a view: it is made for one range, and knows it, so that the view's nodes need not.
///
/// A range is one, and so is a pair of a range and anything.
pub trait RangeValue: Clone {
    /// The range that it was made for.
    fn range(&self) -> &FlatRange;

    /// How many share what it points to, where it is a counted pointer. It is read where many are about to be cloned, to have all counts fetched at
    /// once; what it says does not matter.
    fn count(&self) -> usize {
        1
    }
}

/// Makes the values of ranges that are new in a view.
pub(crate) trait Values<V> {
    /// The value of a range.
    fn make(&mut self, range: &FlatRange) -> V;

    /// Hears which ranges come next, where they are many: what their values are made of can be fetched together, which takes hardly longer than
    /// to fetch it for one. Nothing depends on what it does.
    fn ahead(&self, ranges: &[FlatRange]);
}

/// A function of the range.
pub(super) struct Made<F>(pub(super) F);

impl<V, F: FnMut(&FlatRange) -> V> Values<V> for Made<F> {
    fn make(&mut self, range: &FlatRange) -> V {
        (self.0)(range)
    }

    fn ahead(&self, _: &[FlatRange]) {}
}

impl RangeValue for FlatRange {
    fn range(&self) -> &FlatRange {
        self
    }
}

impl<T: Clone> RangeValue for (FlatRange, T) {
    fn range(&self) -> &FlatRange {
        &self.0
    }
}

/// A rendered view. It never changes: [`update`](Self::update) gives a new one that shares what stayed.
/// Cloning it is cheap. With each range goes a value that its user made when the range appeared.
///
/// Any thread may read it; it is `Send` and `Sync` where its values are.
///
/// ```
/// use memory::addr::Size;
/// use memory::flat::FlatView;
/// use memory::topology::{Damage, RegionSpec, Topology};
///
/// let mut topology = Topology::new();
/// let ram = topology.insert(RegionSpec::ram(Size::new(0x1000)))?;
/// let empty = FlatView::empty();
/// let (view, difference) = empty.update(&topology, Some(ram), &mut Damage::all(), |range| (*range, "my value"));
/// assert_eq!(view.get(0xfff).map(|(span, value)| (span.first(), value.1)), Some((0, "my value")));
/// assert_eq!(difference.added.len(), 1);
/// # Ok::<(), memory::topology::TopologyError>(())
/// ```
pub struct FlatView<V> {
    pub(super) map: SpanMap<V>,
}

impl<V> Clone for FlatView<V> {
    fn clone(&self) -> Self {
        Self {
            map: self.map.clone(),
        }
    }
}

impl<V> Default for FlatView<V> {
    fn default() -> Self {
        Self::empty()
    }
}

impl<V: fmt::Debug> fmt::Debug for FlatView<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.map.iter().map(|(_, value)| value);
        f.debug_list().entries(values).finish()
    }
}

impl<V> FlatView<V> {
    /// The view that shows nothing.
    pub const fn empty() -> Self {
        Self {
            map: SpanMap::new(),
        }
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether the view shows nothing.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The addresses of the range at `addr`, and its value: the hot path of guest accesses.
    #[expect(clippy::inline_always, reason = "see `SpanMap::find`")]
    #[inline(always)]
    pub fn get(&self, addr: u64) -> Option<(Span, &V)> {
        let (span, value) = self.map.find(addr)?;
        Some((*span, value))
    }

    /// The one range that `addr` can be in, and its value, where it is found at once; see `SpanMap::near_at_once`.
    #[expect(clippy::inline_always, reason = "see `SpanMap::find`")]
    #[inline(always)]
    pub(crate) fn near_at_once(&self, addr: u64) -> Option<(&Span, &V)> {
        let (span, value) = self.map.near_at_once(addr)?;
        Some((span, value))
    }

    /// Whether the two are one view, not only equal. Cheap.
    pub fn is_same(&self, other: &Self) -> bool {
        self.map.is_same(&other.map)
    }
}

impl<V: RangeValue> FlatView<V> {
    /// The range at `addr`, and its value.
    pub fn range_at(&self, addr: u64) -> Option<(FlatRange, &V)> {
        self.map.get(addr).map(ranged)
    }

    /// The ranges and their values, ascending.
    pub fn iter(&self) -> Iter<'_, V> {
        self.range(Span::ALL)
    }

    /// The ranges that overlap `within`, whole, and their values, ascending.
    pub fn range(&self, within: Span) -> Iter<'_, V> {
        Iter(self.map.range(within))
    }

    /// The first range that begins behind `addr`, if any.
    pub fn after(&self, addr: u64) -> Option<(FlatRange, &V)> {
        self.map.after(addr).map(ranged)
    }
}

/// The range that stands at a place of the map: there, whatever its value says of the place.
fn ranged<V: RangeValue>((span, value): (Span, &V)) -> (FlatRange, &V) {
    let range = FlatRange {
        span,
        ..*value.range()
    };
    (range, value)
}

impl<'a, V: RangeValue> IntoIterator for &'a FlatView<V> {
    type Item = (FlatRange, &'a V);
    type IntoIter = Iter<'a, V>;

    fn into_iter(self) -> Iter<'a, V> {
        self.iter()
    }
}

/// Ranges and their values, ascending. Made by [`FlatView::iter`] and [`FlatView::range`].
pub struct Iter<'a, V>(span_map::Iter<'a, V>);

impl<'a, V: RangeValue> Iterator for Iter<'a, V> {
    type Item = (FlatRange, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(ranged)
    }
}
