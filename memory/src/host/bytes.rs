//! Borrowed guest memory: bounds-checked copies and single accesses on bytes that may change at any time.
#![expect(
    unsafe_code,
    reason = "checked offsets are turned into raw accesses to guest memory"
)]
// Soundness. INVARIANT of `VolatileBytes<'a>`: for all of 'a, `len` bytes from `ptr` are mapped readable, and writable if `writable`; no Rust
// reference points into them but the momentary atomics of `copy.rs`. `new` is the only constructor and asks its caller for
// it; `subslice` keeps it by staying inside. Every access goes through `readable` or `writable_at`, which check the offset without overflow, or
// through `aligned` in `at_once.rs`, which does so too.
// Private buffers are Rust references and therefore apart from guest memory by the same invariant. Concurrent changes are the
// subject of `copy.rs`.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use thiserror::Error;

use super::copy::{self, Word};

/// Why an access to [`VolatileBytes`] was not made. Nothing was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BytesError {
    /// The access does not lie inside the bytes.
    #[error("{len:#x} bytes at offset {offset:#x} do not lie inside {size:#x} bytes")]
    OutOfBounds {
        /// Where the access would start, in bytes.
        offset: u64,
        /// How long it would be, in bytes.
        len: u64,
        /// How many bytes there are.
        size: u64,
    },
    /// The bytes are mapped for reading only.
    #[error("a write to offset {offset:#x} of bytes that are mapped for reading only")]
    ReadOnly {
        /// Where the write would start, in bytes.
        offset: u64,
    },
    /// A single access of another size than 1, 2, 4 or 8.
    #[error("no single access of {size} bytes exists (1, 2, 4 and 8 do)")]
    Size {
        /// The size asked for, in bytes.
        size: u8,
    },
    /// A read-modify-write at an address that is not aligned to its size in the host.
    #[error("a compare-exchange of {size} bytes at offset {offset:#x}, which is not aligned to it")]
    Misaligned {
        /// Where the access would start, in bytes.
        offset: u64,
        /// Its size in bytes.
        size: u8,
    },
}

/// Bytes of guest memory, borrowed: they stay mapped for `'a`, and change whenever the guest likes.
///
/// `Copy`, a pointer and a length; not `Send` and not `Sync`, so that bytes lent by a guard stay in the guard's thread.
///
/// # What is atomic
///
/// An access of 1, 2, 4 or 8 bytes whose *host address* is aligned to its size is one load or store of the processor: it is never torn. That holds
/// for `load_*` and `store_*` and also for [`read`](Self::read) and [`write`](Self::write) with buffers of these lengths.
/// Backings start page-aligned, so alignment of the offset is alignment of the address for all but [foreign](super::Backing::foreign) ones
/// and odd slices. Unaligned single accesses are split into the largest aligned pieces that cover them, in ascending order; longer copies
/// give each byte as it was at some moment of the call.
///
/// Values are in the host's byte order, as the processor would load them.
///
/// # Orderings
///
/// Everything is relaxed, except where an [`Ordering`] is taken.
///
/// ```
/// let ram = memory::Backing::anonymous(0x1000)?;
/// let bytes = ram.bytes();
/// bytes.write(0x10, b"holdfast").expect("inside");
/// assert_eq!(bytes.load_u64(0x10), Some(u64::from_ne_bytes(*b"holdfast")));
/// assert_eq!(bytes.load_u64(0xff9), None);
/// # Ok::<(), memory::BackingError>(())
/// ```
///
/// They cannot leave their thread (what lends them can), nor outlive their lender:
///
/// ```
/// let ram = memory::Backing::anonymous(0x1000)?;
/// let bytes = ram.bytes();
/// std::thread::scope(|scope| {
///     scope.spawn(|| ram.bytes().load_u8(0));
/// });
/// # Ok::<(), memory::BackingError>(())
/// ```
///
/// ```compile_fail,E0277
/// let ram = memory::Backing::anonymous(0x1000)?;
/// let bytes = ram.bytes();
/// std::thread::scope(|scope| {
///     scope.spawn(move || bytes.load_u8(0));
/// });
/// # Ok::<(), memory::BackingError>(())
/// ```
///
/// ```
/// let ram = memory::Backing::anonymous(0x1000)?;
/// let bytes = ram.bytes();
/// bytes.load_u8(0);
/// drop(ram);
/// # Ok::<(), memory::BackingError>(())
/// ```
///
/// ```compile_fail,E0505
/// let ram = memory::Backing::anonymous(0x1000)?;
/// let bytes = ram.bytes();
/// drop(ram);
/// bytes.load_u8(0);
/// # Ok::<(), memory::BackingError>(())
/// ```
#[derive(Clone, Copy)]
pub struct VolatileBytes<'a> {
    pub(super) ptr: NonNull<u8>,
    pub(super) len: usize,
    pub(super) writable: bool,
    // A raw pointer in the marker says "not Send, not Sync" on purpose, whatever becomes of the fields above.
    lent: PhantomData<(&'a (), *const ())>,
}

