//! Single accesses, answer by answer: byte orders, loads and stores over edges, compare-exchange, a loader's write.

use memory::{
    Access, AccessRules, AddressSpace, Attrs, Backing, Endian, FnOps, Gpa, MemTx, MemTxError,
    Offset, Priority, Region, RegionApi, RegionBuilder, RegionOps, Scalar, Size,
};
use qom::{Child, Container, Machine};
use std::sync::{Arc, Mutex};

const PAGE: u64 = 0x1000;

fn plain() -> Attrs {
    Attrs::default()
}

/// A machine with one address space of a megabyte.
struct Board {
    machine: Machine,
    system: Child<Region>,
    space: AddressSpace,
}

impl Board {
    fn new(name: &str) -> Self {
        let machine = Machine::new(name);
        let system = Region::container("system", Size::new(0x10_0000))
            .create(machine.root())
            .unwrap();
        let space = AddressSpace::open(machine.root(), "memory", &system).unwrap();
        Self {
            machine,
            system,
            space,
        }
    }

    fn show(&self, at: u64, builder: RegionBuilder) -> Child<Region> {
        let region = builder.create(self.machine.root()).unwrap();
        self.system
            .add_subregion(Offset(at), &region, Priority(0))
            .unwrap();
        region
    }

    /// A page of RAM; the bytes as the host has them.
    fn ram(&self, at: u64) -> Backing {
        let backing = Backing::anonymous(PAGE).unwrap();
        self.show(at, Region::ram("ram", backing.clone()));
        backing
    }
}

fn bytes_at<const N: usize>(backing: &Backing, at: u64) -> [u8; N] {
    let mut found = [0; N];
    backing.bytes().read(at, &mut found).unwrap();
    found
}

/// Offset, size and value of each write.
type Written = Arc<Mutex<Vec<(u64, u8, u64)>>>;

/// Answers reads with consecutive bytes from 0xd0 on as its byte order has them, and writes down what is written.
struct Regs {
    order: Endian,
    written: Written,
}

impl RegionOps for Regs {
    type Owner = Container;
    fn read(&self, _: &Container, access: Access) -> Result<u64, MemTxError> {
        let bytes = (0..u64::from(access.size)).map(|i| 0xd0 + access.offset + i);
        Ok(match self.order {
            Endian::Big => bytes.fold(0, |value, byte| value << 8 | byte),
            _ => bytes.rev().fold(0, |value, byte| value << 8 | byte),
        })
    }
    fn write(&self, _: &Container, access: Access, value: u64) -> Result<(), MemTxError> {
        let written = (access.offset, access.size, value);
        self.written.lock().unwrap().push(written);
        Ok(())
    }
}

fn device(order: Endian) -> (RegionBuilder, Written) {
    let written = Written::default();
    let regs = Regs {
        order,
        written: Arc::clone(&written),
    };
    let rules = AccessRules {
        endian: order,
        ..AccessRules::DEFAULT
    };
    (
        Region::io("regs", Size::new(PAGE), regs).rules(rules),
        written,
    )
}

