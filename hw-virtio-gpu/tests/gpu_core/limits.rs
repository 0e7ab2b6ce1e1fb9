//! What a guest cannot make the host spend.

use hw_virtio_gpu::{
    gpu::{Disposition, GpuConfig},
    limits::Limits,
    renderer::{FenceControl, MemfdRenderer},
    wire::{Command, ErrorCode, MemEntry, Rect, Response},
};

use crate::world::*;

fn world(limits: Limits) -> World {
    World::with(GpuConfig { limits, ..config() }, MemfdRenderer::builder())
}

#[test]
fn pixels_are_bounded_and_come_back() {
    let limit = 4 * 64 * 64 * 4;
    let mut world = world(Limits {
        pixel_bytes: limit,
        ..Limits::default()
    });
    for id in 1..=4 {
        world.two_d(id, 64, 64, 0);
    }
    world.refused(create_2d(5, 1, 1), ErrorCode::OutOfMemory);
    assert_eq!(world.gpu.counts().pixel_bytes, limit);
    // A frame is host memory as well.
    let set = |resource| Command::SetScanout {
        rect: Rect::new(0, 0, 64, 64),
        scanout: 0,
        resource,
    };
    world.refused(set(1), ErrorCode::OutOfMemory);
    world.ok(unref(4));
    world.ok(set(1));
    world.ok(set(2));
    world.refused(create_2d(5, 1, 1), ErrorCode::OutOfMemory);
    world.ok(set(0));
    world.ok(create_2d(5, 64, 64));
}

#[test]
fn sizes_that_do_not_fit_32_bits_are_refused() {
    let mut world = World::new();
    for (width, height) in [
        (0x4000_0001, 1),
        (u32::MAX, u32::MAX),
        (0x8000_0000, 2),
        (0x10000, 0x10000),
    ] {
        world.refused(create_2d(1, width, height), ErrorCode::OutOfMemory);
    }
    assert_eq!(world.gpu.counts().pixel_bytes, 0);
}

#[test]
fn resources_are_bounded_and_blobs_of_before_a_reset_count() {
    let mut world = world(Limits {
        resources: 3,
        ..Limits::default()
    });
    world.mapped(1, 4096, 0);
    world.mapped(2, 4096, 0x1000);
    world.reset();
    world.ok(create_2d(1, 16, 16));
    world.refused(create_2d(2, 16, 16), ErrorCode::OutOfMemory);
    world.finalize(0);
    world.ok(create_2d(2, 16, 16));
}

#[test]
fn blob_bytes_are_bounded_and_blobs_of_before_a_reset_count() {
    let mut world = world(Limits {
        blob_bytes: 0x3000,
        ..Limits::default()
    });
    world.mapped(1, 0x2000, 0);
    world.refused(host_blob(2, 1, 0x1001), ErrorCode::OutOfMemory);
    world.refused(host_blob(2, 1, u64::MAX - 4096), ErrorCode::OutOfMemory);
    world.refused(host_blob(2, 1, u64::MAX), ErrorCode::InvalidParameter);
    world.reset();
    world.refused(host_blob(2, 1, 0x2000), ErrorCode::OutOfMemory);
    world.blob(2, 0x1000);
    world.finalize(0);
    world.blob(3, 0x2000);
}

#[test]
fn blobs_cost_whole_pages_and_give_back_what_they_cost() {
    let mut world = world(Limits {
        blob_bytes: 0x3000,
        ..Limits::default()
    });
    world.blob(1, 1);
    world.mapped(2, 0xfff, 0);
    world.mapped(3, 1, 0x1000);
    assert_eq!(world.gpu.counts().blob_bytes, 0x3000);
    world.refused(host_blob(4, 1, 1), ErrorCode::OutOfMemory);
    // By its reference's end, by an unmap and a reference's end, and by a reset: mapped and not.
    world.ok(unref(1));
    assert_eq!(world.gpu.counts().blob_bytes, 0x2000);
    world.send(unref(2));
    world.finalize(0);
    assert_eq!(world.gpu.counts().blob_bytes, 0x1000);
    world.blob(1, 0x1001);
    assert_eq!(world.gpu.counts().blob_bytes, 0x3000);
    world.reset();
    assert_eq!(world.gpu.counts().blob_bytes, 0x1000);
    world.finalize(0);
    assert_eq!(world.gpu.counts().blob_bytes, 0);
}

