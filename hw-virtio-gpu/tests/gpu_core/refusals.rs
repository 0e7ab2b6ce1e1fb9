//! Every command with what it refuses, and the code the guest gets.

use hw_virtio_gpu::{
    gpu::{QueueKind, QueuedCommand},
    wire::{
        Command, CommandKind, CreateBlob, ErrorCode, MemEntry, Rect, Request, Response,
        SetScanoutBlob, feature,
    },
};

use crate::world::*;

const ID: ErrorCode = ErrorCode::InvalidResourceId;
const PARAMETER: ErrorCode = ErrorCode::InvalidParameter;
const UNSPECIFIED: ErrorCode = ErrorCode::Unspecified;

#[test]
fn malformed_requests_are_answered_with_what_fence_they_have() {
    let mut world = World::new();
    for bytes in [
        vec![],
        vec![1; 23],
        0x0199_u32.to_le_bytes().repeat(10),
        vec![0xff; 4096],
    ] {
        let sent = world.send_bytes(QueueKind::Control, bytes);
        let (_, reply) = world.reply(sent).expect("answered");
        assert_eq!(reply, Response::Error(UNSPECIFIED));
    }
    let mut bytes = Request::new(fenced(8), Command::ResourceUnref { resource: 1 }).encode();
    bytes.truncate(27);
    let sent = world.send_bytes(QueueKind::Control, bytes);
    assert_eq!(world.reply(sent).expect("answered").0.fence_id, 8);
}

#[test]
fn a_reply_is_cut_to_the_room_it_has() {
    for room in [0, 1, 23, 24, 100, 408, 500] {
        let mut world = World::new();
        let command = QueuedCommand {
            queue: QueueKind::Control,
            head: 3,
            writable: vec![
                MemEntry {
                    addr: 0,
                    len: room / 2,
                },
                MemEntry {
                    addr: 0,
                    len: room - room / 2,
                },
            ],
            request: Request::new(fenced(1), Command::GetDisplayInfo).encode(),
        };
        world.gpu.submit(command, &mut world.env);
        assert_eq!(
            world.env.completions[0].response.len(),
            room.min(408) as usize
        );
    }
}

#[test]
fn each_queue_takes_its_own_commands() {
    let mut world = World::new();
    let cursor = Request::new(
        in_context(0),
        Command::MoveCursor(hw_virtio_gpu::wire::UpdateCursor::default()),
    );
    let sent = world.send_bytes(QueueKind::Control, cursor.encode());
    assert_eq!(
        world.reply(sent).expect("answered").1,
        Response::Error(UNSPECIFIED)
    );
    // The other way round: consumed without effect and without a reply.
    let create = Request::new(in_context(0), create_2d(1, 16, 16));
    world.send_bytes(QueueKind::Cursor, create.encode());
    world.send_bytes(QueueKind::Cursor, vec![7; 3]);
    assert!(world.env.completions.iter().all(|c| c.response.is_empty()));
    assert_eq!(
        (world.env.completions.len(), world.gpu.counts().resources),
        (2, 0)
    );
}

#[test]
fn commands_need_their_features() {
    let blob = host_blob(1, 1, 4096);
    let needs = [
        (Command::GetEdid { scanout: 0 }, feature::EDID),
        (Command::GetCapsetInfo { index: 0 }, feature::VIRGL),
        (
            Command::Submit3d {
                commands: Vec::new(),
            },
            feature::VIRGL,
        ),
        (blob.clone(), feature::RESOURCE_BLOB),
        (unmap(1), feature::RESOURCE_BLOB),
        (
            Command::ResourceAssignUuid { resource: 1 },
            feature::RESOURCE_UUID,
        ),
    ];
    for (command, feature) in needs {
        let mut world = World::new();
        world.gpu.set_features(feature::ALL & !feature);
        world.refused(command, UNSPECIFIED);
    }
    // Host blobs need a renderer, that is VIRGL, as well.
    let mut world = World::new();
    world.gpu.set_features(feature::RESOURCE_BLOB);
    world.refused(blob, PARAMETER);
    world.ok(guest_blob(1, 4096, vec![MemEntry { addr: 0, len: 4096 }]));
}