#[test]
fn ram_is_loaded_and_stored_in_the_order_that_is_asked_for() {
    let b = Board::new("orders");
    let ram = b.ram(0);
    let s = &b.space;
    s.enter()
        .store_as::<u64>(Gpa(0), 0x0102_0304_0506_0708, Endian::Big, plain())
        .unwrap();
    assert_eq!(bytes_at(&ram, 0), [1, 2, 3, 4, 5, 6, 7, 8]);
    s.enter()
        .store_as::<u64>(Gpa(8), 0x0102_0304_0506_0708, Endian::Little, plain())
        .unwrap();
    assert_eq!(bytes_at(&ram, 8), [8, 7, 6, 5, 4, 3, 2, 1]);
    s.enter()
        .store_as::<u32>(Gpa(16), 0x0102_0304, Endian::Big, plain())
        .unwrap();
    s.enter()
        .store_as::<u16>(Gpa(20), 0x0506, Endian::Big, plain())
        .unwrap();
    s.enter()
        .store_as::<u8>(Gpa(22), 7, Endian::Big, plain())
        .unwrap();
    s.store::<u16>(Gpa(23), 0x0908, plain()).unwrap();
    assert_eq!(bytes_at(&ram, 16), [1, 2, 3, 4, 5, 6, 7, 8, 9]);

    let load = |order| {
        (
            s.enter().load_as::<u8>(Gpa(0), order, plain()),
            s.enter().load_as::<u16>(Gpa(0), order, plain()),
            s.enter().load_as::<u32>(Gpa(0), order, plain()),
            s.enter().load_as::<u64>(Gpa(0), order, plain()),
        )
    };
    assert_eq!(
        load(Endian::Big),
        (
            Ok(1),
            Ok(0x0102),
            Ok(0x0102_0304),
            Ok(0x0102_0304_0506_0708)
        )
    );
    let little = (
        Ok(1),
        Ok(0x0201),
        Ok(0x0403_0201),
        Ok(0x0807_0605_0403_0201),
    );
    assert_eq!(load(Endian::Little), little);
    assert_eq!(load(Endian::Native), little, "the target's order");
    // Where the address suits no single load of the host.
    assert_eq!(
        s.enter().load_as::<u32>(Gpa(1), Endian::Big, plain()),
        Ok(0x0203_0405)
    );
    assert_eq!(
        s.enter().load_as::<u64>(Gpa(1), Endian::Little, plain()),
        Ok(0x0808_0706_0504_0302)
    );
}

#[test]
fn a_load_over_a_border_is_put_together_in_the_order_that_is_asked_for() {
    let b = Board::new("borders");
    let (low, high) = (b.ram(0), b.ram(PAGE));
    let edge = Gpa(PAGE - 2);
    let s = &b.space;
    s.enter()
        .store_as::<u32>(edge, 0x0102_0304, Endian::Big, plain())
        .unwrap();
    assert_eq!(bytes_at(&low, PAGE - 2), [1, 2]);
    assert_eq!(bytes_at(&high, 0), [3, 4, 0]);
    assert_eq!(
        s.enter().load_as(edge, Endian::Big, plain()),
        Ok(0x0102_0304_u32)
    );
    assert_eq!(
        s.enter().load_as(edge, Endian::Little, plain()),
        Ok(0x0403_0201_u32)
    );
    let edge = Gpa(PAGE - 1);
    s.enter()
        .store_as::<u16>(edge, 0x0506, Endian::Little, plain())
        .unwrap();
    assert_eq!(bytes_at(&low, PAGE - 2), [1, 6]);
    assert_eq!(bytes_at(&high, 0), [5, 4]);
    assert_eq!(
        s.enter().load_as(edge, Endian::Big, plain()),
        Ok(0x0605_u16)
    );
    let edge = Gpa(PAGE - 3);
    s.enter()
        .store_as::<u64>(edge, 0x1112_1314_1516_1718, Endian::Big, plain())
        .unwrap();
    assert_eq!(bytes_at(&low, PAGE - 3), [0x11, 0x12, 0x13]);
    assert_eq!(bytes_at(&high, 0), [0x14, 0x15, 0x16, 0x17, 0x18]);
    assert_eq!(
        s.enter().load_as(edge, Endian::Little, plain()),
        Ok(0x1817_1615_1413_1211_u64)
    );
    // Beyond the second page there is nothing, and half an answer is none.
    let end = Gpa(2 * PAGE - 2);
    assert_eq!(
        s.enter().load_as::<u32>(end, Endian::Big, plain()),
        Err(MemTxError::DECODE)
    );
}

