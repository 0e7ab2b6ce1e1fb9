//! What both mappings and pins begin with: RAM at an address, for an intent, within one machine.

use super::{Intent, MapError};
use crate::addr::Gpa;
use crate::host::Backing;
use crate::leaf::Leaf;
use crate::space::AddressSpace;
use qom::layer::{self, Pointer};
use std::borrow::Cow;

/// Who wants what.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) space: &'a AddressSpace,
    pub(super) holder: &'a Pointer,
    pub(super) addr: Gpa,
    pub(super) len: u64,
    pub(super) intent: Intent,
}

/// What a mapping or a pin found.
pub(super) struct Found<'v> {
    pub(super) object: &'v Pointer,
    pub(super) backing: Backing,
}

impl Request<'_> {
    /// The request makes sense at all: it is for some bytes, and within one machine.
    pub(super) fn check(&self) -> Result<(), MapError> {
        if self.len == 0 {
            return Err(MapError::Empty {
                by: self.by(),
                at: self.addr,
            });
        }
        if layer::machine_of(self.holder).is_same(self.space.machine()) {
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
    pub(super) fn find_ram<'v>(&self, leaf: &'v Leaf, offset: u64) -> Result<Found<'v>, MapError> {
        let not_ram = || self.not_ram();
        let bytes = leaf.direct().ok_or_else(not_ram)?;
        if self.intent.writes() && !leaf.writes_directly() {
            return Err(self.not_ram());
        }
        let len = self.len.min(bytes.len().saturating_sub(offset));
        let object = leaf.pointer().ok_or_else(not_ram)?;
        let backing = leaf.core().backing().ok_or_else(not_ram)?;
        // The range was cut to its backing when the view was made, so this fails only at its very end.
        let backing = backing
            .slice(leaf.range().offset.0 + offset, len)
            .map_err(|_| self.not_ram())?;
        Ok(Found { object, backing })
    }

    pub(super) fn not_ram(&self) -> MapError {
        MapError::NotRam {
            by: self.by(),
            at: self.addr,
        }
    }

    pub(super) fn too_short(&self) -> MapError {
        MapError::TooShort {
            by: self.by(),
            at: self.addr,
            wanted: self.len,
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
