//! What reviewers asked to see and was not shown, and what the catalogue of the family adds: eighteen demonstrations.
//!
//! Where a demonstration asks for a clock, bytes or the bundled devices, what is here is its part that a model can show; each says so.

use super::{At, Scenario, Script, rows};
use crate::state::{Hook, Id};

const ME: Id = Id::MACHINE;

/// All demonstrations, in order. A number with a letter is a variant.
pub const DEMONSTRATIONS: &[Scenario] = scenarios! {
    "C1", rows::space_opened_in_init, "leak-2-introspect: address space on own region, opened in init, dropped";
    "C2", rows::space_closed_in_finalize, "leak-2-unplug: realized, address space closed in the destructor only";
    "C2c", rows::space_closed_at_unrealize, "leak-2-unplug, control: closed at unrealize";
    "C3a", |s| descriptor_at_own_bar(s, At::Completion), "leak-3-selfmap: descriptor at the own BAR, a completion unmaps";
    "C3b", |s| descriptor_at_own_bar(s, At::Unrealize), "leak-3-selfmap: unrealize unmaps";
    "C3c", |s| descriptor_at_own_bar(s, At::Finalize), "leak-3-selfmap: the destructor unmaps";
    "C4", severity, "severity: two cycles of plug, map, unplug; each adds what it leaks";
    "C5a", mapped_under_parent, "nondevice-owner: the parent unplugged while a peer has its hostmem object’s region mapped";
    "C5b", shared_memory, "nondevice-owner: a shared-memory mapping object unparented with its region mapped";
    "C5c", shared_memory_under_parent, "nondevice-owner: the parent unplugged while a peer has its shared-memory object’s region, in the parent’s BAR, mapped";
    "C6a", rows::never_parented, "never-parented: shown, hidden, dropped before the grace period";
    "C6b", never_parented_after_grace, "never-parented: dropped after the grace period";
    "C7", everything_at_once, "finalize-order: regions before owners, each finalizer once";
    "C8", node_twice, "rcu-node-twice: an address space's end queued twice on one node";
    "C9", cpu_hotplug, "cpu-hotplug-as: a CPU with two address spaces, plugged and unplugged twice";
    "C10a", rows::ring_until_finalize, "p2p-cycle: two devices in a ring";
    "C10b", |s| rows::ring(s, [["A", "a"], ["B", "b"], ["C", "c"]], At::Finalize), "p2p-cycle: three devices in a ring";
    "C11", rows::hidden_alias, "hidden-alias: BAR alias off, target unplugged, alias on";
    "C12", which_device, "which-device: regions in own, the child's and system memory, none detached by its author";
    "C13", unmap_latency, "unmap-latency: the region goes after one grace period, no sooner and no later";
    "C14", rows::plain_owner, "blob-owner: the hostmem object owns the region, at each stage of an unmap";
    "C15", seeded_leak, "asan-equivalent: a seeded leak, a child that holds its parent by a strong link";
    "C16", detached_twice, "bisectable: a region is detached twice";
    "C17", rows::finalizer_detaches, "late-detach: a destructor that detaches its own region";
    "C18", gc_order, "gc-order: a destructor that needs its region, on a cycle";
};

/// The descriptor is in the guest's RAM, and names the address that system memory has the device's own BAR at.
fn descriptor_at_own_bar(s: &mut Script, at: At) {
    let sys = s.shown_system("S");
    let ram = s.ram("RAM");
    s.nest(ram, sys);
    let d = s.plugged("D");
    let bar = s.leaf("BAR", d);
    s.nest(bar, sys);
    let map = s.map(bar, d, at);
    s.unplug(d);
    s.grace();
    s.unmap_if_completion(map, at);
}

/// The 10,000 cycles are the product's; in the model cycles are independent, so two show whether what is left adds up.
fn severity(s: &mut Script) {
    for [device, region] in [["D1", "M1"], ["D2", "M2"]] {
        s.cycle();
        let d = s.plugged(device);
        let m = s.leaf(region, d);
        s.map(m, d, At::Finalize);
        s.unplug(d);
        s.grace();
    }
}

fn mapped_under_parent(s: &mut Script) {
    let g = s.plugged("G");
    let peer = s.plugged("E");
    let (_, blob) = rows::hostmem(s, g);
    s.map(blob, peer, At::Unrealize);
    s.unplug(g);
    s.grace();
    s.unplug(peer);
}