#[test]
fn what_is_not_offered_is_refused() {
    let mut world = World::new();
    for kind in [
        CommandKind::ResourceCreate3d,
        CommandKind::TransferToHost3d,
        CommandKind::TransferFromHost3d,
    ] {
        let mut bytes = kind.number().to_le_bytes().to_vec();
        bytes.resize(100, 0);
        let sent = world.send_bytes(QueueKind::Control, bytes);
        assert_eq!(
            world.reply(sent).expect("answered").1,
            Response::Error(UNSPECIFIED)
        );
    }
}

#[test]
fn create_2d_refuses_ids_formats_and_empty_sizes() {
    let mut world = World::new();
    let with = |resource, format, width, height| Command::ResourceCreate2d {
        resource,
        format,
        width,
        height,
    };
    world.refused(with(0, 1, 16, 16), ID);
    for format in [0, 5, 66, 135, u32::MAX] {
        world.refused(with(1, format, 16, 16), PARAMETER);
    }
    world.refused(with(1, 1, 0, 16), PARAMETER);
    world.refused(with(1, 1, 16, 0), PARAMETER);
    for (id, format) in [1, 2, 3, 4, 67, 68, 121, 134].into_iter().enumerate() {
        world.ok(with(u32::try_from(id).expect("small") + 1, format, 16, 16));
    }
    world.refused(with(1, 1, 16, 16), ID);
    world.refused(host_blob(1, 1, 4096), ID);
}

#[test]
fn backings_are_attached_once_and_only_to_2d_resources() {
    let mut world = World::new();
    let attach = |resource, addr, len| Command::ResourceAttachBacking {
        resource,
        entries: vec![MemEntry { addr, len }],
    };
    let detach = |resource| Command::ResourceDetachBacking { resource };
    world.refused(attach(1, 0, 16), ID);
    world.refused(detach(1), ID);
    world.ok(create_2d(1, 16, 16));
    world.refused(detach(1), UNSPECIFIED);
    world.refused(attach(1, RAM - 8, 16), UNSPECIFIED);
    world.refused(attach(1, u64::MAX - 8, 16), UNSPECIFIED);
    world.ok(attach(1, 0, 1024));
    world.refused(attach(1, 0, 1024), UNSPECIFIED);
    world.ok(detach(1));
    world.ok(attach(1, 0, 1024));
    world.blob(2, 4096);
    world.ok(guest_blob(3, 16, vec![MemEntry { addr: 0, len: 16 }]));
    world.refused(attach(2, 0, 16), PARAMETER);
    world.refused(attach(3, 0, 16), UNSPECIFIED);
    world.refused(detach(2), PARAMETER);
    world.refused(detach(3), PARAMETER);
    world.ok(unref(1));
    world.refused(unref(1), ID);
    world.refused(unref(0), ID);
}

#[test]
fn transfers_stay_in_the_resource_and_in_the_backing() {
    let mut world = World::new();
    let transfer = |resource, rect, offset| Command::TransferToHost2d {
        rect,
        offset,
        resource,
    };
    let all = Rect::new(0, 0, 16, 16);
    world.refused(transfer(1, all, 0), ID);
    world.ok(create_2d(1, 16, 16));
    world.refused(transfer(1, all, 0), UNSPECIFIED);
    world.ok(Command::ResourceAttachBacking {
        resource: 1,
        entries: vec![MemEntry { addr: 0, len: 1024 }],
    });
    world.ok(transfer(1, all, 0));
    world.ok(transfer(1, Rect::new(16, 16, 0, 0), 0));
    let outside = [
        Rect::new(1, 0, 16, 16),
        Rect::new(0, 1, 16, 16),
        Rect::new(u32::MAX, 0, 1, 1),
        Rect::new(0, u32::MAX, 1, 1),
        Rect::new(8, 8, u32::MAX, 1),
        Rect::new(8, 8, 1, u32::MAX),
    ];
    for rect in outside {
        world.refused(transfer(1, rect, 0), PARAMETER);
    }
    for offset in [1, 1 << 32, u64::MAX, u64::MAX - 1023] {
        world.refused(transfer(1, all, offset), PARAMETER);
        world.refused(
            transfer(1, Rect::new(0, 0, 8, 16), offset.max(64)),
            PARAMETER,
        );
    }
    // Memory that was RAM when it was attached.
    world.env.hole = Some(512..513);
    world.refused(transfer(1, all, 0), UNSPECIFIED);
    world.env.hole = None;
    // On a blob it is a matter of course.
    world.blob(2, 4096);
    world.ok(guest_blob(3, 16, vec![MemEntry { addr: 0, len: 16 }]));
    world.ok(transfer(2, Rect::new(9, 9, 9, 9), 7));
    world.ok(transfer(3, Rect::new(9, 9, 9, 9), 7));
}

