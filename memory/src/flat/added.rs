//! The ranges that a view has and the one before had not: a list of them, or the view itself where that one showed nothing.

use super::{FlatView, RangeValue, Ranges};
use crate::span_map;

/// Values of ranges, which know them, ascending. Where a view of thousands is the first, they are not listed once more: to
/// count each up and down again takes longer than to look it up.
#[derive(Clone, Debug)]
pub struct Added<V>(Came<V>);

#[derive(Clone, Debug)]
enum Came<V> {
    Ranges(Ranges<V>),
    View(FlatView<V>),
}

impl<V> Added<V> {
    pub(super) fn ranges(ranges: Ranges<V>) -> Self {
        Self(Came::Ranges(ranges))
    }

    pub(super) fn whole(view: FlatView<V>) -> Self {
        Self(Came::View(view))
    }

    /// The list, where there is one.
    pub(super) fn into_ranges(self) -> Ranges<V> {
        match self.0 {
            Came::Ranges(ranges) => ranges,
            Came::View(_) => Ranges::new(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Came::Ranges(ranges) => ranges.len(),
            Came::View(view) => view.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<V: RangeValue> Added<V> {
    /// Them, ascending.
    pub fn iter(&self) -> AddedIter<'_, V> {
        AddedIter(match &self.0 {
            Came::Ranges(ranges) => Next::Ranges(ranges.iter()),
            Came::View(view) => Next::View(view.map.iter()),
        })
    }
}

impl<V> Default for Added<V> {
    fn default() -> Self {
        Self::ranges(Ranges::new())
    }
}

impl<'a, V: RangeValue> IntoIterator for &'a Added<V> {
    type Item = &'a V;
    type IntoIter = AddedIter<'a, V>;

    fn into_iter(self) -> AddedIter<'a, V> {
        self.iter()
    }
}

/// The values of ranges that came, ascending. Made by [`Added::iter`].
#[derive(Clone)]
pub struct AddedIter<'a, V>(Next<'a, V>);

#[derive(Clone)]
enum Next<'a, V> {
    Ranges(std::slice::Iter<'a, V>),
    View(span_map::Iter<'a, V>),
}

impl<'a, V: RangeValue> Iterator for AddedIter<'a, V> {
    type Item = &'a V;

    #[inline]
    fn next(&mut self) -> Option<&'a V> {
        match &mut self.0 {
            Next::Ranges(ranges) => ranges.next(),
            Next::View(map) => map.next().map(|(_, value)| value),
        }
    }
}
