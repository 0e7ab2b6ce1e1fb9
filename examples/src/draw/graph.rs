//! The reference graph as a picture: holders at the left, what they hold at the right, cycles in red.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use qom::{Graph, GraphNode, NodeKind};

use super::layers::{Layout, Sizes, layout};
use super::svg::{Anchor, FONT, Svg, fit, text_width, width};

/// Longest label, in characters; longer ones are cut in the middle and given whole when pointed at.
const LABEL: usize = 38;
const MARGIN: f64 = 24.0;
const PADDING: f64 = 10.0;
const HEIGHT: f64 = 36.0;
/// Room for the arc of an edge from a node to itself.
const LOOP: f64 = 16.0;

/// Room for the title and the line under it.
const HEAD: f64 = 46.0;

/// The colour of each reason, the same in every picture, told apart also by those who see few colours; cycles have red for themselves.
const COLOURS: [(&str, &str); 13] = [
    ("child", "#0072b2"),
    ("user handle", "#7f8c8d"),
    ("link", "#7b4fa3"),
    ("subregion", "#b8860b"),
    ("alias target", "#e377c2"),
    ("address space root", "#009e73"),
    ("shown by a view", "#5fb6e6"),
    ("mapping", "#8c564b"),
    ("pin (I/O in flight)", "#c2185b"),
    ("snapshot of a view", "#1b1f7a"),
    ("withdrawn region → owner", "#222222"),
    ("a blob of it is not finalized", "#6b8e23"),
    ("unrecorded", "#c9b458"),
];
/// For reasons that a layer of somebody else's declares.
const OTHERS: [&str; 4] = ["#e0792b", "#3f6f7f", "#a3b8cc", "#9b2fae"];

/// Draws who keeps whom alive.
///
/// Boxes are objects (dashed: withdrawn), round ones are views, pins and tables, notes are user handles. Edges lead from holder to
/// held and are coloured by their reason; those on a cycle are red and thick.
///
/// ```
/// use holdfast_examples::draw::reference_graph;
/// let machine = qom::Machine::new("doc");
/// let svg = reference_graph("a new machine", &machine.reference_graph());
/// assert!(svg.starts_with("<svg") && svg.contains("/machine"));
/// ```
pub fn reference_graph(title: &str, graph: &Graph) -> String {
    let edges: Vec<(usize, usize)> = graph.edges.iter().map(|e| (e.from, e.to)).collect();
    let loops = edges.iter().any(|(from, to)| from == to);
    let sizes = Sizes {
        nodes: graph
            .nodes
            .iter()
            .map(|n| (node_width(n), HEIGHT))
            .collect(),
        between_layers: 90.0,
        between_nodes: if loops { 10.0 + LOOP } else { 10.0 },
    };
    let layout = layout(&edges, &sizes);
    let mut component = vec![None; graph.nodes.len()];
    for (c, nodes) in graph.cycles().into_iter().enumerate() {
        for node in nodes {
            component[node] = Some(c);
        }
    }
    let on_cycle = |e: usize| {
        let (from, to) = edges[e];
        component[from].is_some() && component[from] == component[to]
    };
    let reasons: BTreeSet<&'static str> = graph.edges.iter().map(|e| e.reason.0).collect();
    let mut svg = Svg::new();
    let top = MARGIN + HEAD + if loops { LOOP } else { 0.0 };
    svg.text((MARGIN, MARGIN + 12.0), Anchor::Start, "title", title);
    svg.text(
        (MARGIN, MARGIN + 28.0),
        Anchor::Start,
        "small",
        &summary(graph),
    );
    // Red ones last, so that nothing crosses over them.
    let mut order: Vec<usize> = (0..edges.len()).collect();
    order.sort_by_key(|&e| on_cycle(e));
    for e in order {
        draw_edge(&mut svg, graph, &layout, &sizes, e, on_cycle(e), top);
    }
    for (n, node) in graph.nodes.iter().enumerate() {
        let place = layout.places[n];
        draw_node(
            &mut svg,
            node,
            (MARGIN + place.x, top + place.y),
            sizes.nodes[n],
        );
    }
    let legend_top = top + layout.height + 34.0;
    let has_cycle = (0..edges.len()).any(on_cycle);
    let legend_width = draw_legend(&mut svg, &reasons, has_cycle, legend_top);
    let head = text_width(title) * 15.0 / FONT;
    let content = layout.width.max(legend_width).max(head);
    svg.finish(content + 2.0 * MARGIN, legend_top + MARGIN, &style())
}