#[test]
fn a_load_over_the_border_of_a_device_meets_both_byte_orders() {
    for order in [Endian::Little, Endian::Big] {
        let b = Board::new("device");
        let ram = b.ram(0);
        let (regs, written) = device(order);
        b.show(PAGE, regs);
        let s = &b.space;
        // The device alone: its number is turned where the other order is asked for.
        let own = s.enter().load_as::<u32>(Gpa(PAGE), order, plain()).unwrap();
        let big = s
            .enter()
            .load_as::<u32>(Gpa(PAGE), Endian::Big, plain())
            .unwrap();
        assert_eq!(big, 0xd0d1_d2d3);
        assert_eq!(
            own,
            if order == Endian::Big {
                big
            } else {
                big.swap_bytes()
            }
        );
        // Half of it: bytes 1 and 2 of RAM, then two of the device.
        ram.bytes().write(PAGE - 2, &[1, 2]).unwrap();
        let edge = Gpa(PAGE - 2);
        assert_eq!(
            s.enter().load_as(edge, Endian::Big, plain()),
            Ok(0x0102_d0d1_u32),
            "{order:?}"
        );
        assert_eq!(
            s.enter().load_as(edge, Endian::Little, plain()),
            Ok(0xd1d0_0201_u32),
            "{order:?}"
        );
        s.enter()
            .store_as::<u32>(edge, 0x0a0b_0c0d, Endian::Big, plain())
            .unwrap();
        assert_eq!(bytes_at(&ram, PAGE - 2), [0x0a, 0x0b]);
        let halves = if order == Endian::Big { 0x0c0d } else { 0x0d0c };
        assert_eq!(*written.lock().unwrap(), [(0, 2, halves)], "{order:?}");
    }
}

/// Whether a compare-exchange of one width gives both answers, touches nothing beside, and takes no misaligned address.
fn exchanges<T: Scalar + PartialEq + std::fmt::Debug>(there: u64, other: u64) -> bool {
    let (there, other) = (T::from_u64(there), T::from_u64(other));
    let b = Board::new("exchange");
    let ram = b.ram(0);
    let s = &b.space;
    let at = Gpa(64);
    s.store(at, there, plain()).unwrap();
    s.store(Gpa(at.0 + 8), u64::MAX, plain()).unwrap();
    // Another value is there: it is told, and stays.
    let refused = s.compare_exchange(at, other, T::from_u64(1), plain());
    let stayed = s.load::<T>(at, plain());
    // The value is there: it is told, and replaced.
    let done = s.compare_exchange(at, there, other, plain());
    let replaced = s.load::<T>(at, plain());
    let again = s.enter().compare_exchange(at, other, there, plain());
    let beside = (bytes_at(&ram, at.0 - 8), bytes_at(&ram, at.0 + 8)) == ([0; 8], [0xff; 8]);
    let misaligned = (1..u64::from(T::SIZE)).all(|by| {
        let at = Gpa(at.0 + by);
        let there = s.load::<T>(at, plain()).unwrap();
        let turned = T::from_u64(!there.to_u64());
        s.compare_exchange(at, there, turned, plain()) == Err(MemTxError::DECODE)
            && s.load(at, plain()) == Ok(there)
    });
    (refused, stayed) == (Ok(Err(there)), Ok(there))
        && (done, replaced) == (Ok(Ok(there)), Ok(other))
        && again == Ok(Ok(other))
        && beside
        && misaligned
}

#[test]
fn a_compare_exchange_gives_both_answers_and_takes_no_misaligned_address() {
    assert!(exchanges::<u8>(0x5a, 0xa5));
    assert!(exchanges::<u16>(0x1234, 0x4321));
    assert!(exchanges::<u32>(0x1234_5678, 0x8765_4321));
    assert!(exchanges::<u64>(
        0x1234_5678_9abc_def0,
        0x0fed_cba9_8765_4321
    ));
}

