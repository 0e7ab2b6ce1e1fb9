//! Where the nodes of a scenario are: on a grid, each in the same place in all its pictures.
//!
//! The machine is a bar across the top. Everybody else gets a cell of a grid of two or three columns, which is as much as a phone shows. Cells are
//! exchanged as long as that makes the pictures plainer: fewer lines through nodes, fewer crossings, children below their parents, short
//! lines. A few starts, drawn from a fixed sequence, keep that from ending at the first arrangement that no single exchange improves.

use super::geometry::{Point, Rect, cross};
use super::graph::{Graph, Who};
use std::collections::{BTreeMap, BTreeSet};

/// The width of a node.
pub const WIDTH: f64 = 102.;
/// The height of a node.
pub const HEIGHT: f64 = 36.;
/// The height of the machine's bar.
pub const BAR: f64 = 24.;
/// From the middle of a column to that of the next.
const COLUMN: f64 = 150.;
/// What is left free all around.
const MARGIN: f64 = 8.;
/// From the machine's bar to the middle of the first row, and from row to row.
const ROWS: [f64; 4] = [90., 104., 120., 138.];

/// The cells of a scenario's nodes.
#[derive(Clone, Debug)]
pub struct Places {
    columns: u8,
    /// Of each node, the machine left out: column and row.
    cells: BTreeMap<Who, (u8, u8)>,
}

/// The places of a scenario's nodes, in units of the picture.
#[derive(Clone, Debug)]
pub struct Layout {
    nodes: BTreeMap<Who, Rect>,
    /// The width of the picture.
    pub width: f64,
    /// The height of the picture.
    pub height: f64,
}

impl Layout {
    /// The layout of these cells; `spread` of 0 to 3 says how far apart the rows are.
    pub fn new(places: &Places, spread: usize) -> Self {
        let row = ROWS[spread.min(ROWS.len() - 1)];
        let width = 2. * MARGIN + WIDTH + COLUMN * f64::from(places.columns - 1);
        let last = places.cells.values().map(|(_, row)| *row).max();
        let top = MARGIN + BAR / 2.;
        let mut nodes = BTreeMap::new();
        let bar = Rect {
            middle: Point {
                x: width / 2.,
                y: top,
            },
            width: width - 2. * MARGIN,
            height: BAR,
        };
        nodes.insert(Who::Machine, bar);
        for (who, (column, at)) in &places.cells {
            let middle = Point {
                x: MARGIN + WIDTH / 2. + COLUMN * f64::from(*column),
                y: top + row * f64::from(at + 1),
            };
            nodes.insert(
                *who,
                Rect {
                    middle,
                    width: WIDTH,
                    height: HEIGHT,
                },
            );
        }
        let rows = last.map_or(0., |last| f64::from(last + 1));
        Self {
            nodes,
            width,
            height: top + row * rows + HEIGHT / 2. + MARGIN,
        }
    }

    /// The box of a node.
    pub fn node(&self, who: Who) -> Rect {
        self.nodes.get(&who).copied().unwrap_or_default()
    }
}

/// Finds cells for all nodes of some graphs.
pub fn places(graphs: &[&Graph]) -> Places {
    let nodes: BTreeSet<Who> = graphs
        .iter()
        .flat_map(|graph| graph.nodes.iter().map(|node| node.who))
        .filter(|who| *who != Who::Machine)
        .collect();
    let nodes: Vec<Who> = nodes.into_iter().collect();
    let mut weights: BTreeMap<(Who, Who), f64> = BTreeMap::new();
    let mut children: BTreeSet<(Who, Who)> = BTreeSet::new();
    for line in graphs.iter().flat_map(|graph| &graph.lines) {
        let ends = (line.from.min(line.to), line.from.max(line.to));
        *weights.entry(ends).or_default() += 1.;
        if line.label.starts_with("child") {
            children.insert((line.from, line.to));
        }
    }
    let columns: u8 = if nodes.len() <= 4 { 2 } else { 3 };
    let rows = nodes.len().div_ceil(usize::from(columns)) + 1;
    let mut puzzle = Puzzle {
        columns,
        lines: weights
            .into_iter()
            .map(|(ends, weight)| (ends, f64::min(weight, 6.) / 6.))
            .collect(),
        children,
        cells: vec![None; rows * usize::from(columns)],
    };
    for (cell, node) in puzzle.cells.iter_mut().zip(&nodes) {
        *cell = Some(*node);
    }
    let mut best = (f64::INFINITY, puzzle.cells.clone());
    let mut chance = 0x2545_f491_u32;
    for _ in 0..8 {
        let cost = puzzle.improve();
        if cost < best.0 - 1e-9 {
            best = (cost, puzzle.cells.clone());
        }
        for at in (1..puzzle.cells.len()).rev() {
            chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let other = usize::try_from(chance >> 16).unwrap_or(0) % (at + 1);
            puzzle.cells.swap(at, other);
        }
    }
    puzzle.cells = best.1;
    puzzle.done()
}