macro_rules! single_accesses {
    ($($int:ty, $load:ident, $store:ident);* $(;)?) => {$(
        #[doc = concat!("Loads a `", stringify!($int), "` in host byte order, relaxed; `None` where it is not all inside.")]
        #[inline]
        pub fn $load(self, offset: u64) -> Option<$int> {
            let ptr = self.readable(offset, size_of::<$int>())?;
            // SAFETY: the bytes are mapped readable by the invariant and the check.
            Some(unsafe { copy::load(ptr, Ordering::Relaxed) })
        }

        #[doc = concat!("Stores a `", stringify!($int), "` in host byte order, relaxed.")]
        ///
        /// # Errors
        ///
        /// [`BytesError::OutOfBounds`], [`BytesError::ReadOnly`]; nothing is written then.
        #[inline]
        pub fn $store(self, offset: u64, value: $int) -> Result<(), BytesError> {
            let ptr = self.writable_at(offset, size_of::<$int>())?;
            // SAFETY: the bytes are mapped writable by the invariant and the check.
            unsafe { copy::store(ptr, value, Ordering::Relaxed) };
            Ok(())
        }
    )*};
}

impl<'a> VolatileBytes<'a> {
    /// # Safety
    ///
    /// The invariant at the top of this file must hold for 'a.
    #[inline]
    pub(super) unsafe fn new(ptr: NonNull<u8>, len: usize, writable: bool) -> Self {
        Self {
            ptr,
            len,
            writable,
            lent: PhantomData,
        }
    }

    /// The number of bytes.
    #[inline]
    pub fn len(self) -> u64 {
        self.len as u64
    }

    /// Whether there are no bytes.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Whether the bytes can be written; if not, every write is [`BytesError::ReadOnly`].
    #[inline]
    pub fn is_writable(self) -> bool {
        self.writable
    }

    /// The address of the first byte, for foreign interfaces (`iovec`s, ioctls). Valid for `'a`.
    #[inline]
    pub fn as_ptr(self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    /// `len` bytes from `offset` on; `None` where they are not all inside. An empty slice at the end is inside.
    #[inline]
    pub fn subslice(self, offset: u64, len: u64) -> Option<VolatileBytes<'a>> {
        let len = usize::try_from(len).ok()?;
        let ptr = self.readable(offset, len)?;
        Some(Self {
            // SAFETY: `readable` gives a pointer into (or one past) the range, which does not start at null.
            ptr: unsafe { NonNull::new_unchecked(ptr) },
            len,
            ..self
        })
    }

