//! Commands through the rings: pixels, blobs, cursors, limits, a renderer that panics.

use super::board::{Board, FREE, RAM_BYTES, ROM, WINDOW, WINDOW_BYTES, config};
use super::driver::{Sent, attach, create_2d, eventually, host_blob, map, reg, unmap, unref};
use hw_virtio_gpu::limits::Limits;
use hw_virtio_gpu::renderer::MemfdRenderer;
use hw_virtio_gpu::wire::{
    Command, CursorPosition, ErrorCode, Header, MapCaching, Rect, Request, Response, UpdateCursor,
};
use memory::{Attrs, Gpa};
use std::sync::atomic::Ordering;

#[test]
fn pixels_go_from_guest_ram_to_the_frame() {
    let (board, slot, mut d) = Board::running();
    let rect = Rect::new(0, 0, 32, 32);
    let pixels: Vec<u8> = (0..32 * 32 * 4_u32).map(|i| i.to_le_bytes()[0]).collect();
    d.poke(FREE, &pixels);
    d.ok(create_2d(1, 32));
    d.ok(attach(1, FREE, 32 * 32 * 4));
    d.ok(Command::SetScanout {
        rect,
        scanout: 0,
        resource: 1,
    });
    d.ok(Command::TransferToHost2d {
        rect,
        offset: 0,
        resource: 1,
    });
    d.ok(Command::ResourceFlush { rect, resource: 1 });
    let frame = slot.gpu.frame(0).expect("a picture");
    assert_eq!((frame.width(), frame.height()), (32, 32));
    assert_eq!(frame.pixels(), pixels);
    d.ok(unref(1));
    assert_eq!(slot.gpu.frame(0), None);
    drop(slot);
    board.close();
}

#[test]
fn a_cursor_command_is_consumed_with_no_length() {
    let (_board, slot, mut d) = Board::running();
    for resource in [0, 77] {
        let position = CursorPosition {
            scanout: 0,
            x: 3,
            y: 4,
        };
        let cursor = UpdateCursor {
            position,
            resource,
            ..UpdateCursor::default()
        };
        let sent = d.send(Command::UpdateCursor(cursor));
        let mut len = None;
        eventually("the cursor command is consumed", || {
            len = d.done(sent);
            len.is_some()
        });
        assert_eq!(len, Some(0));
    }
    assert_eq!(slot.gpu.stats().completed_commands, 2);
}

#[test]
fn a_mapped_blob_shows_the_renderers_bytes() {
    let (board, slot, mut d) = Board::running();
    let (size, offset) = (3 * 4096_u64, 0x7000);
    d.ok(host_blob(9, size));
    assert_eq!(board.word(WINDOW + offset), None, "nothing there yet");
    assert_eq!(d.ask(map(9, offset)), Response::MapInfo(MapCaching::Cached));
    let (first, last) = (WINDOW + offset, WINDOW + offset + size - 4);
    assert_eq!(board.word(first), Some(MemfdRenderer::first_word(9)));
    assert_eq!(board.word(last), Some(MemfdRenderer::last_word(9)));
    assert_eq!(board.word(first - 4), None);
    assert_eq!(board.word(last + 4), None);
    board
        .memory
        .store(Gpa(first + 8), 0xfeed_f00d_u32, Attrs::default())
        .unwrap();
    assert_eq!(d.ask(unmap(9)), Response::Ok);
    assert_eq!(board.word(first), None);
    // Elsewhere, the same bytes again.
    assert_eq!(d.ask(map(9, 0)), Response::MapInfo(MapCaching::Cached));
    assert_eq!(board.word(WINDOW + 8), Some(0xfeed_f00d));
    d.ok(unref(9));
    let stats = slot.gpu.stats();
    assert_eq!(
        (
            stats.placed_blobs,
            stats.withdrawn_blobs,
            stats.finalized_blobs
        ),
        (2, 2, 2)
    );
    assert_eq!(stats.suspended_commands, 2);
    assert_eq!(stats.commands, stats.completed_commands);
    assert_eq!((slot.log.unmapped(), slot.log.destroyed()), (2, 1));
    drop(slot);
    board.close();
}

#[test]
fn what_does_not_fit_into_the_window_is_refused() {
    let (_board, _slot, mut d) = Board::running();
    d.mapped(1, 8192, 0x1000);
    d.ok(host_blob(2, 8192));
    for offset in [
        0,
        0x1000,
        0x2000,
        0x800,
        WINDOW_BYTES - 4096,
        WINDOW_BYTES,
        u64::MAX - 4095,
    ] {
        d.refused(map(2, offset), ErrorCode::InvalidParameter);
    }
    d.refused(map(1, 0x8000), ErrorCode::InvalidParameter);
    d.refused(unmap(2), ErrorCode::InvalidParameter);
    d.refused(map(3, 0), ErrorCode::InvalidResourceId);
    assert!(matches!(d.ask(map(2, 0x3000)), Response::MapInfo(_)));
}

#[test]
fn a_device_without_a_window_refuses_to_map() {
    let mut config = config();
    config.window = 0;
    let (_board, _slot, mut d) = Board::running_with(config, MemfdRenderer::builder().build());
    d.write(reg::SHM_SEL, 1);
    assert_eq!(d.read(reg::SHM_LEN), u32::MAX);
    d.ok(host_blob(1, 4096));
    assert!(matches!(d.ask(map(1, 0)), Response::Error(_)));
}

