//! A frame that a device made, written and read back.

use hw_virtio_gpu::{
    gpu::{
        Completion, GpuConfig, GpuCore, GpuEnv, MappingToken, Placement, QueueKind, QueuedCommand,
        WindowError,
    },
    guest::{GuestMemory, GuestMemoryError},
    renderer::MemfdRenderer,
    wire::{Command, Header, MemEntry, Rect, Request},
};

use super::*;

/// RAM in which each byte is its address.
struct Ram;

impl GuestMemory for Ram {
    fn read_guest(&self, addr: u64, into: &mut [u8]) -> Result<(), GuestMemoryError> {
        for (place, at) in into.iter_mut().zip(addr..) {
            *place = at.to_le_bytes()[0];
        }
        Ok(())
    }

    fn is_guest_ram(&self, _: u64, _: u64) -> bool {
        true
    }
}

impl GpuEnv for Ram {
    fn place(&mut self, _: Placement) -> Result<(), WindowError> {
        unreachable!("nothing is mapped here")
    }

    fn withdraw(&mut self, _: MappingToken) {}

    fn complete(&mut self, completion: Completion) {
        assert_eq!(completion.response[..2], [0, 0x11]);
    }
}

#[test]
fn a_picture_has_the_colours_of_the_frame() {
    let renderer = MemfdRenderer::builder().build();
    let mut gpu =
        GpuCore::new(GpuConfig::default(), Box::new(renderer)).expect("a good configuration");
    let rect = Rect::new(0, 0, 17, 16);
    // Red is the second byte of a pixel, green the third, blue the fourth.
    let commands = [
        Command::ResourceCreate2d {
            resource: 1,
            format: 4,
            width: 17,
            height: 16,
        },
        Command::ResourceAttachBacking {
            resource: 1,
            entries: vec![MemEntry { addr: 0, len: 2000 }],
        },
        Command::TransferToHost2d {
            rect,
            offset: 0,
            resource: 1,
        },
        Command::SetScanout {
            rect,
            scanout: 0,
            resource: 1,
        },
    ];
    for (head, command) in (0..).zip(commands) {
        let writable = vec![MemEntry { addr: 0, len: 24 }];
        let request = Request::new(Header::default(), command).encode();
        let queue = QueueKind::Control;
        gpu.submit(
            QueuedCommand {
                queue,
                head,
                writable,
                request,
            },
            &mut Ram,
        );
    }
    let mut file = Vec::new();
    write_png(gpu.frame(0).expect("shown"), &mut file).expect("to memory");
    let mut reader = png::Decoder::new(io::Cursor::new(file))
        .read_info()
        .expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("small")];
    let info = reader.next_frame(&mut pixels).expect("a picture");
    assert_eq!(
        (info.width, info.height, info.color_type),
        (17, 16, png::ColorType::Rgb)
    );
    let expected = (0..17 * 16_u32).flat_map(|i| (1..4).map(move |c| (i * 4 + c).to_le_bytes()[0]));
    assert_eq!(pixels, expected.collect::<Vec<_>>());

    let nowhere = save_png(
        gpu.frame(0).expect("shown"),
        "/no/such/directory/a.png".as_ref(),
    );
    assert!(
        nowhere
            .expect_err("no such directory")
            .to_string()
            .contains("/no/such")
    );
}
