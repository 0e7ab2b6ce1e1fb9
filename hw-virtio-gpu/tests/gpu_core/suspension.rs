//! Unmaps that wait for the last reader, and what goes on meanwhile.

use hw_virtio_gpu::{
    gpu::{Disposition, MappingToken},
    wire::{Command, ErrorCode, Rect, Response, UpdateCursor},
};

use crate::world::*;

#[test]
fn an_unmap_is_answered_after_the_finalization_and_after_the_renderer_was_told() {
    let mut world = World::new();
    world.mapped(2, 8192, 0x4000);
    let sent = world.send_with(fenced(77), unmap(2));
    assert_eq!(sent.disposition, Disposition::Suspended);
    assert!(world.env.window.is_empty(), "the guest still reaches it");
    assert!(world.reply(sent).is_none());
    world.told();

    world.finalize(0);
    let (header, reply) = world.reply(sent).expect("answered");
    assert_eq!((header.fence_id, reply), (77, Response::Ok));
    assert!(matches!(world.told()[..], [Told::Unmapped(_)]));
    // It lives on and can be mapped again, elsewhere.
    let again = world.ask(Command::ResourceMapBlob {
        resource: 2,
        offset: 0,
    });
    assert!(matches!(again, Response::MapInfo(_)));
}

#[test]
fn an_unref_of_a_mapped_blob_ends_it_after_the_finalization() {
    let mut world = World::new();
    world.mapped(2, 4096, 0);
    let sent = world.send(unref(2));
    assert_eq!(sent.disposition, Disposition::Suspended);
    world.told();
    assert_eq!(world.gpu.counts().resources, 1);
    world.finalize(0);
    assert_eq!(world.reply(sent).expect("answered").1, Response::Ok);
    assert!(matches!(
        world.told()[..],
        [Told::Unmapped(_), Told::Destroyed(_)]
    ));
    let counts = world.gpu.counts();
    assert_eq!(
        (counts.resources, counts.blob_bytes, counts.leaving_blobs),
        (0, 0, 0)
    );
}

#[test]
fn finalizations_nobody_waits_for_change_nothing() {
    let mut world = World::new();
    world.mapped(2, 4096, 0);
    let live = world.env.window[&0].0;
    // Of a blob that is still mapped, of one that never was, and twice for one.
    world.gpu.blob_finalized(live, &mut world.env);
    world.gpu.blob_finalized(MappingToken(999), &mut world.env);
    assert_eq!(world.gpu.counts().mapped_blobs, 1);
    let sent = world.send(unmap(2));
    let token = world.env.withdrawn[0];
    world.finalize(0);
    world.gpu.blob_finalized(token, &mut world.env);
    world.reply(sent).expect("answered");
    assert!(world.env.completions.is_empty());
    let told = world.told();
    assert_eq!(
        told.iter()
            .filter(|t| matches!(t, Told::Unmapped(_)))
            .count(),
        1
    );
}

#[test]
fn commands_about_other_things_go_on() {
    let mut world = World::new();
    world.mapped(2, 4096, 0);
    world.mapped(3, 4096, 0x1000);
    world.two_d(4, 64, 64, 0);
    world.ask_with(
        in_context(1),
        Command::CtxCreate {
            init: 5,
            name: Vec::new(),
        },
    );
    let sent = world.send(unmap(2));
    world.ask(Command::GetDisplayInfo);
    world.blob(5, 4096);
    let mapped = world.ask(Command::ResourceMapBlob {
        resource: 5,
        offset: 0x2000,
    });
    assert!(matches!(mapped, Response::MapInfo(_)));
    let transfer = Command::TransferToHost2d {
        rect: Rect::new(0, 0, 64, 64),
        offset: 0,
        resource: 4,
    };
    assert_eq!(world.ask_with(fenced(3), transfer), Response::Ok);
    let submit = Command::Submit3d {
        commands: vec![0; 16],
    };
    assert_eq!(world.ask_with(in_context(1), submit), Response::Ok);
    let other = world.send(unmap(3));
    assert_eq!(other.disposition, Disposition::Suspended);
    // The second one is finished first.
    world.finalize(1);
    assert!(world.reply(other).is_some());
    assert!(world.reply(sent).is_none());
    world.finalize(0);
    assert!(world.reply(sent).is_some());
}

#[test]
fn commands_about_the_same_resource_wait_and_keep_their_order() {
    let mut world = World::new();
    world.mapped(2, 4096, 0);
    let first = world.send(unref(2));
    let create = world.send_with(fenced(9), host_blob(2, 7, 8192));
    let map = world.send(Command::ResourceMapBlob {
        resource: 2,
        offset: 0x8000,
    });
    let second = world.send(unmap(2));
    let again = world.send(unmap(2));
    for sent in [create, map, second, again] {
        assert_eq!(sent.disposition, Disposition::Waiting);
    }
    assert_eq!(world.env.completions.len(), 0);
    world.finalize(0);
    assert_eq!(world.reply(first).expect("answered").1, Response::Ok);
    let (header, reply) = world.reply(create).expect("answered");
    assert_eq!((header.fence_id, reply), (9, Response::Ok));
    assert!(matches!(
        world.reply(map).expect("answered").1,
        Response::MapInfo(_)
    ));
    // The unmap of the new blob is suspended in its turn.
    assert!(world.reply(second).is_none());
    assert_eq!(world.gpu.counts().suspended_commands, 1);
    world.finalize(0);
    assert_eq!(world.reply(second).expect("answered").1, Response::Ok);
    assert_eq!(
        world.reply(again).expect("answered").1,
        Response::Error(ErrorCode::InvalidParameter)
    );
    assert_eq!(world.unanswered(), 0);
}

