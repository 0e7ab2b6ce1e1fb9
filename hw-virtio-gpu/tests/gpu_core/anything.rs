//! A guest that sends anything, and readers that let go at any time: what must hold then.

use std::{collections::HashSet, sync::Arc};

use hw_virtio_gpu::{
    gpu::{Counts, Disposition, GpuConfig, QueueKind},
    limits::Limits,
    renderer::{FenceControl, MemfdRenderer},
    wire::{
        Command, CreateBlob, CursorPosition, Header, MemEntry, Rect, Request, SetScanoutBlob,
        UpdateCursor,
    },
};
use proptest::{collection::vec, prelude::*};

use crate::world::*;

#[derive(Clone, Debug)]
enum Step {
    Send(Header, Command),
    SendBytes(bool, Vec<u8>),
    /// A blob is created and mapped, so that many are.
    Map(u32, u64),
    Finalize(usize),
    Signal(usize),
    Reset,
}

fn id() -> impl Strategy<Value = u32> {
    prop_oneof![9 => 0..5_u32, 1 => any::<u32>()]
}

fn side() -> impl Strategy<Value = u32> {
    prop_oneof![Just(64_u32), 0..70_u32, any::<u32>()]
}

fn rect() -> impl Strategy<Value = Rect> {
    let at = prop_oneof![3 => Just(0_u32), 1 => 0..70_u32];
    (at.clone(), at, side(), side()).prop_map(|(x, y, w, h)| Rect::new(x, y, w, h))
}

fn entries() -> impl Strategy<Value = Vec<MemEntry>> {
    let addr = prop_oneof![9 => 0..RAM, 1 => any::<u64>()];
    let entry = (addr, prop_oneof![Just(16384_u32), 0..20000_u32]);
    vec(entry.prop_map(|(addr, len)| MemEntry { addr, len }), 0..3)
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![8 => (0..8_u64).prop_map(|p| p * 4096), 1 => 0..0x8000_u64, 1 => any::<u64>()]
}

fn blob() -> impl Strategy<Value = Command> {
    let size = prop_oneof![8 => (1..4_u64).prop_map(|p| p * 4096), 1 => any::<u64>()];
    let memory =
        prop_oneof![2 => Just(CreateBlob::GUEST), 5 => Just(CreateBlob::HOST3D), 1 => 0..5_u32];
    let blob_id = prop_oneof![9 => 0..9_u64, 1 => Just(0xbad)];
    (
        id(),
        memory,
        0..4_u32,
        blob_id,
        size,
        prop_oneof![4 => Just(Vec::new()), 1 => entries()],
    )
        .prop_map(|(resource, memory, flags, blob_id, size, entries)| {
            Command::ResourceCreateBlob(CreateBlob {
                resource,
                memory,
                flags,
                blob_id,
                size,
                entries,
            })
        })
}

fn command() -> impl Strategy<Value = Command> {
    let cursor = (0..2_u32, id()).prop_map(|(scanout, resource)| UpdateCursor {
        position: CursorPosition {
            scanout,
            x: 1,
            y: 1,
        },
        resource,
        ..UpdateCursor::default()
    });
    let cursor = cursor.boxed();
    let set_blob = (rect(), 0..2_u32, id(), side(), side(), side(), side()).prop_map(
        |(rect, scanout, resource, width, height, stride, offset)| {
            let stride = stride.saturating_mul(4);
            SetScanoutBlob {
                rect,
                scanout,
                resource,
                width,
                height,
                format: 2,
                stride,
                offset,
            }
        },
    );
    let pixels = prop_oneof![
        (id(), side(), side()).prop_map(|(resource, w, h)| create_2d(resource, w, h)),
        (id(), entries())
            .prop_map(|(resource, entries)| Command::ResourceAttachBacking { resource, entries }),
        id().prop_map(|resource| Command::ResourceDetachBacking { resource }),
        (rect(), offset(), id()).prop_map(|(rect, offset, resource)| Command::TransferToHost2d {
            rect,
            offset,
            resource
        }),
        (rect(), 0..2_u32, id()).prop_map(|(rect, scanout, resource)| Command::SetScanout {
            rect,
            scanout,
            resource
        }),
        set_blob.prop_map(Command::SetScanoutBlob),
        (rect(), id()).prop_map(|(rect, resource)| Command::ResourceFlush { rect, resource }),
        cursor.clone().prop_map(Command::UpdateCursor),
        cursor.prop_map(Command::MoveCursor),
        id().prop_map(|resource| Command::ResourceAssignUuid { resource }),
        Just(Command::GetDisplayInfo),
    ];
    let contexts = prop_oneof![
        Just(Command::CtxCreate {
            init: 5,
            name: Vec::new()
        }),
        Just(Command::CtxDestroy),
        id().prop_map(|resource| Command::CtxAttachResource { resource }),
        id().prop_map(|resource| Command::CtxDetachResource { resource }),
        Just(Command::Submit3d {
            commands: vec![0; 8]
        }),
    ];
    let blobs = prop_oneof![
        3 => blob(),
        4 => (id(), offset())
            .prop_map(|(resource, offset)| Command::ResourceMapBlob { resource, offset }),
        2 => id().prop_map(unmap),
        2 => id().prop_map(unref),
    ];
    prop_oneof![2 => pixels, 1 => contexts, 4 => blobs]
}

