//! The primitives that touch guest memory: single loads and stores, bulk copies, and the argument for their soundness.
#![expect(
    unsafe_code,
    reason = "guest memory is reached through raw pointers, by atomics and by the C library's copy routines"
)]
// # Why these primitives are allowed
//
// Guest memory is changed at any time by code outside the program (vCPUs, the kernel, other processes) and by other threads inside it.
// What may touch it must (a) be no data race, (b) give the compiler no licence to read twice what the source reads once, and (c) be as fast as
// a plain copy.
//
// *Single accesses* are relaxed (or stronger) atomics. `AtomicU64::from_ptr` makes a `&AtomicU64` for the length of one
// operation; it does not leave the function. Such a reference promises that the address is mapped, aligned and not accessed
// non-atomically by Rust code, never that the value stays: atomics are interior mutable. It is the one form of reference to guest memory in this
// crate, and it exists because stable Rust has no atomic access by raw pointer.
//
// Rust's documentation calls *unsynchronized atomic accesses of different sizes* to the same bytes undefined. A guest cannot be kept
// from them (it may read a ring index as u16 in one place, as part of a u64 in another). What is relied on is the level below: LLVM
// defines atomic loads byte by byte, each byte of a relaxed load being one that some store wrote there, and every supported
// processor does the same. No optimization uses the difference, as code that shares memory with other processes or devices stands on it.
//
// *Bulk copies* are not Rust memory accesses at all: they are done by foreign code, the C library's `memcpy`, `memmove` and `memset`,
// called through a pointer that the compiler cannot see through (it is read volatile from a static, so that the call is neither recognised
// as a known function nor inlined). To the Rust side the call is what a `read(2)` into the memory is: an unknown function which, for what the
// abstract machine has to know, reads (or writes) each guest byte with a relaxed atomic access and the private buffer plainly. That the
// C library uses wide loads does not matter to bytes: each byte of the result is one that was there at some time during the call.
// Because the call is opaque, the compiler must assume that guest memory has changed by the time it returns; a check of the private copy can
// not be turned into a second read of the original. A visible `copy_nonoverlapping` would permit just that.
//
// *ThreadSanitizer* and Miri cannot know this convention: their `memcpy` counts as plain accesses. With `--cfg holdfast_plain_atomics`, and under
// Miri, the bulk routines are loops of relaxed atomic words and bytes, which is the model spelled out; the tests run in both forms.
//
// # Ordering
//
// All of this is relaxed unless an ordering is given. Code that speaks to a guest (ring indices) orders its accesses with
// the ordered single accesses or with fences.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

/// An integer that the host loads and stores as one unit where it is naturally aligned.
pub(super) trait Word: Copy {
    const SIZE: usize;

    /// # Safety
    /// `ptr` is aligned to `SIZE` and its `SIZE` bytes are mapped readable; no Rust reference but atomics points at them.
    unsafe fn load(ptr: *mut u8, order: Ordering) -> Self;

    /// # Safety
    /// As for `load`, and mapped writable.
    unsafe fn store(ptr: *mut u8, value: Self, order: Ordering);

    /// Gives the value that was there; it was replaced exactly if it equals `current`.
    ///
    /// # Safety
    /// As for `store`.
    unsafe fn compare_exchange(ptr: *mut u8, current: Self, new: Self) -> Self;

    fn from_pieces(bytes: [u8; 8]) -> Self;

    fn to_pieces(self) -> [u8; 8];
}

