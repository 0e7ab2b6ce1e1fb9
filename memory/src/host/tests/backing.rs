//! Tests of the life of backings: who keeps the bytes, when they go, and which requests are refused.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::super::{
    Backing, BackingCounter, BackingError, BytesError, live_backing_bytes, live_backings,
};

const PAGE: u64 = 4096;

type Make = fn(u64) -> Result<Backing, BackingError>;

fn maps() -> String {
    fs::read_to_string("/proc/self/maps").expect("the list of mappings")
}

/// A descriptor of the same file that can only be read.
fn reopened_read_only(backing: &Backing) -> File {
    let (fd, _) = backing.fd().expect("a file");
    File::open(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("the file again")
}

#[test]
fn lengths_that_no_mapping_has_are_refused() {
    let cases: [(&str, Make); 2] = [
        ("anonymous memory", Backing::anonymous),
        ("memory file `refused`", |len| {
            Backing::memfd("refused", len)
        }),
    ];
    for (kind, make) in cases {
        let error = make(0).expect_err("no bytes");
        assert!(
            matches!(error, BackingError::ZeroLength { .. }),
            "{error:?}"
        );
        assert_eq!(
            error.to_string(),
            format!("{kind}: zero bytes were asked for")
        );
        for len in [u64::MAX, u64::MAX - PAGE, 1 << 63, (1 << 63) - 1] {
            match make(len) {
                Err(BackingError::TooLong { what, len: named }) => {
                    assert_eq!((what.as_str(), named), (kind, len));
                }
                other => panic!("{kind} of {len:#x} bytes: {other:?}"),
            }
        }
    }
    // Legal for Rust, more than the processor addresses: the host refuses, and is quoted.
    let error = Backing::anonymous(1 << 62).expect_err("too much");
    assert!(
        matches!(error, BackingError::Os { call: "mmap", .. }),
        "{error:?}"
    );
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn bytes_go_with_the_last_clone_or_slice() {
    let counter = BackingCounter::new();
    let ram = Backing::anonymous_in(3 * PAGE + 5, &counter).expect("memory");
    assert_eq!(
        (ram.len(), counter.live(), counter.bytes()),
        (3 * PAGE + 5, 1, 3 * PAGE + 5)
    );
    assert!(live_backings() >= 1 && live_backing_bytes() >= 3 * PAGE + 5);

    let clone = ram.clone();
    let slice = ram.slice(PAGE, 2 * PAGE).expect("inside");
    let nested = slice.slice(PAGE, PAGE).expect("inside");
    assert!(
        nested.shares_with(&ram) && !nested.shares_with(&Backing::anonymous(1).expect("memory"))
    );
    ram.bytes().store_u32(2 * PAGE, 0x4711).expect("inside");
    for holder in [ram, clone, slice] {
        drop(holder);
        assert_eq!((counter.live(), counter.bytes()), (1, 3 * PAGE + 5));
    }
    assert_eq!(nested.bytes().load_u32(0), Some(0x4711));
    assert_eq!(nested.len(), PAGE);
    drop(nested);
    assert_eq!((counter.live(), counter.bytes()), (0, 0));
}

#[test]
fn slices_stay_inside() {
    let ram = Backing::anonymous(PAGE).expect("memory");
    let slice = ram.slice(16, 32).expect("inside");
    let error = ram.slice(16, 0).expect_err("no bytes");
    assert!(
        matches!(error, BackingError::ZeroLength { .. }),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        "a slice at 0x10 of a backing of 0x1000 bytes: zero bytes were asked for"
    );
    for (offset, len) in [
        (0, PAGE + 1),
        (PAGE, 1),
        (1, PAGE),
        (u64::MAX, 1),
        (1, u64::MAX),
        (u64::MAX, u64::MAX),
    ] {
        assert!(
            matches!(
                ram.slice(offset, len),
                Err(BackingError::OutOfBounds { size: PAGE, .. })
            ),
            "{offset:#x} {len:#x}"
        );
        assert!(ram.host().subrange(offset, len).is_none());
    }
    // The bounds are the slice's, though the whole has more.
    assert!(matches!(
        slice.slice(0, 33),
        Err(BackingError::OutOfBounds { size: 32, .. })
    ));
    assert_eq!(slice.bytes().load_u8(32), None);
    assert_eq!(
        slice.host().as_ptr().addr(),
        ram.host().as_ptr().addr() + 16
    );
}

#[test]
fn a_notifier_hears_once_the_bytes_are_really_gone() {
    const NAME: &str = "holdfast-notifier-test";
    let counter = BackingCounter::new();
    let ram = Backing::memfd(NAME, PAGE).expect("memory");
    ram.count_in(&counter);
    let heard = Arc::new(Mutex::new(Vec::new()));
    for index in 0..2 {
        let (heard, counter) = (Arc::clone(&heard), counter.clone());
        ram.on_drop(move || {
            let mapped = maps().contains(NAME);
            heard
                .lock()
                .expect("no panic")
                .push((index, mapped, counter.live()));
        });
    }
    let slice = ram.slice(0, 1).expect("inside");
    drop(ram);
    assert!(maps().contains(NAME));
    assert!(heard.lock().expect("no panic").is_empty());
    drop(slice);
    assert_eq!(
        *heard.lock().expect("no panic"),
        [(0, false, 0), (1, false, 0)]
    );
}

#[test]
fn a_memory_file_is_shared_and_cannot_be_shortened() {
    let ram = Backing::memfd("shared", 4 * PAGE).expect("memory");
    let window = ram.slice(2 * PAGE + 8, 16).expect("inside");
    let (fd, offset) = window.fd().expect("a file");
    assert_eq!(offset, 2 * PAGE + 8);
    let nested = window.slice(4, 4).expect("inside");
    assert_eq!(nested.fd().expect("a file").1, 2 * PAGE + 12);
    let fd = fd.try_clone_to_owned().expect("a second descriptor");
    let file = File::from(fd.try_clone().expect("a third descriptor"));
    assert!(file.set_len(PAGE).is_err() && file.set_len(8 * PAGE).is_err());
    assert_eq!(file.metadata().expect("metadata").len(), 4 * PAGE);

    let other = Backing::file(fd, 2 * PAGE, 2 * PAGE, true).expect("a window");
    window.bytes().store_u64(0, 0x4711).expect("inside");
    assert_eq!(other.bytes().load_u64(8), Some(0x4711));
    assert_eq!(
        other.slice(8, 8).expect("inside").fd().expect("a file").1,
        2 * PAGE + 8
    );
    // Another mapping of the same file is another whole.
    assert!(!other.shares_with(&ram));
    drop((ram, window, nested));
    assert_eq!(other.bytes().load_u64(8), Some(0x4711));

    assert!(matches!(
        Backing::memfd("a\0b", PAGE),
        Err(BackingError::Name(_))
    ));
    let long = "x".repeat(250);
    assert!(matches!(
        Backing::memfd(&long, PAGE),
        Err(BackingError::Os {
            call: "memfd_create",
            ..
        })
    ));
}

#[test]
fn windows_of_files_are_checked() {
    let ram = Backing::memfd("windows", 2 * PAGE + 10).expect("memory");
    let fd = || -> OwnedFd {
        ram.fd()
            .expect("a file")
            .0
            .try_clone_to_owned()
            .expect("a descriptor")
    };
    assert!(Backing::file(fd(), PAGE, PAGE + 10, true).is_ok());
    let error = Backing::file(fd(), PAGE, 0, true).expect_err("no bytes");
    assert!(
        matches!(error, BackingError::ZeroLength { .. }),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .starts_with("a window at 0x1000 of file descriptor "),
        "{error}"
    );
    assert!(matches!(
        Backing::file(fd(), 512, 8, true),
        Err(BackingError::MisalignedOffset {
            offset: 512,
            granule: PAGE
        })
    ));
    for (offset, len) in [
        (PAGE, PAGE + 11),
        (4 * PAGE, 1),
        (u64::MAX - PAGE + 1, PAGE),
        (0, 1 << 40),
    ] {
        match Backing::file(fd(), offset, len, true) {
            Err(BackingError::FileTooShort { size, .. }) => assert_eq!(size, 2 * PAGE + 10),
            other => panic!("{len:#x} bytes at {offset:#x}: {other:?}"),
        }
    }
}

#[test]
fn a_read_only_file_is_never_written() {
    let ram = Backing::memfd("read-only", PAGE).expect("memory");
    ram.bytes().store_u64(0, 0x4711).expect("inside");
    let rom = Backing::file(reopened_read_only(&ram), 0, PAGE, false).expect("a window");
    assert!(!rom.is_writable() && !rom.host().is_writable() && !rom.bytes().is_writable());
    let bytes = rom.bytes();
    let read_only = |offset| Err(BytesError::ReadOnly { offset });
    assert_eq!(bytes.write(3, &[1, 2, 3]), read_only(3));
    assert_eq!(bytes.fill(0, PAGE, 1), read_only(0));
    assert_eq!(bytes.store_u8(9, 1), read_only(9));
    assert_eq!(bytes.store(8, 4, 1, Ordering::Release), read_only(8));
    assert_eq!(
        bytes.compare_exchange(0, 8, 0x4711, 1),
        Err(BytesError::ReadOnly { offset: 0 })
    );
    assert_eq!(ram.bytes().copy_to(bytes), read_only(0));
    assert_eq!(bytes.load_u64(0), Some(0x4711));
    assert_eq!(
        rom.slice(8, 8).expect("inside").bytes().write(0, &[1]),
        read_only(0)
    );

    let error =
        Backing::file(reopened_read_only(&ram), 0, PAGE, true).expect_err("not for writing");
    assert!(
        matches!(&error, BackingError::Os { call: "mmap", source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied),
        "{error:?}"
    );
}

#[test]
fn large_mappings_are_aligned_and_leave_no_reservation_behind() {
    const HUGE: u64 = 2 << 20;
    const NAME: &str = "holdfast-alignment-test";
    let all: Vec<_> = (0..32)
        .map(|_| Backing::memfd(NAME, HUGE + PAGE).expect("memory"))
        .collect();
    let maps = maps();
    // Each mapping as (start, end, permissions).
    let lines: Vec<_> = maps
        .lines()
        .map(|line| {
            let (range, rest) = line.split_once(' ').expect("a range");
            let (start, end) = range.split_once('-').expect("two ends");
            let parse = |s| u64::from_str_radix(s, 16).expect("an address");
            (parse(start), parse(end), rest.starts_with("---"))
        })
        .collect();
    let mut clean = 0;
    for backing in &all {
        let start = backing.host().as_ptr().addr() as u64;
        assert!(start.is_multiple_of(HUGE));
        let end = start + HUGE + PAGE;
        let left_over =
            |&(from, to, reserved): &(u64, u64, bool)| reserved && (to == start || from == end);
        clean += usize::from(!lines.iter().any(left_over));
    }
    // Tests that run beside this one may have a reservation next to one of them.
    assert!(
        clean > 16,
        "only {clean} of 32 mappings are without a reservation at their side"
    );
    let ram = Backing::anonymous(HUGE).expect("memory");
    assert!((ram.host().as_ptr().addr() as u64).is_multiple_of(HUGE));
    // The last byte is there and the mapping is of its own.
    assert!(
        all.iter()
            .all(|it| it.bytes().store_u8(HUGE + PAGE - 1, 1).is_ok())
    );
    assert_eq!(ram.bytes().load_u8(HUGE - 1), Some(0));
}

const _: () = {
    const fn sendable<T: Send + Sync>() {}
    sendable::<Backing>();
    sendable::<super::super::HostMemory>();
    sendable::<BackingCounter>();
    sendable::<BackingError>();
};
