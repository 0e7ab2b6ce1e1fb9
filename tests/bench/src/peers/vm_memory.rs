//! vm-memory: the same bytes as ours, shown in as many regions.

#![expect(
    unsafe_code,
    reason = "vm-memory is to show the very bytes that ours shows, and takes them by their address"
)]

use crate::layout::Layout;
use crate::ours::RAM;
use vm_memory::mmap::MmapRegion;
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestRegionMmap};

/// RAM, laid out as ours.
pub fn memory(layout: Layout) -> GuestMemoryMmap {
    let regions = layout
        .parts()
        .map(|part| region(part.place, part.offset, part.len));
    GuestMemoryMmap::from_regions(regions.collect()).expect("regions in order")
}

/// A region of `size` bytes at `place`, which shows the RAM from `offset` on.
pub fn region(place: u64, offset: u64, size: u64) -> GuestRegionMmap {
    let bytes = RAM.slice(offset, size).expect("a part of the RAM");
    let size = usize::try_from(size).expect("a size of memory");
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE);
    // SAFETY: the bytes are mapped so, belong to a static that is never dropped, and are `size` long.
    let mapping = unsafe { MmapRegion::build_raw(bytes.bytes().as_ptr(), size, prot, flags) };
    let mapping = mapping.expect("the parts begin at pages");
    GuestRegionMmap::new(mapping, GuestAddress(place)).expect("an address within 64 bits")
}
