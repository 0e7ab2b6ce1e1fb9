//! From power-on to a running device, as Linux does it; and what a board may not do.

use super::board::{Board, REGS, WINDOW, WINDOW_BYTES, config};
use super::driver::{BLOB, EVENT_IDX, INDIRECT, LINUX, LONG, VERSION_1, VIRGL, eventually, reg};
use hw_virtio_gpu::edid::DisplaySize;
use hw_virtio_gpu::renderer::MemfdRenderer;
use hw_virtio_gpu::wire::{Command, Response};
use hw_virtio_gpu::{HostBlob, VirtioGpu};
use memory::{Attrs, Gpa};
use qdev::DeviceOps;
use qom::{Machine, ObjectOps};

#[test]
fn a_driver_finds_the_device_and_brings_it_up() {
    let board = Board::new();
    let slot = board.plug(0, config(), MemfdRenderer::builder().build());
    let mut d = board.driver(0);
    assert_eq!(
        [0, 4, 8].map(|r| d.read(r)),
        [u32::from_le_bytes(*b"virt"), 2, 16]
    );
    assert_eq!(d.read(reg::STATUS), 0);
    d.write(reg::STATUS, 1);
    d.write(reg::STATUS, 3);
    let offered = d.offered();
    assert_eq!(offered & LINUX, LINUX, "{offered:#x}");
    assert_eq!(offered & 1 << 2, 0, "no UUIDs unless asked for");
    d.accept(LINUX);
    d.write(reg::STATUS, 0xb);
    assert_eq!(d.read(reg::STATUS), 0xb);
    // The shared memory is looked for before DRIVER_OK.
    d.write(reg::SHM_SEL, 1);
    let shm = |r| u64::from(d.read(r)) | u64::from(d.read(r + 4)) << 32;
    assert_eq!(
        (shm(reg::SHM_BASE), shm(reg::SHM_LEN)),
        (WINDOW, WINDOW_BYTES)
    );
    d.write(reg::SHM_SEL, 2);
    assert_eq!(
        (shm(reg::SHM_BASE), shm(reg::SHM_LEN)),
        (u64::MAX, u64::MAX)
    );
    for (queue, most) in [(0, 256), (1, 16), (2, 0)] {
        d.write(reg::QUEUE_SEL, queue);
        assert_eq!(d.read(reg::QUEUE_NUM_MAX), most);
    }
    d.set_up(0);
    d.set_up(1);
    d.indirect = true;
    // Before DRIVER_OK nothing is taken.
    let early = d.send(Command::GetDisplayInfo);
    assert!(d.is_silent(early));
    assert_eq!(slot.gpu.stats().commands, 0);
    d.write(reg::STATUS, 0xf);
    d.kick(0);
    let Response::DisplayInfo(modes) = d.wait(early).1 else {
        panic!("no modes");
    };
    assert_eq!((modes[0].rect.width, modes[0].rect.height), (1024, 768));
    drop(slot);
    board.close();
}

#[test]
fn features_without_version_1_are_refused() {
    let board = Board::new();
    let _slot = board.plug(0, config(), MemfdRenderer::builder().build());
    let d = board.driver(0);
    d.write(reg::STATUS, 3);
    d.accept(VIRGL | BLOB);
    d.write(reg::STATUS, 0xb);
    assert_eq!(d.read(reg::STATUS), 3, "FEATURES_OK does not stand");
    d.accept(VIRGL | BLOB | VERSION_1);
    d.write(reg::STATUS, 0xb);
    assert_eq!(d.read(reg::STATUS), 0xb);
}

#[test]
fn every_set_of_transport_features_works() {
    for extra in [0, INDIRECT, EVENT_IDX, INDIRECT | EVENT_IDX] {
        let (board, _slot, mut d) = Board::running();
        d.bring_up(VIRGL | BLOB | VERSION_1 | extra);
        for resource in 1..100 {
            d.mapped(resource, 4096, u64::from(resource) * 4096);
        }
        d.bring_up(LINUX);
        assert!(matches!(
            d.ask(Command::GetDisplayInfo),
            Response::DisplayInfo(_)
        ));
        assert_eq!(board.word(WINDOW + 4096), None, "gone with the reset");
    }
}

