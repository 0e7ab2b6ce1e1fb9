//! The rows: each known scenario of the family, in a few lines.

use super::{At, Scenario, Script};
use crate::state::{Hook, Id};

const ME: Id = Id::MACHINE;

/// All rows, in the order of the table.
pub const ROWS: &[Scenario] = scenarios! {
    "1a", own_container_introspected, "same-owner container, introspected and dropped";
    "1b", own_container_unplugged, "same-owner container, plugged then unplugged";
    "2a", space_on_a_plain_root, "address space on a plain root, closed at unrealize";
    "2a'", space_closed_at_unrealize, "address space on an own container, closed at unrealize";
    "2b", space_closed_in_finalize, "address space closed in instance_finalize, unplugged";
    "2c", space_opened_in_init, "address space opened in instance_init, only introspected";
    "3a", self_map_until_unrealize, "own memory mapped, unmapped at unrealize";
    "3b", self_map_until_completion, "own memory mapped, unmapped by a completion after unplug";
    "3c", self_map_until_finalize, "own memory mapped, unmapped in instance_finalize";
    "4", peer_transfer, "unplug with another device's DMA outstanding";
    "5", shown_alias, "alias to another owner, rendered during unplug";
    "5b", hidden_alias, "alias hidden, target's owner unplugged, alias shown";
    "6", nested_child, "child device's region in its parent's container";
    "6'", nested_child_detached, "the same, the parent's unrealize detaches and unparents the child";
    "6b", nested_space, "child device's address space on its parent's container, closed at the child's unrealize";
    "7", plain_owner, "hostmem object owns the region, peer still maps it";
    "7'", plain_owner_alone, "the same, the hostmem object does not unparent its region itself";
    "7b", region_unparented, "region owned by the device, unparented while mapped";
    "7c", owns_itself, "region owns itself";
    "8", ownerless, "ownerless region embedded in a temporary object";
    "9", unparented, "region unparented while mapped";
    "9'", reparented, "region given another parent while mapped";
    "10", finalizer_detaches, "instance_finalize detaches its own region";
    "11", never_parented, "never parented, shown, hidden, dropped before the grace period";
    "11'", left_shown, "never parented, shown, dropped while it is";
    "12a", ring_until_unrealize, "two devices map each other, unmapped at unrealize";
    "12b", ring_until_finalize, "two devices map each other, unmapped in instance_finalize";
    "12c", space_on_a_peer, "a device's address space on another's container, the other unplugged first";
    "13", left_in_foreign_container, "init puts its own region into a foreign container";
    "14", listener_left, "a listener that refers to sections, gone before the unplug";
    "14'", listener_stays, "an address space closed while such a listener is registered";
    "15", panic_in_unrealize, "unrealize panics (returns early) before it unmaps";
    "15'", panic_before_close, "the same with an address space on system memory: unrealize panics before it closes it";
    "15''", never_realized_space, "never realized, an address space on system memory that only its unrealize closes, dropped";
    "16", opened_when_withdrawn, "a handle kept over the unplug, an address space opened in its name";
    "16'", shown_when_withdrawn, "a handle kept over the unplug, the region shown again";
    "17", second_container, "a region nested into a second container";
    "18", own_region_linked, "a strong link from a device to its own region";
};

pub(super) fn own_container_introspected(s: &mut Script) {
    let d = s.device("D");
    let c = s.container("C", d);
    let m = s.leaf("M", d);
    s.nest(m, c);
    s.drop(d);
}

fn own_container_unplugged(s: &mut Script) {
    let sys = s.shown_system("S");
    let d = s.plugged("D");
    let c = s.container("C", d);
    let m = s.leaf("M", d);
    s.nest(m, c);
    s.nest(c, sys);
    s.unplug(d);
}

fn space_on_a_plain_root(s: &mut Script) {
    let d = s.plugged("D");
    let m = s.leaf("M", d);
    s.open(m, d, At::Unrealize);
    s.unplug(d);
}

fn space_on_own_container(s: &mut Script, at: At) {
    let d = s.plugged("D");
    let c = s.container("C", d);
    let m = s.leaf("M", d);
    s.nest(m, c);
    s.open(c, d, at);
    s.unplug(d);
}

pub(super) fn space_closed_at_unrealize(s: &mut Script) {
    space_on_own_container(s, At::Unrealize);
}

pub(super) fn space_closed_in_finalize(s: &mut Script) {
    space_on_own_container(s, At::Finalize);
}

pub(super) fn space_opened_in_init(s: &mut Script) {
    let d = s.device_in_init("D");
    let m = s.leaf("M", d);
    s.open(m, d, At::Finalize);
    s.init_done(d);
    s.drop(d);
}

