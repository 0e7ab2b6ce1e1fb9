//! Transfers over edges: of a device's range, of the last address, of what a memory-only access may reach.

use memory::{
    Access, AddressSpace, Attrs, Backing, FnOps, Gpa, MemTx, MemTxError, Offset, Priority, Region,
    RegionApi, Size,
};
use qom::{Container, Machine};

/// Every byte of the device is its offset.
#[expect(clippy::unnecessary_wraps, reason = "the type of a callback")]
fn offsets(_: &Container, access: Access) -> Result<u64, MemTxError> {
    let bytes = (0..u64::from(access.size)).rev();
    Ok(bytes.fold(0, |value, i| value << 8 | (access.offset + i) & 0xff))
}

/// A device over all of memory, with RAM on top of it from 0x1006 on.
fn space(machine: &Machine) -> AddressSpace {
    let ops = FnOps::<Container> {
        read: offsets,
        write: |_, access, _| {
            assert!(
                access.offset >= 0x2000 || access.offset + u64::from(access.size) <= 0x1006,
                "{access:?} reaches into the RAM beside the device"
            );
            Ok(())
        },
    };
    let root = Region::io("device", Size::MAX, ops)
        .create(machine.root())
        .unwrap();
    let ram = Region::ram("ram", Backing::anonymous(0x1000).unwrap())
        .create(machine.root())
        .unwrap();
    root.add_subregion(Offset(0x1006), &ram, Priority(0))
        .unwrap();
    AddressSpace::open(machine.root(), "memory", &root).unwrap()
}

#[test]
fn a_device_is_not_asked_for_the_bytes_of_its_neighbour() {
    let machine = Machine::new("neighbour");
    let space = space(&machine);
    assert!(space.write(Gpa(0x1004), &[1; 8], Attrs::default()).is_ok());
    let mut found = [0xee; 8];
    assert!(
        space
            .read(Gpa(0x1004), &mut found, Attrs::default())
            .is_ok()
    );
    assert_eq!(found, [4, 5, 1, 1, 1, 1, 1, 1]);
}

#[test]
fn what_lies_beyond_the_last_address_reads_as_zero() {
    let machine = Machine::new("last");
    let space = space(&machine);
    let mut found = [0xee; 8];
    let result = space.read(Gpa(u64::MAX - 3), &mut found, Attrs::default());
    assert_eq!(found, [0xfc, 0xfd, 0xfe, 0xff, 0, 0, 0, 0]);
    assert_eq!(result, MemTx::DECODE_ERROR);
    let loaded = space.write_rom(Gpa(u64::MAX - 3), &[0; 8]);
    assert_eq!(loaded, MemTx::DECODE_ERROR);
}

#[test]
fn what_a_memory_only_access_may_not_reach_reads_as_zero() {
    let machine = Machine::new("only");
    let space = space(&machine);
    let only = Attrs::default().with_memory_only(true);
    let mut found = [0xee; 4];
    assert_eq!(
        space.read(Gpa(0x1004), &mut found, only),
        MemTx::ACCESS_ERROR
    );
    assert_eq!(found, [0; 4]);
    assert!(space.write(Gpa(0x2000), &[7; 6], Attrs::default()).is_ok());
    let mut found = [0xee; 12];
    assert_eq!(
        space.read(Gpa(0x2000), &mut found, only),
        MemTx::ACCESS_ERROR
    );
    assert_eq!(found, [7, 7, 7, 7, 7, 7, 0, 0, 0, 0, 0, 0]);
}