fn header() -> impl Strategy<Value = Header> {
    let flags = prop_oneof![3 => Just(0), 1 => 0..4_u32];
    let context = prop_oneof![3 => Just(0), 1 => 0..3_u32];
    (flags, 0..100_u64, context, 0..2_u8).prop_map(|(flags, fence_id, ctx_id, ring_idx)| Header {
        kind: 0,
        flags,
        fence_id,
        ctx_id,
        ring_idx,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => (header(), command()).prop_map(|(header, command)| Step::Send(header, command)),
        2 => (any::<bool>(), vec(any::<u8>(), 0..80)).prop_map(|(c, b)| Step::SendBytes(c, b)),
        10 => (1..5_u32, (0..8_u64).prop_map(|p| p * 4096)).prop_map(|(id, at)| Step::Map(id, at)),
        3 => any::<usize>().prop_map(Step::Finalize),
        6 => any::<usize>().prop_map(Step::Signal),
        1 => Just(Step::Reset),
    ]
}

/// What must hold after every step.
fn check(world: &World) {
    let counts = world.gpu.counts();
    assert_eq!(counts.mapped_blobs, world.env.window.len());
    assert_eq!(counts.leaving_blobs, world.env.withdrawn.len());
    let held = counts.suspended_commands + counts.waiting_commands + counts.fenced_commands;
    assert_eq!(
        world.unanswered(),
        held,
        "a command is neither held nor answered"
    );
    assert!(counts.suspended_commands <= counts.leaving_blobs);
    assert!(
        counts.suspended_commands > 0 || counts.waiting_commands == 0,
        "waiting for nothing"
    );
    assert!(counts.blob_bytes <= LIMITS.blob_bytes && counts.pixel_bytes <= LIMITS.pixel_bytes);
    assert!(held <= LIMITS.held_commands);
}

const LIMITS: Limits = Limits {
    resources: 6,
    contexts: 2,
    attachments: 3,
    backing_entries: 6,
    pixel_bytes: 1 << 18,
    blob_bytes: 1 << 16,
    held_commands: 12,
    held_bytes: 4096,
    request_bytes: 512,
};

fn run(steps: Vec<Step>, hold_fences: bool) {
    let control = Arc::new(FenceControl::default());
    let renderer = MemfdRenderer::builder().refuse_map(0xbad);
    let renderer = if hold_fences {
        renderer.hold_fences(&control)
    } else {
        renderer
    };
    let mut world = World::with(
        GpuConfig {
            limits: LIMITS,
            ..config()
        },
        renderer,
    );
    let fences = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = Arc::clone(&fences);
    world.gpu.connect_fences(Arc::new(move |fence| {
        sink.lock().expect("free").push(fence);
    }));
    let mut answered = HashSet::new();
    for step in steps {
        match step {
            Step::Send(header, command) => {
                let sent = world.send_with(header, command);
                let now = world.env.completions.iter().any(|c| c.head == sent.head);
                assert_eq!(now, sent.disposition == Disposition::Answered);
            }
            Step::SendBytes(cursor, bytes) => {
                let queue = if cursor {
                    QueueKind::Cursor
                } else {
                    QueueKind::Control
                };
                world.send_bytes(queue, bytes);
            }
            Step::Map(resource, offset) => {
                world.send(host_blob(resource, 3, 4096));
                world.send(Command::ResourceMapBlob { resource, offset });
            }
            Step::Finalize(index) if !world.env.withdrawn.is_empty() => {
                world.finalize(index % world.env.withdrawn.len());
            }
            Step::Signal(index) => {
                let pending = control.pending();
                if !pending.is_empty() {
                    let fence = pending[index % pending.len()];
                    control.signal(fence.timeline, fence.id);
                }
                let reported = std::mem::take(&mut *fences.lock().expect("free"));
                for fence in reported {
                    world.gpu.fence_reached(fence, &mut world.env);
                }
            }
            Step::Finalize(_) => {}
            Step::Reset => {
                let held = world.unanswered();
                answered.extend(world.env.completions.drain(..).map(|c| c.head));
                assert_eq!(world.reset().dropped_commands, held);
            }
        }
        check(&world);
    }
    answered.extend(world.env.completions.iter().map(|c| c.head));
    world.env.completions.clear();
    world.reset();
    world.finalize_all();
    assert!(
        world.env.completions.is_empty(),
        "a dropped command was answered"
    );
    assert_eq!(
        world.gpu.counts(),
        Counts::default(),
        "something was left behind"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_a_guest_sends_breaks_the_rules(steps in vec(step(), 0..120), hold_fences in any::<bool>()) {
        run(steps, hold_fences);
    }
}

/// The same bytes through the printer and the parser: a step is what a guest could really send.
#[test]
fn commands_of_the_generator_are_requests() {
    let mut runner = proptest::test_runner::TestRunner::default();
    runner
        .run(&(header(), command()), |(header, command)| {
            let request = Request::new(header, command);
            prop_assert_eq!(
                Request::parse(&request.encode()).map(|r| r.command),
                Ok(request.command)
            );
            Ok(())
        })
        .expect("every command is printed and parsed");
}