fn summary(graph: &Graph) -> String {
    let count =
        |wanted: fn(&NodeKind) -> bool| graph.nodes.iter().filter(|n| wanted(&n.kind)).count();
    let objects = count(|k| {
        matches!(
            k,
            NodeKind::Root(_) | NodeKind::Live(_) | NodeKind::Withdrawn(_)
        )
    });
    let withdrawn = count(|k| matches!(k, NodeKind::Withdrawn(_)));
    let edges = graph.edges.len();
    let cycles = graph.cycles().len();
    format!("{objects} objects, {withdrawn} of them withdrawn; {edges} edges; {cycles} cycles")
}

/// The two lines of a node.
fn lines(node: &GraphNode) -> (String, &'static str) {
    let kind = match node.kind {
        NodeKind::Root(_) => "root",
        NodeKind::Live(_) | NodeKind::Withdrawn(_) => node.type_name.unwrap_or("object"),
        NodeKind::Handles => "user handles",
        NodeKind::Unrecorded => "not recorded",
        NodeKind::Other => "holder",
    };
    (fit(&node.label, LABEL), kind)
}

fn second_line(node: &GraphNode) -> String {
    let (_, kind) = lines(node);
    if matches!(node.kind, NodeKind::Withdrawn(_)) {
        format!("{} · withdrawn", fit(kind, LABEL - 12))
    } else {
        fit(kind, LABEL)
    }
}

fn node_width(node: &GraphNode) -> f64 {
    let first = text_width(&lines(node).0);
    // The second line is set in a smaller size.
    let second = text_width(&second_line(node)) * 10.0 / FONT;
    first.max(second).max(width(8)) + 2.0 * PADDING
}

fn draw_node(svg: &mut Svg, node: &GraphNode, at: (f64, f64), size: (f64, f64)) {
    let (class, round) = match node.kind {
        NodeKind::Root(_) => ("root", 3.0),
        NodeKind::Live(_) => ("live", 3.0),
        NodeKind::Withdrawn(_) => ("withdrawn", 3.0),
        NodeKind::Handles | NodeKind::Unrecorded => ("note", 0.0),
        NodeKind::Other => ("other", size.1 / 2.0),
    };
    svg.titled(&node.label, |svg| {
        svg.rect(at, size, round, class);
        let middle = at.0 + size.0 / 2.0;
        svg.text(
            (middle, at.1 + 15.0),
            Anchor::Middle,
            "label",
            &lines(node).0,
        );
        svg.text(
            (middle, at.1 + 29.0),
            Anchor::Middle,
            "small",
            &second_line(node),
        );
    });
}

fn draw_edge(
    svg: &mut Svg,
    graph: &Graph,
    layout: &Layout,
    sizes: &Sizes,
    e: usize,
    red: bool,
    top: f64,
) {
    let edge = &graph.edges[e];
    let mut title = format!(
        "{} → {}: {}",
        graph.nodes[edge.from].label, graph.nodes[edge.to].label, edge.reason
    );
    if let Some(place) = edge.place {
        let _ = write!(title, " at {}:{}", place.file(), place.line());
    }
    let class = if red {
        "edge cycle".to_owned()
    } else {
        format!("edge c{}", colour(edge.reason.0))
    };
    let shift = |(x, y): (f64, f64)| (MARGIN + x, top + y);
    let route: Vec<(f64, f64)> = layout.routes[e].iter().copied().map(shift).collect();
    let Some((&end, &start)) = route.last().zip(route.first()) else {
        // From a node to itself: an arc over its right corner.
        let (x, y) = shift((layout.places[edge.from].x, layout.places[edge.from].y));
        let right = x + sizes.nodes[edge.from].0;
        let d = format!(
            "M{:.1},{y:.1} C{:.1},{:.1} {right:.1},{:.1} {:.1},{:.1}",
            right - 34.0,
            right - 34.0,
            y - LOOP,
            y - LOOP,
            right - 12.0,
            y - 2.0
        );
        svg.path(&d, &class, Some(&title));
        arrow(svg, (right - 12.0, y), (0.0, 1.0), &class);
        return;
    };
    let ahead = if layout.backwards[e] { -1.0 } else { 1.0 };
    let tip = (end.0 - ahead * 2.0, end.1);
    let mut d = format!("M{:.1},{:.1}", start.0, start.1);
    for (i, pair) in route.windows(2).enumerate() {
        let (from, mut to) = (pair[0], pair[1]);
        if i + 2 == route.len() {
            to.0 -= ahead * 7.0;
        }
        if (from.1 - to.1).abs() < 0.05 {
            let _ = write!(d, " L{:.1},{:.1}", to.0, to.1);
        } else {
            let bend = (to.0 - from.0) / 2.0;
            let _ = write!(
                d,
                " C{:.1},{:.1} {:.1},{:.1} {:.1},{:.1}",
                from.0 + bend,
                from.1,
                to.0 - bend,
                to.1,
                to.0,
                to.1
            );
        }
    }
    svg.path(&d, &class, Some(&title));
    arrow(svg, tip, (ahead, 0.0), &class);
}