    /// The same bytes, which this copy of the borrow refuses to write.
    #[inline]
    pub fn read_only(self) -> VolatileBytes<'a> {
        Self {
            writable: false,
            ..self
        }
    }

    /// Copies the bytes at `offset` into `buf`. Lengths 1, 2, 4 and 8 are atomic where aligned.
    ///
    /// # Errors
    ///
    /// [`BytesError::OutOfBounds`]; `buf` is untouched then.
    #[inline]
    pub fn read(self, offset: u64, buf: &mut [u8]) -> Result<(), BytesError> {
        let Some(src) = self.readable(offset, buf.len()) else {
            return Err(self.out_of_bounds(offset, buf.len()));
        };
        // SAFETY: the source is mapped readable by the invariant and the check, the buffer is a Rust reference and so apart
        // from it.
        unsafe {
            match buf.len() {
                1 => buf.copy_from_slice(&copy::load::<u8>(src, Ordering::Relaxed).to_ne_bytes()),
                2 => buf.copy_from_slice(&copy::load::<u16>(src, Ordering::Relaxed).to_ne_bytes()),
                4 => buf.copy_from_slice(&copy::load::<u32>(src, Ordering::Relaxed).to_ne_bytes()),
                8 => buf.copy_from_slice(&copy::load::<u64>(src, Ordering::Relaxed).to_ne_bytes()),
                len => copy::copy_out(src, buf.as_mut_ptr(), len),
            }
        }
        Ok(())
    }

    /// Copies `data` to the bytes at `offset`. Lengths 1, 2, 4 and 8 are atomic where aligned.
    ///
    /// # Errors
    ///
    /// [`BytesError::OutOfBounds`], [`BytesError::ReadOnly`]; nothing is written then.
    #[inline]
    pub fn write(self, offset: u64, data: &[u8]) -> Result<(), BytesError> {
        let dst = self.writable_at(offset, data.len())?;
        // SAFETY: the destination is mapped writable by the invariant and the check, the data is a Rust reference and so
        // apart from it.
        unsafe {
            match *data {
                [byte] => copy::store(dst, byte, Ordering::Relaxed),
                [a, b] => copy::store(dst, u16::from_ne_bytes([a, b]), Ordering::Relaxed),
                [a, b, c, d] => {
                    copy::store(dst, u32::from_ne_bytes([a, b, c, d]), Ordering::Relaxed);
                }
                [a, b, c, d, e, f, g, h] => {
                    let word = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
                    copy::store(dst, word, Ordering::Relaxed);
                }
                _ => copy::copy_in(data.as_ptr(), dst, data.len()),
            }
        }
        Ok(())
    }

    /// Sets `len` bytes from `offset` on to `byte`.
    ///
    /// # Errors
    ///
    /// [`BytesError::OutOfBounds`], [`BytesError::ReadOnly`]; nothing is written then.
    #[inline]
    pub fn fill(self, offset: u64, len: u64, byte: u8) -> Result<(), BytesError> {
        let Ok(len) = usize::try_from(len) else {
            return Err(self.out_of_bounds(offset, usize::MAX));
        };
        let dst = self.writable_at(offset, len)?;
        // SAFETY: the destination is mapped writable by the invariant and the check.
        unsafe { copy::fill(dst, byte, len) };
        Ok(())
    }

    /// Copies all these bytes to the start of `target`, which may overlap them. Lengths 1, 2, 4 and 8 are atomic on both
    /// sides where aligned.
    ///
    /// # Errors
    ///
    /// [`BytesError::OutOfBounds`] where `target` is shorter, [`BytesError::ReadOnly`]; nothing is written then.
    #[inline]
    pub fn copy_to(self, target: VolatileBytes<'_>) -> Result<(), BytesError> {
        let (src, dst) = (self.as_ptr(), target.writable_at(0, self.len)?);
        // SAFETY: all `self.len` bytes of both sides are mapped as needed, by the invariants and the check. An overlap is harmless: a
        // word is loaded whole before it is stored, and `transfer` allows it.
        unsafe {
            match self.len {
                1 => copy::store(
                    dst,
                    copy::load::<u8>(src, Ordering::Relaxed),
                    Ordering::Relaxed,
                ),
                2 => copy::store(
                    dst,
                    copy::load::<u16>(src, Ordering::Relaxed),
                    Ordering::Relaxed,
                ),
                4 => copy::store(
                    dst,
                    copy::load::<u32>(src, Ordering::Relaxed),
                    Ordering::Relaxed,
                ),
                8 => copy::store(
                    dst,
                    copy::load::<u64>(src, Ordering::Relaxed),
                    Ordering::Relaxed,
                ),
                len => copy::transfer(src, dst, len),
            }
        }
        Ok(())
    }

    single_accesses! {
        u8, load_u8, store_u8;
        u16, load_u16, store_u16;
        u32, load_u32, store_u32;
        u64, load_u64, store_u64;
    }

    /// Loads `size` (1, 2, 4 or 8) bytes as an integer in host byte order, zero-extended, with the given ordering. `None` for
    /// another size or where the bytes are not all inside.
    ///
    /// Of an ordering that a load cannot have the load's part counts: `AcqRel` is `Acquire`, `Release` is `Relaxed`. An unaligned
    /// ordered load is its pieces and a fence.
    #[inline]
    pub fn load(self, offset: u64, size: u8, order: Ordering) -> Option<u64> {
        let ptr = self.readable(offset, usize::from(size))?;
        // SAFETY: `size` bytes are mapped readable by the invariant and the check.
        unsafe {
            Some(match size {
                1 => copy::load::<u8>(ptr, order).into(),
                2 => copy::load::<u16>(ptr, order).into(),
                4 => copy::load::<u32>(ptr, order).into(),
                8 => copy::load::<u64>(ptr, order),
                _ => return None,
            })
        }
    }

    /// Stores the low `size` (1, 2, 4 or 8) bytes of `value` in host byte order, with the given ordering.
    ///
    /// Of an ordering that a store cannot have the store's part counts: `AcqRel` is `Release`, `Acquire` is `Relaxed`. An unaligned
    /// ordered store is a fence and its pieces (and, if sequentially consistent, another fence).
    ///
    /// # Errors
    ///
    /// [`BytesError::OutOfBounds`], [`BytesError::ReadOnly`], [`BytesError::Size`]; nothing is written then.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low bytes are what is asked for"
    )]
    pub fn store(
        self,
        offset: u64,
        size: u8,
        value: u64,
        order: Ordering,
    ) -> Result<(), BytesError> {
        let ptr = self.writable_at(offset, usize::from(size))?;
        // SAFETY: `size` bytes are mapped writable by the invariant and the check.
        unsafe {
            match size {
                1 => copy::store(ptr, value as u8, order),
                2 => copy::store(ptr, value as u16, order),
                4 => copy::store(ptr, value as u32, order),
                8 => copy::store(ptr, value, order),
                _ => return Err(BytesError::Size { size }),
            }
        }
        Ok(())
    }

    /// Replaces the low `size` (1, 2, 4 or 8) bytes of `current` by those of `new`, if they are what is there; gives what was
    /// there. The exchange took place exactly if the answer equals `current` (cut to `size`). Sequentially consistent, never spurious.
    ///
    /// # Errors
    ///
    /// [`BytesError::OutOfBounds`], [`BytesError::ReadOnly`], [`BytesError::Size`], and [`BytesError::Misaligned`] where the host address is
    /// not a multiple of `size`; nothing is written then.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low bytes are what is asked for"
    )]
    pub fn compare_exchange(
        self,
        offset: u64,
        size: u8,
        current: u64,
        new: u64,
    ) -> Result<u64, BytesError> {
        if !matches!(size, 1 | 2 | 4 | 8) {
            return Err(BytesError::Size { size });
        }
        let ptr = self.writable_at(offset, usize::from(size))?;
        if !copy::is_aligned(ptr, usize::from(size)) {
            return Err(BytesError::Misaligned { offset, size });
        }
        // SAFETY: `size` bytes are mapped writable by the invariant and the check, and aligned.
        unsafe {
            Ok(match size {
                1 => u8::compare_exchange(ptr, current as u8, new as u8).into(),
                2 => u16::compare_exchange(ptr, current as u16, new as u16).into(),
                4 => u32::compare_exchange(ptr, current as u32, new as u32).into(),
                _ => u64::compare_exchange(ptr, current, new),
            })
        }
    }

    #[inline]
    fn readable(self, offset: u64, len: usize) -> Option<*mut u8> {
        if len > self.len || offset > (self.len - len) as u64 {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "checked against a usize just above"
        )]
        let offset = offset as usize;
        // SAFETY: `offset + len <= self.len`, inside the range of the invariant.
        Some(unsafe { self.ptr.add(offset) }.as_ptr())
    }

    #[inline]
    fn writable_at(self, offset: u64, len: usize) -> Result<*mut u8, BytesError> {
        match self.readable(offset, len) {
            Some(ptr) if self.writable => Ok(ptr),
            Some(_) => Err(BytesError::ReadOnly { offset }),
            None => Err(self.out_of_bounds(offset, len)),
        }
    }

    #[cold]
    fn out_of_bounds(self, offset: u64, len: usize) -> BytesError {
        BytesError::OutOfBounds {
            offset,
            len: len as u64,
            size: self.len(),
        }
    }
}

impl fmt::Debug for VolatileBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = if self.writable { "rw" } else { "r" };
        write!(f, "VolatileBytes({:p}+{:#x} {access})", self.ptr, self.len)
    }
}
