//! The quick renderer: one window of a view, looking only at regions that reach into it.

use std::collections::BTreeMap;

use super::FlatRange;
use super::range::Place;
use crate::addr::Span;
use crate::topology::{Interval, Kind, RegionKey, Topology};

/// Renders windows of views; keeps its working memory from one to the next.
#[derive(Debug, Default)]
pub(super) struct Renderer {
    steps: Vec<Step>,
    shown: Vec<Interval>,
    taken: Taken,
    ranges: Vec<FlatRange>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Visit(Place),
    Fill(Place),
}

impl Renderer {
    /// Appends what `root` shows in `window` to `out`, ascending and merged, also with what is there.
    pub(super) fn render(
        &mut self,
        topology: &Topology,
        root: Option<RegionKey>,
        window: Span,
        out: &mut Vec<FlatRange>,
    ) {
        self.taken.clear();
        self.steps
            .extend(root.map(|root| Step::Visit(Place::root(root, window))));
        while let Some(step) = self.steps.pop() {
            match step {
                // What is taken already hides the region and everything below it.
                Step::Visit(place) | Step::Fill(place) if self.taken.covers(place.clip) => {}
                Step::Visit(place) => self.visit(topology, place),
                Step::Fill(place) => self.fill(topology, place),
            }
        }
        self.ranges.sort_unstable_by_key(|range| range.span.first());
        for range in self.ranges.drain(..) {
            range.append(out);
        }
    }

    fn visit(&mut self, topology: &Topology, place: Place) {
        let Some(node) = topology.get(place.region) else {
            return;
        };
        let Some(place) = place.entered(node) else {
            return;
        };
        if let Kind::Alias { target, offset } = node.kind() {
            self.steps
                .extend(target.map(|target| Step::Visit(place.target(target, offset))));
            return;
        }
        if node.has_enabled_children() {
            node.shown_in(place.window(), &mut self.shown);
        }
        if self.shown.is_empty() {
            if node.kind().terminates() {
                self.fill(topology, place);
            }
            return;
        }
        if node.kind().terminates() {
            self.steps.push(Step::Fill(place));
        }
        for child in self.shown.drain(..).rev() {
            let address = crate::addr::Offset(child.span.first());
            self.steps
                .push(Step::Visit(place.child(child.region, address)));
        }
    }

    fn fill(&mut self, topology: &Topology, place: Place) {
        let ranges = &mut self.ranges;
        self.taken
            .take(place.clip, |gap| ranges.push(place.range(topology, gap)));
    }
}

/// The addresses that are taken, as few intervals as possible: first address to last.
#[derive(Debug, Default)]
struct Taken(BTreeMap<u64, u64>);

impl Taken {
    fn clear(&mut self) {
        self.0.clear();
    }

    fn covers(&self, span: Span) -> bool {
        self.0
            .range(..=span.first())
            .next_back()
            .is_some_and(|(_, &last)| last >= span.last())
    }

    /// Takes `span`, and hands out those parts of it that were not taken.
    fn take(&mut self, span: Span, mut gap: impl FnMut(Span)) {
        let mut first = span.first();
        let mut last = span.last();
        // The first address of which nothing is known yet; `None` past the end of the space.
        let mut next = Some(span.first());
        if let Some((&begun, reach)) = self.0.range_mut(..=span.first()).next_back()
            && *reach >= span.first().saturating_sub(1)
        {
            first = begun;
            last = last.max(*reach);
            next = reach.checked_add(1);
        }
        while let Some(at) = next
            && at <= span.last()
            && let Some((&begun, &reach)) = self.0.range(at..=span.last().saturating_add(1)).next()
        {
            // Each interval that is met goes into the new one, so that none is met twice.
            self.0.remove(&begun);
            if let Some(before) = begun.checked_sub(1)
                && let Some(free) = Span::new(at, before.min(span.last()))
            {
                gap(free);
            }
            last = last.max(reach);
            next = reach.checked_add(1);
        }
        if let Some(at) = next
            && let Some(free) = Span::new(at, span.last())
        {
            gap(free);
        }
        self.0.insert(first, last);
    }
}