#[test]
fn scanouts_are_checked_also_when_they_are_turned_off() {
    let mut world = World::new();
    let set = |scanout, resource, rect| Command::SetScanout {
        rect,
        scanout,
        resource,
    };
    let all = Rect::new(0, 0, 64, 64);
    for scanout in [1, 16, u32::MAX] {
        world.refused(set(scanout, 0, all), ErrorCode::InvalidScanoutId);
    }
    world.ok(set(0, 0, Rect::default()));
    world.refused(set(0, 9, all), ID);
    world.ok(create_2d(1, 64, 64));
    world.refused(set(0, 1, all), UNSPECIFIED);
    world.ok(unref(1));
    world.two_d(1, 64, 64, 0);
    for rect in [
        Rect::new(0, 0, 15, 64),
        Rect::new(0, 0, 64, 15),
        Rect::new(0, 0, 65, 64),
        Rect::new(32, 0, 64, 64),
        Rect::new(u32::MAX, 0, 32, 32),
        Rect::new(0, 0, u32::MAX, u32::MAX),
    ] {
        world.refused(set(0, 1, rect), PARAMETER);
    }
    world.blob(2, 1 << 16);
    world.refused(set(0, 2, all), PARAMETER);
    world.ok(set(0, 1, all));
}

#[test]
fn blob_scanouts_stay_in_the_blob() {
    let mut world = World::new();
    let good = SetScanoutBlob {
        rect: Rect::new(0, 0, 32, 32),
        scanout: 0,
        resource: 1,
        width: 32,
        height: 32,
        format: 2,
        stride: 128,
        offset: 0,
    };
    let set = Command::SetScanoutBlob;
    world.refused(set(good), ID);
    world.two_d(2, 32, 32, 0);
    world.refused(
        set(SetScanoutBlob {
            resource: 2,
            ..good
        }),
        PARAMETER,
    );
    world.ok(guest_blob(1, 4096, vec![MemEntry { addr: 0, len: 8192 }]));
    world.ok(set(good));
    world.ok(set(SetScanoutBlob {
        resource: 0,
        ..good
    }));
    let bad = [
        SetScanoutBlob {
            stride: 127,
            ..good
        },
        SetScanoutBlob { stride: 0, ..good },
        SetScanoutBlob {
            stride: 129,
            ..good
        },
        SetScanoutBlob {
            stride: 0x8000_0000,
            height: 1,
            rect: Rect::new(0, 0, 32, 1),
            ..good
        },
        SetScanoutBlob {
            stride: u32::MAX,
            height: u32::MAX,
            ..good
        },
        SetScanoutBlob { offset: 1, ..good },
        SetScanoutBlob {
            offset: u32::MAX,
            ..good
        },
        SetScanoutBlob { format: 0, ..good },
        SetScanoutBlob { height: 0, ..good },
        SetScanoutBlob {
            width: 0,
            height: 0,
            rect: Rect::default(),
            ..good
        },
        SetScanoutBlob {
            width: u32::MAX,
            height: u32::MAX,
            stride: u32::MAX,
            ..good
        },
        SetScanoutBlob {
            rect: Rect::new(1, 0, 32, 32),
            ..good
        },
        SetScanoutBlob {
            rect: Rect::new(0, 0, 8, 8),
            ..good
        },
    ];
    for set_to in bad {
        world.refused(set(set_to), PARAMETER);
    }
    world.refused(
        set(SetScanoutBlob { scanout: 1, ..good }),
        ErrorCode::InvalidScanoutId,
    );
}