#[test]
fn backing_has_to_be_ram() {
    let (_board, _slot, mut d) = Board::running();
    d.ok(create_2d(1, 16));
    for addr in [
        RAM_BYTES - 16,
        super::board::REGS,
        WINDOW,
        u64::MAX - 8,
        0x9000_0000,
    ] {
        let reply = d.ask(attach(1, addr, 1024));
        assert!(matches!(reply, Response::Error(_)), "{addr:#x}: {reply:?}");
    }
    d.ok(attach(1, ROM, 1024));
    d.ok(Command::ResourceDetachBacking { resource: 1 });
    // A blob is RAM, as long as it is in the window.
    d.mapped(2, 4096, 0);
    d.ok(attach(1, WINDOW, 1024));
    let transfer = || Command::TransferToHost2d {
        rect: Rect::new(0, 0, 16, 16),
        offset: 0,
        resource: 1,
    };
    d.ok(transfer());
    d.ok(unref(2));
    let reply = d.ask(transfer());
    assert!(matches!(reply, Response::Error(_)), "{reply:?}");
}

#[test]
fn a_stretch_of_ram_in_very_many_pieces_is_not_taken() {
    let (_board, _slot, mut d) = Board::running();
    let pieces = 100;
    for i in 0..pieces {
        d.mapped(i + 1, 4096, u64::from(i) * 4096);
    }
    d.ok(create_2d(500, 16));
    d.ok(attach(500, WINDOW, 60 * 4096));
    d.ok(Command::ResourceDetachBacking { resource: 500 });
    let reply = d.ask(attach(500, WINDOW, pieces * 4096));
    assert!(matches!(reply, Response::Error(_)), "{reply:?}");
}

#[test]
fn limits_are_refusals_and_end_with_what_they_limit() {
    let mut config = config();
    config.limits = Limits {
        resources: 2,
        blob_bytes: 3 * 4096,
        request_bytes: 512,
        ..Limits::default()
    };
    let (_board, slot, mut d) = Board::running_with(config, MemfdRenderer::builder().build());
    d.ok(host_blob(1, 8192));
    assert!(matches!(
        d.ask(host_blob(2, 8192)),
        Response::Error(ErrorCode::OutOfMemory)
    ));
    d.ok(host_blob(2, 4096));
    assert!(matches!(
        d.ask(create_2d(3, 16)),
        Response::Error(ErrorCode::OutOfMemory)
    ));
    assert_eq!(slot.gpu.counts().blob_bytes, 3 * 4096);
    d.ok(unref(1));
    d.ok(host_blob(3, 8192));
    // A request that is too long gets its error, and the next one is heard.
    let mut long = Request::new(Header::default(), Command::GetDisplayInfo).encode();
    long.resize(0x1000, 0);
    let sent = d.put(0, &long, 24);
    d.kick(0);
    assert!(matches!(d.wait(sent).1, Response::Error(_)));
    assert!(matches!(
        d.ask(Command::GetDisplayInfo),
        Response::DisplayInfo(_)
    ));
    // So do two bytes, and none.
    for request in [vec![1, 1], Vec::new()] {
        let sent = d.put(0, &request, 24);
        d.kick(0);
        assert!(matches!(d.wait(sent).1, Response::Error(_)));
    }
}

#[test]
fn a_reply_is_cut_to_the_room_there_is() {
    let (_board, _slot, mut d) = Board::running();
    let request = Request::new(Header::default(), Command::GetDisplayInfo).encode();
    for room in [0, 1, 24, 100] {
        let sent: Sent = d.put(0, &request, room);
        d.kick(0);
        let mut len = None;
        eventually("it is answered", || {
            len = d.done(sent);
            len.is_some()
        });
        assert_eq!(len, Some(room));
    }
}

#[test]
fn a_renderer_that_panics_costs_an_error_reply() {
    let (board, slot, mut d) = Board::running();
    d.mapped(1, 4096, 0);
    d.ok(host_blob(2, 4096));
    slot.log.panics.store(true, Ordering::SeqCst);
    d.refused(map(2, 0x1000), ErrorCode::Unspecified);
    d.refused(host_blob(3, 4096), ErrorCode::Unspecified);
    // What it is told at the end of a blob it cannot refuse.
    assert_eq!(d.ask(unmap(1)), Response::Ok);
    slot.log.panics.store(false, Ordering::SeqCst);
    assert!(matches!(d.ask(map(2, 0)), Response::MapInfo(_)));
    drop(slot);
    board.close();
}

#[test]
fn more_commands_than_a_batch_are_taken_without_another_kick() {
    let (_board, slot, mut d) = Board::running();
    let request = Request::new(Header::default(), Command::GetDisplayInfo).encode();
    for _ in 0..5 {
        let sent: Vec<Sent> = (0..32).map(|_| d.put(0, &request, 408)).collect();
        d.kick(0);
        d.kick(0);
        for s in sent {
            assert!(matches!(d.wait(s).1, Response::DisplayInfo(_)));
        }
    }
    assert_eq!(slot.gpu.stats().completed_commands, 160);
}