#[test]
fn the_config_space_is_read_in_every_width() {
    let (board, slot, mut d) = Board::running();
    let m = &board.memory;
    let at = |offset: u64| Gpa(REGS + reg::CONFIG + offset);
    let plain = Attrs::default();
    assert_eq!(m.load::<u8>(at(8), plain), Ok(1), "scanouts");
    assert_eq!(m.load::<u16>(at(8), plain), Ok(1));
    assert_eq!(m.load::<u32>(at(8), plain), Ok(1));
    assert_eq!(m.load::<u64>(at(8), plain), Ok(1), "and no capsets");
    assert_eq!(m.load::<u64>(at(0x10), plain), Ok(0), "nothing behind it");
    assert_eq!(m.load::<u64>(at(0xf8), plain), Ok(0));
    assert_eq!(m.load::<u32>(at(0), plain), Ok(0), "no events");
    // Registers are 32 bits wide.
    assert!(m.load::<u8>(Gpa(REGS), plain).is_err());
    assert!(m.load::<u64>(Gpa(REGS), plain).is_err());
    assert!(m.store(Gpa(REGS + reg::STATUS), 0_u64, plain).is_err());
    assert_eq!(d.read(reg::STATUS), 0xf);

    let generation = d.read(reg::GENERATION);
    let size = DisplaySize::new(800, 600).unwrap();
    assert!(slot.gpu.set_display(0, Some(size)).unwrap());
    assert!(
        !slot.gpu.set_display(0, Some(size)).unwrap(),
        "as it is already"
    );
    assert_ne!(d.read(reg::GENERATION), generation);
    assert_eq!(d.read(reg::INTERRUPT) & 2, 2, "a config interrupt");
    assert_eq!(m.load::<u32>(at(0), plain), Ok(1), "the display event");
    m.store(at(4), 1_u32, plain).unwrap();
    assert_eq!(m.load::<u32>(at(0), plain), Ok(0), "cleared");
    let Response::DisplayInfo(modes) = d.ask(Command::GetDisplayInfo) else {
        panic!("no modes");
    };
    assert_eq!((modes[0].rect.width, modes[0].rect.height), (800, 600));
    d.reset();
    slot.gpu.set_display(0, None).unwrap();
    assert_eq!(
        d.read(reg::INTERRUPT),
        0,
        "nobody is there to be interrupted"
    );
}

#[test]
fn properties_are_settled_by_realize_and_checked_there() {
    let board = Board::new();
    let slot = board.plug(0, config(), MemfdRenderer::builder().build());
    let refused = slot.gpu.set_property("window-base", 0_u64);
    assert!(refused.unwrap_err().to_string().contains("realized"));

    let gpu = VirtioGpu::builder()
        .memory(&board.memory)
        .create(&board.machine)
        .unwrap();
    for base in [1, 0x1_0000_0800, u64::MAX - 0xfff] {
        gpu.set_property("window-base", base).unwrap();
        let error = gpu.realize().unwrap_err();
        let text = std::error::Error::source(&error).unwrap().to_string();
        assert!(text.contains("window-base"), "{text}");
    }
    gpu.set_property("window-base", 0x4_0000_0000_u64).unwrap();
    gpu.realize().unwrap();
}

#[test]
fn a_device_without_memory_or_with_another_machines_is_refused_and_leaves_nothing() {
    let board = Board::new();
    let objects = board.machine.counters().live_objects;
    let stranger = Board::new();
    let plain = board.machine.create::<VirtioGpu>().unwrap();
    let error = plain.realize().unwrap_err();
    let text = std::error::Error::source(&error).unwrap().to_string();
    assert!(text.contains("memory"), "{text}");
    assert!(!plain.is_realized());
    let foreign = VirtioGpu::builder()
        .memory(&stranger.memory)
        .create(&board.machine)
        .unwrap();
    assert!(foreign.realize().is_err());
    drop((plain, foreign));
    eventually("nothing is left", || {
        // The home that realize made for them may stay: it is the machine's.
        board.machine.counters().live_objects <= objects + 1
    });
    board.close();
    stranger.close();
}