#[test]
fn guest_blobs_need_as_much_memory_as_they_claim() {
    let mut world = World::new();
    let entry = |addr, len| vec![MemEntry { addr, len }];
    world.refused(guest_blob(0, 16, entry(0, 16)), ID);
    world.refused(guest_blob(1, 0, entry(0, 16)), PARAMETER);
    world.refused(guest_blob(1, 17, entry(0, 16)), PARAMETER);
    world.refused(guest_blob(1, 16, Vec::new()), PARAMETER);
    world.refused(guest_blob(1, u64::MAX, entry(0, 16)), PARAMETER);
    world.refused(guest_blob(1, 16, entry(RAM, 16)), UNSPECIFIED);
    world.ok(guest_blob(1, 16, entry(0, 16)));
    world.refused(
        Command::ResourceMapBlob {
            resource: 1,
            offset: 0,
        },
        PARAMETER,
    );
    world.refused(unmap(1), PARAMETER);
    world.refused(create_2d(1, 16, 16), ID);
}

#[test]
fn host_blobs_are_checked_before_the_renderer_sees_them() {
    let mut world = World::new();
    let base = CreateBlob {
        resource: 1,
        memory: CreateBlob::HOST3D,
        flags: CreateBlob::MAPPABLE,
        blob_id: 1,
        size: 4096,
        entries: Vec::new(),
    };
    let bad = [
        CreateBlob {
            size: 0,
            ..base.clone()
        },
        CreateBlob {
            flags: 8,
            ..base.clone()
        },
        CreateBlob {
            memory: 0,
            ..base.clone()
        },
        CreateBlob {
            memory: CreateBlob::HOST3D_GUEST,
            ..base.clone()
        },
        CreateBlob {
            memory: 4,
            ..base.clone()
        },
        CreateBlob {
            entries: vec![MemEntry { addr: 0, len: 16 }],
            ..base.clone()
        },
    ];
    for blob in bad {
        world.refused(Command::ResourceCreateBlob(blob), PARAMETER);
    }
    let reply = world.ask_with(in_context(5), Command::ResourceCreateBlob(base));
    assert_eq!(reply, Response::Error(ErrorCode::InvalidContextId));
    assert!(world.told().is_empty());
}

#[test]
fn maps_stay_in_the_window_and_do_not_overlap() {
    let mut world = World::new();
    let map = |resource, offset| Command::ResourceMapBlob { resource, offset };
    world.refused(map(1, 0), ID);
    world.blob(1, 0x3000);
    for offset in [
        1,
        0x800,
        WINDOW,
        WINDOW - 0x2000,
        u64::MAX,
        u64::MAX - 0xfff,
        u64::MAX - 0x2fff,
    ] {
        world.refused(map(1, offset), PARAMETER);
    }
    assert!(matches!(world.ask(map(1, 0x2000)), Response::MapInfo(_)));
    world.refused(map(1, 0x8000), PARAMETER);
    world.blob(2, 0x2000);
    for offset in [0x1000, 0x2000, 0x3000, 0x4000] {
        world.refused(map(2, offset), PARAMETER);
    }
    assert!(matches!(world.ask(map(2, 0)), Response::MapInfo(_)));
    world.blob(3, WINDOW);
    world.refused(map(3, 0), PARAMETER);
    // A size that is no number of pages takes whole pages.
    world.blob(4, 0x1001);
    assert!(matches!(world.ask(map(4, 0x5000)), Response::MapInfo(_)));
    assert_eq!(world.env.window[&0x5000].1, 0x2000);
}

#[test]
fn a_device_without_a_window_maps_nothing() {
    let no_window = hw_virtio_gpu::gpu::GpuConfig {
        window: 0,
        ..config()
    };
    let mut world = World::with(no_window, hw_virtio_gpu::renderer::MemfdRenderer::builder());
    world.blob(1, 4096);
    world.refused(
        Command::ResourceMapBlob {
            resource: 1,
            offset: 0,
        },
        PARAMETER,
    );
}

