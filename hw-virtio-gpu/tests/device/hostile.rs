//! Guests that mean harm: broken rings, endless chains, buffers where none are. Nothing panics, nothing hangs, and after a reset it works again.

use super::board::{Board, FREE, RAM_BYTES, REGS, ROM, Slot, WINDOW};
use super::driver::{Driver, LINUX, NEXT, TABLE, WRITE, eventually, map, reg, unmap};
use hw_virtio_gpu::wire::{Command, ErrorCode, Header, Request, Response};

const NEEDS_RESET: u32 = 0x40;

fn display_info() -> Vec<u8> {
    Request::new(Header::default(), Command::GetDisplayInfo).encode()
}

/// Asserts that the device has given up, says so, takes nothing more, and works after a reset.
#[track_caller]
fn broken_and_mended(slot: &Slot, d: &mut Driver, why: &str) {
    eventually("it needs a reset", || {
        d.read(reg::STATUS) & NEEDS_RESET != 0
    });
    let text = slot.gpu.broken().expect("a reason");
    assert!(text.contains(why), "{text}");
    assert_eq!(d.read(reg::INTERRUPT) & 2, 2, "the driver is told");
    let commands = slot.gpu.stats().commands;
    d.kick(0);
    d.kick(1);
    d.write(reg::STATUS, 0xf);
    assert_eq!(
        d.read(reg::STATUS),
        0x4f,
        "and cannot talk itself out of it"
    );
    std::thread::sleep(super::driver::SHORT);
    assert_eq!(slot.gpu.stats().commands, commands);
    works_again(slot, d);
}

#[track_caller]
fn works_again(slot: &Slot, d: &mut Driver) {
    d.bring_up(LINUX);
    assert_eq!(slot.gpu.broken(), None);
    assert!(matches!(
        d.ask(Command::GetDisplayInfo),
        Response::DisplayInfo(_)
    ));
    let stats = slot.gpu.stats();
    assert_eq!(
        stats.commands,
        stats.completed_commands + stats.dropped_commands
    );
}

/// Sets up queue 0 with the ring at one address changed, and kicks it.
fn misplaced(d: &mut Driver, register: u64, addr: u64) {
    d.reset();
    d.write(reg::STATUS, 3);
    d.accept(LINUX);
    d.write(reg::STATUS, 0xb);
    d.set_up(0);
    d.write(reg::QUEUE_SEL, 0);
    d.write(reg::QUEUE_READY, 0);
    d.write64(register, addr);
    d.write(reg::QUEUE_READY, 1);
    d.write(reg::STATUS, 0xf);
    d.kick(0);
}

#[test]
fn rings_that_do_not_lie_in_ram() {
    let (_board, slot, mut d) = Board::running();
    let nowhere = [
        0x9000_0000,
        REGS,
        REGS + 0x100,
        WINDOW,
        RAM_BYTES - 16,
        0xffff_ffff_ffff_fff0,
    ];
    for register in [reg::DESC, reg::AVAIL, reg::USED] {
        for addr in nowhere {
            misplaced(&mut d, register, addr);
            broken_and_mended(&slot, &mut d, "Control");
        }
    }
    misplaced(&mut d, reg::USED, ROM);
    broken_and_mended(&slot, &mut d, "Control");
    // An address that is RAM and that no queue has.
    d.poke(2, &1_u16.to_le_bytes());
    misplaced(&mut d, reg::AVAIL, 0);
    broken_and_mended(&slot, &mut d, "Control");
    // Where the specification wants it aligned, an odd address is not taken at all: the queue stays where it was.
    misplaced(&mut d, reg::USED, FREE + 1);
    works_again(&slot, &mut d);
}

#[test]
fn an_available_index_that_jumps() {
    let (_board, slot, mut d) = Board::running();
    let at = d.rings[0].avail + 2;
    for jump in [65_u16, 0x8000, 0xffff] {
        d.poke(at, &jump.to_le_bytes());
        d.kick(0);
        broken_and_mended(&slot, &mut d, "Control");
    }
}

#[test]
fn a_head_outside_the_table() {
    let (_board, slot, mut d) = Board::running();
    for head in [64, 0xffff] {
        d.offer(0, head);
        d.kick(0);
        broken_and_mended(&slot, &mut d, "has no end");
    }
}

