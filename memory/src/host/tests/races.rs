//! Tests of bytes that several threads touch at once: nothing aligned is torn, orderings order, bulk copies do not disturb others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::super::{Backing, VolatileBytes};

const ROUNDS: u64 = 200_000;

const ENTRIES: u64 = 3_000;

type Put = fn(VolatileBytes<'_>, usize, u8);
type Get = fn(VolatileBytes<'_>, usize) -> Vec<u8>;

fn put_slice(bytes: VolatileBytes<'_>, size: usize, byte: u8) {
    bytes.write(0, &[byte; 8][..size]).expect("inside");
}

fn put_single(bytes: VolatileBytes<'_>, size: usize, byte: u8) {
    let size = u8::try_from(size).expect("small");
    let value = u64::from_ne_bytes([byte; 8]);
    bytes
        .store(0, size, value, Ordering::Relaxed)
        .expect("inside");
}

fn put_transfer(bytes: VolatileBytes<'_>, size: usize, byte: u8) {
    let len = size as u64;
    // The second line of the page is the writer's own.
    bytes.fill(64, len, byte).expect("inside");
    let source = bytes.subslice(64, len).expect("inside");
    source.copy_to(bytes).expect("inside");
}

fn get_slice(bytes: VolatileBytes<'_>, size: usize) -> Vec<u8> {
    let mut buf = vec![0; size];
    bytes.read(0, &mut buf).expect("inside");
    buf
}

fn get_single(bytes: VolatileBytes<'_>, size: usize) -> Vec<u8> {
    let narrow = u8::try_from(size).expect("small");
    let value = bytes.load(0, narrow, Ordering::Acquire).expect("inside");
    value.to_le_bytes()[..size].to_vec()
}

/// A writer that alternates two patterns of equal bytes; a reader must only ever see equal bytes.
fn is_never_torn(size: usize, put: Put, get: Get) {
    let backing = Backing::anonymous(4096).expect("memory");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..ROUNDS {
                put(backing.bytes(), size, if round & 1 == 0 { 0xff } else { 0 });
            }
            done.store(true, Ordering::Release);
        });
        let bytes = backing.bytes();
        while !done.load(Ordering::Acquire) {
            let seen = get(bytes, size);
            assert!(
                seen.iter().all(|&byte| byte == seen[0]),
                "{size} bytes were torn: {seen:x?}"
            );
        }
    });
}

#[test]
fn aligned_accesses_are_never_torn() {
    for size in [2, 4, 8] {
        for put in [put_slice as Put, put_single, put_transfer] {
            for get in [get_slice as Get, get_single] {
                is_never_torn(size, put, get);
            }
        }
    }
}

#[test]
fn a_released_index_publishes_what_was_written_before() {
    // A ring as a guest keeps it: entries by bulk copies, then the index; also through an unaligned index.
    for index_at in [2048, 2049] {
        let backing = Backing::anonymous(4096).expect("memory");
        thread::scope(|scope| {
            scope.spawn(|| {
                let bytes = backing.bytes();
                for round in 1..=ENTRIES {
                    bytes
                        .write(8 * (round % 128), &round.to_ne_bytes())
                        .expect("inside");
                    // Unaligned stores are pieces: only one byte may change at a time for the reader to make sense of it.
                    let index = if index_at == 2048 {
                        round
                    } else {
                        round & 0xff
                    };
                    bytes
                        .store(index_at, 2, index, Ordering::Release)
                        .expect("inside");
                    while bytes.load(3000, 2, Ordering::Acquire).expect("inside") != round {
                        thread::yield_now();
                    }
                }
            });
            let bytes = backing.bytes();
            for round in 1..=ENTRIES {
                let expected = if index_at == 2048 {
                    round
                } else {
                    round & 0xff
                };
                while bytes.load(index_at, 2, Ordering::Acquire).expect("inside") != expected {
                    thread::yield_now();
                }
                let mut entry = [0; 8];
                bytes.read(8 * (round % 128), &mut entry).expect("inside");
                assert_eq!(u64::from_ne_bytes(entry), round);
                bytes
                    .store(3000, 2, round, Ordering::Release)
                    .expect("inside");
            }
        });
    }
}

#[test]
fn exchanges_of_many_threads_lose_nothing() {
    const EACH: u64 = 20_000;
    let backing = Backing::anonymous(64).expect("memory");
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let bytes = backing.bytes();
                for _ in 0..EACH {
                    let mut seen = bytes.load_u64(8).expect("inside");
                    loop {
                        let there = bytes
                            .compare_exchange(8, 8, seen, seen + 1)
                            .expect("aligned");
                        if there == seen {
                            break;
                        }
                        seen = there;
                    }
                }
            });
        }
    });
    assert_eq!(backing.bytes().load_u64(8), Some(3 * EACH));
}

#[test]
fn bulk_copies_race_without_inventing_bytes() {
    let backing = Backing::anonymous(8192).expect("memory");
    backing.bytes().fill(0, 8192, 1).expect("inside");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let bytes = backing.bytes();
            for round in 0..2_000_u64 {
                let byte = if round & 1 == 0 { 2 } else { 1 };
                match round % 3 {
                    0 => bytes.fill(3, 4001, byte).expect("inside"),
                    1 => bytes.write(5, &[byte; 3997]).expect("inside"),
                    _ => {
                        let source = bytes.subslice(100, 3000).expect("inside");
                        let target = bytes.subslice(107, 3000).expect("inside");
                        source.copy_to(target).expect("inside");
                    }
                }
            }
            done.store(true, Ordering::Release);
        });
        let mut buf = vec![0; 4093];
        while !done.load(Ordering::Acquire) {
            backing.bytes().read(1, &mut buf).expect("inside");
            assert!(buf.iter().all(|&byte| byte == 1 || byte == 2));
        }
    });
    // Beyond what the writer was given nothing changed.
    let mut rest = vec![0; 4000];
    backing.bytes().read(4192, &mut rest).expect("inside");
    assert!(rest.iter().all(|&byte| byte == 1));
}
