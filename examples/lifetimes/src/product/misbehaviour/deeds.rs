//! What each of them does. Whatever is taken is taken by a device's own code, or by that of an object that is none: in its realize, in its post-init, in
//! a callback of its registers. So the ledger can say whose it is.

use super::STAYS;
use super::cast::{Doorbell, Heap, Hoard, Hoarder};
use memory::{AddressSpace, Attrs, Backing, Gpa, Offset, Priority, Region, RegionApi, Size};
use qom::layer::Target;
use qom::{Child, Machine, ObjectOps, ObjectType, Ref};
use std::sync::atomic::Ordering;
use std::sync::mpsc;

const PAGE: u64 = 0x1000;

fn placed(machine: &Machine, name: &str) -> Ref<Hoarder> {
    let device = machine.create::<Hoarder>().expect("a new device");
    machine
        .root()
        .add_child(name, &device)
        .expect("a free name");
    device
}

/// A device that does something when it is plugged, in its realize.
fn plugged_to(
    machine: &Machine,
    name: &str,
    act: impl FnOnce(&Hoarder) + Send + 'static,
) -> Ref<Hoarder> {
    let device = placed(machine, name);
    Hoarder::realize_to(&device, act);
    device
}

fn ram(owner: &impl Target) -> Child<Region> {
    let bytes = Backing::anonymous(PAGE).expect("a page of memory");
    Region::ram("memory", bytes)
        .create(owner)
        .expect("a region of one's own")
}