macro_rules! word {
    ($int:ty, $atomic:ty) => {
        impl Word for $int {
            const SIZE: usize = size_of::<$int>();

            #[inline]
            unsafe fn load(ptr: *mut u8, order: Ordering) -> Self {
                // SAFETY: aligned, mapped and only atomically accessed by the caller's contract; the reference ends with the statement.
                unsafe { <$atomic>::from_ptr(ptr.cast()) }.load(order)
            }

            #[inline]
            unsafe fn store(ptr: *mut u8, value: Self, order: Ordering) {
                // SAFETY: as in `load`.
                unsafe { <$atomic>::from_ptr(ptr.cast()) }.store(value, order);
            }

            #[inline]
            unsafe fn compare_exchange(ptr: *mut u8, current: Self, new: Self) -> Self {
                // SAFETY: as in `load`.
                let atomic = unsafe { <$atomic>::from_ptr(ptr.cast()) };
                // ORDERING: guests build locks from it, and which kind is unknown here: the strongest.
                match atomic.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst) {
                    Ok(old) | Err(old) => old,
                }
            }

            #[inline]
            fn from_pieces(bytes: [u8; 8]) -> Self {
                let mut own = [0; size_of::<$int>()];
                own.copy_from_slice(&bytes[..size_of::<$int>()]);
                Self::from_ne_bytes(own)
            }

            #[inline]
            fn to_pieces(self) -> [u8; 8] {
                let mut all = [0; 8];
                all[..size_of::<$int>()].copy_from_slice(&self.to_ne_bytes());
                all
            }
        }
    };
}

word!(u8, AtomicU8);
word!(u16, AtomicU16);
word!(u32, AtomicU32);
word!(u64, AtomicU64);

#[inline]
pub(super) fn is_aligned(ptr: *const u8, size: usize) -> bool {
    ptr.addr() & (size - 1) == 0
}

/// The part of `order` that a load can have.
#[inline]
fn for_load(order: Ordering) -> Ordering {
    match order {
        Ordering::Acquire | Ordering::AcqRel => Ordering::Acquire,
        Ordering::SeqCst => Ordering::SeqCst,
        _ => Ordering::Relaxed,
    }
}

/// The part of `order` that a store can have.
#[inline]
fn for_store(order: Ordering) -> Ordering {
    match order {
        Ordering::Release | Ordering::AcqRel => Ordering::Release,
        Ordering::SeqCst => Ordering::SeqCst,
        _ => Ordering::Relaxed,
    }
}

/// Loads a word: as one unit where it is aligned, else in the largest aligned pieces that all its bytes allow.
///
/// # Safety
/// `W::SIZE` bytes from `ptr` are mapped readable, and no Rust reference but atomics points at them.
#[inline]
pub(super) unsafe fn load<W: Word>(ptr: *mut u8, order: Ordering) -> W {
    let order = for_load(order);
    if is_aligned(ptr, W::SIZE) {
        // SAFETY: aligned just now, the rest is the caller's contract.
        return unsafe { W::load(ptr, order) };
    }
    // SAFETY: the caller's contract.
    W::from_pieces(unsafe { load_pieces(ptr, W::SIZE, order) })
}

/// Stores a word: as one unit where it is aligned, else in the largest aligned pieces that all its bytes allow.
///
/// # Safety
/// As for [`load`], and mapped writable.
#[inline]
pub(super) unsafe fn store<W: Word>(ptr: *mut u8, value: W, order: Ordering) {
    let order = for_store(order);
    if is_aligned(ptr, W::SIZE) {
        // SAFETY: aligned just now, the rest is the caller's contract.
        return unsafe { W::store(ptr, value, order) };
    }
    // SAFETY: the caller's contract.
    unsafe { store_pieces(ptr, value.to_pieces(), W::SIZE, order) };
}

/// # Safety
/// `len` (2, 4 or 8) bytes from the unaligned `ptr` are mapped readable, and no Rust reference but atomics points at them.
#[inline(never)]
unsafe fn load_pieces(ptr: *mut u8, len: usize, order: Ordering) -> [u8; 8] {
    let mut bytes = [0; 8];
    // SAFETY: each step reads a piece inside `len` bytes, at an address aligned to it by the choice of the arm.
    unsafe {
        if is_aligned(ptr, 4) {
            for at in (0..len).step_by(4) {
                let piece = u32::load(ptr.add(at), Ordering::Relaxed);
                bytes[at..at + 4].copy_from_slice(&piece.to_ne_bytes());
            }
        } else if is_aligned(ptr, 2) {
            for at in (0..len).step_by(2) {
                let piece = u16::load(ptr.add(at), Ordering::Relaxed);
                bytes[at..at + 2].copy_from_slice(&piece.to_ne_bytes());
            }
        } else {
            for (at, byte) in bytes[..len].iter_mut().enumerate() {
                *byte = u8::load(ptr.add(at), Ordering::Relaxed);
            }
        }
    }
    // ORDERING: the fence makes what the pieces saw happen before what follows, as an ordered load would.
    if order != Ordering::Relaxed {
        fence(order);
    }
    bytes
}

