//! From an access to a region's callbacks: admission, splitting, byte order, panics.

use crate::access::{self, Access, Endian, MemTx};
use crate::attrs::Attrs;
use crate::leaf::Leaf;
use crate::reentrancy;
use qom::layer::{self, Place};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Whether a callback may be entered, and on whose behalf.
#[inline]
fn admit(leaf: &Leaf, access: Access, is_write: bool) -> Result<Option<reentrancy::Inside>, MemTx> {
    let core = leaf.core();
    if access.attrs.is_memory_only() {
        return Err(MemTx::ACCESS_ERROR);
    }
    // Under the topology lock nobody's code runs but listeners'.
    if layer::depth(Place::Listener) > 0 {
        tracing::error!(region = core.name, "a listener reached for a device");
        return Err(MemTx::ACCESS_ERROR);
    }
    // A callback of a withdrawn owner is not entered any more: its regions are marked with it, and before it is closed.
    let alive = leaf.region().is_some_and(|r| !r.is_withdrawn());
    let Some(ops) = core.ops.as_ref().filter(|_| alive) else {
        return Err(MemTx::DECODE_ERROR);
    };
    let legal = access::is_valid(core.rules, access.offset, access.size);
    if !legal || !ops.accepts(&core.owner, access, is_write) {
        tracing::debug!(
            region = core.name,
            offset = access.offset,
            size = access.size,
            is_write,
            "guest error: invalid access"
        );
        return Err(MemTx::DECODE_ERROR);
    }
    if core.reentrant {
        return Ok(None);
    }
    if let Some(inside) = reentrancy::enter(&core.owner) {
        Ok(Some(inside))
    } else {
        tracing::warn!(
            region = core.name,
            offset = access.offset,
            "guest error: a device reaches its own registers"
        );
        Err(MemTx::ACCESS_ERROR)
    }
}

#[inline]
pub(super) fn call_read(
    leaf: &Leaf,
    offset: u64,
    size: u8,
    order: Endian,
    attrs: Attrs,
) -> (u64, MemTx) {
    let access = Access {
        offset,
        size,
        attrs,
    };
    let _inside = match admit(leaf, access, false) {
        Ok(inside) => inside,
        Err(refused) => return (0, refused),
    };
    let core = leaf.core();
    let Some(ops) = &core.ops else {
        return (0, MemTx::DECODE_ERROR);
    };
    let called = catch_unwind(AssertUnwindSafe(|| {
        access::read(core.rules, offset, size, |offset, size| {
            ops.read(
                &core.owner,
                Access {
                    offset,
                    size,
                    attrs,
                },
            )
        })
    }));
    match called {
        Ok((value, result)) => (access::swap_to(core.rules, order, size, value), result),
        Err(panic) => (0, panicked(leaf, panic)),
    }
}

#[inline]
pub(super) fn call_write(
    leaf: &Leaf,
    offset: u64,
    size: u8,
    value: u64,
    order: Endian,
    attrs: Attrs,
) -> MemTx {
    let access = Access {
        offset,
        size,
        attrs,
    };
    let _inside = match admit(leaf, access, true) {
        Ok(inside) => inside,
        Err(refused) => return refused,
    };
    let core = leaf.core();
    let Some(ops) = &core.ops else {
        return MemTx::DECODE_ERROR;
    };
    let value = access::swap_to(core.rules, order, size, value);
    let called = catch_unwind(AssertUnwindSafe(|| {
        access::write(core.rules, offset, size, value, |offset, size, value| {
            ops.write(
                &core.owner,
                Access {
                    offset,
                    size,
                    attrs,
                },
                value,
            )
        })
    }));
    match called {
        Ok(result) => result,
        Err(panic) => panicked(leaf, panic),
    }
}

#[cold]
fn panicked(leaf: &Leaf, panic: Box<dyn std::any::Any + Send>) -> MemTx {
    let text = qom::layer::message_of(panic);
    let owner = &leaf.core().owner;
    tracing::error!(owner = %owner.describe(), region = leaf.core().name, panic = text, "a callback panicked");
    qom::layer::machine_of(owner).report_panic(owner.describe(), "callback".into(), text);
    MemTx::ERROR
}
