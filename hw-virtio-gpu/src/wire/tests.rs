//! Layouts against bytes written out from the specification, and totality against bytes of any kind.

use proptest::{collection::vec, prelude::*};

use super::*;

/// A request's bytes from its 32-bit words.
fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn parse(bytes: &[u8]) -> Command {
    Request::parse(bytes).expect("a good request").command
}

#[test]
fn the_header_has_its_fields_where_the_specification_says() {
    let bytes = words(&[0x0207, 3, 0x5566_7788, 0x1122_3344, 9, 0xdddd_dd05]);
    let header = Header::parse(&bytes).expect("24 bytes");
    assert_eq!(header.kind, 0x0207);
    assert_eq!(header.flags, Header::FENCE | Header::RING_IDX);
    assert_eq!(header.fence_id, 0x1122_3344_5566_7788);
    assert_eq!((header.ctx_id, header.ring()), (9, Some(5)));
    assert_eq!(header.encode()[20..], [5, 0, 0, 0]);
}

#[test]
fn a_reply_echoes_the_fence_only_of_a_fenced_request() {
    let fenced = Header {
        kind: 1,
        flags: Header::FENCE | Header::RING_IDX | 0x80,
        fence_id: 7,
        ctx_id: 3,
        ring_idx: 4,
    };
    let reply = fenced.reply(0x1100);
    assert_eq!(reply.flags, Header::FENCE | Header::RING_IDX);
    assert_eq!((reply.fence_id, reply.ctx_id, reply.ring_idx), (7, 3, 4));
    let plain = Header { flags: 0, ..fenced };
    let reply = plain.reply(0x1100);
    assert_eq!((reply.flags, reply.fence_id, reply.ring_idx), (0, 0, 0));
    assert_eq!(reply.ctx_id, 3);
    let no_ring = Header {
        flags: Header::FENCE,
        ..fenced
    };
    assert_eq!(no_ring.reply(0x1100).ring_idx, 0);
}

#[test]
fn commands_have_their_fields_where_the_specification_says() {
    let header = |kind| [kind, 0, 0, 0, 0, 0];
    let with = |kind, rest: &[u32]| words(&[&header(kind)[..], rest].concat());
    assert_eq!(
        parse(&with(0x0101, &[5, 67, 640, 480])),
        Command::ResourceCreate2d {
            resource: 5,
            format: 67,
            width: 640,
            height: 480
        }
    );
    assert_eq!(
        parse(&with(0x0105, &[1, 2, 3, 4, 5, 6, 7, 0])),
        Command::TransferToHost2d {
            rect: Rect::new(1, 2, 3, 4),
            offset: 0x6_0000_0005,
            resource: 7,
        }
    );
    assert_eq!(
        parse(&with(0x0103, &[1, 2, 3, 4, 5, 6])),
        Command::SetScanout {
            rect: Rect::new(1, 2, 3, 4),
            scanout: 5,
            resource: 6
        }
    );
    assert_eq!(
        parse(&with(
            0x0106,
            &[9, 2, 0x1000, 1, 0x20, 0, 0x2000, 0, 0x30, 0]
        )),
        Command::ResourceAttachBacking {
            resource: 9,
            entries: vec![
                MemEntry {
                    addr: 0x1_0000_1000,
                    len: 0x20
                },
                MemEntry {
                    addr: 0x2000,
                    len: 0x30
                },
            ],
        }
    );
    assert_eq!(
        parse(&with(0x010c, &[1, 2, 3, 0, 4, 5, 6, 7])),
        Command::ResourceCreateBlob(CreateBlob {
            resource: 1,
            memory: 2,
            flags: 3,
            blob_id: 0x5_0000_0004,
            size: 0x7_0000_0006,
            entries: Vec::new(),
        })
    );
    let set = [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 10, 91, 92, 93, 11, 94, 95, 96];
    assert_eq!(
        parse(&with(0x010d, &set)),
        Command::SetScanoutBlob(SetScanoutBlob {
            rect: Rect::new(1, 2, 3, 4),
            scanout: 5,
            resource: 6,
            width: 7,
            height: 8,
            format: 9,
            stride: 10,
            offset: 11,
        })
    );
    assert_eq!(
        parse(&with(0x0208, &[1, 0, 2, 3])),
        Command::ResourceMapBlob {
            resource: 1,
            offset: 0x3_0000_0002
        }
    );
    assert_eq!(
        parse(&with(0x0300, &[1, 2, 3, 0, 4, 5, 6, 0])),
        Command::UpdateCursor(UpdateCursor {
            position: CursorPosition {
                scanout: 1,
                x: 2,
                y: 3
            },
            resource: 4,
            hot_x: 5,
            hot_y: 6,
        })
    );
    let transfer = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    let Command::TransferFromHost3d(transfer) = parse(&with(0x0206, &transfer)) else {
        panic!("the wrong command");
    };
    assert_eq!((transfer.area.depth, transfer.offset), (6, 0x8_0000_0007));
    assert_eq!((transfer.resource, transfer.layer_stride), (9, 12));
}