#[test]
fn a_map_into_the_range_of_a_blob_on_its_way_out_waits() {
    let mut world = World::new();
    world.mapped(2, 0x3000, 0x1000);
    world.blob(3, 4096);
    world.blob(4, 4096);
    let out = world.send(unmap(2));
    let inside = world.send(Command::ResourceMapBlob {
        resource: 3,
        offset: 0x3000,
    });
    assert_eq!(inside.disposition, Disposition::Waiting);
    let beside = world.ask(Command::ResourceMapBlob {
        resource: 4,
        offset: 0x4000,
    });
    assert!(matches!(beside, Response::MapInfo(_)));
    world.finalize(0);
    assert!(world.reply(out).is_some());
    assert!(matches!(
        world.reply(inside).expect("answered").1,
        Response::MapInfo(_)
    ));
}

#[test]
fn a_map_behind_the_creation_of_its_resource_has_the_new_size() {
    let mut world = World::new();
    world.mapped(2, 4096, 0);
    world.blob(3, 4096);
    world.send(unref(2));
    world.send(host_blob(2, 1, 0x4000));
    let wide = world.send(Command::ResourceMapBlob {
        resource: 2,
        offset: 0x10000,
    });
    // Inside the range that the waiting command will take, outside that of the old blob's size.
    let late = world.send(Command::ResourceMapBlob {
        resource: 3,
        offset: 0x13000,
    });
    assert_eq!(late.disposition, Disposition::Waiting);
    world.finalize(0);
    assert!(matches!(
        world.reply(wide).expect("answered").1,
        Response::MapInfo(_)
    ));
    assert_eq!(
        world.reply(late).expect("answered").1,
        Response::Error(ErrorCode::InvalidParameter)
    );
}

#[test]
fn order_is_kept_through_a_context_and_a_scanout() {
    let mut world = World::new();
    world.mapped(2, 4096, 0);
    world.two_d(4, 64, 64, 0);
    world.ask_with(
        in_context(1),
        Command::CtxCreate {
            init: 0,
            name: Vec::new(),
        },
    );
    world.send(unref(2));
    let attach = world.send_with(in_context(1), Command::CtxAttachResource { resource: 2 });
    let submit = world.send_with(
        in_context(1),
        Command::Submit3d {
            commands: Vec::new(),
        },
    );
    let rect = Rect::new(0, 0, 64, 64);
    let old = world.send(Command::SetScanout {
        rect,
        scanout: 0,
        resource: 2,
    });
    let new = world.send(Command::SetScanout {
        rect,
        scanout: 0,
        resource: 4,
    });
    for sent in [attach, submit, old, new] {
        assert_eq!(sent.disposition, Disposition::Waiting);
    }
    world.finalize(0);
    let gone = Response::Error(ErrorCode::InvalidResourceId);
    assert_eq!(world.reply(attach).expect("answered").1, gone);
    assert_eq!(world.reply(submit).expect("answered").1, Response::Ok);
    assert_eq!(world.reply(old).expect("answered").1, gone);
    assert_eq!(world.reply(new).expect("answered").1, Response::Ok);
    assert!(world.gpu.frame(0).is_some());
}

#[test]
fn the_cursor_queue_is_not_held_up_by_an_unrelated_unmap() {
    let mut world = World::new();
    world.mapped(2, 4096, 0);
    world.send(unmap(2));
    let moved = world.send(Command::MoveCursor(UpdateCursor::default()));
    assert_eq!(moved.disposition, Disposition::Answered);
    assert_eq!(world.env.completions.len(), 1);
    assert!(world.env.completions[0].response.is_empty());
}

#[test]
fn a_refused_placement_takes_everything_back() {
    let mut world = World::new();
    world.blob(2, 4096);
    world.env.window_refuses = true;
    let map = Command::ResourceMapBlob {
        resource: 2,
        offset: 0,
    };
    world.refused(map.clone(), ErrorCode::OutOfMemory);
    assert!(matches!(
        world.told()[..],
        [Told::Created(_), Told::Mapped(_), Told::Unmapped(_)]
    ));
    world.env.window_refuses = false;
    assert!(matches!(world.ask(map), Response::MapInfo(_)));
}

#[test]
fn a_renderer_that_panics_costs_an_error_reply() {
    let mut world = World::new();
    world.blob(2, 4096);
    *world.panics.lock().expect("free") = true;
    let map = Command::ResourceMapBlob {
        resource: 2,
        offset: 0,
    };
    world.refused(map.clone(), ErrorCode::Unspecified);
    *world.panics.lock().expect("free") = false;
    assert!(matches!(world.ask(map), Response::MapInfo(_)));
    let sent = world.send(unref(2));
    world.finalize(0);
    assert!(world.reply(sent).is_some());
}

#[test]
fn an_unmap_that_was_suspended_after_waiting_keeps_its_range_too() {
    let mut world = World::new();
    world.mapped(2, 4096, 0);
    world.blob(3, 4096);
    world.send(unmap(2));
    world.send(Command::ResourceMapBlob {
        resource: 2,
        offset: 0x8000,
    });
    world.send(unmap(2));
    world.finalize(0);
    let into = world.send(Command::ResourceMapBlob {
        resource: 3,
        offset: 0x8000,
    });
    assert_eq!(into.disposition, Disposition::Waiting);
    // The range it had before is free by now.
    world.blob(4, 4096);
    let beside = world.ask(Command::ResourceMapBlob {
        resource: 4,
        offset: 0,
    });
    assert!(matches!(beside, Response::MapInfo(_)));
    world.finalize(0);
    assert!(matches!(
        world.reply(into).expect("answered").1,
        Response::MapInfo(_)
    ));
}
