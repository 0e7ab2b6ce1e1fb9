//! Fences that the renderer holds back, on the device's timeline and on rings.

use std::sync::{Arc, Mutex};

use hw_virtio_gpu::{
    gpu::Disposition,
    renderer::{Fence, FenceControl, MemfdRenderer, Timeline},
    wire::{Command, ErrorCode, Header, Response},
};

use crate::world::*;

/// A world whose renderer holds fences back, and the fences it reports.
fn busy() -> (World, Arc<FenceControl>, Arc<Mutex<Vec<Fence>>>) {
    let control = Arc::new(FenceControl::default());
    let mut world = World::with(config(), MemfdRenderer::builder().hold_fences(&control));
    let reported = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&reported);
    world.gpu.connect_fences(Arc::new(move |fence| {
        sink.lock().expect("free").push(fence);
    }));
    world.ask_with(
        in_context(1),
        Command::CtxCreate {
            init: 0,
            name: Vec::new(),
        },
    );
    world.ask_with(
        in_context(2),
        Command::CtxCreate {
            init: 0,
            name: Vec::new(),
        },
    );
    (world, control, reported)
}

fn submit(world: &mut World, fence_id: u64, ctx_id: u32, ring: Option<u8>) -> Sent {
    let header = Header {
        flags: Header::FENCE | if ring.is_some() { Header::RING_IDX } else { 0 },
        fence_id,
        ctx_id,
        ring_idx: ring.unwrap_or(0),
        ..Header::default()
    };
    let sent = world.send_with(
        header,
        Command::Submit3d {
            commands: Vec::new(),
        },
    );
    assert_eq!(sent.disposition, Disposition::Fenced);
    sent
}

fn deliver(world: &mut World, reported: &Mutex<Vec<Fence>>) {
    let fences = std::mem::take(&mut *reported.lock().expect("free"));
    for fence in fences {
        world.gpu.fence_reached(fence, &mut world.env);
    }
}

#[test]
fn rings_complete_independently_and_a_fence_completes_those_before_it() {
    let (mut world, control, reported) = busy();
    let one = submit(&mut world, 1, 1, Some(0));
    let two = submit(&mut world, 2, 1, Some(1));
    let three = submit(&mut world, 3, 1, Some(0));
    let four = submit(&mut world, 4, 2, Some(0));
    let ring = |context, ring| Timeline::Ring { context, ring };
    assert!(control.signal(ring(1, 1), 2));
    deliver(&mut world, &reported);
    let (header, reply) = world.reply(two).expect("answered");
    assert_eq!(
        (header.fence_id, header.ctx_id, header.ring()),
        (2, 1, Some(1))
    );
    assert_eq!(reply, Response::Ok);
    assert!(control.signal(ring(1, 0), 3));
    deliver(&mut world, &reported);
    assert_eq!(
        world
            .env
            .completions
            .iter()
            .map(|c| c.head)
            .collect::<Vec<_>>(),
        [one.head, three.head]
    );
    assert!(world.reply(four).is_none());
    assert_eq!(control.pending().len(), 1);
}

#[test]
fn no_fence_overtakes_another_of_its_timeline() {
    let (mut world, control, reported) = busy();
    let held = submit(&mut world, 1, 1, None);
    // Refused, so nothing of it is going on; but a guest would take its fence for the first one too.
    let sent = world.send_with(fenced(2), Command::ResourceUnref { resource: 99 });
    assert_eq!(sent.disposition, Disposition::Fenced);
    assert!(control.signal(Timeline::Device, 1));
    deliver(&mut world, &reported);
    assert!(world.reply(held).is_some());
    let refused = world.reply(sent).expect("answered").1;
    assert_eq!(refused, Response::Error(ErrorCode::InvalidResourceId));
}

#[test]
fn a_fence_is_not_delayed_by_a_suspended_command() {
    let (mut world, control, reported) = busy();
    world.mapped(3, 4096, 0);
    let out = world.send_with(fenced(1), unmap(3));
    let sent = submit(&mut world, 2, 1, None);
    assert!(control.signal(Timeline::Device, 2));
    deliver(&mut world, &reported);
    assert!(world.reply(sent).is_some());
    assert!(world.reply(out).is_none());
    // The unmap's own fence comes when it is done, and when the renderer says so.
    world.finalize(0);
    assert!(world.reply(out).is_none());
    assert!(control.signal(Timeline::Device, 1));
    deliver(&mut world, &reported);
    assert_eq!(world.reply(out).expect("answered").0.fence_id, 1);
}

#[test]
fn a_fence_of_before_a_reset_completes_nothing_after_it() {
    let (mut world, control, reported) = busy();
    submit(&mut world, 1, 1, Some(0));
    let ring = Timeline::Ring {
        context: 1,
        ring: 0,
    };
    assert!(control.signal(ring, 1));
    let summary = world.reset();
    assert_eq!(summary.dropped_commands, 1);
    world.ask_with(
        in_context(1),
        Command::CtxCreate {
            init: 0,
            name: Vec::new(),
        },
    );
    let new = submit(&mut world, 1, 1, Some(0));
    deliver(&mut world, &reported);
    assert!(
        world.reply(new).is_none(),
        "the old fence completed the new command"
    );
    assert!(control.signal(ring, 1));
    deliver(&mut world, &reported);
    assert!(world.reply(new).is_some());
}

#[test]
fn the_fences_of_a_context_end_with_it() {
    let (mut world, _control, _reported) = busy();
    let sent = submit(&mut world, 1, 1, Some(3));
    let other = submit(&mut world, 1, 2, Some(3));
    world.ask_with(in_context(1), Command::CtxDestroy);
    assert!(world.reply(sent).is_some());
    assert!(world.reply(other).is_none());
}

#[test]
fn a_guest_that_numbers_its_fences_backwards_gets_them_in_the_order_it_sent_them() {
    let (mut world, control, reported) = busy();
    let five = submit(&mut world, 5, 1, None);
    let three = submit(&mut world, 3, 1, None);
    assert!(control.signal(Timeline::Device, 3));
    deliver(&mut world, &reported);
    assert!(world.env.completions.is_empty());
    assert!(control.signal(Timeline::Device, 5));
    deliver(&mut world, &reported);
    let heads: Vec<_> = world.env.completions.iter().map(|c| c.head).collect();
    assert_eq!(heads, [five.head, three.head]);
}
