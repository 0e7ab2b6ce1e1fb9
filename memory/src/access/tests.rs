//! Tests of the access arithmetic against a naive model, and the cases that reimplementations get wrong.

use proptest::prelude::*;

use super::{
    AccessRules, ByteOrder, Endian, MemTx, MemTxError, RulesError, SizeRange, chunk_len, is_valid,
    read, swap_to, write,
};

const SIZES: [u8; 4] = [1, 2, 4, 8];
const SIZES_OR_UNSAID: [u8; 5] = [0, 1, 2, 4, 8];
const ENDIANS: [Endian; 3] = [Endian::Native, Endian::Little, Endian::Big];
const OFFSETS: [u64; 12] = [
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    0x1001,
    0xfff8,
    0xffff_ffff_ffff_fffd,
];

/// The model thinks in bytes as they lie on the bus, in ascending order of addresses, and never shifts.
mod model {
    use super::{AccessRules, ByteOrder};

    pub(super) fn width(rules: AccessRules, size: u8) -> u8 {
        let max = if rules.implemented.max == 0 {
            4
        } else {
            rules.implemented.max
        };
        let mut width = size;
        while width > max {
            width /= 2;
        }
        while width < rules.implemented.min {
            width *= 2;
        }
        width
    }

    /// The bytes of a value of `width` bytes in address order.
    fn on_the_bus(order: ByteOrder, width: u8, value: u64) -> Vec<u8> {
        let mut bytes = value.to_le_bytes()[..usize::from(width)].to_vec();
        if order == ByteOrder::Big {
            bytes.reverse();
        }
        bytes
    }

    fn value_of(order: ByteOrder, bytes: &[u8]) -> u64 {
        let mut all = [0; 8];
        for (at, &byte) in bytes.iter().enumerate() {
            let place = match order {
                ByteOrder::Little => at,
                ByteOrder::Big => bytes.len() - 1 - at,
            };
            all[place] = byte;
        }
        u64::from_le_bytes(all)
    }

    pub(super) fn read(
        rules: AccessRules,
        offset: u64,
        size: u8,
        device: &mut dyn FnMut(u64, u8) -> u64,
    ) -> u64 {
        let order = rules.endian.order();
        let width = width(rules, size);
        let mut bus = Vec::new();
        while bus.len() < usize::from(size) {
            let at = offset.wrapping_add(bus.len() as u64);
            bus.extend(on_the_bus(order, width, device(at, width)));
        }
        // More bytes than asked for: behind the value on the bus. They stay above it only where later bytes are higher ones.
        if order == ByteOrder::Big {
            bus.truncate(usize::from(size));
        }
        value_of(order, &bus)
    }

    pub(super) fn write(
        rules: AccessRules,
        offset: u64,
        size: u8,
        value: u64,
    ) -> Vec<(u64, u8, u64)> {
        let order = rules.endian.order();
        let width = width(rules, size);
        let mut bus = on_the_bus(order, size, value);
        bus.resize(usize::from(size.max(width)), 0);
        bus.chunks(usize::from(width))
            .enumerate()
            .map(|(index, bytes)| {
                let at = offset.wrapping_add(index as u64 * u64::from(width));
                (at, width, value_of(order, bytes))
            })
            .collect()
    }

    pub(super) fn chunk(rules: AccessRules, offset: u64, remaining: usize) -> usize {
        let max = if rules.valid.max == 0 {
            4
        } else {
            rules.valid.max
        };
        [8, 4, 2, 1]
            .into_iter()
            .find(|&chunk| {
                chunk <= remaining
                    && chunk <= usize::from(max)
                    && (rules.implemented.unaligned || offset.is_multiple_of(chunk as u64))
            })
            .unwrap_or(0)
    }

    pub(super) fn valid(rules: AccessRules, offset: u64, size: u8) -> bool {
        let valid = rules.valid;
        if !valid.unaligned && !offset.is_multiple_of(u64::from(size)) {
            return false;
        }
        valid.max == 0 || (valid.min..=valid.max).contains(&size)
    }
}

fn ranges() -> impl Iterator<Item = SizeRange> {
    SIZES_OR_UNSAID.into_iter().flat_map(|min| {
        SIZES_OR_UNSAID.into_iter().flat_map(move |max| {
            [false, true].map(|unaligned| SizeRange {
                min,
                max,
                unaligned,
            })
        })
    })
}

