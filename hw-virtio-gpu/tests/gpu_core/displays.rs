//! What a viewer sees, and what a guest learns about displays.

use hw_virtio_gpu::{
    edid::{DisplaySize, edid},
    gpu::{ConfigError, GpuConfig, GpuCore, ScanoutConfig},
    renderer::MemfdRenderer,
    wire::{
        Command, CursorPosition, ErrorCode, MemEntry, Rect, Response, SetScanoutBlob, UpdateCursor,
    },
};

use crate::world::*;

/// Fills RAM so that each pixel tells where it is.
fn paint(world: &mut World) {
    for (index, pixel) in world.env.ram.chunks_exact_mut(4).enumerate() {
        pixel.copy_from_slice(&u32::try_from(index).expect("small").to_le_bytes());
    }
}

/// The pixels of scanout 0 as the numbers that were painted.
fn seen(world: &World) -> Vec<u32> {
    let frame = world.gpu.frame(0).expect("something is shown");
    let (pixels, _) = frame.pixels().as_chunks::<4>();
    pixels.iter().map(|p| u32::from_le_bytes(*p)).collect()
}

fn transfer(resource: u32, rect: Rect, offset: u64) -> Command {
    Command::TransferToHost2d {
        rect,
        offset,
        resource,
    }
}

#[test]
fn a_viewer_sees_what_was_transferred_and_flushed_where_it_was_flushed() {
    let mut world = World::new();
    paint(&mut world);
    world.two_d(1, 32, 32, 0);
    let set = Command::SetScanout {
        rect: Rect::new(8, 8, 16, 16),
        scanout: 0,
        resource: 1,
    };
    world.ok(set);
    assert!(seen(&world).iter().all(|&p| p == 0));
    let part = Rect::new(4, 10, 8, 3);
    world.ok(transfer(1, part, (10 * 32 + 4) * 4));
    assert!(seen(&world).iter().all(|&p| p == 0), "not flushed yet");
    world.ok(Command::ResourceFlush {
        rect: part,
        resource: 1,
    });
    assert_eq!(world.env.damage.last(), Some(&(0, Rect::new(0, 2, 4, 3))));
    for (index, pixel) in (0_u32..).zip(seen(&world)) {
        let (x, y) = (index % 16, index / 16);
        let inside = x < 4 && (2..5).contains(&y);
        assert_eq!(
            pixel,
            if inside { (y + 8) * 32 + x + 8 } else { 0 },
            "{x}, {y}"
        );
    }
}

#[test]
fn a_transfer_takes_rows_as_far_apart_as_the_resource_is_wide() {
    let mut world = World::new();
    paint(&mut world);
    // Scattered backing: rows cross the entries.
    world.ok(create_2d(1, 20, 20));
    let entries = [(0x4000, 100), (0x100, 700), (0x8000, 800)];
    let entries = entries.map(|(addr, len)| MemEntry { addr, len }).to_vec();
    world.ok(Command::ResourceAttachBacking {
        resource: 1,
        entries,
    });
    world.ok(transfer(1, Rect::new(0, 0, 20, 20), 0));
    world.ok(Command::SetScanout {
        rect: Rect::new(0, 0, 20, 20),
        scanout: 0,
        resource: 1,
    });
    let memory: Vec<u32> = (0x1000..0x1019)
        .chain(0x40..0xef)
        .chain(0x2000..0x20c8)
        .collect();
    assert_eq!(seen(&world), memory);
    // From another place in the backing.
    world.ok(transfer(1, Rect::new(3, 4, 2, 2), 40));
    world.ok(Command::ResourceFlush {
        rect: Rect::new(0, 0, 20, 20),
        resource: 1,
    });
    let pixels = seen(&world);
    assert_eq!(
        [pixels[83], pixels[84], pixels[103], pixels[104]],
        [memory[10], memory[11], memory[30], memory[31]]
    );
    assert_eq!(pixels[85], memory[85]);
}