#[test]
fn chains_without_an_end() {
    let (_board, slot, mut d) = Board::running();
    let request = display_info();
    let at = |d: &Driver, i: u64| d.rings[0].desc + 16 * i;
    let len = 24;
    d.poke(FREE, &request);
    // A loop of readable ones, one of writable ones, one out of the table, one into a hole.
    let loops: [(u16, u16); 3] = [(NEXT, 0), (NEXT, 64), (NEXT, 0xffff)];
    for (flags, next) in loops {
        d.descriptor(at(&d, 0), FREE, len, flags, next);
        d.offer(0, 0);
        d.kick(0);
        broken_and_mended(&slot, &mut d, "has no end");
    }
    d.descriptor(at(&d, 0), FREE, len, NEXT, 1);
    d.descriptor(at(&d, 1), FREE + 64, 8, NEXT | WRITE, 1);
    d.offer(0, 0);
    d.kick(0);
    broken_and_mended(&slot, &mut d, "has no end");
    // Something to be read behind something to be written.
    d.descriptor(at(&d, 0), FREE + 64, 8, NEXT | WRITE, 1);
    d.descriptor(at(&d, 1), FREE, len, 0, 0);
    d.offer(0, 0);
    d.kick(0);
    broken_and_mended(&slot, &mut d, "in disorder");
    // More than four gigabytes in all.
    d.descriptor(at(&d, 0), FREE, u32::MAX, NEXT, 1);
    d.descriptor(at(&d, 1), FREE, u32::MAX, 0, 0);
    d.offer(0, 0);
    d.kick(0);
    broken_and_mended(&slot, &mut d, "has no end");
}

#[test]
fn tables_that_are_no_tables() {
    let (_board, slot, mut d) = Board::running();
    let head = d.rings[0].desc;
    // Of an odd length, empty, too long, outside RAM, in the registers, in a table.
    let wrong = [
        (FREE, 17),
        (FREE, 0),
        (FREE, 16 << 16),
        (0x9000_0000, 32),
        (REGS, 32),
        (RAM_BYTES - 8, 32),
    ];
    for (addr, len) in wrong {
        d.descriptor(head, addr, len, TABLE, 0);
        d.offer(0, 0);
        d.kick(0);
        broken_and_mended(&slot, &mut d, "has no end");
    }
    d.descriptor(FREE, FREE, 32, TABLE, 0);
    d.descriptor(head, FREE, 32, TABLE, 0);
    d.offer(0, 0);
    d.kick(0);
    broken_and_mended(&slot, &mut d, "has no end");
    // Replies in very many pieces.
    for i in 0..200_u16 {
        d.descriptor(
            FREE + 16 * u64::from(i),
            FREE + 0x8000,
            1,
            NEXT | WRITE,
            i + 1,
        );
    }
    d.descriptor(FREE + 16 * 200, FREE + 0x8000, 1, WRITE, 0);
    d.descriptor(head, FREE, 16 * 201, TABLE, 0);
    d.offer(0, 0);
    d.kick(0);
    broken_and_mended(&slot, &mut d, "in disorder");
}

#[test]
fn a_request_in_more_pieces_than_the_queue_has_places_is_legal_in_a_table() {
    let (_board, slot, mut d) = Board::running();
    let request = display_info();
    d.poke(FREE + 0x4000, &request);
    let mut n = 0_u16;
    for i in 0..request.len() as u64 {
        d.descriptor(FREE + 16 * u64::from(n), FREE + 0x4000 + i, 1, NEXT, n + 1);
        n += 1;
    }
    for _ in 0..100 {
        d.descriptor(FREE + 16 * u64::from(n), FREE, 0, NEXT, n + 1);
        n += 1;
    }
    d.descriptor(FREE + 16 * u64::from(n), FREE + 0x5000, 408, WRITE, 0);
    let head = d.rings[0].desc;
    d.descriptor(head, FREE, 16 * (u32::from(n) + 1), TABLE, 0);
    d.offer(0, 0);
    d.kick(0);
    eventually("it is answered", || d.used(0) == 1);
    assert_eq!(d.peek(FREE + 0x5000, 4), 0x1101_u32.to_le_bytes());
    assert_eq!(slot.gpu.broken(), None);
}

