//! The memory map as text, line by line.

use memory::{
    AddressSpace, Backing, FnOps, Offset, Priority, Region, RegionApi, RegionBuilder, RegionOps,
    Size, mtree, mtree_flat,
};
use qom::{Child, Container, Machine, ObjectOps};

const PAGE: u64 = 0x1000;

fn ram(name: &str) -> RegionBuilder {
    Region::ram(name, Backing::anonymous(PAGE).unwrap())
}

fn regs() -> impl RegionOps<Owner = Container> {
    FnOps::<Container> {
        read: |_, _| Ok(0),
        write: |_, _, _| Ok(()),
    }
}

/// Two spaces on one root, one on a part of it, one that has lost its root; regions of all kinds, one hidden, one alias without a target.
fn board() -> (Machine, Vec<Child<Region>>) {
    let machine = Machine::new("text");
    let make = |builder: RegionBuilder| builder.create(machine.root()).unwrap();
    let system = make(Region::container("system", Size::MAX));
    let low = make(ram("low").nonvolatile(true));
    let rom = make(Region::rom("bios", Backing::anonymous(PAGE).unwrap()));
    let over = make(Region::io("over", Size::new(0x100), regs()));
    let hidden = make(Region::container("hidden", Size::new(PAGE)).enabled(false));
    let inner = make(ram("inner"));
    let nobody = make(Region::reservation("nobody", Size::new(PAGE)));
    let flash_bytes = Backing::anonymous(PAGE).unwrap();
    let flash = make(Region::rom_device("flash", flash_bytes, regs()));
    let vram = make(ram("vram"));
    let pci = make(Region::container("pci", Size::new(0x1_0000)));
    let window = make(Region::alias(
        "window",
        &pci,
        Offset(PAGE),
        Size::new(2 * PAGE),
    ));
    let mirror =
        make(Region::alias("mirror", &low, Offset(0x800), Size::new(0x800)).readonly(true));
    let card = machine.create::<Container>().unwrap();
    machine.root().add_child("card", &card).unwrap();
    let gone = ram("gone").create(&card).unwrap();
    let blind = make(Region::alias("blind", &gone, Offset(0), Size::new(PAGE)));
    let add = |at: u64, to: &Child<Region>, sub: &Child<Region>, priority| {
        to.add_subregion(Offset(at), sub, Priority(priority))
            .unwrap();
    };
    add(0, &system, &low, 0);
    add(0xf00, &system, &over, 1);
    add(PAGE, &system, &rom, -1);
    add(2 * PAGE, &system, &hidden, 0);
    add(0, &hidden, &inner, 0);
    add(3 * PAGE, &system, &nobody, 0);
    add(4 * PAGE, &system, &flash, 0);
    add(5 * PAGE, &system, &window, 7);
    // At one address: the higher priority first.
    add(5 * PAGE, &system, &mirror, 9);
    add(8 * PAGE, &system, &blind, 0);
    add(2 * PAGE, &pci, &vram, 0);
    AddressSpace::open(machine.root(), "memory", &system).unwrap();
    AddressSpace::open(machine.root(), "cpu-0", &system).unwrap();
    AddressSpace::open(machine.root(), "pci", &pci).unwrap();
    AddressSpace::open(machine.root(), "lost", &gone).unwrap();
    card.unparent().unwrap();
    (machine, vec![system, flash, hidden])
}

#[test]
fn the_trees_of_all_spaces() {
    let (machine, regions) = board();
    let text = "\
address-space: cpu-0
address-space: memory
  0000000000000000-ffffffffffffffff (prio 0, container): system
    0000000000000000-0000000000000fff (prio 0, nv-ram): low
    0000000000000f00-0000000000000fff (prio 1, i/o): over
    0000000000001000-0000000000001fff (prio -1, rom): bios
      0000000000002000-0000000000002fff (prio 0, ram): inner
    0000000000003000-0000000000003fff (prio 0, i/o): nobody
    0000000000004000-0000000000004fff (prio 0, romd): flash
    0000000000005000-00000000000057ff (prio 9, ram): alias mirror @low 0000000000000800-0000000000000fff
    0000000000005000-0000000000006fff (prio 7, container): alias window @pci 0000000000001000-0000000000002fff
    0000000000008000-0000000000008fff (prio 0, alias): alias blind @(withdrawn) 0000000000000000-0000000000000fff

address-space: pci
  0000000000000000-000000000000ffff (prio 0, container): pci
    0000000000002000-0000000000002fff (prio 0, ram): vram

address-space: lost
  (no root)

memory-region: low
  0000000000000000-0000000000000fff (prio 0, nv-ram): low

";
    assert_eq!(mtree(&machine), text);
    // Another mode of the ROM device, and what was hidden.
    let [_, flash, hidden] = &regions[..] else {
        panic!("three regions")
    };
    flash.set_romd(false).unwrap();
    hidden.set_enabled(true).unwrap();
    let text = text.replace("romd): flash", "i/o): flash").replace(
        "      0000000000002000",
        "    0000000000002000-0000000000002fff (prio 0, container): hidden\n      0000000000002000",
    );
    assert_eq!(mtree(&machine), text);
}

#[test]
fn the_flat_views() {
    let (machine, regions) = board();
    let text = "\
FlatView #0
 AS \"lost\", root: (none)
 Root memory region: (none)
  No rendered FlatView

FlatView #1
 AS \"memory\", root: system
 AS \"cpu-0\", root: system
 Root memory region: system
  0000000000000000-0000000000000eff (prio 0, nv-ram): low
  0000000000000f00-0000000000000fff (prio 1, i/o): over
  0000000000001000-0000000000001fff (prio -1, rom): bios
  0000000000003000-0000000000003fff (prio 0, i/o): nobody
  0000000000004000-0000000000004fff (prio 0, romd): flash
  0000000000005000-00000000000057ff (prio 0, nv-rom): low @0000000000000800
  0000000000006000-0000000000006fff (prio 0, ram): vram

FlatView #2
 AS \"pci\", root: pci
 Root memory region: pci
  0000000000002000-0000000000002fff (prio 0, ram): vram

";
    assert_eq!(mtree_flat(&machine), text);
    // A root that is hidden shows as much as none.
    regions[0].set_enabled(false).unwrap();
    let none = "\
FlatView #0
 AS \"memory\", root: system
 AS \"cpu-0\", root: system
 AS \"lost\", root: (none)
 Root memory region: (none)
  No rendered FlatView

";
    assert_eq!(
        mtree_flat(&machine).split_once("FlatView #1").unwrap().0,
        none
    );
}