#[test]
fn a_guest_blob_is_seen_with_its_stride_and_offset() {
    let mut world = World::new();
    paint(&mut world);
    world.ok(guest_blob(
        1,
        8192,
        vec![MemEntry {
            addr: 0x1000,
            len: 8192,
        }],
    ));
    let set = SetScanoutBlob {
        rect: Rect::new(2, 1, 16, 16),
        scanout: 0,
        resource: 1,
        width: 20,
        height: 18,
        format: 2,
        stride: 256,
        offset: 64,
    };
    world.ok(Command::SetScanoutBlob(set));
    let expected: Vec<u32> = (0..16)
        .flat_map(|y| (0..16).map(move |x| 0x400 + 16 + (y + 1) * 64 + x + 2))
        .collect();
    assert_eq!(seen(&world), expected);
    world.env.ram.fill(0);
    assert_eq!(seen(&world), expected, "a frame changes only by flushes");
    world.ok(Command::ResourceFlush {
        rect: Rect::new(2, 2, 100, 1),
        resource: 1,
    });
    assert!(seen(&world)[16..32].iter().all(|&p| p == 0));
    assert_eq!(seen(&world)[32..], expected[32..]);
    // A flush that no scanout sees is nothing to complain about, one of memory that went is.
    world.ok(Command::ResourceFlush {
        rect: Rect::new(50, 50, 1, 1),
        resource: 1,
    });
    world.env.hole = Some(0x1000..0x1001);
    world.ok(Command::ResourceFlush {
        rect: Rect::new(2, 2, 16, 1),
        resource: 1,
    });
    world.env.hole = Some(0x1240..0x1300);
    let flush = Command::ResourceFlush {
        rect: Rect::new(2, 2, 16, 1),
        resource: 1,
    };
    world.refused(flush, ErrorCode::Unspecified);
}

#[test]
fn a_host_blob_can_be_scanned_out() {
    let mut world = World::new();
    world.blob(7, 4096);
    let set = SetScanoutBlob {
        rect: Rect::new(0, 0, 32, 32),
        scanout: 0,
        resource: 7,
        width: 32,
        height: 32,
        format: 2,
        stride: 128,
        offset: 0,
    };
    world.ok(Command::SetScanoutBlob(set));
    assert_eq!(seen(&world)[0], 0x1b00_0007);
    assert_eq!(seen(&world)[1023], 0xe0d0_0007);
}

#[test]
fn flushes_of_2d_resources_are_checked() {
    let mut world = World::new();
    let flush = |rect, resource| Command::ResourceFlush { rect, resource };
    world.refused(flush(Rect::default(), 1), ErrorCode::InvalidResourceId);
    world.two_d(1, 16, 16, 0);
    for rect in [
        Rect::new(1, 0, 16, 16),
        Rect::new(0, u32::MAX, 1, 2),
        Rect::new(17, 0, 0, 0),
    ] {
        world.refused(flush(rect, 1), ErrorCode::InvalidParameter);
    }
    world.ok(flush(Rect::new(0, 0, 16, 16), 1));
    world.ok(flush(Rect::new(16, 16, 0, 0), 1));
}

#[test]
fn a_resource_that_goes_takes_its_scanouts_and_its_cursor_with_it() {
    let two = GpuConfig {
        scanouts: vec![ScanoutConfig::default(); 2],
        ..config()
    };
    let mut world = World::with(two, MemfdRenderer::builder());
    world.two_d(1, 64, 64, 0);
    world.two_d(2, 64, 64, 0);
    let rect = Rect::new(0, 0, 32, 32);
    for (scanout, resource) in [(0, 1), (1, 1), (1, 2)] {
        world.ok(Command::SetScanout {
            rect,
            scanout,
            resource,
        });
    }
    world.send(Command::UpdateCursor(UpdateCursor {
        resource: 1,
        ..UpdateCursor::default()
    }));
    world.ok(unref(1));
    assert!(world.gpu.frame(0).is_none());
    assert!(
        world.gpu.frame(1).is_some(),
        "it shows the other resource by now"
    );
    assert_eq!(world.env.shown[&0], None);
    assert_eq!(world.env.cursor.as_ref().expect("told").1, None);
    world.ok(unref(2));
    assert_eq!(world.gpu.counts().pixel_bytes, 0);
}

