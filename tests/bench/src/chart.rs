//! Growth curves: one picture for each work that was measured at three sizes or more, logarithmic both ways, as plain SVG.

mod scale;

use crate::report::{Figure, Report, short};
use scale::{Scale, marks, range};
use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 64.0;
/// Room for the names of the curves.
const RIGHT: f64 = 236.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 44.0;
/// Distance of two names, at least.
const LINE: f64 = 15.0;
/// Ours are drawn in one colour, the peers in others, and dashed.
const OURS: &str = "#0b6bcb";
const COLOURS: [&str; 6] = [
    "#c2410c", "#15803d", "#7e22ce", "#a16207", "#be185d", "#475569",
];

/// One curve: its name, whether it is a peer's, and its points.
struct Curve<'a> {
    who: &'a str,
    is_peer: bool,
    points: Vec<&'a Figure>,
}

/// All pictures of a report, each with the name of its file.
pub fn pictures(report: &Report) -> Vec<(String, String)> {
    let mut works: Vec<(&str, &str)> = Vec::new();
    for figure in report.figures() {
        let work = (figure.group, figure.work.as_str());
        if !works.contains(&work) {
            works.push(work);
        }
    }
    let picture = |(group, work): (&str, &str)| {
        let svg = draw(group, work, &curves(report, group, work))?;
        Some((file_name(group, work), svg))
    };
    works.into_iter().filter_map(picture).collect()
}

fn file_name(group: &str, work: &str) -> String {
    let text = format!("{group} {work}");
    let word = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let dashed: String = text.chars().map(word).collect();
    let parts: Vec<&str> = dashed.split('-').filter(|part| !part.is_empty()).collect();
    parts.join("-") + ".svg"
}

fn curves<'a>(report: &'a Report, group: &str, work: &str) -> Vec<Curve<'a>> {
    let mut curves: Vec<Curve<'a>> = Vec::new();
    for figure in report.figures() {
        if figure.group != group || figure.work != work {
            continue;
        }
        match curves.iter_mut().find(|curve| curve.who == figure.who) {
            Some(curve) => curve.points.push(figure),
            None => curves.push(Curve {
                who: &figure.who,
                is_peer: figure.against.is_some(),
                points: vec![figure],
            }),
        }
    }
    curves
}

/// Nothing to the left of one on a logarithmic scale: none at all stands where one would.
fn size(figure: &Figure) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
    let size = figure.n.max(1) as f64;
    size
}