fn shared_memory(s: &mut Script) {
    let g = s.plugged("G");
    let peer = s.plugged("E");
    let (mapping, memory) = rows::hostmem(s, g);
    s.map(memory, peer, At::Unrealize);
    s.unplug(mapping);
    s.grace();
    s.unplug(peer);
    s.unplug(g);
}

/// The object's region is in its parent's BAR, where the machine's space shows it, and nobody takes it out.
fn shared_memory_under_parent(s: &mut Script) {
    let sys = s.shown_system("S");
    let g = s.plugged("G");
    let peer = s.plugged("E");
    let bar = s.container("BAR", g);
    s.nest(bar, sys);
    let (_, memory) = rows::hostmem(s, g);
    s.nest(memory, bar);
    s.map(memory, peer, At::Unrealize);
    s.unplug(g);
    s.grace();
    s.unplug(peer);
}

fn never_parented_after_grace(s: &mut Script) {
    let sys = s.shown_system("S");
    let d = s.device("D");
    let m = s.leaf("M", d);
    s.nest(m, sys);
    s.detach(m, sys);
    s.grace();
    s.drop(d);
}

fn everything_at_once(s: &mut Script) {
    let sys = s.shown_system("S");
    let p = s.plugged("P");
    let k = s.plugged_into("K", p);
    let c = s.container("C", p);
    let m = s.leaf("M", k);
    let own = s.leaf("N", p);
    s.nest(m, c);
    s.nest(own, c);
    s.nest(c, sys);
    s.open(c, k, At::Unrealize);
    s.map(own, k, At::Unrealize);
    // The child is unrealized by its parent, not by its parent's end: row 6b shows what else happens.
    s.unparents_in(Hook::Unrealize, p, k);
    s.unplug(p);
}

fn node_twice(s: &mut Script) {
    let d = s.plugged("D");
    let m = s.leaf("M", d);
    let space = s.open(m, d, At::Completion);
    s.close(space);
    s.free_node(space);
    s.grace();
    s.unplug(d);
}

fn cpu_hotplug(s: &mut Script) {
    let sys = s.system("S");
    for [cpu, region] in [["CPU0", "M0"], ["CPU1", "M1"]] {
        s.cycle();
        let cpu = s.plugged(cpu);
        let own = s.leaf(region, cpu);
        let first = s.open(own, cpu, At::Completion);
        let second = s.open(sys, cpu, At::Completion);
        s.close(second);
        s.close(first);
        s.unplug(cpu);
        s.grace();
    }
}

/// Which of the bundled devices are such is for the product to list; here is what each place of a region costs its owner.
fn which_device(s: &mut Script) {
    let sys = s.shown_system("S");
    let p = s.plugged("P");
    let k = s.plugged_into("K", p);
    let c = s.container("C", p);
    let own = s.leaf("own", p);
    let childs = s.leaf("child's", k);
    s.nest(own, c);
    s.nest(childs, c);
    s.nest(c, sys);
    // The bus takes C out of S at unrealize; nobody takes anything out of C.
    s.unplug(p);
}

/// Milliseconds are the product's; the model counts grace periods.
fn unmap_latency(s: &mut Script) {
    let g = s.plugged("G");
    let window = s.container("W", g);
    s.open(window, ME, At::Completion);
    let (hostmem, blob) = rows::hostmem(s, g);
    s.nest(blob, window);
    s.detach(blob, window);
    s.unparent_as_asked(blob);
    s.unplug(hostmem);
    s.expect_gone(&[hostmem, blob]);
}

fn seeded_leak(s: &mut Script) {
    let g = s.plugged("G");
    let child = s.plain("child", g);
    s.link(child, g);
    s.unplug(g);
}

fn detached_twice(s: &mut Script) {
    let d = s.plugged("D");
    let c = s.container("C", d);
    let m = s.leaf("M", d);
    s.nest(m, c);
    s.detach(m, c);
    s.detach(m, c);
    s.unplug(d);
}

fn gc_order(s: &mut Script) {
    let d = s.plugged("D");
    let c = s.container("C", d);
    let m = s.leaf("M", d);
    s.nest(m, c);
    s.open(c, d, At::Finalize);
    s.map(m, d, At::Finalize);
    s.detaches_in(Hook::Finalize, d, m, c);
    s.unplug(d);
}
