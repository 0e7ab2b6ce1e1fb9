//! The memory map as text, like QEMU's `info mtree`: trees of regions, and flat views.

use crate::flat::render_full;
use crate::state::{MemoryState, Topo};
use crate::topology::{Kind, Node, RegionKey, SpaceKey};
use qom::MachineHandle;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The trees of all address spaces of a machine: one block for each root, aliases' targets behind them.
///
/// A line is `first-last (prio N, kind): name`; children are indented, by address and then by priority; the addresses are those of the tree,
/// not clipped; a disabled region's own line is left out, those of its children are not. Takes the topology lock.
pub fn mtree(machine: &MachineHandle) -> String {
    let state = MemoryState::of(machine);
    let lock = state.lock.lock();
    let topo = lock.borrow();
    let mut out = String::new();
    let mut by_root: BTreeMap<RegionKey, Vec<SpaceKey>> = BTreeMap::new();
    let mut rootless = Vec::new();
    for (space, root) in topo.topology.spaces() {
        match root {
            Some(root) => by_root.entry(root).or_default().push(space),
            None => rootless.push(space),
        }
    }
    let mut targets = Vec::new();
    for (root, spaces) in &by_root {
        for name in names(&topo, spaces) {
            let _ = writeln!(out, "address-space: {name}");
        }
        tree(&topo, *root, &mut out, &mut targets);
        out.push('\n');
    }
    for name in names(&topo, &rootless) {
        let _ = writeln!(out, "address-space: {name}\n  (no root)\n");
    }
    let mut shown: Vec<RegionKey> = by_root.keys().copied().collect();
    while let Some(target) = targets.pop() {
        if shown.contains(&target) {
            continue;
        }
        shown.push(target);
        let _ = writeln!(out, "memory-region: {}", name(&topo, target));
        tree(&topo, target, &mut out, &mut targets);
        out.push('\n');
    }
    out
}

/// The flat views of a machine, each with the address spaces that share it, as they would be rendered now. Takes the topology lock.
///
/// A line is `first-last (prio N, kind): name @offset`: the region's priority in its container, the offset where it is not 0, `nv-`
/// before the kind where the bytes outlive the machine.
pub fn mtree_flat(machine: &MachineHandle) -> String {
    let state = MemoryState::of(machine);
    let lock = state.lock.lock();
    let topo = lock.borrow();
    let mut by_view: BTreeMap<Option<RegionKey>, Vec<SpaceKey>> = BTreeMap::new();
    for (space, root) in topo.topology.spaces() {
        by_view
            .entry(root.and_then(|r| topo.topology.resolve_root(r)))
            .or_default()
            .push(space);
    }
    let mut out = String::new();
    for (i, (view_root, spaces)) in by_view.iter().enumerate() {
        let _ = writeln!(out, "FlatView #{i}");
        for space in spaces {
            let root = topo
                .topology
                .root_of(*space)
                .map_or_else(|| "(none)".into(), |r| name(&topo, r));
            let _ = writeln!(
                out,
                " AS \"{}\", root: {root}",
                names(&topo, &[*space]).concat()
            );
        }
        let root_name = view_root.map_or_else(|| "(none)".into(), |r| name(&topo, r));
        let _ = writeln!(out, " Root memory region: {root_name}");
        let ranges = render_full(&topo.topology, *view_root);
        if ranges.is_empty() {
            out.push_str("  No rendered FlatView\n");
        }
        for range in ranges {
            let node = topo.topology.get(range.region);
            let kind = node.map_or("?", |n| kind(n, range.readonly));
            let nv = if range.nonvolatile { "nv-" } else { "" };
            let prio = node.map_or(0, |n| n.priority().0);
            let offset = if range.offset.0 == 0 {
                String::new()
            } else {
                format!(" @{:016x}", range.offset.0)
            };
            let _ = writeln!(
                out,
                "  {:016x}-{:016x} (prio {prio}, {nv}{kind}): {}{offset}",
                range.span.first(),
                range.span.last(),
                name(&topo, range.region)
            );
        }
        out.push('\n');
    }
    out
}

fn names(topo: &Topo, spaces: &[SpaceKey]) -> Vec<String> {
    let mut names: Vec<String> = spaces
        .iter()
        .filter_map(|s| topo.spaces.get(s))
        .map(|s| s.name.clone())
        .collect();
    names.sort();
    names
}

fn name(topo: &Topo, key: RegionKey) -> String {
    let region = topo.regions.get(key);
    region.map_or_else(|| key.to_string(), |r| r.core.name.to_string())
}

fn kind(node: &Node, readonly: bool) -> &'static str {
    match node.kind() {
        Kind::Ram if readonly => "rom",
        Kind::Ram => "ram",
        Kind::RomDevice { direct: true } => "romd",
        Kind::Container { terminates: false } => "container",
        Kind::Alias { .. } => "alias",
        _ => "i/o",
    }
}

/// No line is indented further: text as wide as a topology is deep would help nobody.
const MOST_INDENT: usize = 1024;

/// The tree below `key`, whose byte 0 is at address 0. With a list of what is to be written, as regions nest as deep as their makers like.
fn tree(topo: &Topo, key: RegionKey, out: &mut String, targets: &mut Vec<RegionKey>) {
    let mut next = vec![(key, 0u64, 1usize)];
    while let Some((key, base, depth)) = next.pop() {
        let Some(node) = topo.topology.get(key) else {
            continue;
        };
        if node.is_enabled() {
            line(topo, key, node, base, (2 * depth).min(MOST_INDENT), out);
            if let Kind::Alias { target, .. } = node.kind() {
                targets.extend(target);
            }
        }
        let mut children: Vec<(RegionKey, u64, i32)> = node
            .children()
            .filter_map(|c| {
                topo.topology
                    .get(c)
                    .map(|n| (c, n.address().0, n.priority().0))
            })
            .collect();
        children.sort_by_key(|&(_, address, priority)| (address, std::cmp::Reverse(priority)));
        let below = |(child, address, _)| (child, base.wrapping_add(address), depth + 1);
        next.extend(children.into_iter().rev().map(below));
    }
}

/// The line of one region.
fn line(topo: &Topo, key: RegionKey, node: &Node, base: u64, indent: usize, out: &mut String) {
    let last = node
        .size()
        .last()
        .map_or(base, |last| base.wrapping_add(last));
    let nv = if node.is_nonvolatile() { "nv-" } else { "" };
    let prio = node.priority().0;
    let region = name(topo, key);
    let Kind::Alias { target, offset } = node.kind() else {
        let kind = kind(node, node.is_readonly());
        let _ = writeln!(
            out,
            "{:indent$}{base:016x}-{last:016x} (prio {prio}, {nv}{kind}): {region}",
            "",
        );
        return;
    };
    let shown = target.map_or_else(|| "(withdrawn)".into(), |t| name(topo, t));
    let end = node
        .size()
        .last()
        .map_or(offset.0, |l| offset.0.wrapping_add(l));
    let kind = target
        .and_then(|t| topo.topology.get(t))
        .map_or("alias", |t| kind(t, t.is_readonly()));
    let _ = writeln!(
        out,
        "{:indent$}{base:016x}-{last:016x} (prio {prio}, {nv}{kind}): alias {region} @{shown} {:016x}-{end:016x}",
        "", offset.0,
    );
}