/// An arrow head whose tip is at `tip`.
fn arrow(svg: &mut Svg, tip: (f64, f64), ahead: (f64, f64), class: &str) {
    let back = (tip.0 - ahead.0 * 8.0, tip.1 - ahead.1 * 8.0);
    let side = (ahead.1 * 3.5, ahead.0 * 3.5);
    let d = format!(
        "M{:.1},{:.1} L{:.1},{:.1} L{:.1},{:.1} Z",
        tip.0,
        tip.1,
        back.0 + side.0,
        back.1 + side.1,
        back.0 - side.0,
        back.1 - side.1
    );
    svg.path(&d, &class.replacen("edge", "head", 1), None);
}

/// The number of a reason's colour: its place among those that are known, or one of the others by its name.
fn colour(reason: &str) -> usize {
    let known = COLOURS.iter().position(|(name, _)| *name == reason);
    known.unwrap_or_else(|| {
        let sum: usize = reason.bytes().map(usize::from).sum();
        COLOURS.len() + sum % OTHERS.len()
    })
}

/// Draws which colour means what, and gives the width of it.
fn draw_legend(svg: &mut Svg, reasons: &BTreeSet<&'static str>, has_cycle: bool, y: f64) -> f64 {
    let mut x = MARGIN;
    let mut entry = |class: &str, text: &str| {
        svg.path(&format!("M{x:.1},{:.1} h22", y - 4.0), class, None);
        svg.text((x + 28.0, y), Anchor::Start, "label", text);
        x += 28.0 + text_width(text) + 20.0;
    };
    for reason in reasons {
        entry(&format!("edge c{}", colour(reason)), reason);
    }
    if has_cycle {
        entry("edge cycle", "on a cycle");
    }
    x - MARGIN
}

