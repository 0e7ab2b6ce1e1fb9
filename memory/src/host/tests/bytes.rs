//! Tests of borrowed bytes against a plain vector, at every bound and alignment.

use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::super::{Backing, BytesError, VolatileBytes};

const LEN: usize = 192;

#[derive(Clone, Debug)]
enum Op {
    Read {
        at: u64,
        len: usize,
    },
    Write {
        at: u64,
        data: Vec<u8>,
    },
    Fill {
        at: u64,
        len: u64,
        byte: u8,
    },
    Move {
        from: u64,
        to: u64,
        len: u64,
    },
    Load {
        at: u64,
        size: u8,
        order: Ordering,
    },
    Store {
        at: u64,
        size: u8,
        value: u64,
        order: Ordering,
    },
    Exchange {
        at: u64,
        size: u8,
        hit: bool,
        new: u64,
    },
    Fixed {
        at: u64,
        size: u8,
        value: u64,
    },
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![
        12 => 0..LEN as u64,
        2 => LEN as u64 - 9..LEN as u64 + 3,
        1 => u64::MAX - 9..=u64::MAX,
    ]
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0_usize..10, 3 => 0..LEN, 1 => LEN - 2..LEN + 3]
}

fn size() -> impl Strategy<Value = u8> {
    prop_oneof![8 => prop::sample::select(vec![1_u8, 2, 4, 8]), 1 => 0_u8..12]
}

fn order() -> impl Strategy<Value = Ordering> {
    prop::sample::select(vec![
        Ordering::Relaxed,
        Ordering::Acquire,
        Ordering::Release,
        Ordering::AcqRel,
        Ordering::SeqCst,
    ])
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (offset(), length()).prop_map(|(at, len)| Op::Read { at, len }),
        (
            offset(),
            length().prop_flat_map(|len| prop::collection::vec(any::<u8>(), len))
        )
            .prop_map(|(at, data)| Op::Write { at, data }),
        (
            offset(),
            prop_oneof![8 => length().prop_map(|len| len as u64), 1 => Just(u64::MAX)],
            any::<u8>()
        )
            .prop_map(|(at, len, byte)| Op::Fill { at, len, byte }),
        (offset(), offset(), length()).prop_map(|(from, to, len)| Op::Move {
            from,
            to,
            len: len as u64
        }),
        (offset(), size(), order()).prop_map(|(at, size, order)| Op::Load { at, size, order }),
        (offset(), size(), any::<u64>(), order()).prop_map(|(at, size, value, order)| Op::Store {
            at,
            size,
            value,
            order
        }),
        (offset(), size(), any::<bool>(), any::<u64>())
            .prop_map(|(at, size, hit, new)| Op::Exchange { at, size, hit, new }),
        (offset(), size(), any::<u64>()).prop_map(|(at, size, value)| Op::Fixed {
            at,
            size,
            value
        }),
    ]
}

/// The part of the model that an access spans; `None` where it is not inside.
fn span(model: &mut [u8], at: u64, len: u64) -> Option<&mut [u8]> {
    let end = usize::try_from(at.checked_add(len)?).ok()?;
    model.get_mut(usize::try_from(at).ok()?..end)
}

