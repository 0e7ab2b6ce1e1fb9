//! The step from this library's borrowed bytes to vm-memory's.
#![expect(
    unsafe_code,
    reason = "vm-memory makes its slices from raw addresses only"
)]
// Soundness. vm-memory asks of an address that it is mapped for reading and writing for the lifetime of the slice, and that all others who touch
// the bytes do so with accesses that tolerate it. `VolatileBytes<'a>` are mapped for all of 'a; that they are mapped for writing is tested
// below; and no Rust reference to guest memory exists in this workspace (the argument is in `memory/src/host/copy.rs`). The bulk copies of
// vm-memory itself are plain ones, which the compiler may see through; what that means is vm-memory's to answer for.

use memory::VolatileBytes;
use vm_memory::VolatileSlice;

/// The same bytes for the same lifetime; `None` where a write would fault or was taken away.
#[inline]
pub(crate) fn volatile(bytes: VolatileBytes<'_>) -> Option<VolatileSlice<'_>> {
    if !bytes.is_writable() {
        return None;
    }
    let len = usize::try_from(bytes.len()).ok()?;
    // SAFETY: `len` bytes are mapped, for writing too, for as long as the borrow lasts that the result inherits; nobody has a reference to
    // them.
    Some(unsafe { VolatileSlice::new(bytes.as_ptr(), len) })
}