/// An arrangement that is being improved.
struct Puzzle {
    columns: u8,
    lines: Vec<((Who, Who), f64)>,
    children: BTreeSet<(Who, Who)>,
    cells: Vec<Option<Who>>,
}

impl Puzzle {
    /// Exchanges cells until no exchange helps; returns what the arrangement costs.
    fn improve(&mut self) -> f64 {
        let mut cost = self.cost();
        loop {
            let before = cost;
            for one in 0..self.cells.len() {
                for other in one + 1..self.cells.len() {
                    if self.cells[one].is_none() && self.cells[other].is_none() {
                        continue;
                    }
                    self.cells.swap(one, other);
                    let with = self.cost();
                    if with < cost - 1e-9 {
                        cost = with;
                    } else {
                        self.cells.swap(one, other);
                    }
                }
            }
            if cost >= before - 1e-9 {
                return cost;
            }
        }
    }

    fn at(&self, index: usize) -> (u8, u8) {
        let index = u8::try_from(index).unwrap_or(u8::MAX);
        (index % self.columns, index / self.columns)
    }

    /// In columns and rows; a line from the machine comes straight down.
    fn points(&self) -> BTreeMap<Who, Point> {
        let place = |(index, who): (usize, &Option<Who>)| {
            let (column, row) = self.at(index);
            let point = Point {
                x: f64::from(column) * 1.5,
                y: f64::from(row + 1),
            };
            who.map(|who| (who, point))
        };
        self.cells.iter().enumerate().filter_map(place).collect()
    }

    fn cost(&self) -> f64 {
        let points = self.points();
        let end = |who: Who, other: Who| match points.get(&who) {
            Some(point) => *point,
            None => Point {
                x: points.get(&other).map_or(0., |point| point.x),
                y: 0.,
            },
        };
        let lines: Vec<_> = self
            .lines
            .iter()
            .map(|((from, to), weight)| ([end(*from, *to), end(*to, *from)], *from, *to, *weight))
            .collect();
        let mut cost = 0.;
        for (at, (line, from, to, weight)) in lines.iter().enumerate() {
            cost += line[0].distance(line[1]) * weight;
            for (who, point) in &points {
                if who != from && who != to && is_near(*line, *point) {
                    cost += 8. * weight;
                }
            }
            for (other, ..) in &lines[at + 1..] {
                if cross(*line, *other) {
                    cost += 2.5;
                }
            }
        }
        for (parent, child) in &self.children {
            let (Some(parent), Some(child)) = (points.get(parent), points.get(child)) else {
                continue;
            };
            if child.y <= parent.y {
                cost += 3.;
            }
        }
        cost + points.values().map(|point| point.y * 0.4).sum::<f64>()
    }

    fn done(&self) -> Places {
        let mut cells: BTreeMap<Who, (u8, u8)> = BTreeMap::new();
        for (index, who) in self.cells.iter().enumerate() {
            if let Some(who) = who {
                cells.insert(*who, self.at(index));
            }
        }
        // Rows and columns that nobody is in go.
        let rows: BTreeSet<u8> = cells.values().map(|(_, row)| *row).collect();
        let columns: BTreeSet<u8> = cells.values().map(|(column, _)| *column).collect();
        let rank = |all: &BTreeSet<u8>, value: u8| {
            u8::try_from(all.iter().take_while(|known| **known < value).count()).unwrap_or(0)
        };
        for (column, row) in cells.values_mut() {
            (*column, *row) = (rank(&columns, *column), rank(&rows, *row));
        }
        Places {
            columns: u8::try_from(columns.len()).unwrap_or(1).max(2),
            cells,
        }
    }
}

/// Whether a straight line passes through the cell of a point.
fn is_near(line: [Point; 2], point: Point) -> bool {
    let length = line[0].distance(line[1]).max(1e-9);
    let along = ((point.x - line[0].x) * (line[1].x - line[0].x)
        + (point.y - line[0].y) * (line[1].y - line[0].y))
        / (length * length);
    (0. ..=1.).contains(&along) && line[0].toward(line[1], along).distance(point) < 0.35
}