#[test]
fn blobs_that_may_not_be_mapped_are_not_and_an_unmap_of_them_is_an_error() {
    let mut world = World::new();
    let hidden = CreateBlob {
        resource: 1,
        memory: CreateBlob::HOST3D,
        flags: CreateBlob::SHAREABLE,
        blob_id: 1,
        size: 4096,
        entries: Vec::new(),
    };
    world.ok(Command::ResourceCreateBlob(hidden));
    let map = |resource| Command::ResourceMapBlob {
        resource,
        offset: 0,
    };
    world.refused(map(1), PARAMETER);
    world.ok(host_blob(2, 0xbad, 4096));
    world.refused(map(2), PARAMETER);
    for resource in [1, 2] {
        world.refused(unmap(resource), PARAMETER);
        world.ok(unref(resource));
    }
    world.refused(unmap(7), ID);
    world.two_d(3, 16, 16, 0);
    world.refused(unmap(3), PARAMETER);
    world.refused(map(3), PARAMETER);
}

#[test]
fn contexts_are_checked() {
    let mut world = World::new();
    let unknown = Response::Error(ErrorCode::InvalidContextId);
    let create = |init| Command::CtxCreate {
        init,
        name: b"test".to_vec(),
    };
    assert_eq!(world.ask_with(in_context(0), create(0)), unknown);
    for command in [
        Command::CtxDestroy,
        Command::CtxAttachResource { resource: 1 },
        Command::CtxDetachResource { resource: 1 },
        Command::Submit3d {
            commands: Vec::new(),
        },
    ] {
        assert_eq!(world.ask_with(in_context(4), command), unknown);
    }
    let parameter = Response::Error(PARAMETER);
    assert_eq!(world.ask_with(in_context(4), create(7)), parameter);
    assert_eq!(world.ask_with(in_context(4), create(5)), Response::Ok);
    assert_eq!(world.ask_with(in_context(4), create(5)), unknown);
    let no_resource = Response::Error(ID);
    assert_eq!(
        world.ask_with(in_context(4), Command::CtxAttachResource { resource: 1 }),
        no_resource
    );
    assert_eq!(
        world.ask_with(in_context(4), Command::CtxDetachResource { resource: 1 }),
        no_resource
    );
    world.blob(1, 4096);
    assert_eq!(
        world.ask_with(in_context(4), Command::CtxDetachResource { resource: 1 }),
        Response::Ok
    );
    assert_eq!(
        world.ask_with(in_context(4), Command::CtxDestroy),
        Response::Ok
    );
    // Without CONTEXT_INIT the type does not count.
    world.gpu.set_features(feature::VIRGL);
    assert_eq!(world.ask_with(in_context(4), create(7)), Response::Ok);
}

#[test]
fn capsets_are_checked_and_replies_are_whole() {
    let mut world = World::new();
    let info = |id, max_version, max_size| Response::CapsetInfo {
        id,
        max_version,
        max_size,
    };
    assert_eq!(
        world.ask(Command::GetCapsetInfo { index: 0 }),
        info(5, 1, 16)
    );
    assert_eq!(
        world.ask(Command::GetCapsetInfo { index: 1 }),
        info(6, 1, 0)
    );
    assert_eq!(
        world.ask(Command::GetCapsetInfo { index: 2 }),
        info(0, 0, 0)
    );
    let get = |id, version| Command::GetCapset { id, version };
    assert_eq!(world.ask(get(5, 1)), Response::Capset(vec![1; 16]));
    assert_eq!(world.ask(get(5, 0)), Response::Capset(vec![1; 16]));
    // A newer version than there is, an empty set, no set.
    for (id, version) in [(5, 2), (6, 1), (0, 0), (9, 1)] {
        world.refused(get(id, version), PARAMETER);
    }
}

#[test]
fn uuids_stay_and_differ() {
    let mut world = World::new();
    world.refused(Command::ResourceAssignUuid { resource: 1 }, ID);
    world.two_d(1, 16, 16, 0);
    world.blob(2, 4096);
    let ask =
        |world: &mut World, resource| match world.ask(Command::ResourceAssignUuid { resource }) {
            Response::ResourceUuid(uuid) => uuid,
            other => panic!("{other:?}"),
        };
    let one = ask(&mut world, 1);
    assert_eq!(ask(&mut world, 1), one);
    assert_ne!(ask(&mut world, 2), one);
    assert_eq!((one[6] >> 4, one[8] >> 6), (4, 2));
}