fn style() -> String {
    let mut style = String::from(
        "rect { stroke-width: 1.2; }
.live { fill: #eaf3fb; stroke: #2f6f9f; }
.root { fill: #d4e6f5; stroke: #1d4e73; stroke-width: 2; }
.withdrawn { fill: #f4f4f4; stroke: #7b8794; stroke-dasharray: 4 3; }
.note { fill: #fff8dc; stroke: #b8a35a; }
.other { fill: #eef7ee; stroke: #5f8f5f; }
.paper { stroke: none; }
.edge { fill: none; stroke-width: 1.3; }
.head { stroke: none; }
",
    );
    let known = COLOURS.iter().map(|(_, colour)| colour);
    for (n, colour) in known.chain(&OTHERS).enumerate() {
        let _ = writeln!(
            style,
            ".edge.c{n} {{ stroke: {colour}; }} .head.c{n} {{ fill: {colour}; }}"
        );
    }
    style.push_str(
        ".edge.cycle { stroke: #d00000; stroke-width: 2.6; } .head.cycle { fill: #d00000; }\n",
    );
    style
}

#[cfg(test)]
mod tests {
    use super::*;
    use qom::{GraphEdge, ObjectId, Reason};

    fn graph(edges: &[(usize, usize)], n: usize) -> Graph {
        let node = |i: usize| GraphNode {
            label: format!("/machine/peripheral/a-long-name-for-a-device/number-{i}"),
            kind: NodeKind::Live(ObjectId(i as u64)),
            type_name: Some("thing"),
        };
        let edge = |&(from, to): &(usize, usize)| GraphEdge {
            from,
            to,
            reason: Reason::CHILD,
            place: None,
            taken_by: None,
        };
        Graph {
            nodes: (0..n).map(node).collect(),
            edges: edges.iter().map(edge).collect(),
        }
    }

    #[test]
    fn only_edges_on_a_cycle_are_red() {
        let svg = reference_graph("t", &graph(&[(0, 1), (1, 2), (2, 1), (2, 3), (3, 3)], 4));
        assert_eq!(svg.matches("class=\"edge cycle\"><title>").count(), 3);
        assert_eq!(svg.matches("class=\"edge c0\"><title>").count(), 2);
        assert!(svg.contains("on a cycle") && svg.contains("2 cycles"));
        let svg = reference_graph("t", &graph(&[(0, 1), (1, 2)], 3));
        assert!(!svg.contains("edge cycle\"") && !svg.contains("on a cycle"));
    }

    #[test]
    fn a_reason_has_its_colour_whatever_else_is_in_the_picture() {
        let strokes = |reasons: &[&'static str]| -> Vec<String> {
            let mut graph = graph(&[(0, 1), (1, 2), (2, 3)][..reasons.len()], 4);
            for (edge, reason) in graph.edges.iter_mut().zip(reasons) {
                edge.reason = Reason(reason);
            }
            let svg = reference_graph("t", &graph);
            let class = |reason: &str| {
                let title = svg.find(&format!(": {reason}</title>")).expect("an edge");
                let from = svg[..title].rfind("class=\"edge ").expect("its class") + 12;
                let class = svg[from..title].split('"').next().expect("a name").trim();
                let rule = svg.split(&format!(".edge.{class} {{ stroke: ")).nth(1);
                rule.and_then(|rest| rest.split(';').next())
                    .map(str::to_owned)
            };
            reasons.iter().filter_map(|r| class(r)).collect()
        };
        let (many, few) = (
            strokes(&["child", "mapping", "of mine"]),
            strokes(&["mapping"]),
        );
        assert_eq!((many.len(), &many[1]), (3, &few[0]));
        assert_eq!(many[2], strokes(&["of mine", "child"])[0]);
    }

    #[test]
    fn no_two_reasons_look_alike() {
        let part = |colour: &str, at: usize| {
            i32::from_str_radix(&colour[at..at + 2], 16).expect("a hexadecimal number")
        };
        let all = COLOURS.map(|(_, colour)| colour);
        for (n, a) in all.iter().enumerate() {
            // Red is for cycles.
            for b in all[..n].iter().chain(&["#d00000"]) {
                let square: i32 = [1, 3, 5]
                    .map(|at| (part(a, at) - part(b, at)).pow(2))
                    .iter()
                    .sum();
                assert!(square >= 60 * 60, "{a} and {b}");
            }
        }
    }

    #[test]
    fn the_reasons_of_a_real_machine_are_known() {
        use memory::{
            AddressSpace, Backing, Gpa, Intent, Offset, Priority, Region, RegionApi, Size,
        };
        let machine = qom::Machine::builder("reasons").recording(true).build();
        let root = machine.root();
        let system = Region::container("system", Size::MAX).create(root).unwrap();
        let space = AddressSpace::open(root, "memory", &system).unwrap();
        let ram = Region::ram("ram", Backing::anonymous(0x1000).unwrap());
        let ram = ram.create(root).unwrap();
        let alias = Region::alias("alias", &ram, Offset(0), Size::new(0x1000));
        let alias = alias.create(root).unwrap();
        system.add_subregion(Offset(0), &ram, Priority(0)).unwrap();
        system
            .add_subregion(Offset(0x1000), &alias, Priority(0))
            .unwrap();
        let map = space.map(root, Gpa(0), 16, Intent::Read).unwrap();
        let kept = (map.pin(0, 8).unwrap(), space.snapshot(root).unwrap());
        let graph = machine.reference_graph();
        let reasons: BTreeSet<&str> = graph.edges.iter().map(|e| e.reason.0).collect();
        assert!(reasons.len() >= 9, "{reasons:?}");
        for reason in reasons {
            assert!(
                colour(reason) < COLOURS.len(),
                "`{reason}` has no colour of its own"
            );
        }
        drop(kept);
    }

    #[test]
    fn the_title_is_clear_of_the_nodes() {
        for edges in [&[(0, 1)][..], &[(0, 0)]] {
            let svg = reference_graph("t", &graph(edges, 2));
            let number = |part: &str, key: &str| -> f64 {
                let rest = part.split(key).nth(1).expect("an attribute");
                rest.split('"').next().unwrap().parse().expect("a number")
            };
            let small = svg.lines().find(|l| l.contains("class=\"small\""));
            let head = number(small.expect("the line under the title"), " y=\"");
            let boxes = svg.lines().filter(|l| l.contains("class=\"live\""));
            let top = boxes.map(|l| number(l, " y=\"")).fold(f64::MAX, f64::min);
            assert!(top - head >= 14.0, "{head} and {top}");
        }
    }

    #[test]
    fn long_labels_are_cut_and_given_whole_in_the_title() {
        let svg = reference_graph("t", &graph(&[], 1));
        assert!(
            svg.contains("<title>/machine/peripheral/a-long-name-for-a-device/number-0</title>")
        );
        assert!(!svg.contains(">/machine/peripheral/a-long-name-for-a-device/number-0</text>"));
        assert!(svg.contains('…'));
    }

    #[test]
    fn an_empty_graph_is_a_picture_too() {
        assert!(reference_graph("nothing", &Graph::default()).contains("0 objects"));
    }
}
