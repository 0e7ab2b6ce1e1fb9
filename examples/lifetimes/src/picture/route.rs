//! Lines between nodes, bent round those in between, and room for what is written on them.
//!
//! Each line tries a number of bends, and on each a number of places for its label, and takes what costs least: to touch a node or another label
//! costs most, then to cross a label, then to run along another line or to cross one, then to be long. Lines that are red come first, pointers last.

use super::geometry::{Curve, Point, Rect};
use super::graph::{Graph, Line, Who};
use super::layout::Layout;

/// A graph with places.
#[derive(Clone, Debug, Default)]
pub struct Drawing {
    /// For each line of the graph its curve and the box of its label.
    pub lines: Vec<Drawn>,
    /// How many labels had to be put over a node or another label.
    pub clashes: usize,
}

/// A line with places.
#[derive(Clone, Copy, Debug)]
pub struct Drawn {
    /// Its curve, from edge to edge of the nodes' boxes.
    pub curve: Curve,
    /// What it says is here.
    pub label: Rect,
}

/// The size of the letters of labels.
pub const LETTER: f64 = 9.5;
const BOWS: [f64; 13] = [
    0., 9., -9., 18., -18., 30., -30., 46., -46., 66., -66., 90., -90.,
];
const PARTS: [f64; 9] = [0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74, 0.18, 0.82];
/// How many points of a curve are looked at.
const SAMPLES: u8 = 20;

/// Draws a graph in a layout.
pub fn draw(graph: &Graph, layout: &Layout) -> Drawing {
    let mut order: Vec<usize> = (0..graph.lines.len()).collect();
    order.sort_by_key(|index| {
        let line = &graph.lines[*index];
        (!line.is_red, !line.is_counted, *index)
    });
    let mut board = Board {
        layout,
        nodes: graph
            .nodes
            .iter()
            .map(|node| (node.who, layout.node(node.who)))
            .collect(),
        points: Vec::new(),
        labels: Vec::new(),
    };
    let mut drawn: Vec<Option<Drawn>> = vec![None; graph.lines.len()];
    let mut clashes = 0;
    for index in order {
        let (line, clash) = board.place(&graph.lines[index]);
        clashes += usize::from(clash);
        drawn[index] = Some(line);
    }
    Drawing {
        lines: drawn.into_iter().flatten().collect(),
        clashes,
    }
}

/// What is drawn so far.
struct Board<'a> {
    layout: &'a Layout,
    nodes: Vec<(Who, Rect)>,
    /// Points of the lines, by line.
    points: Vec<Vec<Point>>,
    labels: Vec<Rect>,
}

