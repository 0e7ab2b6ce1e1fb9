//! Where the nodes and edges of a directed graph go: layers from left to right, few crossings, short edges, nothing on top of
//! anything else.
//!
//! The steps are the usual ones. Edges that close a cycle are turned round for the layout; each node's layer is its longest path
//! from a source; edges over several layers get a place to pass in each of them; neighbours' averages order each layer; and a layer's
//! places are as near to their neighbours as their sizes allow (pooled adjacent violators, which is exact).

/// How large things are, in pixels.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Width and height of each node.
    pub nodes: Vec<(f64, f64)>,
    /// Room between two layers.
    pub between_layers: f64,
    /// Room between two things in a layer.
    pub between_nodes: f64,
}

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Its layer, from 0 at the left.
    pub layer: usize,
}

/// A graph with places.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// Of each node.
    pub places: Vec<Place>,
    /// The points each edge goes through, its ends included, from holder to held. Empty for an edge from a node to itself.
    pub routes: Vec<Vec<(f64, f64)>>,
    /// Of each edge, whether it goes against the layers.
    pub backwards: Vec<bool>,
    /// The whole width.
    pub width: f64,
    /// The whole height.
    pub height: f64,
}

/// Room that an edge takes where it passes a layer.
const LANE: f64 = 8.0;
const SWEEPS: usize = 12;

/// Lays a graph out. The same graph always gets the same layout.
///
/// # Panics
/// Where an edge names a node that has no size.
///
/// ```
/// use holdfast_examples::draw::{Sizes, layout};
/// let sizes = Sizes { nodes: vec![(80.0, 30.0); 3], between_layers: 60.0, between_nodes: 10.0 };
/// let layout = layout(&[(0, 1), (1, 2), (2, 0)], &sizes);
/// assert_eq!(layout.places[2].layer, 2);
/// assert_eq!(layout.backwards, [false, false, true]);
/// ```
pub fn layout(edges: &[(usize, usize)], sizes: &Sizes) -> Layout {
    let backwards = closing_edges(sizes.nodes.len(), edges);
    let turned: Vec<(usize, usize)> = edges
        .iter()
        .zip(&backwards)
        .map(|(&(from, to), &back)| if back { (to, from) } else { (from, to) })
        .collect();
    let mut net = Net::new(&turned, sizes);
    net.order();
    net.settle();
    net.finish(edges, &backwards, sizes)
}

/// Edges that lead back to a node that is being visited.
fn closing_edges(nodes: usize, edges: &[(usize, usize)]) -> Vec<bool> {
    let mut out: Vec<Vec<usize>> = vec![Vec::new(); nodes];
    let mut held = vec![false; nodes];
    for (i, &(from, to)) in edges.iter().enumerate() {
        out[from].push(i);
        held[to] |= from != to;
    }
    let mut back = vec![false; edges.len()];
    let mut state = vec![0_u8; nodes];
    // Sources first, so that what nobody holds stands at the left.
    let mut starts: Vec<usize> = (0..nodes).collect();
    starts.sort_by_key(|&v| held[v]);
    for start in starts {
        if state[start] != 0 {
            continue;
        }
        state[start] = 1;
        let mut work = vec![(start, 0)];
        while let Some(top) = work.last_mut() {
            let (v, at) = *top;
            let Some(&edge) = out[v].get(at) else {
                state[v] = 2;
                work.pop();
                continue;
            };
            top.1 += 1;
            let to = edges[edge].1;
            match state[to] {
                0 => {
                    state[to] = 1;
                    work.push((to, 0));
                }
                1 => back[edge] = to != v,
                _ => {}
            }
        }
    }
    back
}

/// A node, or the place where an edge passes a layer.
#[derive(Clone, Debug)]
struct Item {
    layer: usize,
    height: f64,
    /// Upper edge.
    y: f64,
    left: Vec<usize>,
    right: Vec<usize>,
}

impl Item {
    fn middle(&self) -> f64 {
        self.y + self.height / 2.0
    }
}

/// The graph with an item for each layer that an edge passes.
struct Net {
    items: Vec<Item>,
    /// Items of each layer, from the top.
    layers: Vec<Vec<usize>>,
    /// Items of each edge, from left to right.
    chains: Vec<Vec<usize>>,
    gap: f64,
}

impl Net {
    fn new(edges: &[(usize, usize)], sizes: &Sizes) -> Self {
        let layer = longest_paths(sizes.nodes.len(), edges);
        let item = |layer, height| Item {
            layer,
            height,
            y: 0.0,
            left: Vec::new(),
            right: Vec::new(),
        };
        let mut items: Vec<Item> = layer
            .iter()
            .zip(&sizes.nodes)
            .map(|(&layer, size)| item(layer, size.1))
            .collect();
        let mut chains = Vec::with_capacity(edges.len());
        for &(from, to) in edges {
            let mut chain = vec![from];
            for passed in layer[from] + 1..layer[to].max(layer[from] + 1) {
                items.push(item(passed, LANE));
                chain.push(items.len() - 1);
            }
            if from != to {
                chain.push(to);
            }
            for pair in chain.windows(2) {
                items[pair[0]].right.push(pair[1]);
                items[pair[1]].left.push(pair[0]);
            }
            chains.push(chain);
        }
        let depth = items.iter().map(|i| i.layer + 1).max().unwrap_or(0);
        let mut layers = vec![Vec::new(); depth];
        for (i, item) in items.iter().enumerate() {
            layers[item.layer].push(i);
        }
        Self {
            items,
            layers,
            chains,
            gap: sizes.between_nodes,
        }
    }