#[test]
fn requests_and_replies_outside_ram() {
    let (board, slot, mut d) = Board::running();
    let desc = d.rings[0].desc;
    let status = d.read(reg::STATUS);
    // A request that is read from the device's own registers, or from nowhere: zeroes, hence no command.
    for (n, addr) in [REGS, 0x9000_0000, RAM_BYTES - 8, u64::MAX - 8, WINDOW]
        .into_iter()
        .enumerate()
    {
        d.descriptor(desc, addr, 24, NEXT, 1);
        d.descriptor(desc + 16, FREE, 24, WRITE, 0);
        d.poke(FREE, &[0; 24]);
        d.offer(0, 0);
        d.kick(0);
        eventually("it is answered", || usize::from(d.used(0)) == n + 1);
        assert_eq!(
            d.peek(FREE, 4),
            (ErrorCode::Unspecified as u32).to_le_bytes(),
            "{addr:#x}"
        );
    }
    let used = d.used(0);
    // A reply that is written to the registers (the status is at 0x70 there), to ROM, to nowhere: lost, and nothing else happens.
    d.poke(FREE, &display_info());
    let reset_by_dma = REGS + reg::STATUS;
    for (n, addr) in [reset_by_dma, REGS, ROM, 0x9000_0000, u64::MAX - 8, WINDOW]
        .into_iter()
        .enumerate()
    {
        d.descriptor(desc, FREE, 24, NEXT, 1);
        d.descriptor(desc + 16, addr, 408, WRITE, 0);
        d.offer(0, 0);
        d.kick(0);
        eventually("it is consumed", || usize::from(d.used(0) - used) == n + 1);
        assert_eq!(d.read(reg::STATUS), status);
    }
    assert_eq!(board.word(ROM), Some(0));
    assert_eq!(slot.gpu.stats().resets, 1);
    assert_eq!(slot.gpu.broken(), None);
}

#[test]
fn a_ring_in_a_blob_that_is_unmapped_by_a_command_from_it() {
    let (board, slot, mut d) = Board::running();
    d.mapped(1, 0x10_0000, 0);
    // The second life's rings are in a blob of the first queue's making: cursor commands from the window.
    let cursor = Driver::new(&board.memory, REGS, WINDOW);
    cursor.write(reg::QUEUE_SEL, 1);
    cursor.write(reg::QUEUE_READY, 0);
    cursor.set_up(1);
    let sent = d.send(unmap(1));
    assert_eq!(d.wait(sent).1, Response::Ok);
    d.kick(1);
    broken_and_mended(&slot, &mut d, "Cursor");
}

#[test]
fn notifications_of_every_kind() {
    let (_board, slot, mut d) = Board::running();
    for queue in [0, 1, 2, 77, u32::MAX] {
        for _ in 0..50 {
            d.write(reg::NOTIFY, queue);
        }
    }
    assert!(matches!(
        d.ask(Command::GetDisplayInfo),
        Response::DisplayInfo(_)
    ));
    d.reset();
    d.kick(0);
    d.write(reg::STATUS, 0xf);
    d.kick(0);
    assert_eq!(slot.gpu.stats().commands, 1);
    works_again(&slot, &mut d);
}

#[test]
fn a_queue_that_is_taken_away_loses_its_answers() {
    let (board, slot, mut d) = Board::running();
    let nic = board.other("nic");
    d.mapped(1, 4096, 0);
    let pin = board.pin(&nic, 0);
    d.send(unmap(1));
    eventually("it is suspended", || {
        slot.gpu.counts().suspended_commands == 1
    });
    d.write(reg::QUEUE_SEL, 0);
    d.write(reg::QUEUE_READY, 0);
    let used = d.used(0);
    drop(pin);
    eventually("the renderer has it back", || slot.log.unmapped() == 1);
    assert_eq!(d.used(0), used);
    assert_eq!(slot.gpu.stats().dropped_commands, 1);
    works_again(&slot, &mut d);
}

#[test]
fn a_device_that_needs_a_reset_answers_nothing_and_still_ends_blobs() {
    let (board, slot, mut d) = Board::running();
    let nic = board.other("nic");
    d.mapped(1, 4096, 0);
    let pin = board.pin(&nic, 0);
    d.send(unmap(1));
    let behind = d.send(map(1, 0x1000));
    eventually("both are held", || slot.gpu.counts().waiting_commands == 1);
    d.offer(1, 0xffff);
    d.kick(1);
    eventually("it needs a reset", || {
        d.read(reg::STATUS) & NEEDS_RESET != 0
    });
    let used = d.used(0);
    drop(pin);
    eventually("the renderer has it back", || slot.log.unmapped() == 1);
    assert!(d.is_silent(behind));
    assert_eq!(d.used(0), used);
    works_again(&slot, &mut d);
}

#[test]
fn random_register_writes_leave_a_device_that_can_be_brought_up() {
    let (_board, slot, mut d) = Board::running();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..20 {
        for _ in 0..500 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let register = (state >> 20) % 0x80 * 4;
            let value = match state >> 60 {
                0..4 => super::driver::low(state >> 4) & 0xff,
                4..8 => 0xf,
                _ => super::driver::low(state),
            };
            d.write(register, value);
            let _ = d.read(register);
        }
        works_again(&slot, &mut d);
    }
}