#[test]
fn a_compare_exchange_is_for_writable_ram_alone() {
    let b = Board::new("refused");
    let ram = Backing::anonymous(PAGE).unwrap();
    let region = b.show(0, Region::ram("ram", ram.clone()));
    let rom = Backing::anonymous(PAGE).unwrap();
    b.show(0x2000, Region::rom("rom", rom.clone()));
    let (regs, written) = device(Endian::Little);
    b.show(0x3000, regs);
    let flash = Backing::anonymous(PAGE).unwrap();
    let ops = FnOps::<Container> {
        read: |_, _| Ok(0),
        write: |_, _, _| panic!("a compare-exchange became a write"),
    };
    b.show(0x4000, Region::rom_device("flash", flash.clone(), ops));
    b.show(0x5000, Region::reservation("nothing", Size::new(PAGE)));
    let window = Region::alias("window", &region, Offset(0), Size::new(PAGE));
    // A read-only way to writable RAM.
    b.show(0x6000, window.readonly(true));
    for at in [0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000, PAGE - 2] {
        assert_eq!(
            b.space.compare_exchange::<u32>(Gpa(at), 0, 7, plain()),
            Err(MemTxError::DECODE),
            "{at:#x}"
        );
    }
    for backing in [&ram, &rom, &flash] {
        assert_eq!(bytes_at(backing, 0), [0; 4]);
    }
    assert_eq!(bytes_at(&ram, PAGE - 4), [0; 4]);
    assert!(written.lock().unwrap().is_empty());
    assert_eq!(
        b.space.compare_exchange::<u32>(Gpa(0), 0, 7, plain()),
        Ok(Ok(0))
    );
    assert_eq!(bytes_at(&ram, 0), [7, 0, 0, 0]);
}

#[test]
fn a_loader_writes_rom_and_a_guest_does_not() {
    let b = Board::new("loader");
    let rom = Backing::anonymous(PAGE).unwrap();
    b.show(0, Region::rom("rom", rom.clone()));
    let ram = b.ram(PAGE);
    let image = [1, 2, 3, 4];
    assert_eq!(
        b.space.write(Gpa(8), &image, plain()),
        MemTx::DECODE_ERROR,
        "a guest"
    );
    assert_eq!(
        b.space.store::<u32>(Gpa(8), 7, plain()),
        Err(MemTxError::DECODE)
    );
    assert_eq!(bytes_at(&rom, 8), [0; 4]);
    // From ROM on into the RAM behind it.
    assert_eq!(b.space.write_rom(Gpa(PAGE - 2), &image), MemTx::OK);
    assert_eq!(bytes_at(&rom, PAGE - 4), [0, 0, 1, 2]);
    assert_eq!(bytes_at(&ram, 0), [3, 4, 0]);
    assert_eq!(b.space.load::<u32>(Gpa(PAGE - 2), plain()), Ok(0x0403_0201));
}

#[test]
fn a_loader_passes_over_devices_and_is_told_of_holes() {
    let b = Board::new("passes");
    let flash = Backing::anonymous(PAGE).unwrap();
    let ops = FnOps::<Container> {
        read: |_, _| Ok(0xee),
        write: |_, _, _| panic!("a loader called a device"),
    };
    let flash_region = b.show(0, Region::rom_device("flash", flash.clone(), ops));
    let (regs, written) = device(Endian::Little);
    b.show(PAGE, regs);
    let ram = b.ram(2 * PAGE);
    let mut image = vec![0x11; 0x1002];
    image.extend([0x22, 0x33]);
    // Two bytes of flash, a whole device, two bytes of RAM.
    assert_eq!(b.space.write_rom(Gpa(PAGE - 2), &image), MemTx::OK);
    assert_eq!(bytes_at(&flash, PAGE - 3), [0, 0x11, 0x11]);
    assert!(written.lock().unwrap().is_empty(), "a device is no memory");
    assert_eq!(bytes_at(&ram, 0), [0x22, 0x33, 0]);
    // Also while its reads go to the callbacks.
    flash_region.set_romd(false).unwrap();
    assert_eq!(b.space.load::<u8>(Gpa(4), plain()), Ok(0xee));
    assert_eq!(b.space.write_rom(Gpa(4), &[9]), MemTx::OK);
    assert_eq!(bytes_at(&flash, 4), [9, 0]);
    // Into a hole, with memory before it.
    assert_eq!(
        b.space.write_rom(Gpa(3 * PAGE - 1), &[5, 6]),
        MemTx::DECODE_ERROR
    );
    assert_eq!(bytes_at(&ram, PAGE - 1), [5]);
}