fn all_rules() -> impl Iterator<Item = AccessRules> {
    ENDIANS.into_iter().flat_map(|endian| {
        ranges().flat_map(move |valid| {
            ranges().map(move |implemented| AccessRules {
                endian,
                valid,
                implemented,
            })
        })
    })
}

/// A device whose answer tells everything about the question, stray high bits included.
fn answer(offset: u64, width: u8) -> u64 {
    (offset ^ 0x0123_4567_89ab_cdef)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(u32::from(width))
}

#[test]
fn the_matrix_of_rules_agrees_with_the_model() {
    let mut cases = 0;
    for rules in all_rules().filter(|rules| rules.check().is_ok()) {
        for size in SIZES {
            for offset in OFFSETS {
                let case = format!("{rules:?} offset {offset:#x} size {size}");
                assert_eq!(
                    is_valid(rules, offset, size),
                    model::valid(rules, offset, size),
                    "{case}"
                );

                let (mut calls, mut expected_calls) = (Vec::new(), Vec::new());
                let (value, result) = read(rules, offset, size, |at, width| {
                    calls.push((at, width));
                    (answer(at, width), MemTx::OK)
                });
                let expected = model::read(rules, offset, size, &mut |at, width| {
                    expected_calls.push((at, width));
                    answer(at, width)
                });
                assert_eq!((value, result), (expected, MemTx::OK), "{case}");
                assert_eq!(calls, expected_calls, "{case}");

                let value = answer(offset, 9) >> (64 - 8 * u32::from(size));
                let mut written = Vec::new();
                let result = write(rules, offset, size, value, |at, width, part| {
                    written.push((at, width, part));
                    MemTx::OK
                });
                assert_eq!(result, MemTx::OK);
                assert_eq!(written, model::write(rules, offset, size, value), "{case}");
                cases += 1;
            }
        }
        for remaining in (0..=17).chain([usize::MAX]) {
            for offset in OFFSETS {
                assert_eq!(
                    chunk_len(rules, offset, remaining),
                    model::chunk(rules, offset, remaining),
                    "{rules:?} offset {offset:#x} remaining {remaining}"
                );
            }
        }
    }
    assert!(cases > 10_000, "the matrix has shrunk to {cases} cases");
}

#[test]
fn byte_orders_meet_in_one_swap_of_the_whole_value() {
    let value = 0x8877_6655_4433_2211_u64;
    for endian in ENDIANS {
        let rules = AccessRules {
            endian,
            ..AccessRules::DEFAULT
        };
        for requested in ENDIANS {
            for size in SIZES {
                let low = value & (u64::MAX >> (64 - 8 * u32::from(size)));
                let mut bytes = value.to_le_bytes()[..usize::from(size)].to_vec();
                if endian.order() != requested.order() {
                    bytes.reverse();
                }
                bytes.resize(8, 0);
                let expected = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
                let swapped = swap_to(rules, requested, size, low);
                assert_eq!(
                    swapped, expected,
                    "{endian:?} to {requested:?}, {size} bytes"
                );
                assert_eq!(
                    swap_to(rules, requested, size, swapped),
                    low,
                    "its own inverse"
                );
            }
        }
    }
    // Stray bits above the size: gone with a swap, kept without one.
    let big = AccessRules {
        endian: Endian::Big,
        ..AccessRules::DEFAULT
    };
    assert_eq!(swap_to(big, Endian::Little, 2, 0xffff_1234), 0x3412);
    assert_eq!(swap_to(big, Endian::Big, 2, 0xffff_1234), 0xffff_1234);
    assert_eq!(swap_to(big, Endian::Little, 1, 0xff12), 0xff12);
}

#[test]
fn native_is_the_targets_order() {
    assert_eq!(Endian::Native.order(), ByteOrder::TARGET);
    assert_eq!(Endian::Native.order_on(ByteOrder::Big), ByteOrder::Big);
    assert_eq!(Endian::Little.order_on(ByteOrder::Big), ByteOrder::Little);
    assert_eq!(
        Endian::from(ByteOrder::Big).order_on(ByteOrder::Little),
        ByteOrder::Big
    );
}

fn wide_only(endian: Endian) -> AccessRules {
    AccessRules {
        endian,
        valid: SizeRange::new(1, 4),
        implemented: SizeRange::new(4, 4),
    }
}

