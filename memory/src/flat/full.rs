//! The slow renderer: every region, every subregion, in the order of the rules. The yardstick.

use super::FlatRange;
use super::range::Place;
use crate::addr::Span;
use crate::topology::{Kind, RegionKey, Topology};

/// Renders everything that `root` shows, at 0, as ascending ranges. `None` shows nothing.
///
/// It visits every region below the root, whether it can be seen or not, and looks through the whole
/// view for each: for checking, not for use at each commit.
pub fn render_full(topology: &Topology, root: Option<RegionKey>) -> Vec<FlatRange> {
    enum Step {
        Visit(Place),
        Fill(Place),
    }
    let mut view: Vec<FlatRange> = Vec::new();
    // A stack of its own, as regions may nest deeper than the thread's stack is high. The last step is
    // the next, so what hides others is pushed after them.
    let mut steps: Vec<Step> = root
        .map(|root| Step::Visit(Place::root(root, Span::ALL)))
        .into_iter()
        .collect();
    while let Some(step) = steps.pop() {
        match step {
            Step::Visit(place) => {
                let Some(node) = topology.get(place.region) else {
                    continue;
                };
                let Some(place) = place.entered(node) else {
                    continue;
                };
                if let Kind::Alias { target, offset } = node.kind() {
                    steps.extend(target.map(|target| Step::Visit(place.target(target, offset))));
                    continue;
                }
                if node.kind().terminates() {
                    steps.push(Step::Fill(place));
                }
                for child in node.children().rev() {
                    steps.push(Step::Visit(
                        place.child(child, topology.node(child).address()),
                    ));
                }
            }
            Step::Fill(place) => fill(topology, place, &mut view),
        }
    }
    let mut merged = Vec::with_capacity(view.len());
    for range in view {
        range.append(&mut merged);
    }
    merged
}

/// Gives the region what nobody before it took.
fn fill(topology: &Topology, place: Place, view: &mut Vec<FlatRange>) {
    let mut left = Some(place.clip);
    let mut at = view.partition_point(|range| range.span.last() < place.clip.first());
    while let Some(rest) = left {
        let taken = view
            .get(at)
            .map(|range| range.span)
            .filter(|span| span.overlaps(rest));
        let gap_last = taken.map_or(Some(rest.last()), |taken| taken.first().checked_sub(1));
        if let Some(gap) = gap_last.and_then(|last| Span::new(rest.first(), last)) {
            view.insert(at, place.range(topology.node(place.region), gap));
            at += 1;
        }
        at += 1;
        left = taken.and_then(|taken| Span::new(taken.last().checked_add(1)?, rest.last()));
    }
}