impl Board<'_> {
    fn place(&mut self, line: &Line) -> (Drawn, bool) {
        let mut best: Option<(f64, Drawn, bool)> = None;
        for curve in self.curves(line) {
            let points: Vec<Point> = (0..=SAMPLES)
                .map(|at| curve.at(f64::from(at) / f64::from(SAMPLES)))
                .collect();
            let least = best.as_ref().map_or(f64::INFINITY, |(least, ..)| *least);
            let bent = self.cost_of_curve(line, &curve, &points, least);
            if bent >= least {
                continue;
            }
            for part in PARTS {
                let label = Rect {
                    middle: curve.at(part),
                    width: text_width(&line.label, LETTER) + 4.,
                    height: LETTER + 3.,
                };
                let (cost, clash) = self.cost_of_label(&label);
                // A label that hides most of its line leaves no line.
                let hidden = count(points.iter().filter(|point| label.has(**point, 3.)));
                let hides = (hidden / f64::from(SAMPLES) - 0.4).max(0.) * 120.;
                let tip = label.has(curve.to, 5.) || label.has(curve.from, 0.);
                let hides = if tip { hides + 90. } else { hides };
                let cost = bent + cost + hides + (part - 0.5).abs() * 8.;
                if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
                    best = Some((cost, Drawn { curve, label }, clash));
                }
            }
        }
        let (_, drawn, clash) = best.unwrap_or_else(|| {
            let curve = Curve::bowed(Point::default(), Point::default(), 0.);
            let label = Rect::default();
            (0., Drawn { curve, label }, true)
        });
        let points = (0..=SAMPLES)
            .map(|at| drawn.curve.at(f64::from(at) / f64::from(SAMPLES)))
            .collect();
        self.points.push(points);
        self.labels.push(drawn.label);
        (drawn, clash)
    }

    /// The bends that a line may take.
    fn curves(&self, line: &Line) -> Vec<Curve> {
        let (from, to) = (self.layout.node(line.from), self.layout.node(line.to));
        if line.from == line.to {
            return self.loops(from);
        }
        let mut curves = Vec::new();
        // A line from or to the machine's bar may meet it anywhere beside the straight way down.
        for shift in [0., -24., 24., -44., 44.] {
            let end = |this: Rect, other: Rect, who: Who| {
                let mut point = this.middle;
                if who == Who::Machine {
                    let half = this.width / 2. - 12.;
                    let x = other.middle.x + shift - point.x;
                    point.x += x.clamp(-half, half);
                }
                point
            };
            let ends = [end(from, to, line.from), end(to, from, line.to)];
            for bow in BOWS {
                let whole = Curve::bowed(ends[0], ends[1], bow);
                if let Some(curve) = clipped(&whole, &from, &to) {
                    curves.push(curve);
                }
            }
            if line.from != Who::Machine && line.to != Who::Machine {
                break;
            }
        }
        curves
    }

    /// A line to oneself leaves and comes back on one side.
    fn loops(&self, node: Rect) -> Vec<Curve> {
        let mut curves = Vec::new();
        for (side, reach) in [(1., 46.), (-1., 46.), (1., 60.), (-1., 60.)] {
            let end = |part: f64| Point {
                x: node.middle.x + part * node.width,
                y: node.middle.y + side * node.height / 2.,
            };
            let by = Point {
                x: node.middle.x,
                y: node.middle.y + side * (node.height / 2. + reach),
            };
            if by.y < self.layout.height {
                curves.push(Curve {
                    from: end(-0.3),
                    by,
                    to: end(0.3),
                });
            }
        }
        curves
    }

    /// What a bend costs; as soon as it is more than `least`, what it costs at least.
    fn cost_of_curve(&self, line: &Line, curve: &Curve, points: &[Point], least: f64) -> f64 {
        let mut cost = curve.from.distance(curve.by) + curve.by.distance(curve.to);
        cost *= 0.25;
        let chord = curve.from.distance(curve.to);
        if chord < 14. {
            cost += 200.;
        }
        for (who, node) in &self.nodes {
            let is_end = *who == line.from || *who == line.to;
            let inside = points.iter().filter(|point| {
                let margin = if is_end { -1. } else { 4. };
                node.has(**point, margin)
            });
            cost += 60. * count(inside).min(8.);
        }
        for point in points {
            let out = point.x < 2.
                || point.x > self.layout.width - 2.
                || point.y > self.layout.height - 2.;
            cost += if out { 60. } else { 0. };
        }
        for label in &self.labels {
            cost += 14. * count(points.iter().filter(|point| label.has(**point, 1.)));
        }
        let is_close = |one: &Point, other: &Point| {
            (one.x - other.x).abs() < 7. && (one.y - other.y).abs() < 7.
        };
        for other in &self.points {
            if cost > least {
                break;
            }
            let near = |point: &&Point| other.iter().any(|it| is_close(it, point));
            cost += 5. * count(points.iter().filter(near));
        }
        cost
    }

    fn cost_of_label(&self, label: &Rect) -> (f64, bool) {
        let mut cost = 0.;
        let mut clash = false;
        for (_, node) in &self.nodes {
            if node.meets(label, 1.) {
                cost += 400.;
                clash = true;
            }
        }
        for other in &self.labels {
            if other.meets(label, 1.) {
                cost += 400.;
                clash = true;
            }
        }
        let beyond = label.middle.x - label.width / 2. < 2.
            || label.middle.x + label.width / 2. > self.layout.width - 2.
            || label.middle.y + label.height / 2. > self.layout.height;
        if beyond {
            cost += 400.;
            clash = true;
        }
        for other in &self.points {
            cost += 10. * count(other.iter().filter(|point| label.has(**point, 1.)));
        }
        (cost, clash)
    }
}

/// About how wide a text is in letters of a size; no font that is common is wider.
pub fn text_width(text: &str, letter: f64) -> f64 {
    count(text.chars()) * letter * 0.56
}

fn count(items: impl Iterator) -> f64 {
    f64::from(u32::try_from(items.count()).unwrap_or(u32::MAX))
}

/// The part of a curve between the boxes at its ends.
fn clipped(whole: &Curve, from: &Rect, to: &Rect) -> Option<Curve> {
    let parts = |at: u8| f64::from(at) / 96.;
    let begin = (0..=96).find(|at| !from.has(whole.at(parts(*at)), 1.))?;
    let end = (begin..=96).find(|at| to.has(whole.at(parts(*at)), 3.))?;
    (end > begin).then(|| whole.between(parts(begin), parts(end)))
}