fn self_map(s: &mut Script, at: At) -> u8 {
    let d = s.plugged("D");
    let m = s.leaf("M", d);
    let map = s.map(m, d, at);
    s.unplug(d);
    map
}

fn self_map_until_unrealize(s: &mut Script) {
    self_map(s, At::Unrealize);
}

fn self_map_until_completion(s: &mut Script) {
    let map = self_map(s, At::Completion);
    s.grace();
    s.unmap(map);
}

fn self_map_until_finalize(s: &mut Script) {
    self_map(s, At::Finalize);
}

fn peer_transfer(s: &mut Script) {
    let d = s.plugged("D");
    let e = s.plugged("E");
    let m = s.leaf("M", d);
    let transfer = s.pin(m, e);
    s.unplug(d);
    s.grace();
    s.complete(transfer);
    s.unplug(e);
}

fn shown_alias(s: &mut Script) {
    let sys = s.shown_system("S");
    let a = s.plugged("A");
    let t = s.plugged("T");
    let target = s.leaf("t", t);
    let alias = s.leaf("al", a);
    s.alias(alias, target);
    s.nest(alias, sys);
    s.unplug(t);
    s.grace();
    s.detach(alias, sys);
    s.unplug(a);
}

pub(super) fn hidden_alias(s: &mut Script) {
    let sys = s.shown_system("S");
    let a = s.plugged("A");
    let t = s.plugged("T");
    let target = s.leaf("t", t);
    let alias = s.leaf("al", a);
    s.alias(alias, target);
    s.unplug(t);
    s.grace();
    s.nest(alias, sys);
    s.grace();
    s.detach(alias, sys);
    s.unplug(a);
}

pub(super) fn nested_child(s: &mut Script) {
    let p = s.plugged("P");
    let k = s.plugged_into("K", p);
    let c = s.container("C", p);
    let m = s.leaf("M", k);
    s.nest(m, c);
    s.unplug(p);
}

fn nested_child_detached(s: &mut Script) {
    let p = s.plugged("P");
    let k = s.plugged_into("K", p);
    let c = s.container("C", p);
    let m = s.leaf("M", k);
    s.nest(m, c);
    s.detaches_in(Hook::Unrealize, p, m, c);
    s.unparents_in(Hook::Unrealize, p, k);
    s.unplug(p);
}

fn nested_space(s: &mut Script) {
    let p = s.plugged("P");
    let k = s.plugged_into("K", p);
    let c = s.container("C", p);
    s.open(c, k, At::Unrealize);
    s.unplug(p);
}

/// A region in a GPU's window that a peer still has in flight when the guest unmaps it: whose it is, and what the unmapping does.
fn blob(s: &mut Script, make: fn(&mut Script, Id) -> (Id, Id), unmap: fn(&mut Script, Id, Id)) {
    let g = s.plugged("G");
    let e = s.plugged("E");
    let window = s.container("W", g);
    let space = s.open(window, ME, At::Completion);
    let (owner, blob) = make(s, g);
    s.nest(blob, window);
    let transfer = s.pin(blob, e);
    s.detach(blob, window);
    unmap(s, owner, blob);
    s.grace();
    s.complete(transfer);
    s.grace();
    s.close(space);
    s.grace();
    s.unplug(g);
    s.unplug(e);
}

pub(super) fn hostmem(s: &mut Script, g: Id) -> (Id, Id) {
    let hostmem = s.plain("V", g);
    (hostmem, s.leaf("blob", hostmem))
}

pub(super) fn plain_owner(s: &mut Script) {
    blob(s, hostmem, |s, hostmem, blob| {
        s.unparent_as_asked(blob);
        s.unplug(hostmem);
    });
}

fn plain_owner_alone(s: &mut Script) {
    blob(s, hostmem, |s, hostmem, _| s.unplug(hostmem));
}

fn region_unparented(s: &mut Script) {
    blob(
        s,
        |s, g| (g, s.leaf("blob", g)),
        |s, _, blob| s.unplug(blob),
    );
}

fn owns_itself(s: &mut Script) {
    blob(
        s,
        |s, g| (g, s.own_owner("blob", g)),
        |s, _, blob| s.unplug(blob),
    );
}

fn ownerless(s: &mut Script) {
    let d = s.device("D");
    let m = s.ownerless("M", d);
    s.open(m, d, At::Finalize);
    s.drop(d);
    s.expect_gone(&[d]);
}

fn lives_elsewhere(s: &mut Script, leave: fn(&mut Script, Id, Id)) {
    let d = s.plugged("D");
    let e = s.plugged("E");
    let m = s.leaf("M", d);
    let transfer = s.pin(m, e);
    leave(s, m, e);
    s.grace();
    s.complete(transfer);
    s.unplug(d);
    s.unplug(e);
}

