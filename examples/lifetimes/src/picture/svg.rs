//! A drawing as an `svg` element. Colours and fonts are the page's; which kind a thing is shows in its shape, stroke and words too.

use super::graph::{Graph, Node, What};
use super::layout::Layout;
use super::route::Drawing;
use crate::state::Id;
use std::fmt::Write as _;

/// Writes a drawing.
pub fn write(graph: &Graph, layout: &Layout, drawing: &Drawing, title: &str) -> String {
    let mut text = String::new();
    let (width, height) = (layout.width, layout.height);
    let _ = write!(
        text,
        "<svg class=\"graph\" viewBox=\"0 0 {width:.0} {height:.0}\" style=\"max-width:{width:.0}px\" role=\"img\" aria-label=\"{}\">",
        escape(&format!("{title}: {}", sentence(graph))),
    );
    for (line, drawn) in graph.lines.iter().zip(&drawing.lines) {
        let curve = drawn.curve;
        let kind = match (line.is_red, line.is_counted) {
            (true, _) => "line red",
            (_, true) => "line",
            (_, false) => "line bare",
        };
        let _ = write!(
            text,
            "<path class=\"{kind}\" d=\"M{:.0} {:.0}Q{:.0} {:.0} {:.0} {:.0}\"/>{}",
            curve.from.x,
            curve.from.y,
            curve.by.x,
            curve.by.y,
            curve.to.x,
            curve.to.y,
            arrow(&drawn.curve, kind),
        );
    }
    for node in &graph.nodes {
        write_node(&mut text, node, layout);
    }
    for (line, drawn) in graph.lines.iter().zip(&drawing.lines) {
        let kind = match (line.is_red, line.is_counted) {
            (true, _) => "why red",
            (_, true) => "why",
            (_, false) => "why bare",
        };
        let _ = write!(
            text,
            "<text class=\"{kind}\" x=\"{:.0}\" y=\"{:.0}\">{}</text>",
            drawn.label.middle.x,
            drawn.label.middle.y + 3.,
            escape(&line.label)
        );
    }
    text + "</svg>"
}

/// The head of an arrow, as a shape of its own: markers would need names that are unique on a page.
fn arrow(curve: &super::geometry::Curve, kind: &str) -> String {
    let (to, by) = (curve.to, curve.by);
    let length = by.distance(to).max(1.);
    let (dx, dy) = ((to.x - by.x) / length, (to.y - by.y) / length);
    let side = |sign: f64| {
        (
            to.x - dx * 7. - sign * dy * 3.,
            to.y - dy * 7. + sign * dx * 3.,
        )
    };
    let ((ax, ay), (bx, by)) = (side(1.), side(-1.));
    let shape = if kind.ends_with("bare") {
        "head bare"
    } else if kind.ends_with("red") {
        "head red"
    } else {
        "head"
    };
    let close = if shape == "head bare" { "" } else { "Z" };
    format!(
        "<path class=\"{shape}\" d=\"M{ax:.1} {ay:.1}L{:.1} {:.1}L{bx:.1} {by:.1}{close}\"/>",
        to.x, to.y
    )
}

fn write_node(text: &mut String, node: &Node, layout: &Layout) {
    let place = layout.node(node.who);
    let (x, y) = (
        place.middle.x - place.width / 2.,
        place.middle.y - place.height / 2.,
    );
    let round = match node.what {
        What::Device | What::Machine => 2.,
        What::Plain => 9.,
        What::Container | What::Region | What::Alias => 5.,
        What::Space | What::Mapping | What::Transfer | What::View => place.height / 2.,
    };
    let mut kind = match node.what {
        What::Machine => "node machine",
        What::Device | What::Plain => "node owner",
        What::Container | What::Region | What::Alias => "node region",
        What::Space | What::Mapping | What::Transfer | What::View => "node handle",
    }
    .to_owned();
    for (is, word) in [
        (node.order.is_some(), " gone"),
        (node.is_left, " left"),
        (node.is_misused, " misused"),
    ] {
        if is {
            kind += word;
        }
    }
    let _ = write!(
        text,
        "<g class=\"{kind}\"><rect x=\"{x:.0}\" y=\"{y:.0}\" width=\"{:.0}\" height=\"{:.0}\" rx=\"{round:.0}\"/>",
        place.width, place.height
    );
    if node.what == What::Machine {
        let _ = write!(
            text,
            "<text x=\"{:.0}\" y=\"{:.0}\">{}</text></g>",
            place.middle.x,
            place.middle.y + 4.,
            node.what.word()
        );
        return;
    }
    let _ = write!(
        text,
        "<text x=\"{:.0}\" y=\"{:.0}\">{}</text><text class=\"sub\" x=\"{:.0}\" y=\"{:.0}\">{}</text>",
        place.middle.x,
        place.middle.y - 3.,
        escape(&node.name),
        place.middle.x,
        place.middle.y + 10.,
        escape(&below(node)),
    );
    if let Some(order) = node.order {
        let _ = write!(
            text,
            "<circle class=\"order\" cx=\"{:.0}\" cy=\"{y:.0}\" r=\"8\"/><text class=\"order\" x=\"{:.0}\" y=\"{:.0}\">{order}</text>",
            x + place.width - 4.,
            x + place.width - 4.,
            y + 3.5,
        );
    }
    *text += "</g>";
}

/// The second line of a node: what it is, and how it stands.
fn below(node: &Node) -> String {
    let word = node.what.word();
    match (node.order, node.count) {
        (Some(_), _) if node.is_misused => "gone, and used".into(),
        (Some(_), _) => "finalized".into(),
        (None, Some(count)) if node.is_left => format!("{word}, {count}: left"),
        (None, Some(count)) => format!("{word}, {count}"),
        (None, None) if node.is_left => format!("{word}: left"),
        (None, None) if node.is_withdrawn => format!("{word}, leaving"),
        (None, None) => word.into(),
    }
}

/// The graph in words, for those who hear the page.
fn sentence(graph: &Graph) -> String {
    let name = |who| {
        graph
            .node(who)
            .map_or_else(|| Id::NONE.0.to_string(), |node| node.name.clone())
    };
    let mut text = String::new();
    for line in graph.lines.iter().filter(|line| line.is_counted) {
        let _ = write!(
            text,
            "{} holds {} ({})",
            name(line.from),
            name(line.to),
            line.label
        );
        text += if line.is_red {
            ", on what keeps it; "
        } else {
            "; "
        };
    }
    let mut gone: Vec<_> = graph
        .nodes
        .iter()
        .filter(|node| node.order.is_some())
        .collect();
    gone.sort_by_key(|node| node.order);
    if !gone.is_empty() {
        let names: Vec<_> = gone.iter().map(|node| node.name.as_str()).collect();
        let _ = write!(text, "finalized in this order: {}", names.join(", "));
    }
    if text.is_empty() {
        return "nobody holds anybody".into();
    }
    text.trim_end_matches("; ").to_owned()
}

/// Text as the content of an element or an attribute.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
