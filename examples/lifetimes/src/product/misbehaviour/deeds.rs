//! What each of them does.

use super::cast::{Heap, Hoard, Hoarder};
use super::{Deed, STAYS};
use memory::{
    AddressSpace, Backing, Gpa, Intent, Offset, Pin, Priority, Region, RegionApi, RegionTarget,
    Size,
};
use qdev::DeviceOps;
use qom::layer::Target;
use qom::{Child, Machine, ObjectOps, Ref};
use std::sync::atomic::Ordering;

/// Who holds a user handle is code, which the ledger knows by its line.
const OUTSIDE: &str = "handles outside (1)";
const HANDLE: &str = "user handle";
const TRANSFER: &str = "pin (I/O in flight)";
const PAGE: u64 = 0x1000;

fn plugged(machine: &Machine, name: &str) -> Ref<Hoarder> {
    let device = machine.create::<Hoarder>().expect("a new device");
    machine
        .root()
        .add_child(name, &device)
        .expect("a free name");
    device.realize().expect("nothing can fail");
    device
}

fn ram(owner: &impl Target) -> Child<Region> {
    let bytes = Backing::anonymous(PAGE).expect("a page of memory");
    Region::ram("memory", bytes)
        .create(owner)
        .expect("a region of one's own")
}

fn container(name: &str, owner: &impl Target) -> Child<Region> {
    Region::container(name, Size::new(PAGE))
        .create(owner)
        .expect("a region of one's own")
}

/// A leaf of the owner's in a container of the owner's.
fn ram_in_container(owner: &impl Target) -> (Child<Region>, Child<Region>) {
    let (bar, memory) = (container("bar", owner), ram(owner));
    nest(&memory, &bar);
    (bar, memory)
}

fn nest(sub: &Child<Region>, container: &Child<Region>) {
    container
        .add_subregion(Offset(0), sub, Priority(0))
        .expect("a region that is in none");
}

/// A handle to a region, and the line that took it: the deed's own.
#[track_caller]
fn taken(region: &Child<Region>) -> (Ref<Region>, String) {
    (region.get().expect("it lives"), caller())
}

/// A further handle to a device, and the line that took it: the deed's own.
#[track_caller]
fn taken_again(device: &Ref<Hoarder>) -> (Ref<Hoarder>, String) {
    (device.clone(), caller())
}

/// A transfer to a region in somebody's name, and the line that began it: the deed's own.
#[track_caller]
fn begun(
    machine: &Machine,
    holder: &Ref<Hoarder>,
    region: &(impl RegionTarget + ?Sized),
) -> (Pin, String) {
    let space = AddressSpace::open(machine.root(), "memory", region).expect("it lives");
    let pin = space.pin(holder, Gpa(0), 8, Intent::Write);
    space.close();
    (pin.expect("RAM"), caller())
}

#[track_caller]
fn caller() -> String {
    let place = std::panic::Location::caller();
    format!("{}:{}", place.file(), place.line())
}

fn by_handle(place: String, hoards: Vec<Hoard>) -> Deed {
    Deed {
        holder: OUTSIDE.into(),
        reason: HANDLE,
        place,
        hoards,
    }
}

fn by_transfer(holder: &str, place: String, hoards: Vec<Hoard>) -> Deed {
    Deed {
        holder: format!("I/O of {holder}"),
        reason: TRANSFER,
        place,
        hoards,
    }
}

pub(super) fn introspected_container(machine: &Machine) -> Deed {
    let device = machine.create::<Hoarder>().expect("a new device");
    let (_, memory) = ram_in_container(&device);
    let (handle, place) = taken(&memory);
    device.hoard.keep(handle);
    by_handle(place, vec![device.hoard.clone()])
}

pub(super) fn introspected_root(machine: &Machine) -> Deed {
    let device = machine.create::<Hoarder>().expect("a new device");
    let memory = ram(&device);
    let space = AddressSpace::open(&device, "dma", &memory).expect("a space of one's own");
    let (handle, place) = taken(&memory);
    device.hoard.keep((handle, space));
    by_handle(place, vec![device.hoard.clone()])
}

