//! What both mappings and pins begin with: who wants which bytes; and RAM there, for an intent, within one machine.

use super::{Intent, MapError};
use crate::addr::Gpa;
use crate::kept::Part;
use crate::leaf::Leaf;
use crate::space::AddressSpace;
use qom::Object;
use qom::layer;
use std::borrow::Cow;
use std::panic::Location;

/// Who wants what.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) space: &'a AddressSpace,
    pub(crate) holder: &'a Object,
    pub(crate) addr: Gpa,
    pub(crate) len: u64,
    pub(crate) intent: Intent,
    /// Which code asks, for the ledger.
    pub(crate) place: &'static Location<'static>,
}

impl<'a> Request<'a> {
    /// What `holder` wants: so many bytes from an address on.
    #[inline]
    pub(crate) fn new(
        space: &'a AddressSpace,
        holder: &'a Object,
        (addr, len): (Gpa, u64),
        intent: Intent,
        place: &'static Location<'static>,
    ) -> Self {
        Self {
            space,
            holder,
            addr,
            len,
            intent,
            place,
        }
    }

    /// The request makes sense at all: it is for some bytes, and within one machine.
    pub(super) fn check(&self) -> Result<(), MapError> {
        if self.len == 0 {
            return Err(MapError::Empty {
                by: self.by(),
                at: self.addr,
            });
        }
        if layer::belongs_to(self.holder, self.space.machine()) {
            return Ok(());
        }
        Err(MapError::OtherMachine {
            what: self.place().into(),
            machine: self.space.machine().name().into(),
            holder: self.holder.describe().into(),
            holder_machine: self.holder.machine_name().into(),
        })
    }

    /// RAM in the range that begins `offset` before the address, up to the length.
    #[inline]
    pub(super) fn find_ram<'v>(&self, leaf: &'v Leaf, offset: u64) -> Result<Part<'v>, MapError> {
        let part = leaf.part().ok_or_else(|| self.not_ram())?;
        if self.intent.writes() && !leaf.writes_directly() {
            return Err(self.not_ram());
        }
        let len = self.len.min(part.len().saturating_sub(offset));
        let found = part.within(offset, len).filter(|p| p.len() > 0);
        found.ok_or_else(|| self.not_ram())
    }

    #[cold]
    pub(super) fn not_ram(&self) -> MapError {
        MapError::NotRam {
            by: self.by(),
            at: self.addr,
        }
    }

    #[cold]
    pub(super) fn too_short(&self) -> MapError {
        MapError::TooShort {
            by: self.by(),
            at: self.addr,
            wanted: self.len,
        }
    }

    /// The region was found and is withdrawn, or the holder is, before anything was looked for.
    #[cold]
    pub(super) fn withdrawn(&self, part: Option<Part<'_>>) -> MapError {
        MapError::Withdrawn {
            what: part.map_or_else(|| self.place(), |p| p.object().describe()),
            holder: self.holder.describe(),
        }
    }

    /// The address, in words.
    pub(super) fn place(&self) -> String {
        format!("{} of `{}`", self.addr, self.space.name())
    }

    fn by(&self) -> Cow<'static, str> {
        let (holder, space) = (self.holder.describe(), self.space.name());
        format!("{holder} in address space `{space}`").into()
    }
}