#[test]
fn backings_contexts_and_attachments_are_bounded() {
    let limits = Limits {
        backing_entries: 3,
        contexts: 2,
        attachments: 2,
        ..Limits::default()
    };
    let mut world = world(limits);
    let scattered = |n: u64| {
        (0..n)
            .map(|i| MemEntry {
                addr: i * 8192,
                len: 4096,
            })
            .collect::<Vec<_>>()
    };
    world.ok(create_2d(1, 16, 16));
    world.ok(create_2d(2, 16, 16));
    let attach = |resource, entries| Command::ResourceAttachBacking { resource, entries };
    world.refused(attach(1, scattered(4)), ErrorCode::OutOfMemory);
    world.ok(attach(1, scattered(2)));
    world.refused(attach(2, scattered(2)), ErrorCode::OutOfMemory);
    world.refused(guest_blob(3, 4096, scattered(2)), ErrorCode::OutOfMemory);
    world.ok(Command::ResourceDetachBacking { resource: 1 });
    world.ok(attach(2, scattered(3)));
    world.ok(unref(2));
    world.ok(guest_blob(3, 4096, scattered(3)));

    let create = Command::CtxCreate {
        init: 0,
        name: Vec::new(),
    };
    for (id, reply) in [
        (1, Response::Ok),
        (2, Response::Ok),
        (3, Response::Error(ErrorCode::OutOfMemory)),
    ] {
        assert_eq!(world.ask_with(in_context(id), create.clone()), reply);
    }
    let attach = |resource| Command::CtxAttachResource { resource };
    assert_eq!(world.ask_with(in_context(1), attach(1)), Response::Ok);
    assert_eq!(world.ask_with(in_context(1), attach(1)), Response::Ok);
    assert_eq!(world.ask_with(in_context(2), attach(1)), Response::Ok);
    let full = Response::Error(ErrorCode::OutOfMemory);
    assert_eq!(world.ask_with(in_context(1), attach(3)), full);
    world.ok(unref(1));
    assert_eq!(world.ask_with(in_context(1), attach(3)), Response::Ok);
}

#[test]
fn held_commands_are_bounded_and_others_go_on() {
    let mut world = world(Limits {
        held_commands: 3,
        ..Limits::default()
    });
    world.mapped(1, 4096, 0);
    world.mapped(2, 4096, 0x1000);
    world.send(unmap(1));
    world.send(unref(1));
    world.send(unref(1));
    let full = ErrorCode::OutOfMemory;
    world.refused(unref(1), full);
    world.refused(unmap(2), full);
    assert_eq!(
        world.ask_with(fenced(1), Command::GetDisplayInfo),
        Response::Error(full)
    );
    assert_eq!(world.env.window.len(), 1, "the refused unmap did nothing");
    world.blob(3, 4096);
    world.finalize(0);
    assert_eq!(world.env.completions.len(), 3);
    assert_eq!(world.send(unmap(2)).disposition, Disposition::Suspended);
}

#[test]
fn bytes_of_held_commands_are_bounded() {
    let mut world = world(Limits {
        held_bytes: 100,
        ..Limits::default()
    });
    world.mapped(1, 4096, 0);
    let sent = world.send(unmap(1));
    assert_eq!(sent.disposition, Disposition::Suspended);
    assert_eq!(world.send(unref(1)).disposition, Disposition::Waiting);
    let entries = vec![MemEntry { addr: 0, len: 1 }; 100];
    let attach = Command::ResourceAttachBacking {
        resource: 1,
        entries,
    };
    world.refused(attach, ErrorCode::OutOfMemory);
    world.finalize(0);
    world.mapped(1, 4096, 0);
    assert_eq!(world.send(unmap(1)).disposition, Disposition::Suspended);
    assert_eq!(world.send(unref(1)).disposition, Disposition::Waiting);
    // Dropped commands count no longer.
    world.reset();
    world.mapped(1, 4096, 0);
    assert_eq!(world.send(unmap(1)).disposition, Disposition::Suspended);
    assert_eq!(world.send(unref(1)).disposition, Disposition::Waiting);
}

#[test]
fn refused_fenced_commands_are_not_kept_without_bound() {
    let control = std::sync::Arc::new(FenceControl::default());
    let limits = Limits {
        held_commands: 4,
        ..Limits::default()
    };
    let config = GpuConfig { limits, ..config() };
    let mut world = World::with(config, MemfdRenderer::builder().hold_fences(&control));
    world.ask_with(
        in_context(1),
        Command::CtxCreate {
            init: 0,
            name: Vec::new(),
        },
    );
    for id in 0..50 {
        world.send_with(fenced(id), Command::GetDisplayInfo);
        world.send_with(fenced(id), unref(77));
    }
    assert_eq!(world.gpu.counts().fenced_commands, 4);
}

#[test]
fn a_request_longer_than_allowed_is_refused_unread() {
    let mut world = world(Limits {
        request_bytes: 64,
        ..Limits::default()
    });
    let entries = vec![MemEntry { addr: 0, len: 1 }; 3];
    world.refused(
        Command::ResourceAttachBacking {
            resource: 1,
            entries,
        },
        ErrorCode::OutOfMemory,
    );
}
