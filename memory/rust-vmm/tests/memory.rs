//! What consumers of vm-memory see of an address space: ranges, permissions, edges, changes of topology.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use memory::{
    AddressSpace, Attrs, Backing, BackingCounter, FnOps, Gpa, MemTx, Offset, Priority, Region,
    RegionApi, Size,
};
use memory_rust_vmm::{RamRegions, RamView, SpaceMemory};
use qom::{Child, Container, Machine, ObjectOps};
use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::mock::MockSplitQueue;
use virtio_queue::{Queue, QueueT};
use vm_memory::{
    Bytes, GuestAddress, GuestAddressSpace, GuestMemory, GuestMemoryBackend, GuestMemoryError,
    GuestMemoryRegion, MemoryRegionAddress, Permissions,
};

type Outcome = Result<(), Box<dyn Error>>;

const RAM_A: u64 = 0;
const RAM_B: u64 = 0x3000;
const ROM: u64 = 0x5000;
const IO: u64 = 0x6000;
/// A region of 0x2000 with 0x1000 bytes behind it.
const SHORT: u64 = 0x8000;
/// RAM whose bytes the host has mapped for reading only.
const SEALED: u64 = 0xa000;
/// RAM up to the last address.
const TOP: u64 = 0xffff_ffff_ffff_f000;

struct Board {
    machine: Machine,
    space: AddressSpace,
    system: Child<Region>,
    ram_b: Child<Region>,
    rom_bytes: Backing,
    bytes: BackingCounter,
}

impl Board {
    fn new() -> Result<Self, Box<dyn Error>> {
        let machine = Machine::new("board");
        let root = machine.root();
        let bytes = BackingCounter::new();
        let system = Region::container("system", Size::MAX).create(root)?;
        let ram_b = Region::ram("b", Backing::anonymous_in(0x2000, &bytes)?).create(root)?;
        let rom_bytes = Backing::anonymous(0x1000)?;
        let ops = FnOps::<Container> {
            read: |_, access| Ok(access.offset),
            write: |_, _, _| Ok(()),
        };
        let file = Backing::memfd("sealed", 0x1000)?;
        file.bytes().fill(0, 0x1000, 0x5a)?;
        let (fd, _) = file.fd().ok_or("no descriptor")?;
        let sealed = Backing::file(fd.try_clone_to_owned()?, 0, 0x1000, false)?;
        let places = [
            (RAM_A, Region::ram("a", Backing::anonymous(0x3000)?)),
            (ROM, Region::rom("rom", rom_bytes.clone())),
            (IO, Region::io("io", Size::new(0x1000), ops)),
            (
                SHORT,
                Region::ram("short", Backing::anonymous(0x1000)?).size(Size::new(0x2000)),
            ),
            (SEALED, Region::ram("sealed", sealed)),
            (TOP, Region::ram("top", Backing::anonymous(0x1000)?)),
        ];
        for (at, region) in places {
            system.add_subregion(Offset(at), &region.create(root)?, Priority(0))?;
        }
        system.add_subregion(Offset(RAM_B), &ram_b, Priority(0))?;
        let space = AddressSpace::open(root, "memory", &system)?;
        Ok(Self {
            machine,
            space,
            system,
            ram_b,
            rom_bytes,
            bytes,
        })
    }
}

fn is_invalid_at<T>(result: &Result<T, GuestMemoryError>, at: u64) -> bool {
    matches!(result, Err(GuestMemoryError::InvalidGuestAddress(GuestAddress(found))) if *found == at)
}

fn is_denied<T>(result: &Result<T, GuestMemoryError>) -> bool {
    matches!(result, Err(GuestMemoryError::IOError(error)) if error.kind() == ErrorKind::PermissionDenied)
}

