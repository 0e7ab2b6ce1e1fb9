//! What counts as the same reply, and what does not.

use hw_virtio_gpu::{
    edid::{DisplaySize, edid},
    wire::{DisplayMode, ErrorCode, Rect},
};

use super::*;

fn fenced() -> Header {
    Header {
        kind: 0x100,
        flags: Header::FENCE | Header::RING_IDX,
        fence_id: 3,
        ctx_id: 2,
        ring_idx: 1,
    }
}

fn same_reply(one: &Response, other: &Response) -> bool {
    compare(&one.encode(&fenced()), &other.encode(&fenced())).is_ok()
}

#[test]
fn type_length_and_every_fence_field_count() {
    let expected = Response::Ok.encode(&fenced());
    assert_eq!(compare(&expected, &expected), Ok(()));
    for byte in [0, 4, 8, 15, 16, 20] {
        let mut actual = expected.clone();
        actual[byte] ^= 4;
        assert!(
            matches!(compare(&expected, &actual), Err(Mismatch::Header { .. })),
            "{byte}"
        );
    }
    assert!(matches!(
        compare(&expected, &[]),
        Err(Mismatch::Length { .. })
    ));
    assert!(matches!(
        compare(&[], &expected),
        Err(Mismatch::Length { .. })
    ));
    assert!(compare(&expected, &expected[..20]).is_err());
    let longer = [&expected[..], &[0]].concat();
    assert!(matches!(
        compare(&expected, &longer),
        Err(Mismatch::Length { .. })
    ));
    let error = Response::Error(ErrorCode::Unspecified);
    assert!(!same_reply(
        &error,
        &Response::Error(ErrorCode::InvalidParameter)
    ));
    assert_eq!(compare(&[], &[]), Ok(()));
}

#[test]
fn payloads_count_where_the_driver_depends_on_them() {
    let capset = |id| Response::CapsetInfo {
        id,
        max_version: 1,
        max_size: 16,
    };
    assert!(same_reply(&capset(2), &capset(2)));
    assert!(!same_reply(&capset(2), &capset(5)));
    assert!(same_reply(
        &Response::Capset(vec![1; 16]),
        &Response::Capset(vec![2; 16])
    ));
    assert!(!same_reply(
        &Response::Capset(vec![1; 16]),
        &Response::Capset(vec![1; 17])
    ));
    let cached = Response::MapInfo(MapCaching::Cached);
    assert!(!same_reply(&cached, &Response::MapInfo(MapCaching::None)));
    let info = |width| {
        let mut modes = Box::new([DisplayMode::default(); 16]);
        modes[0] = DisplayMode {
            rect: Rect::new(0, 0, width, 600),
            enabled: true,
            flags: 0,
        };
        Response::DisplayInfo(modes)
    };
    assert!(same_reply(&info(800), &info(800)));
    assert!(!same_reply(&info(800), &info(801)));
}

#[test]
fn an_edid_is_to_be_valid_and_to_prefer_the_same_size() {
    let of = |width, height| {
        let size = DisplaySize::new(width, height).expect("a size");
        edid(size).to_vec()
    };
    let good = of(1024, 768);
    let reply = |edid: &[u8]| Response::Edid(edid.to_vec());
    let mut other_name = good.clone();
    other_name.swap(77, 78);
    assert!(same_reply(&reply(&good), &reply(&other_name)));
    assert!(!same_reply(&reply(&good), &reply(&of(1024, 769))));
    for byte in [0, 20, 54, 127] {
        let mut bad = good.clone();
        bad[byte] ^= 1;
        assert!(!same_reply(&reply(&good), &reply(&bad)), "{byte}");
    }
    assert!(!same_reply(&reply(&good), &reply(&good[..127])));
    assert!(!same_reply(&reply(&good), &reply(&[])));
}