    /// Orders each layer by the average position of its neighbours, forwards and backwards, and keeps the best order seen.
    fn order(&mut self) {
        let mut best = (self.crossings(), self.layers.clone());
        for sweep in 0..SWEEPS {
            let forwards = sweep % 2 == 0;
            let position = self.positions();
            let mut position = position;
            let depth = self.layers.len();
            for step in 1..depth {
                let layer = if forwards { step } else { depth - 1 - step };
                let items = &self.items;
                let mut keyed: Vec<(f64, usize, usize)> = self.layers[layer]
                    .iter()
                    .enumerate()
                    .map(|(now, &i)| {
                        let side = if forwards {
                            &items[i].left
                        } else {
                            &items[i].right
                        };
                        (average(side, |n| position[n]).unwrap_or(count(now)), now, i)
                    })
                    .collect();
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                self.layers[layer] = keyed.into_iter().map(|(_, _, i)| i).collect();
                for (at, &i) in self.layers[layer].iter().enumerate() {
                    position[i] = count(at);
                }
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.layers.clone());
            }
        }
        self.layers = best.1;
    }

    fn positions(&self) -> Vec<f64> {
        let mut position = vec![0.0; self.items.len()];
        for layer in &self.layers {
            for (at, &i) in layer.iter().enumerate() {
                position[i] = count(at);
            }
        }
        position
    }

    /// How many pairs of edges cross between neighbouring layers.
    fn crossings(&self) -> usize {
        let position = self.positions();
        let mut sum = 0;
        for layer in &self.layers {
            let mut ends: Vec<(usize, f64)> = Vec::new();
            for (at, &i) in layer.iter().enumerate() {
                ends.extend(self.items[i].right.iter().map(|&r| (at, position[r])));
            }
            sum += inversions(&mut ends);
        }
        sum
    }

    /// Gives each item its height in the picture: near its neighbours, in order, and apart from each other.
    fn settle(&mut self) {
        for layer in &self.layers {
            let mut y = 0.0;
            for &i in layer {
                self.items[i].y = y;
                y += self.items[i].height + self.gap;
            }
        }
        for sweep in 0..SWEEPS {
            let forwards = sweep % 2 == 0;
            for step in 0..self.layers.len() {
                let layer = if forwards {
                    step
                } else {
                    self.layers.len() - 1 - step
                };
                self.settle_layer(layer);
            }
        }
        let top = self.items.iter().map(|i| i.y).fold(f64::MAX, f64::min);
        for item in &mut self.items {
            item.y -= top;
        }
    }

    fn settle_layer(&mut self, layer: usize) {
        let order = self.layers[layer].clone();
        // With what lies above taken off, "apart" is "not descending".
        let mut above = 0.0;
        let mut offsets = Vec::with_capacity(order.len());
        let mut pools: Vec<(f64, f64, usize)> = Vec::new();
        for &i in &order {
            let item = &self.items[i];
            let neighbours: Vec<usize> = item.left.iter().chain(&item.right).copied().collect();
            let wish = average(&neighbours, |n| self.items[n].middle())
                .map_or(item.y, |middle| middle - item.height / 2.0);
            // Straight edges matter more where they pass than where they end.
            let weight = if item.height <= LANE { 4.0 } else { 1.0 };
            pools.push((wish - above, weight, 1));
            while let [.., a, b] = pools.as_slice()
                && a.0 > b.0
            {
                let joined = ((a.0 * a.1 + b.0 * b.1) / (a.1 + b.1), a.1 + b.1, a.2 + b.2);
                pools.truncate(pools.len() - 2);
                pools.push(joined);
            }
            offsets.push(above);
            above += item.height + self.gap;
        }
        let settled = pools
            .iter()
            .flat_map(|&(y, _, n)| std::iter::repeat_n(y, n));
        for ((&i, offset), y) in order.iter().zip(offsets).zip(settled) {
            self.items[i].y = y + offset;
        }
    }

    fn finish(self, edges: &[(usize, usize)], backwards: &[bool], sizes: &Sizes) -> Layout {
        let mut columns = vec![0.0_f64; self.layers.len()];
        for (node, size) in sizes.nodes.iter().enumerate() {
            let layer = self.items[node].layer;
            columns[layer] = columns[layer].max(size.0);
        }
        let mut lefts = Vec::with_capacity(columns.len());
        let mut x = 0.0;
        for column in &columns {
            lefts.push(x);
            x += column + sizes.between_layers;
        }
        let place = |node: usize| Place {
            x: lefts[self.items[node].layer],
            y: self.items[node].y,
            layer: self.items[node].layer,
        };
        let ports = self.ports(sizes.nodes.len());
        let routes = (0..edges.len())
            .map(|e| {
                let chain = &self.chains[e];
                let [first, .., last] = chain.as_slice() else {
                    return Vec::new();
                };
                let column = self.items[*first].layer;
                let begin = lefts[column] + sizes.nodes[*first].0;
                let end = lefts[column] + columns[column];
                let mut route = vec![(begin, ports[e].0)];
                // Straight past wider ones above and below, which a bend would go behind.
                if begin < end {
                    route.push((end, ports[e].0));
                }
                for &passed in &chain[1..chain.len() - 1] {
                    let item = &self.items[passed];
                    let left = lefts[item.layer];
                    route.push((left, item.middle()));
                    route.push((left + columns[item.layer], item.middle()));
                }
                route.push((lefts[self.items[*last].layer], ports[e].1));
                if backwards[e] {
                    route.reverse();
                }
                route
            })
            .collect();
        Layout {
            places: (0..sizes.nodes.len()).map(place).collect(),
            routes,
            backwards: backwards.to_vec(),
            width: (x - sizes.between_layers).max(0.0),
            height: self
                .items
                .iter()
                .map(|i| i.y + i.height)
                .fold(0.0, f64::max),
        }
    }

    /// Where on its two nodes each edge begins and ends: side by side in the order of the far ends.
    fn ports(&self, nodes: usize) -> Vec<(f64, f64)> {
        let mut ports = vec![(0.0, 0.0); self.chains.len()];
        let mut at_node: Vec<[Vec<(f64, usize)>; 2]> = vec![[Vec::new(), Vec::new()]; nodes];
        for (e, chain) in self.chains.iter().enumerate() {
            if let [first, second, ..] = chain.as_slice() {
                at_node[*first][0].push((self.items[*second].middle(), e));
                let before = chain[chain.len() - 2];
                at_node[chain[chain.len() - 1]][1].push((self.items[before].middle(), e));
            }
        }
        for (node, sides) in at_node.iter_mut().enumerate() {
            let item = &self.items[node];
            for (side, ends) in sides.iter_mut().enumerate() {
                ends.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                let step = item.height / (count(ends.len()) + 1.0);
                for (at, &(_, e)) in ends.iter().enumerate() {
                    let y = item.y + step * (count(at) + 1.0);
                    if side == 0 {
                        ports[e].0 = y;
                    } else {
                        ports[e].1 = y;
                    }
                }
            }
        }
        ports
    }
}