#[test]
fn what_is_written_here_is_what_the_guest_sees() -> Outcome {
    let board = Board::new()?;
    let guard = board.space.enter();
    let memory = RamView::new(guard.view());
    memory.write_obj(0x0123_4567_89ab_cdef_u64, GuestAddress(0x2ff8))?;
    assert_eq!(
        guard.load::<u64>(Gpa(0x2ff8), Attrs::default())?,
        0x0123_4567_89ab_cdef
    );
    guard.store(Gpa(RAM_B), 0x4711_u32, Attrs::default())?;
    assert_eq!(memory.read_obj::<u32>(GuestAddress(RAM_B))?, 0x4711);
    memory.store(7_u16, GuestAddress(RAM_B + 2), Ordering::Release)?;
    assert_eq!(
        memory.load::<u16>(GuestAddress(RAM_B + 2), Ordering::Acquire)?,
        7
    );
    Ok(())
}

#[test]
fn an_access_goes_on_over_the_border_of_two_ranges() -> Outcome {
    let board = Board::new()?;
    let guard = board.space.enter();
    let memory = RamView::new(guard.view());
    let data: Vec<u8> = (0..=255).collect();
    memory.write_slice(&data, GuestAddress(RAM_B - 100))?;
    let mut back = vec![0; 256];
    memory.read_slice(&mut back, GuestAddress(RAM_B - 100))?;
    assert_eq!(back, data);
    assert!(memory.check_range(GuestAddress(RAM_B - 100), 256, Permissions::Write));
    let lengths: Vec<_> = memory
        .get_slices(GuestAddress(RAM_B - 100), 256, Permissions::ReadWrite)?
        .map(|slice| slice.map(|slice| slice.len()))
        .collect::<Result<_, _>>()?;
    assert_eq!(lengths, [100, 156]);
    let mut none = memory.get_slices(GuestAddress(IO), 0, Permissions::Read)?;
    assert!(none.next().is_none(), "nothing is asked for");
    Ok(())
}

#[test]
fn what_is_no_ram_ends_a_transfer() -> Outcome {
    let board = Board::new()?;
    let guard = board.space.enter();
    let memory = RamView::new(guard.view());
    let mut buf = [0xee; 32];
    for at in [IO, 0x7000, SHORT + 0x1000, 0x1_0000] {
        assert!(
            is_invalid_at(&memory.read(&mut buf, GuestAddress(at)), at),
            "{at:#x}"
        );
        assert!(
            is_invalid_at(&memory.write(&buf, GuestAddress(at)), at),
            "{at:#x}"
        );
        assert!(!memory.check_range(GuestAddress(at - 1), 2, Permissions::Write));
    }
    // The bytes before the hole are transferred, and the count says so.
    assert_eq!(memory.read(&mut buf, GuestAddress(SHORT + 0xff8))?, 8);
    assert!(matches!(
        memory.read_slice(&mut buf, GuestAddress(SHORT + 0xff8)),
        Err(GuestMemoryError::PartialBuffer {
            expected: 32,
            completed: 8
        })
    ));
    // The errors end the iteration.
    let mut slices = memory.get_slices(GuestAddress(SHORT + 0xff8), 32, Permissions::Read)?;
    assert_eq!(slices.next().ok_or("no slice")??.len(), 8);
    assert!(is_invalid_at(
        &slices.next().ok_or("no error")?,
        SHORT + 0x1000
    ));
    assert!(slices.next().is_none());
    Ok(())
}

#[test]
fn nothing_wraps_around_the_last_address() -> Outcome {
    let board = Board::new()?;
    let guard = board.space.enter();
    let memory = RamView::new(guard.view());
    memory.write_slice(&[7; 16], GuestAddress(u64::MAX - 15))?;
    assert!(memory.check_range(GuestAddress(u64::MAX - 15), 16, Permissions::Read));
    assert!(!memory.check_range(GuestAddress(u64::MAX - 15), 17, Permissions::Read));
    let mut buf = [0; 32];
    assert_eq!(memory.read(&mut buf, GuestAddress(u64::MAX - 15))?, 16);
    assert_eq!(buf[..16], [7; 16]);
    assert_eq!(memory.write(&[9; 32], GuestAddress(u64::MAX - 15))?, 16);
    assert_eq!(memory.read_obj::<u64>(GuestAddress(RAM_A))?, 0, "wrapped");
    Ok(())
}

