//! Host addresses of guest memory: a start and a length, without ownership and without access.
#![expect(
    unsafe_code,
    reason = "a raw address is declared sendable, and turned into accessible bytes where the caller vouches for it"
)]
// Soundness: `HostMemory` by itself does nothing with its pointer but arithmetic within the length it was made with. The one way to the
// bytes is `HostMemory::bytes`, which is `unsafe` and hands its obligation to the caller.

use std::fmt;
use std::ptr::NonNull;

use super::bytes::VolatileBytes;

/// Where bytes of guest memory lie in this process: start, length, and whether they may be written.
///
/// It keeps nothing alive and has no safe access. It is what KVM, vhost or a renderer want to be told, and what a pin stores next to
/// the [`Backing`](super::Backing) that keeps the bytes.
///
/// ```
/// let ram = memory::Backing::anonymous(0x2000)?;
/// let host = ram.host();
/// let page = host.subrange(0x1000, 0x1000).expect("inside");
/// assert_eq!(page.as_ptr() as usize, host.as_ptr() as usize + 0x1000);
/// assert!(host.subrange(0x1000, 0x1001).is_none());
/// # Ok::<(), memory::BackingError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostMemory {
    start: NonNull<u8>,
    len: usize,
    writable: bool,
}

// SAFETY: an address and a length are plain data; nothing safe can be done with them that touches the memory.
unsafe impl Send for HostMemory {}
// SAFETY: as above, and there is no interior mutability.
unsafe impl Sync for HostMemory {}

impl HostMemory {
    /// INVARIANT: `start .. start + len` was one mapping (or one foreign range) when this was made, so the arithmetic below stays in it.
    #[inline]
    pub(super) fn new(start: NonNull<u8>, len: usize, writable: bool) -> Self {
        Self {
            start,
            len,
            writable,
        }
    }

    /// The address of the first byte. Valid only as long as somebody keeps the bytes.
    #[inline]
    pub fn as_ptr(self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// The number of bytes; more than zero for a whole backing.
    #[inline]
    pub fn len(self) -> u64 {
        self.len as u64
    }

    /// Whether there are no bytes at all.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Whether the bytes are mapped for writing.
    #[inline]
    pub fn is_writable(self) -> bool {
        self.writable
    }

    /// The same bytes, said not to be writable.
    #[inline]
    pub fn read_only(self) -> HostMemory {
        Self {
            writable: false,
            ..self
        }
    }

    /// `len` bytes from `offset` on; `None` where they are not all inside.
    #[inline]
    pub fn subrange(self, offset: u64, len: u64) -> Option<HostMemory> {
        if len > self.len() || offset > self.len() - len {
            return None;
        }
        // Both fit: they are at most `self.len`, a `usize`.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "checked against a usize just above"
        )]
        let (offset, len) = (offset as usize, len as usize);
        Some(Self {
            // SAFETY: `offset <= self.len`, so the result is inside the mapping that `start` points to or one past its end.
            start: unsafe { self.start.add(offset) },
            len,
            writable: self.writable,
        })
    }

    /// The bytes themselves, borrowed for a lifetime that the caller chooses.
    ///
    /// # Safety
    ///
    /// For all of `'a` somebody must keep the bytes mapped: hold the [`Backing`](super::Backing) that gave this value, or a clone or slice
    /// of it that covers the range. (Which is all that is asked; the bytes may change at any time, under any thread's hands.)
    #[inline]
    pub unsafe fn bytes<'a>(self) -> VolatileBytes<'a> {
        // SAFETY: the range is mapped for 'a by the caller's word, and it was made from a backing, so no Rust reference points into it.
        unsafe { VolatileBytes::new(self.start, self.len, self.writable) }
    }
}

impl fmt::Debug for HostMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = if self.writable { "rw" } else { "r" };
        write!(f, "HostMemory({:p}+{:#x} {access})", self.start, self.len)
    }
}

/// The test that needs an unsafe call; the others are in `tests/bytes.rs`.
#[cfg(test)]
mod tests {
    use crate::host::Backing;

    #[test]
    fn an_address_with_its_keeper_travels_to_another_thread() {
        let backing = Backing::anonymous(0x2000).expect("memory");
        let (host, keeper) = (
            backing.host().subrange(0x1000, 8).expect("inside"),
            backing.clone(),
        );
        std::thread::spawn(move || {
            // SAFETY: `keeper` is held for as long as the bytes are used.
            let bytes = unsafe { host.bytes() };
            bytes.store_u64(0, 0x4711).expect("inside");
            assert_eq!(bytes.len(), 8);
            drop(keeper);
        })
        .join()
        .expect("no panic");
        assert_eq!(backing.bytes().load_u64(0x1000), Some(0x4711));
    }
}