pub(super) fn own_container(machine: &Machine) -> Deed {
    let system = container("system", machine.root());
    let device = plugged(machine, "card");
    let (bar, memory) = ram_in_container(&device);
    nest(&bar, &system);
    let (handle, place) = taken(&memory);
    device.hoard.keep(handle);
    by_handle(place, vec![device.hoard.clone()])
}

pub(super) fn own_container_with_space(machine: &Machine) -> Deed {
    let device = plugged(machine, "card");
    let (bar, memory) = ram_in_container(&device);
    let space = AddressSpace::open(&device, "dma", &bar).expect("a space of one's own");
    device.until_unrealize.keep(space);
    let (handle, place) = taken(&memory);
    device.hoard.keep(handle);
    by_handle(place, vec![device.hoard.clone()])
}

pub(super) fn own_region(machine: &Machine) -> Deed {
    let device = plugged(machine, "card");
    let (handle, place) = taken(&ram(&device));
    device.hoard.keep(handle);
    by_handle(place, vec![device.hoard.clone()])
}

pub(super) fn own_root(machine: &Machine) -> Deed {
    let device = plugged(machine, "card");
    let (bar, _) = ram_in_container(&device);
    let space = AddressSpace::open(&device, "dma", &bar).expect("a space of one's own");
    let (handle, place) = taken(&bar);
    // The space is closed by the withdrawal, the handle by nobody.
    device.hoard.keep((handle, space));
    by_handle(place, vec![device.hoard.clone()])
}

pub(super) fn root_and_transfer(machine: &Machine) -> Deed {
    let device = plugged(machine, "card");
    let (bar, memory) = ram_in_container(&device);
    let space = AddressSpace::open(&device, "dma", &bar).expect("a space of one's own");
    let (root, _) = taken(&bar);
    let (pin, place) = begun(machine, &device, &memory);
    device.hoard.keep((root, space, pin));
    by_transfer("/machine/card", place, vec![device.hoard.clone()])
}

pub(super) fn own_transfer(machine: &Machine) -> Deed {
    let device = plugged(machine, "card");
    let (pin, place) = begun(machine, &device, &ram(&device));
    device.hoard.keep(pin);
    by_transfer("/machine/card", place, vec![device.hoard.clone()])
}

/// As in QEMU: the guest writes an address of the BAR into a descriptor, and the device looks it up in the memory of the system.
pub(super) fn descriptor_at_own_bar(machine: &Machine) -> Deed {
    let system = container("system", machine.root());
    let device = plugged(machine, "card");
    nest(&ram(&device), &system);
    let (pin, place) = begun(machine, &device, &system);
    device.hoard.keep(pin);
    by_transfer("/machine/card", place, vec![device.hoard.clone()])
}

pub(super) fn one_after_the_other(machine: &Machine) -> Deed {
    let mut hoards = Vec::new();
    let mut last = String::new();
    for name in ["first", "second"] {
        let device = plugged(machine, name);
        let (pin, place) = begun(machine, &device, &ram(&device));
        device.hoard.keep(pin);
        hoards.push(device.hoard.clone());
        device.unparent().expect("it has a parent");
        last = place;
    }
    by_transfer("/machine/second", last, hoards)
}

pub(super) fn plain_owner(machine: &Machine) -> Deed {
    let heap = machine.create::<Heap>().expect("a new object");
    machine
        .root()
        .add_child("heap", &heap)
        .expect("a free name");
    let (handle, place) = taken(&ram(&heap));
    heap.hoard.keep(handle);
    by_handle(place, vec![heap.hoard.clone()])
}

pub(super) fn ring_of_two(machine: &Machine) -> Deed {
    ring(machine, &["a", "b"])
}

pub(super) fn ring_of_three(machine: &Machine) -> Deed {
    ring(machine, &["a", "b", "c"])
}

