//! Points, boxes and bent lines of a picture. Units are those of the SVG, about a pixel of a phone.

/// A point.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// To the right.
    pub x: f64,
    /// Down.
    pub y: f64,
}

impl Point {
    /// The point between two, at a part of the way.
    pub fn toward(self, to: Self, part: f64) -> Self {
        Self {
            x: self.x + (to.x - self.x) * part,
            y: self.y + (to.y - self.y) * part,
        }
    }

    /// How far another point is.
    pub fn distance(self, to: Self) -> f64 {
        (to.x - self.x).hypot(to.y - self.y)
    }
}

/// A box, by its middle and its size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rect {
    /// Its middle.
    pub middle: Point,
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
}

impl Rect {
    /// Whether a point is inside, or nearer than `margin`.
    pub fn has(&self, point: Point, margin: f64) -> bool {
        (point.x - self.middle.x).abs() < self.width / 2. + margin
            && (point.y - self.middle.y).abs() < self.height / 2. + margin
    }

    /// Whether two boxes are nearer to each other than `margin`.
    pub fn meets(&self, other: &Self, margin: f64) -> bool {
        (other.middle.x - self.middle.x).abs() < f64::midpoint(self.width, other.width) + margin
            && (other.middle.y - self.middle.y).abs()
                < f64::midpoint(self.height, other.height) + margin
    }
}

/// A quadratic curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curve {
    /// Where it begins.
    pub from: Point,
    /// What it bends toward.
    pub by: Point,
    /// Where it ends.
    pub to: Point,
}

impl Curve {
    /// A curve that leaves the straight line by `bow` at its middle, to the right of its direction.
    pub fn bowed(from: Point, to: Point, bow: f64) -> Self {
        let length = from.distance(to).max(1.);
        let middle = from.toward(to, 0.5);
        let by = Point {
            x: middle.x - (to.y - from.y) / length * bow * 2.,
            y: middle.y + (to.x - from.x) / length * bow * 2.,
        };
        Self { from, by, to }
    }

    /// The point at a part of the way.
    pub fn at(&self, part: f64) -> Point {
        let first = self.from.toward(self.by, part);
        first.toward(self.by.toward(self.to, part), part)
    }

    /// The part of the curve between two parts of the way.
    pub fn between(&self, begin: f64, end: f64) -> Self {
        let by = self
            .from
            .toward(self.by, begin)
            .toward(self.by.toward(self.to, begin), end);
        Self {
            from: self.at(begin),
            by,
            to: self.at(end),
        }
    }
}

/// Whether two straight lines cross between their ends.
pub fn cross(a: [Point; 2], b: [Point; 2]) -> bool {
    let side = |line: [Point; 2], point: Point| {
        (line[1].x - line[0].x) * (point.y - line[0].y)
            - (line[1].y - line[0].y) * (point.x - line[0].x)
    };
    side(a, b[0]) * side(a, b[1]) < 0. && side(b, a[0]) * side(b, a[1]) < 0.
}