#[test]
fn a_name_is_as_long_as_said_and_never_longer_than_its_room() {
    let mut bytes = words(&[0x0200, 0, 0, 0, 1, 0, 3, 5]);
    bytes.extend([b'x'; 64]);
    assert_eq!(
        parse(&bytes),
        Command::CtxCreate {
            init: 5,
            name: b"xxx".to_vec()
        }
    );
    bytes[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        parse(&bytes),
        Command::CtxCreate {
            init: 5,
            name: vec![b'x'; 64]
        }
    );
    assert!(Request::parse(&bytes[..95]).is_err());
}

#[test]
fn counts_are_compared_with_the_bytes_before_anything_is_allocated() {
    let attach = |count| words(&[0x0106, 0, 0, 0, 0, 0, 1, count]);
    assert_eq!(
        Request::parse(&attach(u32::MAX)),
        Err(ParseError::TooManyEntries(u32::MAX))
    );
    assert_eq!(
        Request::parse(&attach(16385)),
        Err(ParseError::TooManyEntries(16385))
    );
    assert!(matches!(
        Request::parse(&attach(16384)),
        Err(ParseError::Short { .. })
    ));
    let submit = words(&[0x0207, 0, 0, 0, 1, 0, u32::MAX, 0]);
    assert!(matches!(
        Request::parse(&submit),
        Err(ParseError::Short { .. })
    ));
}

#[test]
fn replies_have_their_fields_where_the_specification_says() {
    let to = Header::default();
    let map = Response::MapInfo(MapCaching::WriteCombining).encode(&to);
    assert_eq!(map[24..], [3, 0, 0, 0, 0, 0, 0, 0]);
    let capset = Response::CapsetInfo {
        id: 2,
        max_version: 1,
        max_size: 1384,
    }
    .encode(&to);
    assert_eq!(capset[24..], words(&[2, 1, 1384, 0]));
    let edid = Response::Edid(vec![7; 128]).encode(&to);
    assert_eq!((edid.len(), &edid[24..32]), (1056, &words(&[128, 0])[..]));
    assert_eq!((edid[159], edid[160]), (7, 0));
    let mut modes = Box::new([DisplayMode::default(); MAX_SCANOUTS]);
    modes[1] = DisplayMode {
        rect: Rect::new(1, 2, 3, 4),
        enabled: true,
        flags: 0,
    };
    let info = Response::DisplayInfo(modes).encode(&to);
    assert_eq!(
        (info.len(), &info[48..72]),
        (408, &words(&[1, 2, 3, 4, 1, 0])[..])
    );
    assert_eq!(Response::ResourceUuid([9; 16]).encode(&to).len(), 40);
    assert_eq!(
        Response::Error(ErrorCode::OutOfMemory).encode(&to)[..4],
        [1, 0x12, 0, 0]
    );
}

fn command_bytes() -> impl Strategy<Value = Vec<u8>> {
    // A known type in front of anything, or anything at all; small counts now and then, so that lists are met too.
    let kind = (0..CommandKind::ALL.len()).prop_map(|i| CommandKind::ALL[i].number());
    let fields = vec(prop_oneof![0..8_u32, any::<u32>()], 0..40);
    let known = (kind, fields).prop_map(|(kind, fields)| {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend(words(&fields));
        bytes
    });
    prop_oneof![3 => known, 1 => vec(any::<u8>(), 0..200)]
}

proptest! {
    #[test]
    fn any_bytes_parse_to_a_request_that_prints_the_same_or_to_an_error(bytes in command_bytes()) {
        if let Ok(request) = Request::parse(&bytes) {
            let printed = request.encode();
            prop_assert_eq!(printed[..4].to_vec(), bytes[..4].to_vec());
            prop_assert!(printed.len() <= bytes.len());
            prop_assert_eq!(Request::parse(&printed), Ok(request));
        }
    }

    #[test]
    fn a_request_needs_all_its_bytes(bytes in command_bytes()) {
        if let Ok(request) = Request::parse(&bytes) {
            let printed = request.encode();
            for len in 0..printed.len() {
                prop_assert!(Request::parse(&printed[..len]).is_err());
            }
        }
    }

    #[test]
    fn any_bytes_parse_to_a_reply_that_prints_the_same_or_to_an_error(
        kind in prop_oneof![0x1100..0x1107_u32, 0x1200..0x1207_u32, any::<u32>()],
        rest in vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 0..1100),
    ) {
        let bytes = [&kind.to_le_bytes()[..], &rest].concat();
        if let Ok((header, reply)) = Response::parse(&bytes) {
            prop_assert_eq!(reply.number(), kind);
            prop_assert_eq!(Response::parse(&reply.encode(&header)).map(|(_, r)| r), Ok(reply));
        }
    }

    #[test]
    fn intersections_lie_in_both(a in any::<[u32; 4]>(), b in any::<[u32; 4]>()) {
        let a = Rect::new(a[0], a[1], a[2], a[3]);
        let b = Rect::new(b[0], b[1], b[2], b[3]);
        if let Some(both) = a.intersection(&b) {
            prop_assert!(!both.is_empty());
            for one in [a, b] {
                prop_assert!(both.x >= one.x && both.right() <= one.right());
                prop_assert!(both.y >= one.y && both.bottom() <= one.bottom());
            }
        }
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
    }
}
