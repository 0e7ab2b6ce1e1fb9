//! What both mappings and pins begin with: RAM at an address, for an intent, within one machine.

use super::{Intent, MapError};
use crate::addr::Gpa;
use crate::host::Backing;
use crate::leaf::Leaf;
use crate::space::AddressSpace;
use qom::layer::{self, Pointer};

/// What a mapping or a pin found.
pub(super) struct Found {
    pub(super) object: Pointer,
    pub(super) backing: Backing,
}

/// RAM at `addr` for this intent, up to `len` bytes.
pub(super) fn find_ram(
    leaf: &Leaf,
    offset: u64,
    len: u64,
    addr: Gpa,
    intent: Intent,
) -> Result<Found, MapError> {
    let bytes = leaf.bytes().ok_or(MapError::NotRam { at: addr })?;
    if intent.writes() && !leaf.writes_directly() {
        return Err(MapError::NotRam { at: addr });
    }
    let len = len.min(bytes.len().saturating_sub(offset));
    let object = leaf.pointer().ok_or(MapError::NotRam { at: addr })?;
    let backing = leaf.core().backing().ok_or(MapError::NotRam { at: addr })?;
    // The range was cut to its backing when the view was made, so this fails only at its very end.
    let backing = backing
        .slice(leaf.range().offset.0 + offset, len)
        .map_err(|_| MapError::NotRam { at: addr })?;
    Ok(Found {
        object: object.clone(),
        backing,
    })
}

pub(super) fn check_machines(
    holder: &Pointer,
    space: &AddressSpace,
    addr: Gpa,
) -> Result<(), MapError> {
    if layer::machine_of(holder).is_same(space.machine()) {
        return Ok(());
    }
    Err(MapError::OtherMachine {
        what: format!("{addr} of `{}`", space.name()).into(),
        machine: space.machine().name().into(),
        holder: holder.describe().into(),
        holder_machine: holder.machine_name().into(),
    })
}
