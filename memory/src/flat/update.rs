//! From an old view and what was damaged to the new view and the difference, for listeners.
//!
//! Only damaged windows are rendered. Outside them every address resolves along the same path as before,
//! so that old ranges, cut at the windows' edges, stand for what a full rendering would find there. Two
//! things reach over an edge. Ranges merge across it: the ranges beside a window take part in the
//! merging. And an unmergeable range must not come out in pieces that a full rendering has in one, or the
//! reverse: a window grows over every unmergeable range that it cuts or touches.

use super::render::Renderer;
use super::view::{Made, RangeValue, Values};
use super::{Added, FlatRange, FlatView};
use crate::addr::Span;
use crate::span_map::{Entries, SpanMap};
use crate::topology::{Damage, RegionKey, Topology};
use smallvec::SmallVec;
use std::hint::black_box;

/// Which ranges of a view went and came. Ranges equal in all fields before and after are in neither.
#[derive(Clone, Debug)]
pub struct Difference<V> {
    /// Ranges of the old view that the new one has not, ascending.
    pub removed: Ranges<V>,
    /// Ranges of the new view that the old one had not, ascending.
    pub added: Added<V>,
}

/// The values of ranges, which know them; a single one, as most often, needs no block of memory.
pub type Ranges<V> = SmallVec<[V; 1]>;

impl<V> Default for Difference<V> {
    fn default() -> Self {
        Self {
            removed: Ranges::new(),
            added: Added::default(),
        }
    }
}

impl<V> Difference<V> {
    /// Whether the views are equal.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }
}

impl<V: RangeValue> Difference<V> {
    /// Drops it, some at a time, of which the counts are read together first: each may be a miss of the caches.
    pub(crate) fn drop_together(self) {
        for mut list in [self.removed, self.added.into_ranges()] {
            while !list.is_empty() {
                let from = list.len().saturating_sub(AHEAD);
                black_box(
                    list[from..]
                        .iter()
                        .map(V::count)
                        .fold(0, usize::wrapping_add),
                );
                list.truncate(from);
            }
        }
    }
}

impl<V: RangeValue> FlatView<V> {
    /// The view after a change: what `root` shows now, given that this view is what it showed before and
    /// that nothing changed outside `damage`. `value` makes the value of each range that is new; ranges
    /// that stay keep theirs.
    ///
    /// It costs what is damaged, not what the view has.
    pub fn update(
        &self,
        topology: &Topology,
        root: Option<RegionKey>,
        damage: &mut Damage,
        value: impl FnMut(&FlatRange) -> V,
    ) -> (Self, Difference<V>) {
        let (mut renderer, mut values) = (Renderer::default(), Made(value));
        self.update_with(&mut renderer, topology, root, damage, &mut values)
    }

    /// [`update`](Self::update) with a renderer that has its working memory already.
    pub(super) fn update_with(
        &self,
        renderer: &mut Renderer,
        topology: &Topology,
        root: Option<RegionKey>,
        damage: &mut Damage,
        values: &mut impl Values<V>,
    ) -> (Self, Difference<V>) {
        let mut view = self.clone();
        let (mut removed, mut added) = (Ranges::new(), Ranges::new());
        let mut new = renderer.lend();
        let mut old: SmallVec<[_; 4]> = SmallVec::new();
        self.for_each_group(damage, |group| {
            new.clear();
            match group {
                Group::One(near) => near.render(renderer, topology, root, &mut new),
                Group::Several(hull, windows) => {
                    self.render_group(renderer, topology, root, hull, windows, &mut new);
                }
            }
            if view.is_empty() {
                view.map = first_ranges(&new, values);
                if !self.is_empty() {
                    added.extend(view.map.iter().map(|(_, value)| value.clone()));
                }
                return;
            }
            old.clear();
            for (_, value) in self.map.range(group.hull()) {
                old.push(value);
            }
            let changed = compare(&old, &new, &mut removed, &mut added, values);
            if let Some((span, entries)) = changed {
                view.map = view.map.spliced(span, entries, &V::count);
            }
        });
        renderer.give_back(new);
        // Where nothing was shown before, everything is new.
        let added = if self.is_empty() {
            Added::whole(view.clone())
        } else {
            Added::ranges(added)
        };
        (view, Difference { removed, added })
    }

    /// The difference between this view and a later one that differs from it in `damage` only.
    pub fn difference(&self, new: &Self, damage: &mut Damage) -> Difference<V> {
        if self.is_same(new) {
            return Difference::default();
        }
        let (mut removed, mut added) = (Ranges::new(), Ranges::new());
        let (mut old_seen, mut new_seen) = (None, None);
        if new.is_empty() {
            removed.reserve(self.len());
        }
        for &span in damage.spans() {
            // A range that touches the damage may have merged into it, or parted from it.
            let Some(near) = Span::new(
                span.first().saturating_sub(1),
                span.last().saturating_add(1),
            ) else {
                continue;
            };
            missing(self, new, near, &mut old_seen, &mut removed);
            missing(new, self, near, &mut new_seen, &mut added);
        }
        Difference {
            removed,
            added: Added::ranges(added),
        }
    }