/// The layer of each node of a graph without cycles (but for edges from a node to itself).
fn longest_paths(nodes: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut waits = vec![0_usize; nodes];
    let mut out: Vec<Vec<usize>> = vec![Vec::new(); nodes];
    for &(from, to) in edges.iter().filter(|(from, to)| from != to) {
        waits[to] += 1;
        out[from].push(to);
    }
    let mut layer = vec![0; nodes];
    let mut ready: Vec<usize> = (0..nodes).filter(|&v| waits[v] == 0).collect();
    while let Some(v) = ready.pop() {
        for &to in &out[v] {
            layer[to] = layer[to].max(layer[v] + 1);
            waits[to] -= 1;
            if waits[to] == 0 {
                ready.push(to);
            }
        }
    }
    // What holds but is not held itself stands right before what it holds.
    let held: Vec<bool> = {
        let mut held = vec![false; nodes];
        for &(from, to) in edges {
            held[to] |= from != to;
        }
        held
    };
    for v in 0..nodes {
        if !held[v]
            && let Some(next) = out[v].iter().map(|&to| layer[to]).min()
        {
            layer[v] = next - 1;
        }
    }
    layer
}

fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

fn average(of: &[usize], value: impl Fn(usize) -> f64) -> Option<f64> {
    (!of.is_empty()).then(|| of.iter().map(|&n| value(n)).sum::<f64>() / count(of.len()))
}

/// Pairs out of order: sorts by the first, then counts those whose second descend, by merging.
fn inversions(ends: &mut [(usize, f64)]) -> usize {
    ends.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut values: Vec<f64> = ends.iter().map(|e| e.1).collect();
    let mut spare = values.clone();
    merge_count(&mut values, &mut spare)
}

fn merge_count(values: &mut [f64], spare: &mut [f64]) -> usize {
    let n = values.len();
    if n < 2 {
        return 0;
    }
    let half = n / 2;
    let mut sum = merge_count(&mut values[..half], &mut spare[..half])
        + merge_count(&mut values[half..], &mut spare[half..]);
    let (mut a, mut b) = (0, half);
    for place in spare.iter_mut() {
        if b >= n || (a < half && values[a] <= values[b]) {
            *place = values[a];
            a += 1;
        } else {
            sum += half - a;
            *place = values[b];
            b += 1;
        }
    }
    values.copy_from_slice(spare);
    sum
}

#[cfg(test)]
mod tests;