/// # Safety
/// As for [`load_pieces`], and mapped writable.
#[inline(never)]
unsafe fn store_pieces(ptr: *mut u8, bytes: [u8; 8], len: usize, order: Ordering) {
    // ORDERING: what precedes happens before any of the pieces is seen, as with an ordered store.
    if order != Ordering::Relaxed {
        fence(order);
    }
    // SAFETY: each step writes a piece inside `len` bytes, at an address aligned to the piece by the choice of the arm.
    unsafe {
        if is_aligned(ptr, 4) {
            for (at, piece) in bytes[..len].chunks_exact(4).enumerate() {
                let piece = u32::from_ne_bytes([piece[0], piece[1], piece[2], piece[3]]);
                u32::store(ptr.add(4 * at), piece, Ordering::Relaxed);
            }
        } else if is_aligned(ptr, 2) {
            for (at, piece) in bytes[..len].chunks_exact(2).enumerate() {
                u16::store(
                    ptr.add(2 * at),
                    u16::from_ne_bytes([piece[0], piece[1]]),
                    Ordering::Relaxed,
                );
            }
        } else {
            for (at, &byte) in bytes[..len].iter().enumerate() {
                u8::store(ptr.add(at), byte, Ordering::Relaxed);
            }
        }
    }
    // ORDERING: a sequentially consistent store is also ordered before the loads that follow it.
    if order == Ordering::SeqCst {
        fence(Ordering::SeqCst);
    }
}

pub(super) use bulk::{copy_in, copy_out, fill, transfer};

/// Bulk copies by the C library, called so that the compiler knows nothing about them.
#[cfg(not(any(holdfast_plain_atomics, miri)))]
mod bulk {
    use std::ffi::{c_int, c_void};
    use std::ptr;

    type Copy = unsafe extern "C" fn(*mut c_void, *const c_void, usize) -> *mut c_void;
    type Fill = unsafe extern "C" fn(*mut c_void, c_int, usize) -> *mut c_void;

    static MEMCPY: Copy = libc::memcpy;
    static MEMMOVE: Copy = libc::memmove;
    static MEMSET: Fill = libc::memset;

    /// Guest to private.
    ///
    /// # Safety
    /// `len` bytes of guest memory from `src` are mapped readable; `dst` is private, writable for `len` bytes, and apart from them.
    #[inline]
    pub(in super::super) unsafe fn copy_out(src: *const u8, dst: *mut u8, len: usize) {
        // SAFETY: the static is a plain function pointer; both ranges are valid and apart by the caller's contract.
        unsafe { ptr::read_volatile(&raw const MEMCPY)(dst.cast(), src.cast(), len) };
    }

    /// Private to guest.
    ///
    /// # Safety
    /// `len` bytes of guest memory from `dst` are mapped writable; `src` is private, readable for `len` bytes, and apart from them.
    #[inline]
    pub(in super::super) unsafe fn copy_in(src: *const u8, dst: *mut u8, len: usize) {
        // SAFETY: the static is a plain function pointer; both ranges are valid and apart by the caller's contract.
        unsafe { ptr::read_volatile(&raw const MEMCPY)(dst.cast(), src.cast(), len) };
    }

    /// Guest to guest; the ranges may overlap.
    ///
    /// # Safety
    /// `len` bytes from `src` are mapped readable, `len` bytes from `dst` writable, all of them guest memory.
    #[inline]
    pub(in super::super) unsafe fn transfer(src: *const u8, dst: *mut u8, len: usize) {
        // SAFETY: the static is a plain function pointer; both ranges are valid by the caller's contract.
        unsafe { ptr::read_volatile(&raw const MEMMOVE)(dst.cast(), src.cast(), len) };
    }

