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
    lent: Vec<FlatRange>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Visit(Place),
    Fill(Place),
}

impl Renderer {
    /// A list for the caller's results, until he gives it back.
    pub(super) fn lend(&mut self) -> Vec<FlatRange> {
        std::mem::take(&mut self.lent)
    }

    pub(super) fn give_back(&mut self, list: Vec<FlatRange>) {
        self.lent = list;
    }

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
        node.shown_in(place.window(), &mut self.shown);
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
struct Taken {
    /// As long as what comes lies behind all that came, a list will do.
    run: Vec<(u64, u64)>,
    /// Everything, from the first time on that it does not; then the run is empty.
    tree: BTreeMap<u64, u64>,
}

impl Taken {
    fn clear(&mut self) {
        self.run.clear();
        self.tree.clear();
    }

    fn covers(&self, span: Span) -> bool {
        let last = match self.run.last() {
            Some(&(_, last)) if last < span.first() => None,
            Some(_) => {
                let at = self
                    .run
                    .partition_point(|&(first, _)| first <= span.first());
                at.checked_sub(1).map(|at| self.run[at].1)
            }
            None => self
                .tree
                .range(..=span.first())
                .next_back()
                .map(|(_, &last)| last),
        };
        last.is_some_and(|last| last >= span.last())
    }

    /// Takes `span`, and hands out those parts of it that were not taken.
    fn take(&mut self, span: Span, mut gap: impl FnMut(Span)) {
        if self.tree.is_empty() {
            match self.run.last_mut() {
                Some((_, last)) if *last >= span.first() => self.tree.extend(self.run.drain(..)),
                Some((_, last)) if *last + 1 == span.first() => {
                    *last = span.last();
                    return gap(span);
                }
                _ => {
                    self.run.push((span.first(), span.last()));
                    return gap(span);
                }
            }
        }
        self.take_from_tree(span, gap);
    }

    fn take_from_tree(&mut self, span: Span, mut gap: impl FnMut(Span)) {
        let mut first = span.first();
        let mut last = span.last();
        // The first address of which nothing is known yet; `None` past the end of the space.
        let mut next = Some(span.first());
        if let Some((&begun, reach)) = self.tree.range_mut(..=span.first()).next_back()
            && *reach >= span.first().saturating_sub(1)
        {
            first = begun;
            last = last.max(*reach);
            next = reach.checked_add(1);
        }
        while let Some(at) = next
            && at <= span.last()
            && let Some((&begun, &reach)) =
                self.tree.range(at..=span.last().saturating_add(1)).next()
        {
            // Each interval that is met goes into the new one, so that none is met twice.
            self.tree.remove(&begun);
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
        self.tree.insert(first, last);
    }
}
