//! Interrupt status, acknowledgement, eventfd edges, and the guest's wish to be left alone.

use super::board::{Board, Slot};
use super::driver::{BLOB, Driver, EVENT_IDX, VERSION_1, VIRGL, eventually, reg};
use hw_virtio_gpu::edid::DisplaySize;
use hw_virtio_gpu::wire::Command;

fn without_event_idx() -> (Board, Slot, Driver) {
    let (board, slot, mut d) = Board::running();
    d.bring_up(VIRGL | BLOB | VERSION_1);
    while slot.line.event().read().is_ok() {}
    (board, slot, d)
}

#[test]
fn a_used_entry_raises_the_line_until_it_is_acknowledged() {
    let (_board, slot, mut d) = without_event_idx();
    let edges = slot.line.edges();
    d.ask(Command::GetDisplayInfo);
    eventually("the line is high", || slot.line.level());
    assert_eq!(d.read(reg::INTERRUPT), 1);
    d.ask(Command::GetDisplayInfo);
    eventually("two commands are done", || {
        slot.gpu.stats().completed_commands == 2
    });
    assert_eq!(slot.line.edges(), edges + 1, "high already");
    assert_eq!(slot.line.event().read().unwrap(), 1);
    d.write(reg::ACK, 1);
    assert_eq!(d.read(reg::INTERRUPT), 0);
    assert!(!slot.line.level());
    d.ask(Command::GetDisplayInfo);
    eventually("another edge", || slot.line.edges() == edges + 2);
    d.reset();
    assert!(!slot.line.level());
}

#[test]
fn what_is_not_acknowledged_makes_a_new_edge() {
    let (_board, slot, mut d) = without_event_idx();
    d.ask(Command::GetDisplayInfo);
    slot.gpu
        .set_display(0, Some(DisplaySize::new(640, 480).unwrap()))
        .unwrap();
    eventually("both bits", || d.read(reg::INTERRUPT) == 3);
    let edges = slot.line.edges();
    d.write(reg::ACK, 1);
    assert_eq!(d.read(reg::INTERRUPT), 2);
    assert_eq!((slot.line.level(), slot.line.edges()), (true, edges + 1));
    d.write(reg::ACK, 2);
    assert!(!slot.line.level());
}

#[test]
fn with_the_event_index_only_the_entry_asked_for_interrupts() {
    let (_board, slot, mut d) = Board::running();
    d.bring_up(VIRGL | BLOB | VERSION_1 | EVENT_IDX);
    let edges = slot.line.edges();
    let used_event = d.rings[0].avail + 4 + 2 * u64::from(d.rings[0].size);
    // After the third entry, please.
    d.poke(used_event, &2_u16.to_le_bytes());
    for n in 1..=2 {
        d.ask(Command::GetDisplayInfo);
        eventually("done", || slot.gpu.stats().completed_commands == n);
        assert_eq!((d.read(reg::INTERRUPT), slot.line.edges()), (0, edges));
    }
    d.ask(Command::GetDisplayInfo);
    eventually("an interrupt", || d.read(reg::INTERRUPT) == 1);
    assert_eq!(slot.line.edges(), edges + 1);
    // The device says, too, from where on it wants to be told.
    let avail_event = d.rings[0].used + 4 + 8 * u64::from(d.rings[0].size);
    eventually("it wants the next one", || d.peek16(avail_event) == 3);
}