#[test]
fn a_narrow_access_to_a_wide_only_device_arrives_at_its_own_offset() {
    for (endian, read_value, written) in [
        (Endian::Little, 0xa1b2_c3d4, 0x5a),
        (Endian::Big, 0xa1, 0x5a00_0000),
    ] {
        let mut calls = Vec::new();
        let (value, _) = read(wide_only(endian), 0x37, 1, |at, width| {
            calls.push((at, width));
            (0xa1b2_c3d4, MemTx::OK)
        });
        assert_eq!(calls, [(0x37, 4)], "not aligned down to 0x34");
        // Little: what the device returns above the size is left to the caller to cut.
        assert_eq!(value, read_value, "{endian:?}");

        let mut calls = Vec::new();
        let _ = write(wide_only(endian), 0x37, 1, 0x5a, |at, width, part| {
            calls.push((at, width, part));
            MemTx::OK
        });
        assert_eq!(calls, [(0x37, 4, written)], "{endian:?}");
    }
}

#[test]
fn a_wide_access_is_made_in_ascending_order_whatever_the_byte_order() {
    for (endian, value) in [
        (Endian::Little, 0x0000_0014_0000_0010),
        (Endian::Big, 0x0000_0010_0000_0014),
    ] {
        // Nothing is said about implemented sizes: at most 4 bytes.
        let rules = AccessRules {
            endian,
            valid: SizeRange::new(1, 8),
            ..AccessRules::DEFAULT
        };
        let mut order = Vec::new();
        let (read_value, _) = read(rules, 0x10, 8, |at, width| {
            order.push((at, width));
            (at, MemTx::OK)
        });
        assert_eq!(order, [(0x10, 4), (0x14, 4)], "{endian:?}");
        assert_eq!(read_value, value, "{endian:?}");

        let mut written = Vec::new();
        let _ = write(rules, 0x10, 8, value, |at, width, part| {
            written.push((at, width, part));
            MemTx::OK
        });
        assert_eq!(written, [(0x10, 4, 0x10), (0x14, 4, 0x14)], "{endian:?}");
    }
}

#[test]
fn what_a_callback_returns_above_its_width_is_cut() {
    let rules = AccessRules {
        implemented: SizeRange::new(1, 2),
        ..AccessRules::DEFAULT
    };
    assert_eq!(
        read(rules, 0, 4, |_, _| (0xdead_1234, MemTx::OK)).0,
        0x1234_1234
    );
    let _ = write(rules, 0, 4, 0xffff_ffff, |_, width, part| {
        assert_eq!((width, part), (2, 0xffff));
        MemTx::OK
    });
}

#[test]
fn results_are_united_and_a_failure_stops_nothing() {
    let rules = AccessRules {
        valid: SizeRange::new(1, 8),
        implemented: SizeRange::new(1, 2),
        ..AccessRules::DEFAULT
    };
    let results = [MemTx::ERROR, MemTx::OK, MemTx::ACCESS_ERROR, MemTx::OK];
    let mut next = results.into_iter();
    let (value, result) = read(rules, 0, 8, |_, _| (1, next.next().expect("four calls")));
    assert_eq!(value, 0x0001_0001_0001_0001);
    assert_eq!(result.bits(), 5);
    let mut next = results.into_iter();
    assert_eq!(
        write(rules, 0, 8, 0, |_, _, _| next.next().expect("four calls")).bits(),
        5
    );
    assert_eq!(next.next(), None);
}

#[test]
fn a_chunk_below_the_smallest_valid_size_is_made_and_rejected() {
    let rules = AccessRules {
        valid: SizeRange::new(4, 4),
        ..AccessRules::DEFAULT
    };
    // Six bytes at 0: a good chunk, then a bad one.
    assert_eq!(chunk_len(rules, 0, 6), 4);
    assert!(is_valid(rules, 0, 4));
    assert_eq!(chunk_len(rules, 4, 2), 2);
    assert!(!is_valid(rules, 4, 2));
    // An unaligned word is cut into chunks that are too small.
    assert_eq!(chunk_len(rules, 2, 4), 2);
    assert!(!is_valid(rules, 2, 2));
}

#[test]
fn nothing_said_means_chunks_of_four_and_every_aligned_size() {
    let rules = AccessRules::DEFAULT;
    assert_eq!(rules, AccessRules::default());
    assert_eq!(chunk_len(rules, 0, 64), 4);
    assert!(SIZES.into_iter().all(|size| is_valid(rules, 8, size)));
    assert!(!is_valid(rules, 2, 4));
    // Offset 0 is aligned to everything.
    let wide = AccessRules {
        valid: SizeRange::new(1, 8),
        ..rules
    };
    assert_eq!(chunk_len(wide, 0, 64), 8);
    assert_eq!(chunk_len(wide, 12, 64), 4);
}

