//! Resources: what an id stands for, and the table of those that live.

use std::collections::{BTreeSet, HashMap};

use crate::{
    gpu::MappingToken,
    guest::{BackingError, GuestBacking, GuestMemory},
    renderer::BlobHandle,
    scanout::{frame_bytes, index},
    wire::{Format, Rect},
};

/// A resource.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) content: Content,
    /// The contexts it is attached to.
    pub(crate) contexts: BTreeSet<u32>,
    /// Assigned at first asking.
    pub(crate) uuid: Option<[u8; 16]>,
}

/// What a resource consists of.
#[derive(Debug)]
pub(crate) enum Content {
    /// Pixels of the host's that are copied from guest memory.
    TwoD(TwoD),
    /// Guest memory.
    GuestBlob {
        /// Bytes; no more than the backing has.
        size: u64,
        backing: GuestBacking,
    },
    /// Memory of the renderer's.
    HostBlob(HostBlob),
}

/// The pixels of a 2D resource.
#[derive(Debug)]
pub(crate) struct TwoD {
    pub(crate) format: Format,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) pixels: Vec<u8>,
    pub(crate) backing: Option<GuestBacking>,
}

/// A blob of the renderer's.
#[derive(Debug)]
pub(crate) struct HostBlob {
    pub(crate) handle: BlobHandle,
    pub(crate) size: u64,
    /// `size` rounded up to pages.
    pub(crate) span: u64,
    pub(crate) mappable: bool,
    pub(crate) mapping: Option<Mapping>,
}

/// A blob's place in the window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapping {
    pub(crate) token: MappingToken,
    pub(crate) offset: u64,
    /// The blob was taken out of the window, and somebody still may hold it.
    pub(crate) leaving: bool,
}

impl TwoD {
    /// Black pixels, or none where the host has no memory for them.
    pub(crate) fn new(format: Format, width: u32, height: u32) -> Option<Self> {
        let len = usize::try_from(frame_bytes(width, height)).ok()?;
        let mut pixels = Vec::new();
        pixels.try_reserve_exact(len).ok()?;
        pixels.resize(len, 0);
        Some(Self {
            format,
            width,
            height,
            pixels,
            backing: None,
        })
    }

    /// Bytes from row to row.
    pub(crate) fn stride(&self) -> u64 {
        u64::from(self.width) * u64::from(Format::BYTES)
    }

    /// Copies `rect`, which lies inside, from the backing, where its first byte is at `offset` and rows are as far apart as here.
    pub(crate) fn transfer(
        &mut self,
        memory: &dyn GuestMemory,
        rect: Rect,
        offset: u64,
    ) -> Result<(), BackingError> {
        let stride = self.stride();
        let Some(backing) = &self.backing else {
            return Ok(());
        };
        let begin = u64::from(rect.y) * stride + u64::from(rect.x) * u64::from(Format::BYTES);
        let row = u64::from(rect.width) * u64::from(Format::BYTES);
        if row == stride {
            let len = row * u64::from(rect.height);
            return backing.read(
                memory,
                offset,
                &mut self.pixels[index(begin)..index(begin + len)],
            );
        }
        for line in 0..u64::from(rect.height) {
            let at = begin + line * stride;
            // An offset of the guest's may be anything: a sum that wraps lies outside every backing.
            let from = offset.saturating_add(line * stride);
            backing.read(memory, from, &mut self.pixels[index(at)..index(at + row)])?;
        }
        Ok(())
    }
}

/// Resources by id.
pub(crate) type ResourceTable = HashMap<u32, Resource>;