fn container(name: &str, owner: &impl Target) -> Child<Region> {
    Region::container(name, Size::new(4 * PAGE))
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

pub(super) fn introspected_container(machine: &Machine) -> Vec<Hoard> {
    let device = Hoarder::made_to(machine.handle(), |device| {
        let (_, memory) = ram_in_container(device);
        device.hoard.keep_handle(device, &memory);
    });
    vec![device.hoard.clone()]
}

pub(super) fn introspected_root(machine: &Machine) -> Vec<Hoard> {
    let device = Hoarder::made_to(machine.handle(), |device| {
        device.hoard.keep_handle(device, &ram(device));
    });
    let memory = &qdev::regions_of(&device)[0];
    let space = AddressSpace::open(&device, "dma", memory).expect("a space of one's own");
    device.hoard.keep(space);
    vec![device.hoard.clone()]
}

pub(super) fn own_container(machine: &Machine) -> Vec<Hoard> {
    let system = container("system", machine.root());
    let device = plugged_to(machine, "card", move |card| {
        let (bar, memory) = ram_in_container(card);
        nest(&bar, &system);
        card.hoard.keep_handle(card, &memory);
    });
    vec![device.hoard.clone()]
}

pub(super) fn own_container_with_space(machine: &Machine) -> Vec<Hoard> {
    let device = plugged_to(machine, "card", |card| {
        let (bar, memory) = ram_in_container(card);
        let space = AddressSpace::open(card, "dma", &bar).expect("a space of one's own");
        card.until_unrealize.keep(space);
        card.hoard.keep_handle(card, &memory);
    });
    vec![device.hoard.clone()]
}

pub(super) fn own_region(machine: &Machine) -> Vec<Hoard> {
    let device = plugged_to(machine, "card", |card| {
        card.hoard.keep_handle(card, &ram(card));
    });
    vec![device.hoard.clone()]
}

pub(super) fn own_root(machine: &Machine) -> Vec<Hoard> {
    let device = plugged_to(machine, "card", |card| {
        let (bar, _) = ram_in_container(card);
        let space = AddressSpace::open(card, "dma", &bar).expect("a space of one's own");
        // The space is closed by the withdrawal, the handle by nobody.
        card.hoard.keep(space);
        card.hoard.keep_handle(card, &bar);
    });
    vec![device.hoard.clone()]
}

pub(super) fn root_and_transfer(machine: &Machine) -> Vec<Hoard> {
    let device = plugged_to(machine, "card", |card| {
        let (bar, memory) = ram_in_container(card);
        let space = AddressSpace::open(card, "dma", &bar).expect("a space of one's own");
        card.hoard.keep(space);
        card.hoard.keep_handle(card, &bar);
        card.hoard.keep_transfer_to(card, &memory);
    });
    vec![device.hoard.clone()]
}

pub(super) fn own_transfer(machine: &Machine) -> Vec<Hoard> {
    let device = plugged_to(machine, "card", |card| {
        card.hoard.keep_transfer_to(card, &ram(card));
    });
    vec![device.hoard.clone()]
}

/// As in QEMU: the guest writes an address of the BAR into a register, and the device looks it up in the memory of the system.
pub(super) fn descriptor_at_own_bar(machine: &Machine) -> Vec<Hoard> {
    let system = container("system", machine.root());
    let space = AddressSpace::open(machine.root(), "memory", &system).expect("it lives");
    let (bar, doorbell) = (0x1000_u32, 0x2000_u32);
    let devices_view = space.clone();
    let device = plugged_to(machine, "card", move |card| {
        let registers = Region::io("registers", Size::new(4), Doorbell(devices_view));
        let registers = registers.create(card).expect("a region of one's own");
        for (at, region) in [(bar, &ram(card)), (doorbell, &registers)] {
            system
                .add_subregion(Offset(at.into()), region, Priority(0))
                .expect("a region that is in none");
        }
    });
    space
        .store(Gpa(doorbell.into()), bar, Attrs::default())
        .expect("the register is there");
    space.close();
    vec![device.hoard.clone()]
}

pub(super) fn one_after_the_other(machine: &Machine) -> Vec<Hoard> {
    ["first", "second"]
        .map(|name| {
            let device = plugged_to(machine, name, |card| {
                card.hoard.keep_transfer_to(card, &ram(card));
            });
            device.unparent().expect("it has a parent");
            device.hoard.clone()
        })
        .to_vec()
}

pub(super) fn plain_owner(machine: &Machine) -> Vec<Hoard> {
    let device = placed(machine, "device");
    let heap = Heap::made_to(machine.handle(), |heap| {
        heap.hoard.keep_handle(heap, &ram(heap));
    });
    device.add_child("heap", &heap).expect("a free name");
    vec![heap.hoard.clone()]
}

pub(super) fn shared_memory(machine: &Machine) -> Vec<Hoard> {
    let device = placed(machine, "device");
    let bar = container("bar", &device);
    let own = bar.clone();
    Hoarder::realize_to(&device, move |device| {
        device.hoard.keep_handle(device, &own);
    });
    let (give, made) = mpsc::channel();
    let heap = Heap::made_to(machine.handle(), move |heap| {
        let memory = ram(heap);
        heap.hoard.keep_handle(heap, &memory);
        give.send(memory).expect("it is waited for");
    });
    device.add_child("heap", &heap).expect("a free name");
    nest(&made.recv().expect("its post-init has run"), &bar);
    vec![device.hoard.clone(), heap.hoard.clone()]
}

pub(super) fn ring_of_two(machine: &Machine) -> Vec<Hoard> {
    ring(machine, &["a", "b"])
}

pub(super) fn ring_of_three(machine: &Machine) -> Vec<Hoard> {
    ring(machine, &["a", "b", "c"])
}

/// Each has a transfer in the memory of the one before it, the first in that of the last.
fn ring(machine: &Machine, names: &[&str]) -> Vec<Hoard> {
    let devices: Vec<_> = names.iter().map(|name| placed(machine, name)).collect();
    let memories: Vec<_> = devices.iter().map(ram).collect();
    let before = memories.iter().cycle().skip(memories.len() - 1);
    for (device, memory) in devices.iter().zip(before) {
        let memory = memory.clone();
        Hoarder::realize_to(device, move |device| {
            device.hoard.keep_transfer_to(device, &memory);
        });
    }
    devices.iter().map(|device| device.hoard.clone()).collect()
}

pub(super) fn ring_of_handles(machine: &Machine) -> Vec<Hoard> {
    let (a, b) = (placed(machine, "a"), placed(machine, "b"));
    let (peer_of_a, peer_of_b) = (b.child(), a.child());
    Hoarder::realize_to(&a, move |a| a.hoard.keep_handle(a, &peer_of_a));
    Hoarder::realize_to(&b, move |b| b.hoard.keep_handle(b, &peer_of_b));
    vec![a.hoard.clone(), b.hoard.clone()]
}

/// By itself the child's handle would not matter: nothing counts on a child that is withdrawn, so its finalizer runs and lets go.
pub(super) fn family(machine: &Machine) -> Vec<Hoard> {
    let parent = plugged_to(machine, "parent", |parent| {
        let its_parent = parent.this();
        let child = Heap::made_to(&parent.machine(), move |child| {
            child.hoard.keep_handle(child, &its_parent);
        });
        parent.add_child("child", &child).expect("a free name");
        parent.hoard.keep_handle(parent, &child.child());
    });
    let child = parent.child_named::<Heap>("child").expect("it has one");
    let child = child.get().expect("it lives");
    vec![parent.hoard.clone(), child.hoard.clone()]
}

pub(super) fn child_with_root(machine: &Machine) -> Vec<Hoard> {
    let parent = plugged_to(machine, "parent", |parent| {
        let root = container("bus", parent);
        let child = parent.machine().create::<Hoarder>();
        let child = child.expect("a new device");
        parent.add_child("child", &child).expect("a free name");
        Hoarder::realize_to(&child, move |child| {
            let space = AddressSpace::open(child, "dma", &root).expect("a space of one's own");
            child.until_unrealize.keep(space);
            child.hoard.keep_handle(child, &root);
        });
        parent.hoard.keep_handle(parent, &child.child());
    });
    let child = parent.child_named::<Hoarder>("child").expect("it has one");
    let child = child.get().expect("it lives");
    vec![parent.hoard.clone(), child.hoard.clone()]
}

pub(super) fn itself(machine: &Machine) -> Vec<Hoard> {
    let device = plugged_to(machine, "card", |card| {
        card.hoard.keep_handle(card, &card.this());
    });
    vec![device.hoard.clone()]
}

/// The device's finalizer would find nothing to drop, if it ran.
pub(super) fn lost_handle(machine: &Machine) -> Vec<Hoard> {
    let nobodys = Hoard::default();
    let lost = nobodys.clone();
    let _ = plugged_to(machine, "card", move |card| {
        lost.keep_handle(card, &ram(card));
    });
    vec![nobodys]
}

pub(super) fn foreign(machine: &Machine) -> Vec<Hoard> {
    let device = plugged_to(machine, "card", |card| drop(ram(card)));
    let memory = qdev::regions_of(&device)[0].clone();
    let board = plugged_to(machine, STAYS, move |board| {
        board.hoard.keep_handle(board, &memory);
    });
    vec![board.hoard.clone()]
}

pub(super) fn panics_in_unrealize(machine: &Machine) -> Vec<Hoard> {
    let device = plugged_to(machine, "card", |card| {
        card.until_unrealize.keep_transfer_to(card, &ram(card));
        // ORDERING: Relaxed: the unplug comes after this.
        card.panics.store(true, Ordering::Relaxed);
    });
    vec![device.until_unrealize.clone()]
}

pub(super) fn orphan_transfer(machine: &Machine) -> Vec<Hoard> {
    let system = ram(machine.root());
    let nobodys = Hoard::default();
    let lost = nobodys.clone();
    let _ = plugged_to(machine, "card", move |card| {
        lost.keep_transfer_to(card, &system);
    });
    vec![nobodys]
}