#[test]
fn unaligned_accesses_are_cut_unless_they_are_implemented() {
    let valid_only = AccessRules {
        valid: SizeRange::new(1, 4).unaligned(),
        implemented: SizeRange::new(1, 4),
        ..AccessRules::DEFAULT
    };
    assert_eq!(chunk_len(valid_only, 1, 4), 1);
    let both = AccessRules {
        implemented: SizeRange::new(1, 4).unaligned(),
        ..valid_only
    };
    assert_eq!(chunk_len(both, 1, 4), 4);
    assert!(is_valid(both, 1, 4));
    assert_eq!(
        chunk_len(both, 1, 3),
        2,
        "lengths are cut to powers of two all the same"
    );
}

#[test]
fn rules_that_cannot_be_obeyed_are_found() {
    let unaligned = AccessRules {
        implemented: SizeRange::UNSAID.unaligned(),
        ..AccessRules::DEFAULT
    };
    assert_eq!(unaligned.check(), Err(RulesError::UnalignedNotValid));
    for (min, max) in [(3, 4), (1, 16), (4, 2), (0, 255)] {
        let expected = |which| Err(RulesError::Sizes { which, min, max });
        let valid = AccessRules {
            valid: SizeRange::new(min, max),
            ..AccessRules::DEFAULT
        };
        assert_eq!(valid.check(), expected("valid"));
        let implemented = AccessRules {
            implemented: SizeRange::new(min, max),
            ..AccessRules::DEFAULT
        };
        assert_eq!(implemented.check(), expected("implemented"));
    }
}

#[test]
fn results_become_errors_and_come_back() {
    let bits = [MemTx::ERROR, MemTx::DECODE_ERROR, MemTx::ACCESS_ERROR];
    let errors = [MemTxError::DEVICE, MemTxError::DECODE, MemTxError::ACCESS];
    for (bit, error) in bits.into_iter().zip(errors) {
        assert_eq!(bit.ok(), Err(error));
        assert_eq!(MemTx::from(error), bit);
        assert_eq!(MemTx::from(&Err::<u64, _>(error)), bit);
    }
    assert_eq!(MemTx::OK.ok(), Ok(()));
    assert_eq!(MemTx::from(&Ok(7)), MemTx::OK);
    let both = MemTxError::DEVICE | MemTxError::ACCESS;
    assert_eq!(both.to_string(), "device error and access error");
    assert_eq!(MemTx::OK.to_string(), "ok");
}

fn any_range() -> impl Strategy<Value = SizeRange> {
    (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(min, max, unaligned)| SizeRange {
        min,
        max,
        unaligned,
    })
}

proptest! {
    /// Whatever a region declares and the guest asks: no panic, no endless loop, and a chunk is never more than what remains.
    #[test]
    fn the_functions_are_total(
        endian in prop::sample::select(ENDIANS.to_vec()),
        valid in any_range(),
        implemented in any_range(),
        offset: u64,
        size: u8,
        remaining: usize,
        value: u64,
    ) {
        let rules = AccessRules { endian, valid, implemented };
        let _ = rules.check();
        let _ = is_valid(rules, offset, size);
        let _ = swap_to(rules, Endian::Big, size, value);
        let _ = read(rules, offset, size, |_, _| (value, MemTx::OK));
        let mut calls = 0;
        let _ = write(rules, offset, size, value, |_, _, _| { calls += 1; MemTx::OK });
        prop_assert!(calls <= usize::from(size));
        let chunk = chunk_len(rules, offset, remaining);
        prop_assert!(chunk <= remaining && chunk <= 8);
        prop_assert_eq!(chunk == 0, remaining == 0);
    }

    /// The bus loop covers every byte once, with aligned powers of two.
    #[test]
    fn chunks_cover_the_access(offset in 0..u64::MAX - 4096, len in 0_usize..4096, max in prop::sample::select(vec![0, 1, 2, 4, 8])) {
        let rules = AccessRules { valid: SizeRange::new(0, max), ..AccessRules::DEFAULT };
        let (mut at, mut left) = (offset, len);
        while left > 0 {
            let chunk = chunk_len(rules, at, left);
            prop_assert!(chunk.is_power_of_two());
            prop_assert!(at.is_multiple_of(chunk as u64));
            at += chunk as u64;
            left -= chunk;
        }
        prop_assert_eq!(at, offset + len as u64);
    }
}