/// Each has a transfer in the memory of the one before it, the first in that of the last.
fn ring(machine: &Machine, names: &[&str]) -> Deed {
    let devices: Vec<_> = names.iter().map(|name| plugged(machine, name)).collect();
    let memories: Vec<_> = devices.iter().map(ram).collect();
    let mut last = String::new();
    let before = memories.iter().cycle().skip(memories.len() - 1);
    for (device, memory) in devices.iter().zip(before) {
        let (pin, place) = begun(machine, device, memory);
        device.hoard.keep(pin);
        last = place;
    }
    let hoards = devices.iter().map(|device| device.hoard.clone()).collect();
    let holder = names.last().copied().unwrap_or_default();
    by_transfer(&format!("/machine/{holder}"), last, hoards)
}

pub(super) fn ring_of_handles(machine: &Machine) -> Deed {
    let (a, b) = (plugged(machine, "a"), plugged(machine, "b"));
    a.hoard.keep(b.clone());
    let (again, place) = taken_again(&a);
    b.hoard.keep(again);
    by_handle(place, vec![a.hoard.clone(), b.hoard.clone()])
}

/// By itself the child's handle would not matter: nothing counts on a child that is withdrawn, so its finalizer runs and lets go.
pub(super) fn family(machine: &Machine) -> Deed {
    let parent = plugged(machine, "parent");
    let child = machine.create::<Heap>().expect("a new object");
    parent.add_child("child", &child).expect("a free name");
    parent.hoard.keep(child.clone());
    let (again, place) = taken_again(&parent);
    child.hoard.keep(again);
    by_handle(place, vec![parent.hoard.clone(), child.hoard.clone()])
}

pub(super) fn child_with_root(machine: &Machine) -> Deed {
    let parent = plugged(machine, "parent");
    let root = container("bus", &parent);
    let child = machine.create::<Hoarder>().expect("a new device");
    parent.add_child("child", &child).expect("a free name");
    child.realize().expect("nothing can fail");
    let space = AddressSpace::open(&child, "dma", &root).expect("a space of one's own");
    child.until_unrealize.keep(space);
    let (handle, place) = taken(&root);
    child.hoard.keep(handle);
    parent.hoard.keep(child.clone());
    by_handle(place, vec![parent.hoard.clone(), child.hoard.clone()])
}

pub(super) fn itself(machine: &Machine) -> Deed {
    let device = plugged(machine, "card");
    let (again, place) = taken_again(&device);
    device.hoard.keep(again);
    by_handle(place, vec![device.hoard.clone()])
}

/// The device's finalizer would find nothing to drop, if it ran.
pub(super) fn lost_handle(machine: &Machine) -> Deed {
    let device = plugged(machine, "card");
    let (handle, place) = taken(&ram(&device));
    let nobodys = Hoard::default();
    nobodys.keep(handle);
    by_handle(place, vec![nobodys])
}

pub(super) fn foreign(machine: &Machine) -> Deed {
    let board = plugged(machine, STAYS);
    let device = plugged(machine, "card");
    let (handle, place) = taken(&ram(&device));
    board.hoard.keep(handle);
    by_handle(place, vec![board.hoard.clone()])
}

pub(super) fn panics_in_unrealize(machine: &Machine) -> Deed {
    let device = plugged(machine, "card");
    let (pin, place) = begun(machine, &device, &ram(&device));
    device.until_unrealize.keep(pin);
    // ORDERING: Relaxed: this thread unplugs it.
    device.panics.store(true, Ordering::Relaxed);
    by_transfer("/machine/card", place, vec![device.until_unrealize.clone()])
}

pub(super) fn orphan_transfer(machine: &Machine) -> Deed {
    let system = ram(machine.root());
    let device = plugged(machine, "card");
    let (pin, place) = begun(machine, &device, &system);
    let nobodys = Hoard::default();
    nobodys.keep(pin);
    by_transfer("/machine/card", place, vec![nobodys])
}
