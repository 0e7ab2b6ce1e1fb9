//! Guest memory as commands see it: a trait to read it, and the lists of stretches that back resources.
//!
//! A backing is a list of guest physical addresses, not a mapping: each transfer reads through the view of that moment.
//! So a resource holds no region of the guest's RAM alive, and a stretch whose RAM went away is an error of the command
//! that reads it.

use thiserror::Error;

use crate::wire::MemEntry;

/// A stretch of guest memory that is not readable RAM.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{len} bytes at guest physical {addr:#x} are not RAM")]
pub struct GuestMemoryError {
    /// Where it begins.
    pub addr: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// Read access to guest RAM. Implementations see the memory map of the moment of each call.
pub trait GuestMemory {
    /// Fills `into` from guest physical address `addr`.
    ///
    /// # Errors
    /// [`GuestMemoryError`] where any of the bytes is not RAM; `into` is then unspecified.
    fn read_guest(&self, addr: u64, into: &mut [u8]) -> Result<(), GuestMemoryError>;

    /// Whether all `len` bytes at `addr` are RAM now.
    fn is_guest_ram(&self, addr: u64, len: u64) -> bool;
}

/// Why a list of stretches cannot back a resource, or cannot be read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackingError {
    /// An entry is not RAM.
    #[error("backing is not readable")]
    NotRam(#[from] GuestMemoryError),
    /// A read passes the end of the list.
    #[error("bytes {offset}..{offset}+{len} lie outside a backing of {total} bytes")]
    OutOfRange {
        /// First byte asked for.
        offset: u64,
        /// Bytes asked for.
        len: u64,
        /// Bytes the backing has.
        total: u64,
    },
}

/// The guest memory behind a resource: stretches that read as one run of bytes.
#[derive(Clone, Debug, Default)]
pub struct GuestBacking {
    segments: Vec<Segment>,
    total: u64,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    /// Where the stretch begins in the run.
    offset: u64,
    addr: u64,
    len: u64,
}

impl GuestBacking {
    /// Checks every entry against `memory` and joins those that are adjacent. Entries of no length are dropped.
    ///
    /// # Errors
    /// [`BackingError::NotRam`] names the first entry that is not RAM.
    pub fn new(entries: &[MemEntry], memory: &dyn GuestMemory) -> Result<Self, BackingError> {
        let mut segments: Vec<Segment> = Vec::new();
        // At most 2^32 entries of less than 2^32 bytes each: the sum fits.
        let mut total = 0_u64;
        for entry in entries.iter().filter(|e| e.len > 0) {
            let len = u64::from(entry.len);
            let wraps = entry.addr.checked_add(len).is_none();
            if wraps || !memory.is_guest_ram(entry.addr, len) {
                return Err(BackingError::NotRam(GuestMemoryError {
                    addr: entry.addr,
                    len,
                }));
            }
            match segments.last_mut() {
                Some(last) if last.addr + last.len == entry.addr => last.len += len,
                _ => segments.push(Segment {
                    offset: total,
                    addr: entry.addr,
                    len,
                }),
            }
            total += len;
        }
        Ok(Self { segments, total })
    }

    /// Bytes in the run.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether the run has no bytes.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Stretches in the run, after joining.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Fills `into` from byte `offset` of the run on.
    ///
    /// # Errors
    /// [`BackingError`] for bytes outside the run, and for memory that is no longer RAM; `into` is then unspecified.
    pub fn read(
        &self,
        memory: &dyn GuestMemory,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), BackingError> {
        let len = into.len() as u64;
        let end = offset.checked_add(len).filter(|&end| end <= self.total);
        if end.is_none() {
            return Err(BackingError::OutOfRange {
                offset,
                len,
                total: self.total,
            });
        }
        let mut index = self
            .segments
            .partition_point(|s| s.offset + s.len <= offset);
        let mut at = offset;
        let mut rest = into;
        while !rest.is_empty() {
            let segment = &self.segments[index];
            let skip = at - segment.offset;
            let here =
                usize::try_from(segment.len - skip).map_or(rest.len(), |n| n.min(rest.len()));
            let (part, behind) = rest.split_at_mut(here);
            memory.read_guest(segment.addr + skip, part)?;
            at += here as u64;
            rest = behind;
            index += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
