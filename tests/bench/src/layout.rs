//! How RAM is shown in regions: the same way by ours and by the peers.

use crate::ours::{PAGE, RAM_BYTES};

/// Regions of one size side by side, which show some bytes; where there are more regions than bytes for them, the same bytes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    regions: u64,
    region_bytes: u64,
    /// How many bytes are shown.
    backing: u64,
}

/// What a [compact](Layout::compact) layout shows: little enough that caches and TLB hold what a pool of addresses reaches, so that what is
/// measured is the way to the bytes and not the memory.
const COMPACT: u64 = 4 << 20;

/// One region of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its address.
    pub place: u64,
    /// Where its bytes begin in the RAM.
    pub offset: u64,
    /// Its length.
    pub len: u64,
}

impl Layout {
    /// `regions` regions, a power of two, over 4 MiB of bytes.
    pub fn compact(regions: u64) -> Self {
        Self {
            regions,
            region_bytes: (COMPACT / regions).max(PAGE),
            backing: COMPACT,
        }
    }

    /// `regions` regions, a power of two, over all of the RAM.
    pub fn whole(regions: u64) -> Self {
        Self {
            regions,
            region_bytes: RAM_BYTES / regions,
            backing: RAM_BYTES,
        }
    }

    /// Its length: addresses from 0 to this are RAM.
    pub fn bytes(self) -> u64 {
        self.regions * self.region_bytes
    }

    /// Where the byte at an address is in the RAM.
    #[inline]
    pub fn offset(self, addr: u64) -> u64 {
        // A power of two. A division would be a large part of a load.
        addr & (self.backing - 1)
    }

    /// How many regions there are.
    pub fn regions(self) -> u64 {
        self.regions
    }

    /// The regions, ascending.
    pub fn parts(self) -> impl Iterator<Item = Part> {
        (0..self.regions).map(move |i| {
            let place = i * self.region_bytes;
            Part {
                place,
                offset: self.offset(place),
                len: self.region_bytes,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_lie_side_by_side_and_inside_the_bytes() {
        for n in [1, 16, 4096, 65_536] {
            for layout in [Layout::compact(n), Layout::whole(n)] {
                let parts: Vec<Part> = layout.parts().collect();
                assert_eq!(parts.len() as u64, n);
                assert!(
                    parts
                        .windows(2)
                        .all(|p| p[0].place + p[0].len == p[1].place)
                );
                assert!(parts.iter().all(|p| p.offset + p.len <= layout.backing));
                assert!(
                    parts
                        .iter()
                        .all(|p| p.offset % PAGE == 0 && p.len % PAGE == 0)
                );
                let last = parts[parts.len() - 1];
                assert_eq!(last.place + last.len, layout.bytes());
            }
        }
        assert_eq!(Layout::compact(65_536).bytes(), 256 << 20);
    }

    #[test]
    fn an_address_and_its_region_lead_to_the_same_byte() {
        let layout = Layout::compact(4096);
        let part = layout.parts().nth(3000).expect("there are more");
        assert_eq!(layout.offset(part.place + 77), part.offset + 77);
    }
}
