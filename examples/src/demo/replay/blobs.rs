//! What the driver of a replay knows of blobs in the window: told to the readers, looked at, and handed to the copy engine.

use hw_virtio_gpu::{renderer::MemfdRenderer, wire::Command};
use memory::{Attrs, Gpa};

use super::Replay;
use crate::demo::{board::in_window, dma, failure::DemoError};

/// A blob in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) name: u64,
    offset: u64,
    len: u64,
    word: Option<u32>,
}

/// What the driver knows of a blob.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blob {
    size: u64,
    id: u64,
    pub(super) mapped: Option<Mapped>,
}

impl Mapped {
    fn overlaps(&self, other: &Self) -> bool {
        self.offset < other.offset + other.len && other.offset < self.offset + self.len
    }
}

impl Replay<'_> {
    /// Tells the readers what a command is about to do to the window.
    pub(super) fn announce(&mut self, command: &Command) -> Option<Mapped> {
        match command {
            Command::ResourceCreateBlob(blob) => {
                let new = Blob {
                    size: blob.size,
                    id: blob.blob_id,
                    mapped: None,
                };
                self.blobs.insert(blob.resource, new);
                None
            }
            Command::ResourceMapBlob { resource, offset } => {
                let blob = self.blobs.get(resource)?;
                self.names += 1;
                let mapped = Mapped {
                    name: self.names,
                    offset: *offset,
                    len: blob.size.checked_next_multiple_of(4096)?,
                    word: (blob.id != 0).then(|| MemfdRenderer::first_word(blob.id)),
                };
                self.window
                    .uncertain(mapped.name, mapped.offset, mapped.len);
                Some(mapped)
            }
            Command::ResourceUnmapBlob { resource } | Command::ResourceUnref { resource } => {
                let mapped = if matches!(command, Command::ResourceUnref { .. }) {
                    // The driver may use the id again before the reply comes.
                    self.blobs.remove(resource)?.mapped?
                } else {
                    self.blobs.get_mut(resource)?.mapped.take()?
                };
                self.window
                    .uncertain(mapped.name, mapped.offset, mapped.len);
                Some(mapped)
            }
            _ => None,
        }
    }

    /// A blob was mapped, or refused: looks at it, tells the readers, and has the copy engine fetch it.
    pub(super) fn map_replied(
        &mut self,
        line: u64,
        resource: u32,
        mapped: Option<Mapped>,
        fine: bool,
    ) -> Result<(), DemoError> {
        let Some(mapped) = mapped else {
            return Ok(());
        };
        if !fine {
            self.tally.refused += 1;
            self.window.gone(mapped.name);
            return Ok(());
        }
        self.tally.mapped += 1;
        let at = in_window(&self.board.places, mapped.offset);
        match (
            self.board.memory.load::<u32>(at, Attrs::default()),
            mapped.word,
        ) {
            (Ok(found), Some(word)) if found != word => {
                return Err(self.differs(
                    line,
                    format_args!("the blob begins with {found:#x} instead of {word:#x}"),
                ));
            }
            (Ok(_), _) => {}
            (Err(error), _) => {
                return Err(self.differs(
                    line,
                    format_args!("the mapped blob cannot be read: {error}"),
                ));
            }
        }
        self.window
            .mapped(mapped.name, mapped.offset, mapped.len, mapped.word);
        if let Some(blob) = self.blobs.get_mut(&resource) {
            blob.mapped = Some(mapped);
        }
        self.copy(line, mapped, false)
    }

    /// Where a blob was and no other is, there is nothing.
    pub(super) fn check_hole(&self, line: u64, mapped: Mapped) -> Result<(), DemoError> {
        let mut coming = self.awaited.values().filter_map(|a| a.mapping);
        let mut there = self.blobs.values().filter_map(|b| b.mapped);
        if coming.any(|m| m.overlaps(&mapped)) || there.any(|m| m.overlaps(&mapped)) {
            return Ok(());
        }
        let at = in_window(&self.board.places, mapped.offset);
        match self.board.memory.load::<u32>(at, Attrs::default()) {
            Err(_) => Ok(()),
            Ok(word) => Err(self.differs(
                line,
                format_args!("{at} reads {word:#x} after its blob was unmapped"),
            )),
        }
    }

    /// Programs the copy engine as a guest does.
    fn copy(&self, line: u64, mapped: Mapped, held: bool) -> Result<(), DemoError> {
        let base = self.board.places.dma;
        let store = |register: u64, value: u32| {
            let done = self
                .board
                .memory
                .store(Gpa(base + register), value, Attrs::default());
            done.map_err(|error| {
                self.differs(
                    line,
                    format_args!("the copy engine's register {register:#x}: {error}"),
                )
            })
        };
        let at = in_window(&self.board.places, mapped.offset).0;
        let half = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap_or(0);
        store(dma::SOURCE, half(at))?;
        store(dma::SOURCE + 4, half(at >> 32))?;
        store(dma::LENGTH, u32::try_from(mapped.len).unwrap_or(u32::MAX))?;
        store(dma::WORD, mapped.word.unwrap_or(0))?;
        store(dma::START, u32::from(held))
    }

    /// Has the copy engine pin a mapped resource until it is released.
    pub(in crate::demo) fn hold(&self, resource: u32) -> Result<(), DemoError> {
        match self.blobs.get(&resource).and_then(|b| b.mapped) {
            Some(mapped) => self.copy(self.tally.lines, mapped, true),
            None => Err(self.differs(
                self.tally.lines,
                format_args!("resource {resource} is not mapped"),
            )),
        }
    }
}
