//! The rules, read address by address: slow, and with nothing of the code under test.

use super::line::{Kind, Op, Range, Region};

const SPACE: i128 = 1 << 64;

/// Regions and who contains whom, and what an address shows.
#[derive(Clone, Debug)]
pub struct Plain {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
struct Node {
    region: Region,
    parent: Option<usize>,
    address: u64,
    priority: i32,
    /// In the order in which they hide each other.
    children: Vec<usize>,
    /// An alias whose target was retracted shows nothing.
    cut: bool,
    retracted: bool,
}

/// What an address shows, and along which path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hit {
    path: Vec<usize>,
    offset: i128,
    readonly: bool,
    nonvolatile: bool,
    unmergeable: bool,
}

impl Plain {
    /// These regions, none in another.
    pub fn new(regions: &[Region]) -> Self {
        let node = |&region: &Region| Node {
            region,
            parent: None,
            address: 0,
            priority: 0,
            children: Vec::new(),
            cut: false,
            retracted: false,
        };
        Self {
            nodes: regions.iter().map(node).collect(),
        }
    }

    /// Does an operation; says whether it counts, so that listeners are called.
    pub fn apply(&mut self, op: &Op) -> bool {
        match *op {
            Op::Add {
                parent,
                child,
                offset,
                priority,
            } => {
                self.nodes[child].address = offset;
                self.nodes[child].priority = priority;
                self.add(parent, child)
            }
            Op::Del { parent, child } => self.del(parent, child),
            Op::SetAddress(region, to) => {
                let changes = self.nodes[region].address != to;
                changes && self.replace(region, |node| node.address = to)
            }
            Op::SetPriority(region, to) => {
                let changes = self.nodes[region].priority != to;
                changes && self.replace(region, |node| node.priority = to)
            }
            Op::SetEnabled(region, to) => {
                let node = &mut self.nodes[region];
                std::mem::replace(&mut node.region.enabled, to) != to && !node.retracted
            }
            Op::SetSize(region, to) => {
                let node = &mut self.nodes[region];
                std::mem::replace(&mut node.region.size, to) != to && !node.retracted
            }
            Op::SetReadonly(region, to) => self.set(region, |node| {
                std::mem::replace(&mut node.readonly, to) != to
            }),
            Op::SetNonvolatile(region, to) => self.set(region, |node| {
                std::mem::replace(&mut node.nonvolatile, to) != to
            }),
            Op::SetUnmergeable(region, to) => self.set(region, |node| {
                std::mem::replace(&mut node.unmergeable, to) != to
            }),
            Op::SetRomd(region, to) => self.set(region, |node| {
                let changes = node.kind == Kind::Romd(!to);
                node.kind = Kind::Romd(to);
                changes
            }),
            Op::SetAliasOffset(region, to) => self.set(region, |node| match &mut node.kind {
                Kind::Alias { offset, .. } => std::mem::replace(offset, to) != to,
                _ => false,
            }),
            Op::Retract(region) => self.retract(region),
        }
    }

    fn set(&mut self, region: usize, change: impl FnOnce(&mut Region) -> bool) -> bool {
        let node = &mut self.nodes[region];
        change(&mut node.region) && node.region.enabled && !node.retracted
    }

    fn add(&mut self, parent: usize, child: usize) -> bool {
        let priority = self.nodes[child].priority;
        let siblings = &self.nodes[parent].children;
        let place = siblings
            .iter()
            .position(|&other| self.nodes[other].priority <= priority);
        let place = place.unwrap_or(siblings.len());
        self.nodes[parent].children.insert(place, child);
        self.nodes[child].parent = Some(parent);
        self.nodes[parent].region.enabled && self.nodes[child].region.enabled
    }

    fn del(&mut self, parent: usize, child: usize) -> bool {
        if self.nodes[child].parent != Some(parent) {
            return false;
        }
        self.nodes[parent].children.retain(|&other| other != child);
        self.nodes[child].parent = None;
        self.nodes[parent].region.enabled && self.nodes[child].region.enabled
    }

    fn replace(&mut self, region: usize, change: impl FnOnce(&mut Node)) -> bool {
        let parent = self.nodes[region].parent;
        if let Some(parent) = parent {
            self.del(parent, region);
        }
        change(&mut self.nodes[region]);
        parent.is_some_and(|parent| self.add(parent, region))
    }

    fn retract(&mut self, region: usize) -> bool {
        if self.nodes[region].retracted {
            return false;
        }
        let mut counts = self.nodes[region]
            .parent
            .is_some_and(|parent| self.del(parent, region));
        for node in &mut self.nodes {
            if matches!(node.region.kind, Kind::Alias { target, .. } if target == region)
                && !node.cut
            {
                counts |= node.region.enabled;
                node.cut = true;
            }
        }
        for child in std::mem::take(&mut self.nodes[region].children) {
            self.nodes[child].parent = None;
        }
        self.nodes[region].cut = true;
        self.nodes[region].retracted = true;
        counts
    }

