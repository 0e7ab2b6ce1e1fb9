//! Resets in each stage of a blob's life.

use hw_virtio_gpu::{
    gpu::Disposition,
    renderer::Generation,
    wire::{Command, Rect, Response, UpdateCursor},
};

use crate::world::*;

#[test]
fn a_reset_takes_mapped_blobs_out_and_their_ids_and_ranges_are_free_at_once() {
    let mut world = World::new();
    world.mapped(2, 0x2000, 0);
    world.blob(3, 4096);
    world.told();
    let summary = world.reset();
    assert_eq!((summary.resources, summary.mapped_blobs), (2, 1));
    assert_eq!(world.gpu.generation(), Generation(1));
    assert!(world.env.window.is_empty());
    // The blob nobody mapped ends at once, the mapped one only when nobody holds it.
    assert!(matches!(world.told()[..], [Told::Destroyed(b), Told::Reset] if b.resource == 3));
    world.mapped(2, 0x1000, 0x1000);
    assert_eq!(world.gpu.counts().blob_bytes, 0x3000);
    world.told();
    world.finalize(0);
    let old = Generation(0);
    assert!(matches!(
        world.told()[..],
        [Told::Unmapped(a), Told::Destroyed(b)] if a == b && a.generation == old && a.resource == 2
    ));
    let counts = world.gpu.counts();
    assert_eq!(
        (counts.blob_bytes, counts.mapped_blobs, counts.leaving_blobs),
        (0x1000, 1, 0)
    );
    assert!(
        world.env.completions.is_empty(),
        "a late finalization only tells the renderer"
    );
}

#[test]
fn a_reset_drops_held_commands_without_an_answer() {
    let mut world = World::new();
    world.mapped(2, 4096, 0);
    let suspended = world.send_with(fenced(1), unmap(2));
    let waiting = world.send_with(fenced(2), unref(2));
    assert_eq!(suspended.disposition, Disposition::Suspended);
    assert_eq!(waiting.disposition, Disposition::Waiting);
    let summary = world.reset();
    assert_eq!((summary.dropped_commands, summary.mapped_blobs), (2, 1));
    assert_eq!(
        world.env.withdrawn.len(),
        1,
        "it was taken out before the reset, once"
    );
    world.finalize(0);
    assert!(world.env.completions.is_empty());
    assert_eq!(world.gpu.counts(), hw_virtio_gpu::gpu::Counts::default());
    let told = world.told();
    assert!(matches!(
        told[..],
        [
            Told::Created(_),
            Told::Mapped(_),
            Told::Reset,
            Told::Unmapped(_),
            Told::Destroyed(_)
        ]
    ));
}

#[test]
fn a_reset_while_a_reset_is_not_over_works_the_same() {
    let mut world = World::new();
    for round in 0..5 {
        world.mapped(2, 4096, 0);
        if round % 2 == 0 {
            world.send(unref(2));
        }
        world.reset();
    }
    assert_eq!(world.gpu.counts().leaving_blobs, 5);
    // In any order.
    for index in [4, 0, 1, 1, 0] {
        world.finalize(index);
    }
    assert_eq!(world.gpu.counts(), hw_virtio_gpu::gpu::Counts::default());
}

#[test]
fn a_command_that_waits_only_for_a_blob_of_before_the_reset_does_not_wait() {
    let mut world = World::new();
    world.mapped(2, 4096, 0);
    world.send(unref(2));
    world.reset();
    world.blob(2, 4096);
    let mapped = world.ask(Command::ResourceMapBlob {
        resource: 2,
        offset: 0,
    });
    assert!(matches!(mapped, Response::MapInfo(_)));
    let sent = world.send(unmap(2));
    // The old one is finalized: the new unmap goes on waiting.
    world.finalize(0);
    assert!(world.reply(sent).is_none());
    world.finalize(0);
    assert!(world.reply(sent).is_some());
}

#[test]
fn a_reset_turns_scanouts_and_cursors_off_and_gives_their_memory_back() {
    let mut world = World::new();
    world.two_d(2, 64, 64, 0);
    let rect = Rect::new(0, 0, 64, 64);
    world.ok(Command::SetScanout {
        rect,
        scanout: 0,
        resource: 2,
    });
    let cursor = UpdateCursor {
        resource: 2,
        ..UpdateCursor::default()
    };
    world.send(Command::UpdateCursor(cursor));
    assert!(world.env.cursor.as_ref().expect("told").1.is_some());
    assert_eq!(world.gpu.counts().pixel_bytes, 3 * 64 * 64 * 4);
    world.reset();
    assert_eq!(world.env.shown[&0], None);
    assert_eq!(world.env.cursor.as_ref().expect("told").1, None);
    assert_eq!(world.gpu.counts(), hw_virtio_gpu::gpu::Counts::default());
}

#[test]
fn a_reset_forgets_the_negotiation() {
    let mut world = World::new();
    world.gpu.set_features(0);
    let refused = world.ask(host_blob(2, 1, 4096));
    assert!(matches!(refused, Response::Error(_)));
    world.reset();
    world.blob(2, 4096);
}
