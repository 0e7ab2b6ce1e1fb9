//! Single accesses that are one load or one store of the processor's: what nearly all guest accesses are, with nothing said where they are not.
#![expect(
    unsafe_code,
    reason = "checked offsets are turned into raw accesses to guest memory"
)]
// Soundness: as in `bytes.rs`, whose invariant this relies on: `aligned` checks without overflow that the access lies inside and that its address is
// aligned, and gives the only pointers that are used here.

use std::sync::atomic::Ordering;

use super::bytes::VolatileBytes;
use super::copy::Word;

impl VolatileBytes<'_> {
    /// Loads as [`load`](Self::load) with `Relaxed` does, where it is one load of the processor's; none where it is not aligned, too.
    #[expect(clippy::inline_always, reason = "a call would cost as much again")]
    #[inline(always)]
    pub(crate) fn load_at_once(self, offset: u64, size: u8) -> Option<u64> {
        let ptr = self.aligned(offset, size)?;
        // SAFETY: `size` bytes are mapped readable by the invariant and the check, and aligned by the other check.
        unsafe {
            Some(match size {
                1 => <u8 as Word>::load(ptr, Ordering::Relaxed).into(),
                2 => <u16 as Word>::load(ptr, Ordering::Relaxed).into(),
                4 => <u32 as Word>::load(ptr, Ordering::Relaxed).into(),
                8 => <u64 as Word>::load(ptr, Ordering::Relaxed),
                _ => return None,
            })
        }
    }

    /// Stores as [`store`](Self::store) with `Relaxed` does, where it is one store of the processor's; false where it is not: nothing is written then.
    #[expect(clippy::inline_always, reason = "a call would cost as much again")]
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low bytes are what is asked for"
    )]
    pub(crate) fn store_at_once(self, offset: u64, size: u8, value: u64) -> bool {
        let Some(ptr) = self.aligned(offset, size).filter(|_| self.writable) else {
            return false;
        };
        // SAFETY: `size` bytes are mapped writable by the invariant and the checks, and aligned by another.
        unsafe {
            match size {
                1 => <u8 as Word>::store(ptr, value as u8, Ordering::Relaxed),
                2 => <u16 as Word>::store(ptr, value as u16, Ordering::Relaxed),
                4 => <u32 as Word>::store(ptr, value as u32, Ordering::Relaxed),
                8 => <u64 as Word>::store(ptr, value, Ordering::Relaxed),
                _ => return false,
            }
        }
        true
    }

    /// Where `size` (1, 2, 4 or 8) bytes at `offset` are, if they are inside and aligned. As [`readable`](Self::readable) has it, with fewer
    /// instructions for so short a length.
    #[expect(clippy::inline_always, reason = "a call would cost as much again")]
    #[inline(always)]
    fn aligned(self, offset: u64, size: u8) -> Option<*mut u8> {
        if offset.checked_add(u64::from(size))? > self.len as u64 {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "checked against a usize just above"
        )]
        let offset = offset as usize;
        // SAFETY: `offset + size <= self.len`, inside the range of the invariant.
        let ptr = unsafe { self.ptr.add(offset) }.as_ptr();
        (ptr.addr() & (usize::from(size) - 1) == 0).then_some(ptr)
    }
}

#[cfg(test)]
mod tests {
    use crate::host::Backing;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn what_is_inside_and_aligned_is_as_otherwise_and_nothing_else_is() {
        let backing = Backing::anonymous(0x1000).unwrap();
        // Seven bytes less than a page, so that the end is aligned to nothing.
        let part = backing.slice(0, 0xff9).unwrap();
        let bytes = part.bytes();
        for offset in 0..bytes.len() {
            bytes.store(offset, 1, offset * 7, Relaxed).unwrap();
        }
        let near_the_end = bytes.len() - 9..bytes.len() + 9;
        let beyond = [1 << 32, u64::MAX / 2, u64::MAX - 8, u64::MAX - 1, u64::MAX];
        for offset in (0..17).chain(near_the_end).chain(beyond) {
            for size in [1, 2, 4, 8] {
                let is_one = offset.is_multiple_of(u64::from(size))
                    && offset < bytes.len()
                    && offset + u64::from(size) <= bytes.len();
                let before = bytes.load(offset, size, Relaxed);
                let expected = before.filter(|_| is_one);
                assert_eq!(bytes.load_at_once(offset, size), expected);
                let new = !0x0123_4567_89ab_cdef;
                assert_eq!(bytes.store_at_once(offset, size, new), is_one);
                let cut = new & (u64::MAX >> (64 - 8 * u32::from(size)));
                let after = if is_one { Some(cut) } else { before };
                assert_eq!(bytes.load(offset, size, Relaxed), after);
            }
        }
    }

    #[test]
    fn what_is_mapped_for_reading_is_not_written() {
        let part = Backing::anonymous(0x1000).unwrap();
        // SAFETY: the backing lives as long as this function.
        let bytes = unsafe { part.host().read_only().bytes() };
        assert!(!bytes.store_at_once(8, 8, 1));
        assert_eq!(bytes.load_at_once(8, 8), Some(0));
    }
}