#[test]
fn rom_is_read_and_not_written() -> Outcome {
    let board = Board::new()?;
    board.rom_bytes.bytes().store_u32(8, 0x4711)?;
    let guard = board.space.enter();
    let memory = RamView::new(guard.view());
    assert_eq!(memory.read_obj::<u32>(GuestAddress(ROM + 8))?, 0x4711);
    assert!(is_denied(&memory.write_obj(1_u32, GuestAddress(ROM + 8))));
    assert!(memory.check_range(GuestAddress(ROM), 0x1000, Permissions::Read));
    assert!(!memory.check_range(GuestAddress(ROM), 1, Permissions::Write));
    assert!(!memory.check_range(GuestAddress(ROM), 1, Permissions::ReadWrite));
    // A write from RAM into ROM stops at the border.
    assert_eq!(memory.write(&[1; 16], GuestAddress(ROM - 4))?, 4);
    assert_eq!(board.rom_bytes.bytes().load_u32(8), Some(0x4711));
    Ok(())
}

#[test]
fn bytes_that_would_fault_are_not_handed_out() -> Outcome {
    let board = Board::new()?;
    let guard = board.space.enter();
    assert_eq!(guard.load::<u8>(Gpa(SEALED), Attrs::default())?, 0x5a);
    let memory = RamView::new(guard.view());
    assert!(is_denied(&memory.read_obj::<u8>(GuestAddress(SEALED))));
    assert!(is_denied(&memory.write_obj(1_u8, GuestAddress(SEALED))));
    let regions = RamRegions::of(guard.view());
    assert!(regions.find_region(GuestAddress(SEALED)).is_none());
    Ok(())
}

#[test]
fn regions_are_the_writable_ram() -> Outcome {
    let board = Board::new()?;
    let guard = board.space.enter();
    let regions = RamRegions::of(guard.view());
    let places: Vec<_> = regions
        .iter()
        .map(|region| (region.start_addr().0, region.len()))
        .collect();
    assert_eq!(
        places,
        [
            (RAM_A, 0x3000),
            (RAM_B, 0x2000),
            (SHORT, 0x1000),
            (TOP, 0x1000)
        ]
    );
    assert_eq!(regions.num_regions(), 4);
    assert_eq!(regions.last_addr(), GuestAddress(u64::MAX));
    for (at, found) in [
        (0, Some(RAM_A)),
        (0x2fff, Some(RAM_A)),
        (RAM_B, Some(RAM_B)),
        (ROM, None),
        (SHORT + 0xfff, Some(SHORT)),
        (SHORT + 0x1000, None),
        (TOP - 1, None),
        (u64::MAX, Some(TOP)),
    ] {
        let region = regions.find_region(GuestAddress(at));
        assert_eq!(region.map(|region| region.start_addr().0), found, "{at:#x}");
    }

    regions.write_slice(&[3; 64], GuestAddress(RAM_B - 32))?;
    assert_eq!(
        guard.load::<u32>(Gpa(RAM_B + 28), Attrs::default())?,
        0x0303_0303
    );
    let region = regions
        .find_region(GuestAddress(RAM_B))
        .ok_or("no region")?;
    let host = region.get_host_address(MemoryRegionAddress(0x1fff))?;
    let (_, leaf) = guard.view().find(Gpa(RAM_B)).ok_or("no leaf")?;
    let start = leaf.host().ok_or("no bytes")?.as_ptr();
    assert_eq!(host.addr(), start.addr() + 0x1fff);
    assert!(
        region
            .get_host_address(MemoryRegionAddress(0x2000))
            .is_err()
    );
    assert!(region.get_slice(MemoryRegionAddress(0x1fff), 2).is_err());
    assert!(region.get_slice(MemoryRegionAddress(u64::MAX), 2).is_err());
    Ok(())
}