    /// # Safety
    /// `len` bytes of guest memory from `dst` are mapped writable.
    #[inline]
    pub(in super::super) unsafe fn fill(dst: *mut u8, byte: u8, len: usize) {
        // SAFETY: the static is a plain function pointer; the range is valid by the caller's contract.
        unsafe { ptr::read_volatile(&raw const MEMSET)(dst.cast(), c_int::from(byte), len) };
    }
}

/// The same copies spelled as relaxed atomic accesses, for tools that watch every access.
#[cfg(any(holdfast_plain_atomics, miri))]
mod bulk {
    use super::{Ordering, Word, is_aligned};

    const WORD: usize = 8;

    /// Guest to private.
    ///
    /// # Safety
    /// `len` bytes of guest memory from `src` are mapped readable; `dst` is private, writable for `len` bytes, and apart from them.
    pub(in super::super) unsafe fn copy_out(src: *const u8, dst: *mut u8, len: usize) {
        let src = src.cast_mut();
        let mut at = 0;
        while at < len {
            // SAFETY: `at` (and the word at it, where one is taken) is inside `len`; the private side is written unaligned.
            unsafe {
                if len - at >= WORD && is_aligned(src.add(at), WORD) {
                    let word = u64::load(src.add(at), Ordering::Relaxed);
                    dst.add(at).cast::<[u8; WORD]>().write(word.to_ne_bytes());
                    at += WORD;
                } else {
                    dst.add(at).write(u8::load(src.add(at), Ordering::Relaxed));
                    at += 1;
                }
            }
        }
    }

    /// Private to guest.
    ///
    /// # Safety
    /// `len` bytes of guest memory from `dst` are mapped writable; `src` is private, readable for `len` bytes, and apart from them.
    pub(in super::super) unsafe fn copy_in(src: *const u8, dst: *mut u8, len: usize) {
        let mut at = 0;
        while at < len {
            // SAFETY: `at` (and the word at it, where one is taken) is inside `len`; the private side is read unaligned.
            unsafe {
                if len - at >= WORD && is_aligned(dst.add(at), WORD) {
                    let word = u64::from_ne_bytes(src.add(at).cast::<[u8; WORD]>().read());
                    u64::store(dst.add(at), word, Ordering::Relaxed);
                    at += WORD;
                } else {
                    u8::store(dst.add(at), src.add(at).read(), Ordering::Relaxed);
                    at += 1;
                }
            }
        }
    }

    /// Guest to guest; the ranges may overlap.
    ///
    /// # Safety
    /// `len` bytes from `src` are mapped readable, `len` bytes from `dst` writable, all of them guest memory.
    pub(in super::super) unsafe fn transfer(src: *const u8, dst: *mut u8, len: usize) {
        let src = src.cast_mut();
        let byte = |at: usize| {
            // SAFETY: only called with `at < len`.
            unsafe {
                u8::store(
                    dst.add(at),
                    u8::load(src.add(at), Ordering::Relaxed),
                    Ordering::Relaxed,
                )
            };
        };
        // As `memmove`: from the side on which the overlap is read before it is written.
        if dst.addr() <= src.addr() {
            (0..len).for_each(byte);
        } else {
            (0..len).rev().for_each(byte);
        }
    }

    /// # Safety
    /// `len` bytes of guest memory from `dst` are mapped writable.
    pub(in super::super) unsafe fn fill(dst: *mut u8, byte: u8, len: usize) {
        let mut at = 0;
        while at < len {
            // SAFETY: `at` (and the word at it, where one is taken) is inside `len`.
            unsafe {
                if len - at >= WORD && is_aligned(dst.add(at), WORD) {
                    u64::store(
                        dst.add(at),
                        u64::from_ne_bytes([byte; WORD]),
                        Ordering::Relaxed,
                    );
                    at += WORD;
                } else {
                    u8::store(dst.add(at), byte, Ordering::Relaxed);
                    at += 1;
                }
            }
        }
    }
}