fn draw(group: &str, work: &str, curves: &[Curve<'_>]) -> Option<String> {
    let mut sizes: Vec<&Figure> = Vec::new();
    for figure in curves.iter().flat_map(|curve| &curve.points) {
        if sizes.iter().all(|seen| seen.n != figure.n) {
            sizes.push(figure);
        }
    }
    sizes.sort_by_key(|figure| figure.n);
    let (first, last) = (sizes.first()?, sizes.last()?);
    if sizes.len() < 3 {
        return None;
    }
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let values = range(all().flat_map(|f| [f.summary.low, f.summary.high, f.summary.median]))?;
    let x = Scale::new((size(first), size(last)), (LEFT, WIDTH - RIGHT));
    let y = Scale::new(values, (HEIGHT - BOTTOM, TOP));
    let mut body = String::new();
    let unit = first.unit.name();
    let title = format!(
        "{group}: {work}{}{unit}",
        if unit.is_empty() { "" } else { ", " }
    );
    text(&mut body, (LEFT, 26.0), "start", "title", &title);
    for mark in marks(values.0, values.1) {
        let at = y.place(mark);
        line(&mut body, (LEFT, at), (WIDTH - RIGHT, at), "grid");
        text(
            &mut body,
            (LEFT - 8.0, at + 4.0),
            "end",
            "small",
            &mark_text(mark),
        );
    }
    for figure in &sizes {
        let at = x.place(size(figure));
        line(&mut body, (at, TOP), (at, HEIGHT - BOTTOM), "grid");
        text(
            &mut body,
            (at, HEIGHT - BOTTOM + 18.0),
            "middle",
            "small",
            &figure.n.to_string(),
        );
    }
    text(
        &mut body,
        (f64::midpoint(LEFT, WIDTH - RIGHT), HEIGHT - 8.0),
        "middle",
        "small",
        "n",
    );
    let colours = colours(curves);
    let mut names = Vec::new();
    for (curve, colour) in curves.iter().zip(&colours) {
        draw_curve(&mut body, curve, colour, &x, &y);
        let end = curve.points.iter().max_by_key(|figure| figure.n)?;
        let name = format!("{} {}", curve.who, short(end.summary.median));
        names.push((y.place(end.summary.median), name, *colour));
    }
    draw_names(&mut body, names);
    Some(document(&body))
}

/// The first of ours has our colour.
fn colours(curves: &[Curve<'_>]) -> Vec<&'static str> {
    let mut others = COLOURS.iter().cycle();
    let mut ours = Some(OURS);
    let colour = |curve: &Curve<'_>| {
        let own = if curve.is_peer { None } else { ours.take() };
        own.or_else(|| others.next().copied()).unwrap_or(OURS)
    };
    curves.iter().map(colour).collect()
}

fn draw_curve(body: &mut String, curve: &Curve<'_>, colour: &str, x: &Scale, y: &Scale) {
    let mut points: Vec<&&Figure> = curve.points.iter().collect();
    points.sort_by_key(|figure| figure.n);
    let dash = if curve.is_peer {
        r#" stroke-dasharray="6 4""#
    } else {
        ""
    };
    let places = points
        .iter()
        .map(|f| format!("{:.1},{:.1}", x.place(size(f)), y.place(f.summary.median)));
    let places: Vec<String> = places.collect();
    let _ = writeln!(
        body,
        r#"<polyline points="{}" class="curve" stroke="{colour}"{dash}/>"#,
        places.join(" ")
    );
    for figure in points {
        let (at, s) = (x.place(size(figure)), &figure.summary);
        let (low, high) = (y.place(s.low), y.place(s.high));
        let _ = writeln!(
            body,
            r#"<g><title>{} at {}: {} ({} to {})</title><line x1="{at:.1}" y1="{low:.1}" x2="{at:.1}" y2="{high:.1}" stroke="{colour}"/><circle cx="{at:.1}" cy="{:.1}" r="3" fill="{colour}"/></g>"#,
            escape(curve.who),
            figure.n,
            short(s.median),
            short(s.low),
            short(s.high),
            y.place(s.median)
        );
    }
}

/// The names beside the ends of their curves, from top to bottom, none on another.
fn draw_names(body: &mut String, mut names: Vec<(f64, String, &str)>) {
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let wanted: Vec<f64> = names.iter().map(|name| name.0).collect();
    for (at, (_, name, colour)) in spread(&wanted, (TOP, HEIGHT - BOTTOM)).iter().zip(names) {
        let _ = writeln!(
            body,
            r#"<text x="{:.1}" y="{:.1}" style="fill:{colour}">{}</text>"#,
            WIDTH - RIGHT + 10.0,
            at + 4.0,
            escape(&name)
        );
    }
}

/// Moves places, ascending, apart until each is a line from the next, and keeps them in their range as far as they fit.
fn spread(wanted: &[f64], (top, bottom): (f64, f64)) -> Vec<f64> {
    let mut places: Vec<f64> = Vec::with_capacity(wanted.len());
    for at in wanted {
        let least = places.last().map_or(top, |last| last + LINE);
        places.push(at.max(least));
    }
    let mut most = bottom;
    for at in places.iter_mut().rev() {
        *at = at.min(most);
        most = *at - LINE;
    }
    places
}

fn mark_text(mark: f64) -> String {
    if mark >= 1000.0 {
        format!("{}k", mark / 1000.0)
    } else {
        // Marks are short decimals; this undoes what powers of ten leave behind.
        format!("{}", (mark * 1e9).round() / 1e9)
    }
}

fn line(body: &mut String, from: (f64, f64), to: (f64, f64), class: &str) {
    let _ = writeln!(
        body,
        r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" class="{class}"/>"#,
        from.0, from.1, to.0, to.1
    );
}

fn text(body: &mut String, at: (f64, f64), anchor: &str, class: &str, text: &str) {
    let _ = writeln!(
        body,
        r#"<text x="{:.1}" y="{:.1}" text-anchor="{anchor}" class="{class}">{}</text>"#,
        at.0,
        at.1,
        escape(text)
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn document(body: &str) -> String {
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">
<style>
text {{ font-family: "DejaVu Sans Mono", monospace; font-size: 12px; fill: #1f2933; }}
.small {{ font-size: 10px; fill: #52606d; }}
.title {{ font-size: 15px; font-weight: bold; }}
.grid {{ stroke: #e4e7eb; }}
.curve {{ fill: none; stroke-width: 2; }}
</style>
<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>
{body}</svg>
"##
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Unit, Work};
    use crate::statistics::Summary;

    fn report(sizes: &[u64]) -> Report {
        let mut report = Report::default();
        for n in sizes {
            let work = Work {
                group: "g",
                work: "a <work>, of 2",
                n: *n,
                unit: Unit::Nanos,
            };
            for who in ["ours", "peer"] {
                report.figure(&work, who, Summary::exact(5.0));
            }
        }
        report
    }

    #[test]
    fn three_sizes_make_a_picture_and_two_do_not() {
        assert!(pictures(&report(&[1, 16])).is_empty());
        let pictures = pictures(&report(&[0, 16, 256]));
        let [(name, svg)] = &pictures[..] else {
            panic!("{} pictures", pictures.len());
        };
        assert_eq!(name, "g-a-work-of-2.svg");
        assert!(
            svg.contains("a &lt;work&gt;") && !svg.contains("NaN"),
            "{svg}"
        );
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 6);
    }

    #[test]
    fn names_are_a_line_apart_and_inside() {
        let places = spread(&[100.0, 101.0, 102.0, 398.0, 399.0], (50.0, 400.0));
        assert!(
            places.windows(2).all(|p| p[1] - p[0] >= LINE - 1e-9),
            "{places:?}"
        );
        assert!(places[4] <= 400.0 && places[0] >= 50.0, "{places:?}");
    }
}