#[test]
fn a_space_shows_the_topology_of_each_use() -> Outcome {
    let board = Board::new()?;
    let memory = SpaceMemory::new(board.space.clone(), board.system.clone());
    let before = memory.memory();
    before.write_obj(0x4711_u32, GuestAddress(RAM_B))?;
    board.ram_b.unparent()?;
    let after = memory.memory();
    assert!(is_invalid_at(
        &after.read_obj::<u32>(GuestAddress(RAM_B)),
        RAM_B
    ));

    // What was taken before is as it was, bytes included, and can be used from another thread.
    assert_eq!(board.bytes.live(), 1);
    let also_before = Arc::clone(&before);
    std::thread::spawn(move || also_before.read_obj::<u32>(GuestAddress(RAM_B)).ok())
        .join()
        .map(|seen| assert_eq!(seen, Some(0x4711)))
        .map_err(|_| "the thread panicked")?;
    drop((before, after));
    board.machine.quiesce(Duration::from_secs(10))?;
    assert_eq!(board.bytes.live(), 0);
    Ok(())
}

#[test]
fn the_memory_of_a_holder_that_is_gone_is_empty() -> Outcome {
    let board = Board::new()?;
    let holder = board.machine.create::<Container>()?;
    let memory = SpaceMemory::new(board.space.clone(), holder.downgrade());
    assert_eq!(memory.memory().read_obj::<u32>(GuestAddress(RAM_A))?, 0);
    drop(holder);
    board.machine.quiesce(Duration::from_secs(10))?;
    let nothing = memory.memory();
    assert!(nothing.view().is_empty());
    assert!(is_invalid_at(
        &nothing.read_obj::<u32>(GuestAddress(RAM_A)),
        RAM_A
    ));
    Ok(())
}

#[test]
fn a_virtio_queue_runs_on_a_guards_view() -> Outcome {
    const WRITE: u16 = 2;
    let board = Board::new()?;
    let guard = board.space.enter();
    let memory = &RamView::new(guard.view());
    // The ring is in the first region; the request crosses into the second, the answer is in the one with short bytes.
    let ring = MockSplitQueue::create(memory, GuestAddress(0x100), 16);
    memory.write_slice(b"a request", GuestAddress(RAM_B - 4))?;
    let chain = ring.build_desc_chain(&[
        RawDescriptor::from(Descriptor::new(RAM_B - 4, 9, 0, 0)),
        RawDescriptor::from(Descriptor::new(SHORT + 0x10, 6, WRITE, 0)),
    ])?;
    let mut request = String::new();
    chain.clone().reader(memory)?.read_to_string(&mut request)?;
    assert_eq!(request, "a request");
    let mut writer = chain.clone().writer(memory)?;
    writer.write_all(b"answer")?;
    assert_eq!(writer.available_bytes(), 0);
    drop(writer);

    let mut queue: Queue = ring.create_queue()?;
    queue.add_used(memory, chain.head_index(), 6)?;
    let mut answer = [0; 6];
    assert_eq!(
        guard.read(Gpa(SHORT + 0x10), &mut answer, Attrs::default()),
        MemTx::OK
    );
    assert_eq!(&answer, b"answer");
    let used = ring.used_addr().0;
    assert_eq!(
        guard.load::<u16>(Gpa(used + 2), Attrs::default())?,
        1,
        "the used index"
    );
    assert_eq!(
        guard.load::<u32>(Gpa(used + 8), Attrs::default())?,
        6,
        "the used length"
    );

    // A descriptor that points to registers is an error and reaches no callback.
    let bad = ring.build_desc_chain(&[RawDescriptor::from(Descriptor::new(IO, 4, 0, 0))])?;
    assert!(bad.reader(memory).is_err());
    Ok(())
}