fn number(bytes: &[u8]) -> u64 {
    let mut all = [0; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(all)
}

fn outside(at: u64, len: u8) -> BytesError {
    BytesError::OutOfBounds {
        offset: at,
        len: len.into(),
        size: LEN as u64,
    }
}

/// The operation on a vector and on the bytes; both must say and leave the same.
fn run(bytes: VolatileBytes<'_>, model: &mut [u8], op: Op) -> Result<(), TestCaseError> {
    let real_size = |size| matches!(size, 1 | 2 | 4 | 8);
    match op {
        Op::Read { at, len } => {
            let mut buf = vec![0xee; len];
            let result = bytes.read(at, &mut buf);
            if let Some(expected) = span(model, at, len as u64) {
                prop_assert_eq!(result, Ok(()));
                prop_assert_eq!(&buf, expected);
            } else {
                let error = BytesError::OutOfBounds {
                    offset: at,
                    len: len as u64,
                    size: LEN as u64,
                };
                prop_assert_eq!(result, Err(error));
                prop_assert!(buf.iter().all(|&byte| byte == 0xee), "touched");
            }
        }
        Op::Write { at, data } => {
            let inside = span(model, at, data.len() as u64).map(|to| to.copy_from_slice(&data));
            prop_assert_eq!(bytes.write(at, &data).is_ok(), inside.is_some());
        }
        Op::Fill { at, len, byte } => {
            let inside = span(model, at, len).map(|to| to.fill(byte));
            prop_assert_eq!(bytes.fill(at, len, byte).is_ok(), inside.is_some());
        }
        Op::Move { from, to, len } => {
            let source = span(model, from, len).map(|from| from.to_vec());
            let (source_bytes, target) = (bytes.subslice(from, len), bytes.subslice(to, len));
            prop_assert_eq!(source_bytes.is_some(), source.is_some());
            prop_assert_eq!(target.is_some(), span(model, to, len).is_some());
            if let (Some(source), Some(source_bytes), Some(target)) = (source, source_bytes, target)
            {
                prop_assert_eq!(source_bytes.copy_to(target), Ok(()));
                span(model, to, len)
                    .expect("inside")
                    .copy_from_slice(&source);
            }
        }
        Op::Load { at, size, order } => {
            let expected = span(model, at, size.into()).filter(|_| real_size(size));
            prop_assert_eq!(bytes.load(at, size, order), expected.map(|it| number(it)));
        }
        Op::Store {
            at,
            size,
            value,
            order,
        } => {
            let result = bytes.store(at, size, value, order);
            match span(model, at, size.into()) {
                Some(_) if !real_size(size) => {
                    prop_assert_eq!(result, Err(BytesError::Size { size }));
                }
                Some(to) => {
                    prop_assert_eq!(result, Ok(()));
                    to.copy_from_slice(&value.to_le_bytes()[..usize::from(size)]);
                }
                None => prop_assert_eq!(result, Err(outside(at, size))),
            }
        }
        Op::Exchange { at, size, hit, new } => exchange(bytes, model, at, size, hit, new)?,
        Op::Fixed { at, size, value } => fixed(bytes, model, at, size, value)?,
    }
    Ok(())
}

fn exchange(
    bytes: VolatileBytes<'_>,
    model: &mut [u8],
    at: u64,
    size: u8,
    hit: bool,
    new: u64,
) -> Result<(), TestCaseError> {
    let there = span(model, at, size.into());
    let old = there
        .as_ref()
        .filter(|it| it.len() <= 8)
        .map_or(0, |it| number(it));
    let current = if hit { old } else { old ^ 1 };
    let result = bytes.compare_exchange(at, size, current, new);
    match there {
        _ if !matches!(size, 1 | 2 | 4 | 8) => {
            prop_assert_eq!(result, Err(BytesError::Size { size }));
        }
        None => prop_assert_eq!(result, Err(outside(at, size))),
        Some(_) if !(bytes.as_ptr().addr() as u64 + at).is_multiple_of(size.into()) => {
            prop_assert_eq!(result, Err(BytesError::Misaligned { offset: at, size }));
        }
        Some(to) => {
            prop_assert_eq!(result, Ok(old));
            if hit {
                to.copy_from_slice(&new.to_le_bytes()[..usize::from(size)]);
            }
        }
    }
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low bytes are what is stored"
)]
fn fixed(
    bytes: VolatileBytes<'_>,
    model: &mut [u8],
    at: u64,
    size: u8,
    value: u64,
) -> Result<(), TestCaseError> {
    let (stored, loaded) = match size {
        1 => (
            bytes.store_u8(at, value as u8),
            bytes.load_u8(at).map(u64::from),
        ),
        2 => (
            bytes.store_u16(at, value as u16),
            bytes.load_u16(at).map(u64::from),
        ),
        4 => (
            bytes.store_u32(at, value as u32),
            bytes.load_u32(at).map(u64::from),
        ),
        8 => (bytes.store_u64(at, value), bytes.load_u64(at)),
        _ => return Ok(()),
    };
    let to = span(model, at, size.into());
    prop_assert_eq!(stored.is_ok(), to.is_some());
    let expected = to.map(|to| {
        to.copy_from_slice(&value.to_le_bytes()[..usize::from(size)]);
        number(to)
    });
    prop_assert_eq!(loaded, expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Any sequence of operations, on bytes that start at any alignment, does what it does to a vector, and nothing outside.
    #[cfg(target_endian = "little")]
    #[test]
    fn bytes_behave_like_a_vector(skew in 0_u64..16, ops in prop::collection::vec(op(), 1..40)) {
        let backing = Backing::anonymous(skew + LEN as u64 + 16).expect("memory");
        let whole = backing.bytes();
        whole.fill(0, whole.len(), 0xa5).expect("inside");
        let bytes = whole.subslice(skew, LEN as u64).expect("inside");
        let mut model = vec![0xa5; LEN];
        for op in ops {
            run(bytes, &mut model, op)?;
            let mut now = vec![0; LEN];
            bytes.read(0, &mut now).expect("inside");
            prop_assert_eq!(&now, &model);
        }
        let skew = usize::try_from(skew).expect("small");
        let mut all = vec![0; skew + LEN + 16];
        whole.read(0, &mut all).expect("inside");
        all.drain(skew..skew + LEN);
        prop_assert!(all.iter().all(|&byte| byte == 0xa5), "a write went outside");
    }
}

#[test]
fn the_last_byte_is_inside_and_the_next_one_is_not() {
    let backing = Backing::anonymous(100).expect("memory");
    let bytes = backing.bytes();
    assert_eq!(bytes.len(), 100);
    assert_eq!(bytes.load_u64(92), Some(0));
    for at in [93, 99, 100, 101, u64::MAX - 7, u64::MAX] {
        assert_eq!(bytes.load_u64(at), None, "{at:#x}");
        let error = BytesError::OutOfBounds {
            offset: at,
            len: 8,
            size: 100,
        };
        assert_eq!(bytes.store_u64(at, 1), Err(error));
    }
    assert!(bytes.subslice(100, 0).expect("empty at the end").is_empty());
    assert!(bytes.subslice(101, 0).is_none());
    assert_eq!(bytes.read(100, &mut []), Ok(()));
    assert!(bytes.read(101, &mut []).is_err());
    assert!(bytes.fill(1, u64::MAX, 0).is_err());
    let short = bytes.subslice(0, 3).expect("inside");
    let error = BytesError::OutOfBounds {
        offset: 0,
        len: 100,
        size: 3,
    };
    assert_eq!(bytes.copy_to(short), Err(error));
    assert_eq!(short.copy_to(bytes), Ok(()));
}

#[test]
fn a_read_only_borrow_refuses_writes_and_leaves_the_lender_alone() {
    let backing = Backing::anonymous(16).expect("memory");
    let lent = backing.bytes().read_only();
    assert_eq!(lent.write(1, &[7]), Err(BytesError::ReadOnly { offset: 1 }));
    assert!(!lent.subslice(0, 4).expect("inside").is_writable());
    backing.bytes().write(1, &[7]).expect("inside");
    assert_eq!(lent.load_u8(1), Some(7));
}