    /// Calls `render` with each group of windows that is to be rendered together, as what lies between
    /// them may merge with both.
    fn for_each_group(&self, damage: &mut Damage, mut render: impl FnMut(Group<'_>)) {
        // Many small windows cost more than one large one where little lies between them; and where that is known already they need not
        // be put in order.
        let is_dense = |windows: usize| windows > 32 && windows * 3 >= self.len();
        if (is_dense(damage.known_apart()) || is_dense(damage.spans().len()))
            && let Some(hull) = damage.hull()
        {
            return render(Group::One(&self.around(hull)));
        }
        let damage = damage.spans();
        if let [span] = damage {
            return render(Group::One(&self.around(*span)));
        }
        let mut group: Option<Span> = None;
        let mut windows: Vec<Span> = Vec::new();
        for &span in damage {
            let Near {
                mut window, hull, ..
            } = self.around(span);
            match group {
                Some(before) if before.overlaps(hull) => {
                    group = Some(before.hull(hull));
                    while let Some(left) = windows.pop_if(|left| left.touches(window)) {
                        window = window.hull(left);
                    }
                }
                done => {
                    if let Some(done) = done {
                        render(Group::Several(done, &windows));
                    }
                    group = Some(hull);
                    windows.clear();
                }
            }
            windows.push(window);
        }
        if let Some(done) = group {
            render(Group::Several(done, &windows));
        }
    }

    /// What is to be rendered for a damaged span, and what is beside it.
    fn around(&self, span: Span) -> Near {
        let beside = |addr: Option<u64>| addr.and_then(|addr| self.range_at(addr));
        let mut near = Near {
            left: beside(span.first().checked_sub(1)).map(|(range, _)| range),
            window: span,
            right: beside(span.last().checked_add(1)).map(|(range, _)| range),
            hull: span,
        };
        for range in [near.left, near.right].into_iter().flatten() {
            near.hull = near.hull.hull(range.span);
            if range.unmergeable {
                near.window = near.window.hull(range.span);
            }
        }
        near
    }

    /// The new ranges in a group's hull: rendered in the windows, and the old ones' parts beside them.
    fn render_group(
        &self,
        renderer: &mut Renderer,
        topology: &Topology,
        root: Option<RegionKey>,
        hull: Span,
        windows: &[Span],
        out: &mut Vec<FlatRange>,
    ) {
        let stay = |span: Option<Span>, out: &mut Vec<FlatRange>| {
            let Some(span) = span else { return };
            for (old, _) in self.range(span) {
                if let Some(part) = old.clipped(span) {
                    part.append(out);
                }
            }
        };
        let mut next = Some(hull.first());
        for &window in windows {
            let beside = next
                .zip(window.first().checked_sub(1))
                .and_then(|(first, last)| Span::new(first, last));
            stay(beside, out);
            renderer.render(topology, root, window, out);
            next = window.last().checked_add(1);
        }
        stay(next.and_then(|first| Span::new(first, hull.last())), out);
    }
}

/// Windows that are to be rendered together.
#[derive(Clone, Copy)]
enum Group<'a> {
    /// One, and what is beside it.
    One(&'a Near),
    /// Several, ascending, which neither overlap nor touch; and their hull, which has whole old ranges at both ends.
    Several(Span, &'a [Span]),
}

impl Group<'_> {
    fn hull(self) -> Span {
        match self {
            Self::One(near) => near.hull,
            Self::Several(hull, _) => hull,
        }
    }
}

/// A window and the old ranges that reach up to its ends, or over them.
struct Near {
    left: Option<FlatRange>,
    window: Span,
    right: Option<FlatRange>,
    /// Of all three: what takes part in the merging.
    hull: Span,
}

impl Near {
    /// The new ranges in the hull: rendered in the window, and the old ones' parts beside it.
    fn render(
        &self,
        renderer: &mut Renderer,
        topology: &Topology,
        root: Option<RegionKey>,
        out: &mut Vec<FlatRange>,
    ) {
        let window = self.window;
        let part = |old: Option<FlatRange>, beside: Option<Span>| old?.clipped(beside?);
        let before = window.first().checked_sub(1);
        let before = before.and_then(|last| Span::new(self.hull.first(), last));
        if let Some(left) = part(self.left, before) {
            left.append(out);
        }
        renderer.render(topology, root, window, out);
        let behind = window.last().checked_add(1);
        let behind = behind.and_then(|first| Span::new(first, self.hull.last()));
        if let Some(right) = part(self.right, behind) {
            right.append(out);
        }
    }
}

/// Appends the ranges of `one` near a damaged span that `other` has not, each once.
fn missing<V: RangeValue>(
    one: &FlatView<V>,
    other: &FlatView<V>,
    near: Span,
    seen: &mut Option<u64>,
    found: &mut Ranges<V>,
) {
    for (range, value) in one.range(near) {
        if *seen >= Some(range.span.first()) {
            continue;
        }
        *seen = Some(range.span.first());
        if other
            .range_at(range.span.first())
            .is_none_or(|(other, _)| other != range)
        {
            found.push(value.clone());
        }
    }
}

/// So many values are made together where many are: as many places as a processor waits for at once, about.
const AHEAD: usize = 16;

/// A part of a map, and what is to be there instead.
type Splice<V> = (Span, Entries<V>);

/// The map of these ranges, of a view that showed nothing. The values go to the nodes as they are made.
fn first_ranges<V: RangeValue>(new: &[FlatRange], values: &mut impl Values<V>) -> SpanMap<V> {
    if new.len() >= MANY {
        let made = made_by_region(new, values).into_iter();
        let entries = new.iter().zip(made).map(|(range, value)| {
            let value = value.expect("each has been made");
            (range.span, value)
        });
        return SpanMap::from_ascending(entries);
    }
    let entries = new.iter().enumerate().map(|(at, range)| {
        fetch_ahead(&new[at..], at, values);
        let value = values.make(range);
        debug_assert_eq!(value.range(), range, "a value is of its range");
        (range.span, value)
    });
    SpanMap::from_ascending(entries)
}

/// The values of so many ranges are made in the order of the regions, not of the addresses.
const MANY: usize = 1024;

/// The values of these ranges. Where there are thousands, what a value is made of is in no cache; it is had more quickly in
/// the order in which the regions were made, as then it lies together.
fn made_by_region<V: RangeValue>(new: &[FlatRange], values: &mut impl Values<V>) -> Vec<Option<V>> {
    // As one number each, which is sorted in less time than a pair.
    let mut order: Vec<u64> = Vec::with_capacity(new.len());
    order.extend(
        (0u32..)
            .zip(new)
            .map(|(at, range)| u64::from(range.region.place()) << 32 | u64::from(at)),
    );
    order.sort_unstable();
    // INVARIANT: it was an index of `new`.
    let at = |number: u64| usize::try_from(number & u64::from(u32::MAX)).unwrap_or(usize::MAX);
    let mut made: Vec<Option<V>> = Vec::new();
    made.resize_with(new.len(), || None);
    for some in order.chunks(AHEAD) {
        let mut soon: SmallVec<[FlatRange; AHEAD]> = SmallVec::new();
        soon.extend(some.iter().map(|&number| new[at(number)]));
        values.ahead(&soon);
        let places = some.iter().filter(|&&number| made[at(number)].is_none());
        black_box(places.count());
        for (&number, range) in some.iter().zip(&soon) {
            let value = values.make(range);
            debug_assert_eq!(value.range(), range, "a value is of its range");
            made[at(number)] = Some(value);
        }
    }
    made
}

/// Tells of the next ranges, at each so many.
fn fetch_ahead<V>(next: &[FlatRange], at: usize, values: &impl Values<V>) {
    if at.is_multiple_of(AHEAD)
        && let Some(soon) = next.first_chunk::<AHEAD>()
    {
        values.ahead(soon);
    }
}

/// Adds what went to `removed` and what came to `added`, and gives the splice that makes the old ranges the new ones;
/// `None` where they are equal.
fn compare<V: RangeValue>(
    old: &[&V],
    new: &[FlatRange],
    removed: &mut Ranges<V>,
    added: &mut Ranges<V>,
    values: &mut impl Values<V>,
) -> Option<Splice<V>> {
    let same = |(old, new): &(&&V, &FlatRange)| old.range() == *new;
    let begin = old.iter().zip(new).take_while(same).count();
    let (old, new) = (&old[begin..], &new[begin..]);
    let end = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take_while(same)
        .count();
    let (old, new) = (&old[..old.len() - end], &new[..new.len() - end]);
    let spans = old
        .iter()
        .map(|old| old.range().span)
        .chain(new.iter().map(|range| range.span));
    let span = spans.reduce(Span::hull)?;

    let mut entries = Entries::with_capacity(new.len());
    added.reserve(new.len().saturating_sub(old.len()));
    let mut olds = old.iter().copied().peekable();
    for (at, range) in new.iter().enumerate() {
        fetch_ahead(&new[at..], at, values);
        let first = range.span.first();
        while let Some(gone) = olds.next_if(|gone| gone.range().span.first() < first) {
            removed.push(gone.clone());
        }
        if let Some(stays) = olds.next_if(|stays| stays.range() == range) {
            entries.push((range.span, stays.clone()));
            continue;
        }
        if let Some(gone) = olds.next_if(|gone| gone.range().span.first() == first) {
            removed.push(gone.clone());
        }
        let value = values.make(range);
        debug_assert_eq!(value.range(), range, "a value is of its range");
        added.push(value.clone());
        entries.push((range.span, value));
    }
    removed.extend(olds.cloned());
    Some((span, entries))
}