#[test]
fn a_device_that_is_never_realized_or_never_given_a_parent_goes_away() {
    let board = Board::new();
    let objects = board.machine.counters().live_objects;
    for parented in [false, true] {
        let gpu = VirtioGpu::builder()
            .memory(&board.memory)
            .create(&board.machine)
            .unwrap();
        let weak = gpu.downgrade();
        if parented {
            board.machine.root().add_child("gpu", &gpu).unwrap();
            gpu.unparent().unwrap();
        }
        drop(gpu);
        board.machine.wait_finalized(&weak, LONG).unwrap();
    }
    drop(board.machine.create::<HostBlob>().unwrap());
    drop(board.machine.create_named("virtio-gpu-mmio").unwrap());
    board.machine.quiesce(LONG).unwrap();
    assert_eq!(board.machine.counters().live_objects, objects);
    board.close();
}

#[test]
fn unrealized_and_realized_again_it_works_again() {
    let (board, slot, mut d) = Board::running();
    d.mapped(1, 4096, 0);
    slot.gpu.unrealize().unwrap();
    assert_eq!(board.word(WINDOW), None);
    assert_eq!(d.read(reg::STATUS), 0);
    d.write(reg::STATUS, 3);
    slot.gpu.realize().unwrap();
    d.bring_up(LINUX);
    d.mapped(1, 4096, 0);
    assert!(board.word(WINDOW).is_some());
}

#[test]
fn two_devices_share_a_machine_and_nothing_else() {
    let board = Board::new();
    let slots = [0, 1].map(|n| board.plug(n, config(), MemfdRenderer::builder().build()));
    let mut drivers = [0, 1].map(|n| board.driver(n));
    for d in &mut drivers {
        d.bring_up(LINUX);
        d.mapped(1, 8192, 0x3000);
    }
    let at = |n: u64| WINDOW + n * WINDOW_BYTES + 0x3000;
    assert_eq!(board.word(at(0)), Some(MemfdRenderer::first_word(1)));
    board
        .memory
        .store(Gpa(at(0)), 7_u32, Attrs::default())
        .unwrap();
    assert_eq!(
        board.word(at(1)),
        Some(MemfdRenderer::first_word(1)),
        "its own bytes"
    );
    let [first, second] = slots;
    let weak = first.gpu.downgrade();
    first.gpu.unparent().unwrap();
    drop(first);
    board.machine.wait_finalized(&weak, LONG).unwrap();
    assert_eq!((board.word(at(0)), board.word(REGS)), (None, None));
    assert_eq!(board.word(at(1)), Some(MemfdRenderer::first_word(1)));
    let [_, mut d] = drivers;
    assert!(matches!(
        d.ask(Command::GetDisplayInfo),
        Response::DisplayInfo(_)
    ));
    drop(second);
    board.close();
}

#[test]
fn a_machine_driven_by_its_embedder_runs_the_device() {
    let machine = Machine::builder("driven")
        .embedder_driven(std::sync::Arc::new(|| {}))
        .build();
    let system = memory::Region::container("system", memory::Size::MAX)
        .create(machine.root())
        .unwrap();
    let space = memory::AddressSpace::open(machine.root(), "memory", &system).unwrap();
    let gpu = VirtioGpu::builder()
        .memory(&space)
        .create(&machine)
        .unwrap();
    machine.root().add_child("gpu", &gpu).unwrap();
    gpu.realize().unwrap();
    gpu.unparent().unwrap();
    let weak = gpu.downgrade();
    drop(gpu);
    machine.wait_finalized(&weak, LONG).unwrap();
    if let Err((_, error)) = machine.close(LONG) {
        panic!("{error}");
    }
}