fn unparented(s: &mut Script) {
    lives_elsewhere(s, |s, m, _| s.unplug(m));
}

fn reparented(s: &mut Script) {
    lives_elsewhere(s, Script::reparent);
}

pub(super) fn finalizer_detaches(s: &mut Script) {
    let d = s.plugged("D");
    let c = s.container("C", d);
    let m = s.leaf("M", d);
    s.nest(m, c);
    s.detaches_in(Hook::Finalize, d, m, c);
    s.unplug(d);
}

pub(super) fn never_parented(s: &mut Script) {
    let sys = s.shown_system("S");
    let d = s.device("D");
    let m = s.leaf("M", d);
    s.nest(m, sys);
    s.detach(m, sys);
    s.drop(d);
}

fn left_shown(s: &mut Script) {
    let sys = s.shown_system("S");
    let d = s.device("D");
    let m = s.leaf("M", d);
    s.nest(m, sys);
    s.drop(d);
}

/// Devices in a ring, each of which maps the next one's memory.
pub(super) fn ring<const N: usize>(s: &mut Script, names: [[&'static str; 2]; N], at: At) {
    let devices = names.map(|[device, _]| s.plugged(device));
    let mut regions = devices;
    for (index, [_, region]) in names.into_iter().enumerate() {
        regions[index] = s.leaf(region, devices[index]);
    }
    for (index, device) in devices.into_iter().enumerate() {
        s.map(regions[(index + 1) % N], device, at);
    }
    for device in devices {
        s.unplug(device);
    }
}

fn ring_until_unrealize(s: &mut Script) {
    ring(s, [["A", "a"], ["B", "b"]], At::Unrealize);
}

pub(super) fn ring_until_finalize(s: &mut Script) {
    ring(s, [["A", "a"], ["B", "b"]], At::Finalize);
}

fn space_on_a_peer(s: &mut Script) {
    let a = s.plugged("A");
    let b = s.plugged("B");
    let window = s.container("W", b);
    let memory = s.leaf("M", b);
    s.nest(memory, window);
    s.open(window, a, At::Unrealize);
    s.unplug(b);
    s.grace();
    s.unplug(a);
}

fn left_in_foreign_container(s: &mut Script) {
    let sys = s.system("S");
    let d = s.device_in_init("D");
    let m = s.leaf("M", d);
    s.nest(m, sys);
    s.init_done(d);
    s.drop(d);
}

fn listener(s: &mut Script) -> (Id, u8) {
    let sys = s.system("S");
    let space = s.open(sys, ME, At::Completion);
    s.listen(space);
    let d = s.plugged("D");
    let m = s.leaf("M", d);
    s.nest(m, sys);
    (d, space)
}

fn listener_left(s: &mut Script) {
    let (d, space) = listener(s);
    s.unlisten(space);
    s.unplug(d);
}

fn listener_stays(s: &mut Script) {
    let (d, space) = listener(s);
    s.close(space);
    s.unplug(d);
}

fn panic_in_unrealize(s: &mut Script) {
    let d = s.plugged("D");
    let m = s.leaf("M", d);
    s.map(m, d, At::Unrealize);
    s.panics_in(Hook::Unrealize, d);
    s.unplug(d);
}

fn panic_before_close(s: &mut Script) {
    let sys = s.system("S");
    let d = s.plugged("D");
    s.open(sys, d, At::Unrealize);
    s.panics_in(Hook::Unrealize, d);
    s.unplug(d);
}

/// Nobody closes what was opened before a realize but the withdrawal itself: no hook of the device's or of the bus runs.
fn never_realized_space(s: &mut Script) {
    let sys = s.system("S");
    let d = s.device("D");
    s.open(sys, d, At::Unrealize);
    s.drop(d);
}

fn opened_when_withdrawn(s: &mut Script) {
    let sys = s.system("S");
    let d = s.plugged("D");
    s.take(d);
    s.unplug(d);
    s.open(sys, d, At::Unrealize);
    s.drop(d);
}

fn shown_when_withdrawn(s: &mut Script) {
    let sys = s.shown_system("S");
    let d = s.plugged("D");
    let m = s.leaf("M", d);
    s.take(d);
    s.unplug(d);
    s.nest(m, sys);
    s.drop(d);
}

fn second_container(s: &mut Script) {
    let sys = s.system("S");
    let d = s.plugged("D");
    let c = s.container("C", d);
    let m = s.leaf("M", d);
    s.nest(m, c);
    s.nest(m, sys);
    s.unplug(d);
}

fn own_region_linked(s: &mut Script) {
    let d = s.plugged("D");
    let m = s.leaf("M", d);
    s.link(d, m);
    s.unplug(d);
}
