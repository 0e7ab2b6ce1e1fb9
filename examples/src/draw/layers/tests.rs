//! Layouts of random graphs: nothing lies on anything, and edges go to the right unless they close a cycle.

use super::*;

fn sizes(n: usize) -> Sizes {
    Sizes {
        nodes: (0..n).map(|i| (60.0 + count(i % 5) * 20.0, 30.0)).collect(),
        between_layers: 50.0,
        between_nodes: 12.0,
    }
}

/// A small generator of numbers, so that a failure can be repeated.
fn random_graph(seed: u64, nodes: usize, edges: usize) -> Vec<(usize, usize)> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % n as u64).unwrap()
    };
    (0..edges).map(|_| (below(nodes), below(nodes))).collect()
}

fn check(edges: &[(usize, usize)], n: usize) {
    let sizes = sizes(n);
    let layout = layout(edges, &sizes);
    for a in 0..n {
        let (place, size) = (layout.places[a], sizes.nodes[a]);
        assert!(place.x >= -0.001 && place.x + size.0 <= layout.width + 0.001);
        assert!(place.y >= -0.001 && place.y + size.1 <= layout.height + 0.001);
        for b in 0..a {
            let (other, other_size) = (layout.places[b], sizes.nodes[b]);
            let beside = place.x + size.0 <= other.x || other.x + other_size.0 <= place.x;
            let below =
                place.y + size.1 + 11.99 <= other.y || other.y + other_size.1 + 11.99 <= place.y;
            assert!(beside || below, "{a} lies on {b}: {place:?} {other:?}");
        }
    }
    for (e, &(from, to)) in edges.iter().enumerate() {
        if from == to {
            assert!(layout.routes[e].is_empty());
            continue;
        }
        let to_the_right = layout.places[from].layer < layout.places[to].layer;
        assert_eq!(to_the_right, !layout.backwards[e], "edge {from} → {to}");
        let route = &layout.routes[e];
        let ascending = route.windows(2).all(|w| w[0].0 <= w[1].0);
        let descending = route.windows(2).all(|w| w[0].0 >= w[1].0);
        assert!(
            if to_the_right { ascending } else { descending },
            "{route:?}"
        );
        let inside = |node: usize, y: f64| {
            let top = layout.places[node].y;
            top < y && y < top + sizes.nodes[node].1
        };
        assert!(inside(from, route[0].1) && inside(to, route[route.len() - 1].1));
        // Where an edge bends it is between two layers, and where it is straight it meets no other node.
        for pair in route.windows(2) {
            let (left, right) = (pair[0].0.min(pair[1].0), pair[0].0.max(pair[1].0));
            let (top, bottom) = (pair[0].1.min(pair[1].1), pair[0].1.max(pair[1].1));
            for (place, size) in layout.places.iter().zip(&sizes.nodes) {
                let beside = place.x + size.0 <= left + 0.001 || right <= place.x + 0.001;
                let apart = place.y + size.1 <= top || bottom <= place.y;
                assert!(
                    beside || apart,
                    "edge {from} → {to} passes behind {place:?}"
                );
            }
        }
    }
}

#[test]
fn random_graphs_have_no_overlaps() {
    for seed in 0..60 {
        let nodes = 1 + usize::try_from(seed).unwrap() % 40;
        check(&random_graph(seed, nodes, nodes * 2), nodes);
    }
}

#[test]
fn a_graph_without_cycles_has_no_backward_edge() {
    let edges: Vec<(usize, usize)> = random_graph(7, 50, 120)
        .into_iter()
        .filter(|(a, b)| a != b)
        .map(|(a, b)| (a.min(b), a.max(b)))
        .collect();
    let layout = layout(&edges, &sizes(50));
    assert!(layout.backwards.iter().all(|back| !back));
}

#[test]
fn a_tree_is_drawn_without_crossings() {
    // A binary tree whose edges come in a confusing order.
    let mut edges: Vec<(usize, usize)> = (1..31).map(|v| ((v - 1) / 2, v)).collect();
    edges.sort_by_key(|&(_, to)| (to * 7) % 31);
    let mut net = Net::new(&edges, &sizes(31));
    net.order();
    assert_eq!(net.crossings(), 0);
}

#[test]
fn inversions_are_counted() {
    assert_eq!(inversions(&mut [(0, 1.0), (1, 0.0)]), 1);
    assert_eq!(inversions(&mut [(0, 1.0), (0, 0.0)]), 0);
    assert_eq!(inversions(&mut [(2, 0.0), (1, 1.0), (0, 2.0)]), 3);
}

#[test]
fn nothing_is_laid_out_as_nothing() {
    assert_eq!(layout(&[], &sizes(0)), Layout::default());
}
