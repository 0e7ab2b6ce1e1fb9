//! From an access to a region's callbacks: admission, splitting, byte order, panics.

use crate::access::{self, Access, Endian, MemTx};
use crate::attrs::Attrs;
use crate::leaf::{Calls, Leaf};
use crate::reentrancy;
use qom::layer::{self, Place};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A read of `size` bytes at `offset` in the region: the value, in the requested order, and what came of it.
#[expect(
    clippy::inline_always,
    reason = "for a caller that knows the size nearly all of it is decided"
)]
#[inline(always)]
pub(super) fn call_read(
    leaf: &Leaf,
    calls: &Calls,
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
    let _inside = match admit(leaf, calls, access, false) {
        Ok(inside) => inside,
        Err(refused) => return (0, refused),
    };
    let called = if calls.is_plain(offset, size) {
        catch_unwind(AssertUnwindSafe(|| {
            let (value, result) = calls.ops.whole_read(&calls.owner, access)?;
            Some((value & access::mask(size), result))
        }))
    } else {
        catch_unwind(AssertUnwindSafe(|| read_in_parts(calls, access)))
    };
    match called {
        Ok(Some((value, result))) => (access::swap_to(calls.rules, order, size, value), result),
        Ok(None) => (0, invalid(leaf, access, false)),
        Err(panic) => (0, panicked(leaf, calls, panic)),
    }
}

/// A write of `size` bytes at `offset` in the region, of a value in the given order.
#[expect(
    clippy::inline_always,
    reason = "for a caller that knows the size nearly all of it is decided"
)]
#[inline(always)]
pub(super) fn call_write(
    leaf: &Leaf,
    calls: &Calls,
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
    let _inside = match admit(leaf, calls, access, true) {
        Ok(inside) => inside,
        Err(refused) => return refused,
    };
    let value = access::swap_to(calls.rules, order, size, value);
    let called = if calls.is_plain(offset, size) {
        let value = value & access::mask(size);
        catch_unwind(AssertUnwindSafe(|| {
            calls.ops.whole_write(&calls.owner, access, value)
        }))
    } else {
        catch_unwind(AssertUnwindSafe(|| write_in_parts(calls, access, value)))
    };
    match called {
        Ok(Some(result)) => result,
        Ok(None) => invalid(leaf, access, true),
        Err(panic) => panicked(leaf, calls, panic),
    }
}

/// Several calls, or one of another size. None: vetoed as a whole.
#[inline(never)]
fn read_in_parts(calls: &Calls, access: Access) -> Option<(u64, MemTx)> {
    if !calls.ops.accepts(&calls.owner, access, false) {
        return None;
    }
    let part = |offset, size| {
        let part = Access {
            offset,
            size,
            attrs: access.attrs,
        };
        calls.ops.read(&calls.owner, part)
    };
    Some(access::read(calls.rules, access.offset, access.size, part))
}

/// See [`read_in_parts`].
#[inline(never)]
fn write_in_parts(calls: &Calls, access: Access, value: u64) -> Option<MemTx> {
    if !calls.ops.accepts(&calls.owner, access, true) {
        return None;
    }
    let part = |offset, size, value| {
        let part = Access {
            offset,
            size,
            attrs: access.attrs,
        };
        calls.ops.write(&calls.owner, part, value)
    };
    let (offset, size) = (access.offset, access.size);
    Some(access::write(calls.rules, offset, size, value, part))
}

/// Whether a callback may be entered, and on whose behalf.
#[expect(clippy::inline_always, reason = "see `call_read`")]
#[inline(always)]
fn admit(
    leaf: &Leaf,
    calls: &Calls,
    access: Access,
    is_write: bool,
) -> Result<Option<reentrancy::Inside>, MemTx> {
    // Under the topology lock nobody's code runs but listeners'.
    if access.attrs.is_memory_only() || layer::depth(Place::Listener) > 0 {
        return Err(forbidden(leaf, access));
    }
    // A callback of a withdrawn owner is not entered any more. A region that is withdrawn without its owner is seen until the
    // view without it is published, which is before the withdrawal returns.
    if calls.owner.is_withdrawn() {
        return Err(MemTx::DECODE_ERROR);
    }
    if !calls.is_plain(access.offset, access.size)
        && !access::is_valid(calls.rules, access.offset, access.size)
    {
        return Err(invalid(leaf, access, is_write));
    }
    if calls.reentrant {
        return Ok(None);
    }
    match reentrancy::enter(&calls.owner) {
        Some(inside) => Ok(Some(inside)),
        None => Err(reentered(leaf, calls, access, is_write)),
    }
}

#[cold]
fn forbidden(leaf: &Leaf, access: Access) -> MemTx {
    if !access.attrs.is_memory_only() {
        tracing::error!(region = leaf.core().name, "a listener reached for a device");
    }
    MemTx::ACCESS_ERROR
}

#[cold]
fn invalid(leaf: &Leaf, access: Access, is_write: bool) -> MemTx {
    tracing::debug!(
        region = leaf.core().name,
        offset = access.offset,
        size = access.size,
        is_write,
        "guest error: invalid access"
    );
    MemTx::DECODE_ERROR
}

/// What the region vetoes it vetoes to its own device, too.
#[cold]
fn reentered(leaf: &Leaf, calls: &Calls, access: Access, is_write: bool) -> MemTx {
    let accepts = || calls.ops.accepts(&calls.owner, access, is_write);
    match catch_unwind(AssertUnwindSafe(accepts)) {
        Ok(true) => {
            tracing::warn!(
                region = leaf.core().name,
                offset = access.offset,
                "guest error: a device reaches its own registers"
            );
            MemTx::ACCESS_ERROR
        }
        Ok(false) => invalid(leaf, access, is_write),
        Err(panic) => panicked(leaf, calls, panic),
    }
}

#[cold]
fn panicked(leaf: &Leaf, calls: &Calls, panic: Box<dyn std::any::Any + Send>) -> MemTx {
    let text = qom::layer::message_of(panic);
    let owner = &calls.owner;
    tracing::error!(owner = %owner.describe(), region = leaf.core().name, panic = text, "a callback panicked");
    qom::layer::machine_of(owner).report_panic(owner.describe(), "callback".into(), text);
    MemTx::ERROR
}
