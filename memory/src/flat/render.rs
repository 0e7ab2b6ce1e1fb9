//! The quick renderer: one window of a view, looking only at regions that reach into it.
//!
//! Most regions are alone at their place among their siblings, and have nothing in them. They come by address, and what they show goes
//! straight to the result: no step is noted for them, and where nothing comes later that they could hide, not even what they take.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::hint::black_box;

use super::FlatRange;
use super::range::Place;
use crate::addr::Span;
use crate::topology::{Interval, Kind, Node, RegionKey, Topology};

/// Renders windows of views; keeps its working memory from one to the next.
#[derive(Debug, Default)]
pub(super) struct Renderer {
    steps: Vec<Step>,
    /// Siblings of which each overlaps another.
    together: Vec<Interval>,
    taken: Taken,
    /// What was found from the first on that lies before what was found earlier.
    late: Vec<FlatRange>,
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
        let from = out.len();
        self.steps
            .extend(root.map(|root| Step::Visit(Place::root(root, window))));
        while let Some(step) = self.steps.pop() {
            match step {
                // What is taken already hides the region and everything below it.
                Step::Visit(place) | Step::Fill(place) if self.taken.covers(place.clip) => {}
                Step::Visit(place) => self.visit(topology, place, out),
                Step::Fill(place) => self.fill(topology.node(place.region), place, out),
            }
        }
        if !self.late.is_empty() {
            self.late.extend(out.drain(from..));
            // Most are in order already, which this sort makes use of.
            self.late.sort_by_key(|range| range.span.first());
            for range in self.late.drain(..) {
                range.append(out);
            }
        }
    }

    fn visit(&mut self, topology: &Topology, place: Place, out: &mut Vec<FlatRange>) {
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
        if node.kind().terminates() {
            if !node.shows_others() {
                return self.fill(node, place, out);
            }
            self.steps.push(Step::Fill(place));
        }
        let is_last = self.steps.is_empty() && self.taken.is_empty();
        let mut together = std::mem::take(&mut self.together);
        let mut reach = 0;
        node.shown_in(place.window(), &mut |some| {
            look_at(topology, some);
            for child in some {
                if reach < child.span.first() {
                    self.visit_children(topology, place, &mut together, is_last, out);
                }
                reach = reach.max(child.span.last());
                together.push(*child);
            }
        });
        self.visit_children(topology, place, &mut together, is_last, out);
        self.together = together;
    }

    /// Visits children that overlap no others of their siblings. They are `last` where nothing was taken before them, and nothing is visited
    /// later but what they do not overlap.
    fn visit_children(
        &mut self,
        topology: &Topology,
        parent: Place,
        children: &mut Vec<Interval>,
        is_last: bool,
        out: &mut Vec<FlatRange>,
    ) {
        let place = |child: &Interval| {
            let address = crate::addr::Offset(child.span.first());
            parent.child(child.region, address)
        };
        if let [alone] = children[..] {
            let node = topology.node(alone.region);
            if node.kind().terminates() && !node.shows_others() {
                if let Some(place) = place(&alone).entered(node) {
                    if is_last {
                        put(place.range(node, place.clip), &mut self.late, out);
                    } else {
                        self.fill(node, place, out);
                    }
                }
                return children.clear();
            }
        }
        // The last step is the next, and what hides others is to come before them.
        children.sort_unstable_by_key(|one| (Reverse(one.priority), Reverse(one.order)));
        let steps = children
            .drain(..)
            .rev()
            .map(|child| Step::Visit(place(&child)));
        self.steps.extend(steps);
    }

    fn fill(&mut self, node: &Node, place: Place, out: &mut Vec<FlatRange>) {
        let late = &mut self.late;
        self.taken
            .take(place.clip, |gap| put(place.range(node, gap), late, out));
    }
}

/// Adds a range to what was found: to what comes in order, as long as it does.
fn put(range: FlatRange, late: &mut Vec<FlatRange>, out: &mut Vec<FlatRange>) {
    let is_next = |last: &FlatRange| last.span.last() < range.span.first();
    if late.is_empty() && out.last().is_none_or(is_next) {
        range.append(out);
    } else {
        late.push(range);
    }
}

/// Looks at regions of which each is a miss of the caches where they are many: a processor waits for many together, but for one after the
/// other where each is rendered first.
fn look_at(topology: &Topology, some: &[Interval]) {
    if some.len() > 2 {
        let looks = some.iter().map(|child| topology.node(child.region).look());
        black_box(looks.fold(0, usize::wrapping_add));
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

    fn is_empty(&self) -> bool {
        self.run.is_empty() && self.tree.is_empty()
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
