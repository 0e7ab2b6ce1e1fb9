//! The `mmap` calls: reserving, mapping and unmapping host memory.
#![expect(
    unsafe_code,
    reason = "mmap, munmap and the calls about file descriptors around them"
)]
// Soundness: a `Mapping` is the only owner of the address range that `map` obtained: the kernel chose the range (a fixed mapping is only
// ever placed over a reservation made just before), nobody else unmaps it, and it is unmapped once, in `Drop`. Making a mapping
// touches no memory that Rust knows of.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};

/// Large mappings start at multiples of this, so that the host and a second-level page table can use huge pages.
const HUGE: usize = 2 << 20;

/// A range of mapped addresses; unmapped on drop.
pub(super) struct Mapping {
    start: NonNull<u8>,
    /// What the kernel was asked for: the visible length rounded up to the granule.
    mapped: usize,
}

// SAFETY: owning an address range is not bound to a thread; the bytes are only reached through `VolatileBytes`.
unsafe impl Send for Mapping {}
// SAFETY: a shared `Mapping` only tells its address.
unsafe impl Sync for Mapping {}

/// What is to be mapped.
pub(super) enum Source<'a> {
    /// Zeroes, private to this process.
    Anonymous,
    /// A window of a file, shared with all who map it.
    File {
        fd: BorrowedFd<'a>,
        offset: i64,
        writable: bool,
    },
}

/// The page size, in bytes.
pub(super) fn page_size() -> usize {
    // SAFETY: `sysconf` only answers a question.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// Rounds up to the granule, a power of two; `None` where the result would exceed what Rust allows one object to span.
pub(super) fn round_up(len: usize, granule: usize) -> Option<usize> {
    let rounded = len.checked_add(granule - 1)? & !(granule - 1);
    // Room for the alignment slack of `Mapping::new`, which is reserved together with it.
    (rounded <= isize::MAX.unsigned_abs() - HUGE).then_some(rounded)
}

/// An error with the name of the call that gave it.
pub(super) type CallError = (&'static str, io::Error);

impl Mapping {
    /// Maps `mapped` bytes, a multiple of the source's granule and not zero.
    pub(super) fn new(mapped: usize, source: &Source<'_>) -> Result<Self, CallError> {
        let (fd, offset, prot, flags) = match source {
            Source::Anonymous => (
                -1,
                0,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            ),
            Source::File {
                fd,
                offset,
                writable,
            } => (
                fd.as_raw_fd(),
                *offset,
                libc::PROT_READ | if *writable { libc::PROT_WRITE } else { 0 },
                libc::MAP_SHARED | libc::MAP_NORESERVE,
            ),
        };
        if mapped < HUGE {
            let start = mmap(ptr::null_mut(), mapped, prot, flags, fd, offset)?;
            return Ok(Self { start, mapped });
        }
        // A reservation that surely holds an aligned range of the length; the fixed mapping replaces that part of it, the rest goes back.
        let reserve_flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let mut range = Self {
            start: mmap(
                ptr::null_mut(),
                mapped + HUGE,
                libc::PROT_NONE,
                reserve_flags,
                -1,
                0,
            )?,
            mapped: mapped + HUGE,
        };
        let base = range.start;
        let head = base.as_ptr().addr().wrapping_neg() & (HUGE - 1);
        // SAFETY: `head < HUGE`, so it and the `mapped` bytes after it are inside the reservation.
        let at = unsafe { base.add(head) };
        // On failure `range` gives the whole reservation back.
        mmap(
            at.as_ptr().cast(),
            mapped,
            prot,
            flags | libc::MAP_FIXED,
            fd,
            offset,
        )?;
        range.start = at;
        range.mapped = mapped;
        unmap(base.as_ptr(), head);
        // SAFETY: the byte after the mapping is inside the reservation, as `head < HUGE`.
        unmap(unsafe { at.as_ptr().add(mapped) }, HUGE - head);
        if fd < 0 {
            // SAFETY: advice on a range of our own; whether the kernel takes it changes nothing but speed.
            unsafe { libc::madvise(at.as_ptr().cast(), mapped, libc::MADV_HUGEPAGE) };
        }
        Ok(range)
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        unmap(self.start.as_ptr(), self.mapped);
    }
}

fn mmap(
    at: *mut libc::c_void,
    len: usize,
    prot: i32,
    flags: i32,
    fd: i32,
    offset: i64,
) -> Result<NonNull<u8>, CallError> {
    // SAFETY: without MAP_FIXED the kernel picks a free range; with it the only caller passes a range of its own reservation.
    let start = unsafe { libc::mmap(at, len, prot, flags, fd, offset) };
    if start == libc::MAP_FAILED {
        return Err(("mmap", io::Error::last_os_error()));
    }
    NonNull::new(start.cast())
        .ok_or_else(|| ("mmap", io::Error::other("a mapping at address zero")))
}

/// Gives a range of our own back; an empty one is fine.
fn unmap(start: *mut u8, len: usize) {
    if len == 0 {
        return;
    }
    // SAFETY: the callers own the range and give it up here; no `VolatileBytes` of it is left (its lender was the owner).
    if unsafe { libc::munmap(start.cast(), len) } != 0 {
        // Only a full table of mappings or a bug leads here; the range stays reserved, which is safe.
        let error = io::Error::last_os_error();
        tracing::error!(?start, len, %error, "host memory could not be unmapped and is lost");
    }
}

/// A new memory file of `len` bytes whose length is sealed, so that no holder of the descriptor can make our accesses fault.
pub(super) fn create_memfd(name: &CStr, len: i64) -> Result<OwnedFd, CallError> {
    let failed = |call| move |error| (call, error);
    // SAFETY: the name is a C string; a new descriptor is returned.
    let fd =
        unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    if fd < 0 {
        return Err(("memfd_create", io::Error::last_os_error()));
    }
    // SAFETY: the descriptor is new and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let check = |result: i32| match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: a call on a descriptor that we hold.
    check(unsafe { libc::ftruncate(fd.as_raw_fd(), len) }).map_err(failed("ftruncate"))?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;
    // SAFETY: a call on a descriptor that we hold.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) })
        .map_err(failed("fcntl(F_ADD_SEALS)"))?;
    Ok(fd)
}

/// What a file allows: the granule of its offsets and lengths in bytes (its huge page on hugetlbfs), and its size if it has one.
pub(super) struct FileShape {
    pub(super) granule: usize,
    /// `None` for what is not a regular file: the kernel alone knows what such a file maps.
    pub(super) size: Option<u64>,
}

pub(super) fn file_shape(fd: BorrowedFd<'_>) -> Result<FileShape, CallError> {
    let file = std::fs::File::from(
        fd.as_fd()
            .try_clone_to_owned()
            .map_err(|error| ("dup", error))?,
    );
    let metadata = file.metadata().map_err(|error| ("fstat", error))?;
    let mut granule = page_size();
    // SAFETY: an all-zero `statfs` is a valid value of that plain struct.
    let mut about: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and the struct is ours to be written.
    if unsafe { libc::fstatfs(fd.as_raw_fd(), &raw mut about) } == 0
        && about.f_type == libc::HUGETLBFS_MAGIC
        && let Ok(huge) = usize::try_from(about.f_bsize)
        && huge.is_power_of_two()
    {
        granule = granule.max(huge);
    }
    Ok(FileShape {
        granule,
        size: metadata.is_file().then_some(metadata.len()),
    })
}
