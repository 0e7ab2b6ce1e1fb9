//! Reset in every stage of an unmap, with the blob held: ids and ranges are free at once, old commands stay silent.

use super::board::{Board, Slot, WINDOW, config};
use super::driver::{Driver, LINUX, LONG, eventually, fenced, map, reg, unmap, unref};
use hw_virtio_gpu::renderer::{FenceControl, MemfdRenderer, Timeline};
use hw_virtio_gpu::wire::{Command, Response};
use memory::Pin;
use std::sync::Arc;

/// Resets with a pin on the blob of resource 1 at offset 0, uses id and range at once, and lets the pin go.
fn reset_and_reuse(board: &Board, slot: &Slot, d: &mut Driver, pin: Pin, dropped: u64) {
    let before = slot.gpu.stats();
    let used = d.rings.each_ref().map(|r| r.used);
    d.bring_up(LINUX);
    let stats = slot.gpu.stats();
    assert_eq!(stats.resets, before.resets + 1);
    assert_eq!(stats.dropped_commands, before.dropped_commands + dropped);
    assert_eq!(board.word(WINDOW), None, "the old blob has left the window");
    assert_eq!(slot.log.unmapped(), 0);
    d.mapped(1, 4096, 0);
    assert_eq!(board.word(WINDOW), Some(MemfdRenderer::first_word(1)));
    let counts = slot.gpu.counts();
    assert_eq!(
        (counts.mapped_blobs, counts.leaving_blobs, counts.resources),
        (1, 1, 1)
    );
    assert_eq!(
        (
            counts.suspended_commands,
            counts.waiting_commands,
            counts.fenced_commands
        ),
        (0, 0, 0)
    );
    // Two commands were answered in this life; nothing else may be in the ring.
    assert_eq!(d.used(0), 2);

    // The old blob's bytes are the old ones.
    pin.bytes().write(0, b"old!").unwrap();
    assert_eq!(board.word(WINDOW), Some(MemfdRenderer::first_word(1)));
    drop(pin);
    eventually("the renderer is told of the old blob", || {
        slot.log.destroyed() == 1
    });
    assert_eq!(slot.log.unmapped(), 1);
    assert_eq!(slot.gpu.counts().leaving_blobs, 0);
    assert_eq!(d.used(0), 2, "the old completion tells the renderer only");
    assert_eq!(used, d.rings.each_ref().map(|r| r.used));
    assert_eq!(
        board.word(WINDOW),
        Some(MemfdRenderer::first_word(1)),
        "and not this one"
    );
    d.ok(unref(1));
    eventually("all blobs are gone", || slot.log.destroyed() == 2);
    let stats = slot.gpu.stats();
    assert_eq!(stats.finalized_blobs, 2);
    assert_eq!(
        stats.commands,
        stats.completed_commands + stats.dropped_commands
    );
}

#[test]
fn reset_with_a_mapped_blob() {
    let (board, slot, mut d) = Board::running();
    let nic = board.other("nic");
    d.mapped(1, 4096, 0);
    let pin = board.pin(&nic, 0);
    reset_and_reuse(&board, &slot, &mut d, pin, 0);
}

#[test]
fn reset_with_an_unmap_suspended_and_commands_behind_it() {
    let (board, slot, mut d) = Board::running();
    let nic = board.other("nic");
    d.mapped(1, 4096, 0);
    let pin = board.pin(&nic, 0);
    d.send_with(fenced(3), unmap(1));
    d.send(unref(1));
    eventually("both are held", || slot.gpu.counts().waiting_commands == 1);
    reset_and_reuse(&board, &slot, &mut d, pin, 2);
}

#[test]
fn reset_with_an_unref_suspended() {
    let (board, slot, mut d) = Board::running();
    let nic = board.other("nic");
    d.mapped(1, 4096, 0);
    let pin = board.pin(&nic, 0);
    d.send(unref(1));
    eventually("it is suspended", || {
        slot.gpu.counts().suspended_commands == 1
    });
    reset_and_reuse(&board, &slot, &mut d, pin, 1);
}

#[test]
fn reset_with_a_command_that_waits_for_its_fence() {
    let control = Arc::<FenceControl>::default();
    let renderer = MemfdRenderer::builder().hold_fences(&control).build();
    let (_board, slot, mut d) = Board::running_with(config(), renderer);
    d.mapped(1, 4096, 0);
    d.send_with(fenced(3), unmap(1));
    eventually("only the fence is missing", || {
        slot.gpu.counts().fenced_commands == 1
    });
    d.bring_up(LINUX);
    assert_eq!(slot.gpu.stats().dropped_commands, 1);
    assert!(!control.signal(Timeline::Device, 3), "nobody waits for it");
    assert!(matches!(
        d.ask(Command::GetDisplayInfo),
        Response::DisplayInfo(_)
    ));
    assert_eq!(d.used(0), 1);
}

#[test]
fn a_reset_between_the_last_release_and_the_answer() {
    // Whichever comes first: one life's command is answered once or dropped, and the next life works.
    for _ in 0..40 {
        let (board, slot, mut d) = Board::running();
        let nic = board.other("nic");
        d.mapped(1, 4096, 0);
        let pin = board.pin(&nic, 0);
        d.send(unmap(1));
        eventually("it is suspended", || {
            slot.gpu.counts().suspended_commands == 1
        });
        drop(pin);
        d.bring_up(LINUX);
        d.mapped(1, 4096, 0);
        board.machine.quiesce(LONG).unwrap();
        assert_eq!(d.used(0), 2);
        let stats = slot.gpu.stats();
        assert_eq!(
            stats.commands,
            stats.completed_commands + stats.dropped_commands
        );
        assert_eq!(stats.finalized_blobs, 1);
    }
}

#[test]
fn a_thousand_blobs_leave_the_window_in_one_commit() {
    let (board, slot, mut d) = Board::running();
    for i in 0..1000 {
        d.mapped(i + 1, 4096, u64::from(i) * 4096);
    }
    let commits = memory::counters(&board.machine).commits;
    d.write(reg::STATUS, 0);
    assert_eq!(memory::counters(&board.machine).commits, commits + 1);
    assert!((0..1000).all(|i| board.word(WINDOW + i * 4096).is_none()));
    eventually("the renderer has all back", || slot.log.destroyed() == 1000);
    d.bring_up(LINUX);
    assert!(
        matches!(d.ask(map(1, 0)), Response::Error(_)),
        "the id is free"
    );
    d.mapped(1, 4096, 0);
}