    /// Whether `to` is reached from `from`, through subregions and aliases.
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        from == to || self.below(from).any(|next| self.reaches(next, to))
    }

    fn below(&self, region: usize) -> impl Iterator<Item = usize> + '_ {
        let node = &self.nodes[region];
        let target = match node.region.kind {
            Kind::Alias { target, .. } if !node.cut => Some(target),
            _ => None,
        };
        node.children.iter().copied().chain(target)
    }

    /// How many paths lead down from a region.
    pub fn paths(&self, region: usize) -> u64 {
        1 + self.below(region).map(|next| self.paths(next)).sum::<u64>()
    }

    /// The region's container.
    pub fn parent(&self, region: usize) -> Option<usize> {
        self.nodes[region].parent
    }

    /// Whether the region was retracted.
    pub fn is_retracted(&self, region: usize) -> bool {
        self.nodes[region].retracted
    }

    /// What the region shows of its byte `at`, if it has that.
    fn resolve(&self, region: usize, at: i128, mut hit: Hit) -> Option<Hit> {
        let node = &self.nodes[region];
        let own = node.region;
        if !own.enabled
            || node.retracted
            || at < 0
            || at >= i128::try_from(own.size).unwrap_or(SPACE)
        {
            return None;
        }
        hit.path.push(region);
        hit.readonly |= own.readonly;
        hit.nonvolatile |= own.nonvolatile;
        hit.unmergeable |= own.unmergeable;
        if let Kind::Alias { target, offset } = own.kind {
            return if node.cut {
                None
            } else {
                self.resolve(target, at + i128::from(offset), hit)
            };
        }
        for &child in &node.children {
            let inside = at - i128::from(self.nodes[child].address);
            if let Some(found) = self.resolve(child, inside, hit.clone()) {
                return Some(found);
            }
        }
        (own.kind != Kind::Container).then_some(Hit { offset: at, ..hit })
    }

    /// Every address at which something can begin or end.
    fn edges(&self, region: usize, base: i128, found: &mut Vec<i128>) {
        let node = &self.nodes[region];
        found.extend([
            base,
            base + i128::try_from(node.region.size).unwrap_or(SPACE),
        ]);
        if let Kind::Alias { target, offset } = node.region.kind {
            if !node.cut {
                self.edges(target, base - i128::from(offset), found);
            }
        } else {
            for &child in &node.children {
                self.edges(child, base + i128::from(self.nodes[child].address), found);
            }
        }
    }

    /// The view of an address space rooted at `root`, and which of its ranges are unmergeable.
    pub fn view_with_unmergeable(&self, root: usize) -> Vec<(Range, bool)> {
        let mut edges = vec![0, SPACE];
        self.edges(root, 0, &mut edges);
        edges.retain(|edge| (0..=SPACE).contains(edge));
        edges.sort_unstable();
        edges.dedup();
        let mut view: Vec<(Range, Hit)> = Vec::new();
        for pair in edges.windows(2) {
            let (start, size) = (pair[0], pair[1] - pair[0]);
            let nothing = Hit {
                path: Vec::new(),
                offset: 0,
                readonly: false,
                nonvolatile: false,
                unmergeable: false,
            };
            let Some(hit) = self.resolve(root, start, nothing) else {
                continue;
            };
            let Some(&region) = hit.path.last() else {
                continue;
            };
            let range = Range {
                start: u64::try_from(start).unwrap_or(0),
                size: u128::try_from(size).unwrap_or(0),
                region,
                offset: u64::try_from(hit.offset).unwrap_or(0),
                readonly: hit.readonly,
                romd: self.nodes[region].region.kind == Kind::Romd(true),
                nonvolatile: hit.nonvolatile,
            };
            match view.last_mut() {
                Some((last, before)) if one_range(last, before, &range, &hit) => {
                    last.size += range.size;
                }
                _ => view.push((range, hit)),
            }
        }
        view.into_iter()
            .map(|(range, hit)| (range, hit.unmergeable))
            .collect()
    }

    /// The view of an address space rooted at `root`.
    pub fn view(&self, root: usize) -> Vec<Range> {
        self.view_with_unmergeable(root)
            .into_iter()
            .map(|(range, _)| range)
            .collect()
    }

    /// Whether QEMU's root shortcut, from `root`, loses a flag or the place.
    pub fn shortcut_deviates(&self, root: usize) -> bool {
        let mut at = root;
        let mut flags = false;
        loop {
            let node = &self.nodes[at];
            let own = node.region;
            if !own.enabled {
                return false;
            }
            let mut enabled = node
                .children
                .iter()
                .copied()
                .filter(|&child| self.nodes[child].region.enabled);
            let next = match own.kind {
                Kind::Alias { target, offset: 0 } if own.size >= self.nodes[target].region.size => {
                    Some(target)
                }
                Kind::Container => match (enabled.next(), enabled.next()) {
                    (None, _) => return false,
                    (Some(child), None)
                        if self.nodes[child].address == 0
                            && self.nodes[child].region.size <= own.size =>
                    {
                        Some(child)
                    }
                    _ => None,
                },
                _ => None,
            };
            match next {
                Some(next) => at = next,
                // QEMU adds the place that the region has in its own container.
                None => return flags || at != root && node.parent.is_some() && node.address != 0,
            }
            flags |= own.readonly || own.nonvolatile;
        }
    }
}

/// Whether two neighbours are one range: alike and contiguous, and one piece where they must not merge.
fn one_range(last: &Range, before: &Hit, next: &Range, hit: &Hit) -> bool {
    u128::from(last.start) + last.size == u128::from(next.start)
        && last.region == next.region
        && u128::from(last.offset) + last.size == u128::from(next.offset)
        && (last.readonly, last.nonvolatile) == (next.readonly, next.nonvolatile)
        && before.unmergeable == hit.unmergeable
        && (!hit.unmergeable || before.path == hit.path)
}