#[test]
fn a_cursor_has_64_by_64_pixels_and_a_hot_spot() {
    let mut world = World::new();
    paint(&mut world);
    world.two_d(1, 64, 64, 0);
    world.two_d(2, 64, 63, 0);
    world.ok(transfer(1, Rect::new(0, 0, 64, 64), 0));
    let position = CursorPosition {
        scanout: 0,
        x: 5,
        y: 6,
    };
    let update = UpdateCursor {
        position,
        resource: 1,
        hot_x: 3,
        hot_y: 4,
    };
    world.send(Command::UpdateCursor(update));
    let (at, image) = world.env.cursor.take().expect("told");
    let image = image.expect("a picture");
    assert_eq!((at, image.hot_x, image.hot_y), (position, 3, 4));
    assert_eq!(image.pixels, world.env.ram[..64 * 64 * 4]);
    // Of the wrong size, unknown, or on no scanout: nothing changes.
    let elsewhere = CursorPosition {
        scanout: 9,
        ..position
    };
    for bad in [
        UpdateCursor {
            resource: 2,
            ..update
        },
        UpdateCursor {
            resource: 3,
            ..update
        },
        UpdateCursor {
            position: elsewhere,
            ..update
        },
    ] {
        world.send(Command::UpdateCursor(bad));
        assert_eq!(world.env.cursor, None);
    }
    world.send(Command::MoveCursor(UpdateCursor {
        position: CursorPosition { x: 50, ..position },
        ..UpdateCursor::default()
    }));
    let (at, moved) = world.env.cursor.take().expect("told");
    assert_eq!((at.x, moved.expect("a picture").hot_x), (50, 3));
    world.send(Command::UpdateCursor(UpdateCursor {
        resource: 0,
        ..update
    }));
    assert_eq!(world.env.cursor.take().expect("told").1, None);
    assert!(world.env.completions.iter().all(|c| c.response.is_empty()));
}

#[test]
fn display_info_and_edid_follow_the_display_and_raise_an_event() {
    let mut world = World::new();
    let size = |w, h| DisplaySize::new(w, h).expect("a size");
    let mode = |world: &mut World| match world.ask(Command::GetDisplayInfo) {
        Response::DisplayInfo(modes) => modes[0],
        other => panic!("{other:?}"),
    };
    assert_eq!(mode(&mut world).rect, Rect::new(0, 0, 1024, 768));
    assert_eq!(
        world.gpu.config_space(),
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]
    );
    assert_eq!(world.gpu.set_display(0, Some(size(1024, 768))), Ok(false));
    assert_eq!(world.gpu.set_display(0, Some(size(800, 600))), Ok(true));
    assert_eq!(world.gpu.config_space()[0], 1);
    assert_eq!(mode(&mut world).rect, Rect::new(0, 0, 800, 600));
    let reply = world.ask(Command::GetEdid { scanout: 0 });
    assert_eq!(reply, Response::Edid(edid(size(800, 600)).to_vec()));
    // Only ones written to the right word clear an event.
    for (offset, data) in [
        (4, [2, 0, 0, 0]),
        (0, [1, 0, 0, 0]),
        (5, [1, 0, 0, 0]),
        (u64::MAX, [1; 4]),
    ] {
        world.gpu.write_config(offset, &data);
        assert_eq!(world.gpu.config_space()[0], 1);
    }
    world.gpu.write_config(4, &[1]);
    assert_eq!(world.gpu.config_space()[0], 1);
    world.gpu.write_config(4, &[1, 0, 0, 0]);
    assert_eq!(world.gpu.config_space()[0], 0);
    assert_eq!(world.gpu.set_display(0, None), Ok(true));
    assert!(!mode(&mut world).enabled);
    assert!(matches!(
        world.ask(Command::GetEdid { scanout: 0 }),
        Response::Edid(_)
    ));
    world.refused(Command::GetEdid { scanout: 1 }, ErrorCode::InvalidParameter);
    assert_eq!(
        world.gpu.set_display(1, None),
        Err(ConfigError::UnknownScanout(1))
    );
}

#[test]
fn an_edid_can_be_fixed() {
    let fixed = DisplaySize::new(1280, 800).expect("a size");
    let scanouts = vec![ScanoutConfig {
        display: None,
        edid: Some(fixed),
    }];
    let mut world = World::with(
        GpuConfig {
            scanouts,
            ..config()
        },
        MemfdRenderer::builder(),
    );
    world
        .gpu
        .set_display(0, Some(DisplaySize::default()))
        .expect("scanout 0");
    let reply = world.ask(Command::GetEdid { scanout: 0 });
    assert_eq!(reply, Response::Edid(edid(fixed).to_vec()));
}

#[test]
fn configurations_are_checked() {
    let make =
        |config: GpuConfig| GpuCore::new(config, Box::new(MemfdRenderer::builder().build())).err();
    let scanouts = |n| GpuConfig {
        scanouts: vec![ScanoutConfig::default(); n],
        ..config()
    };
    assert_eq!(make(scanouts(0)), Some(ConfigError::Scanouts(0)));
    assert_eq!(make(scanouts(17)), Some(ConfigError::Scanouts(17)));
    assert_eq!(make(scanouts(16)), None);
    assert_eq!(
        make(GpuConfig {
            window: 100,
            ..config()
        }),
        Some(ConfigError::Window(100))
    );
    assert_eq!(
        make(GpuConfig {
            features: 0x61,
            ..config()
        }),
        Some(ConfigError::Features(0x60))
    );
}
