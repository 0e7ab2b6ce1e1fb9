//! Courses as charts: live objects and bytes over cycles.

use super::{Course, Loop, Point, bytes, grouped};
use crate::picture::route::text_width;
use crate::picture::svg::escape;
use std::fmt::Write as _;

/// The size of a chart, and of the field inside it.
const WIDTH: f64 = 400.;
const HEIGHT: f64 = 154.;
const LEFT: f64 = 6.;
const RIGHT: f64 = 216.;
const TOP: f64 = 26.;
const BOTTOM: f64 = 124.;
/// The size of the letters, and from line to line of writing.
const LETTER: f64 = 10.;
const LINE: f64 = 12.;

/// Courses that are one line: who they are, and their points.
struct Curve<'a> {
    names: Vec<&'static str>,
    points: &'a [Point],
    is_aborted: bool,
}

/// The charts of a loop: live objects, then bytes; with the courses of the real crates as well, where there are any.
pub fn draw(one: &Loop, real: Option<&Course>) -> String {
    let courses: Vec<&Course> = one.courses.iter().chain(real).collect();
    let cycles = courses
        .iter()
        .filter_map(|course| course.points.last())
        .map(|point| point.cycle)
        .max()
        .unwrap_or(1);
    panel(
        &courses,
        cycles,
        "live objects",
        |point| point.objects,
        grouped,
    ) + &panel(&courses, cycles, "live bytes", |point| point.bytes, bytes)
}

fn panel(
    courses: &[&Course],
    cycles: u32,
    what: &str,
    value: fn(&Point) -> u64,
    show: fn(u64) -> String,
) -> String {
    let last = |points: &[Point]| points.last().map_or(0, value);
    let mut curves: Vec<Curve<'_>> = Vec::new();
    for course in courses {
        let same = |curve: &&mut Curve<'_>| {
            curve.is_aborted == course.is_aborted && last(curve.points) == last(&course.points)
        };
        match curves.iter_mut().find(same) {
            Some(curve) => curve.names.push(course.name),
            None => curves.push(Curve {
                names: vec![course.name],
                points: &course.points,
                is_aborted: course.is_aborted,
            }),
        }
    }
    curves.sort_by_key(|curve| (last(curve.points), !curve.is_aborted));
    let top = curves
        .iter()
        .map(|curve| last(curve.points))
        .max()
        .unwrap_or(0)
        .max(1);
    let x = |cycle: u32| LEFT + (RIGHT - LEFT) * f64::from(cycle) / f64::from(cycles.max(1));
    let y = |value: u64| BOTTOM - (BOTTOM - TOP) * part(value, top);

    let end = |curve: &Curve<'_>| {
        if curve.is_aborted {
            "aborts in cycle 1".into()
        } else {
            show(last(curve.points))
        }
    };
    let words: Vec<_> = curves
        .iter()
        .map(|curve| format!("{}: {}", curve.names.join(", "), end(curve)))
        .collect();
    let mut text = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escape(&format!(
            "{what} after {} cycles: {}",
            grouped(cycles.into()),
            words.join("; ")
        ))
    );
    let _ = write!(
        text,
        "<text class=\"title\" x=\"{LEFT}\" y=\"12\">{what}</text><path class=\"axis\" d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\"/>\
         <text class=\"tick\" x=\"{LEFT}\" y=\"{}\">0</text><text class=\"tick end\" x=\"{RIGHT}\" y=\"{}\">{} cycles</text>",
        BOTTOM + 14.,
        BOTTOM + 14.,
        grouped(cycles.into())
    );
    let ends: Vec<_> = curves
        .iter()
        .map(|curve| (y(last(curve.points)), lines(&end(curve), &curve.names)))
        .collect();
    let heights = heights(&ends);
    for ((curve, (_, lines)), first) in curves.iter().zip(&ends).zip(heights) {
        let points: Vec<_> = curve
            .points
            .iter()
            .map(|point| format!("{:.1} {:.1}", x(point.cycle), y(value(point))))
            .collect();
        let kind = match (curve.is_aborted, last(curve.points)) {
            (true, _) => "abort",
            (_, 0) => "flat",
            _ => "rise",
        };
        let _ = write!(
            text,
            "<path class=\"course {kind}\" d=\"M{}\"/>",
            points.join("L")
        );
        if curve.is_aborted {
            let _ = write!(
                text,
                "<path class=\"course abort\" d=\"M{:.0} {:.0}l8 -8m-8 0l8 8\"/>",
                x(0) - 1.,
                BOTTOM + 4.
            );
        }
        let mut height = first;
        for (at, line) in lines.iter().enumerate() {
            let value = if at == 0 { " value" } else { "" };
            let _ = write!(
                text,
                "<text class=\"end {kind}{value}\" x=\"{}\" y=\"{height:.0}\">{}</text>",
                RIGHT + 6.,
                escape(line)
            );
            height += LINE;
        }
    }
    text + "</svg>"
}

/// Where the writing beside each course begins: from below, each as near to its line as the one below lets it, and down again where that went out at the top.
fn heights(ends: &[(f64, Vec<String>)]) -> Vec<f64> {
    let tall = |lines: &[String]| LINE * f64::from(u32::try_from(lines.len()).unwrap_or(1));
    // Letters reach below their line.
    let mut free = HEIGHT - 3.;
    let mut heights = Vec::new();
    for (wanted, lines) in ends {
        let first = (wanted + 3.).min(free - tall(lines) + LINE - 1.);
        free = first - LINE;
        heights.push(first);
    }
    let mut least = LINE;
    for (first, (_, lines)) in heights.iter_mut().zip(ends).rev() {
        *first = first.max(least);
        least = *first + tall(lines);
    }
    heights
}

/// A value and the names that it is of, in lines that fit beside the field.
fn lines(value: &str, names: &[&str]) -> Vec<String> {
    let mut lines = vec![value.to_owned()];
    let mut line = String::new();
    for (at, name) in names.iter().enumerate() {
        let name = if at + 1 < names.len() {
            format!("{name}, ")
        } else {
            (*name).to_owned()
        };
        if text_width(&(line.clone() + &name), LETTER) > WIDTH - RIGHT - 8. {
            lines.push(std::mem::take(&mut line));
        }
        line += &name;
    }
    lines.push(line);
    lines
}

/// What part one number is of another.
fn part(value: u64, of: u64) -> f64 {
    let thousandths = u128::from(value) * 1000 / u128::from(of.max(1));
    f64::from(u32::try_from(thousandths).unwrap_or(1000)) / 1000.
}
