//! From an access to a region's callbacks: admission, splitting, byte order, panics.

use super::Scalar;
use crate::access::{self, Access, Endian, MemTx, MemTxError};
use crate::attrs::Attrs;
use crate::leaf::{Calls, Place};
use crate::reentrancy::{self, Here};
use crate::region::bound;
use qom::layer;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A read of `size` bytes at `offset` in the region: the value, in the requested order, and what came of it.
#[expect(
    clippy::inline_always,
    reason = "for a caller that knows the size nearly all of it is decided"
)]
#[inline(always)]
pub(super) fn call_read(
    at: Place<'_>,
    offset: u64,
    size: u8,
    order: Endian,
    attrs: Attrs,
) -> (u64, MemTx) {
    let calls = at.calls();
    let _inside = match admit(at, offset, size, attrs, false) {
        Ok(inside) => inside,
        Err(refused) => return (0, refused),
    };
    let (value, result) = if calls.is_plain(offset, size) {
        let access = Access {
            offset,
            size,
            attrs,
        };
        bound::read(at, access)
    } else {
        read_in_parts(at, offset, size, attrs)
    };
    (access::swap_to(calls.rules, order, size, value), result)
}

/// A write of `size` bytes at `offset` in the region, of a value in the given order.
#[expect(
    clippy::inline_always,
    reason = "for a caller that knows the size nearly all of it is decided"
)]
#[inline(always)]
pub(super) fn call_write(
    at: Place<'_>,
    offset: u64,
    size: u8,
    value: u64,
    order: Endian,
    attrs: Attrs,
) -> MemTx {
    let calls = at.calls();
    let _inside = match admit(at, offset, size, attrs, true) {
        Ok(inside) => inside,
        Err(refused) => return refused,
    };
    let value = access::swap_to(calls.rules, order, size, value);
    if calls.is_plain(offset, size) {
        let access = Access {
            offset,
            size,
            attrs,
        };
        bound::write(at, access, value)
    } else {
        write_in_parts(at, offset, size, attrs, value)
    }
}

/// What came of a load by callback, as the caller is told.
#[inline]
pub(crate) fn loaded<T: Scalar>((value, result): (u64, MemTx)) -> Result<T, MemTxError> {
    result.ok().map(|()| T::from_u64(value))
}

/// What [`admit`] lets through where nothing about it is out of the ordinary: an access that is one call as it is, in the target's byte order, from
/// a thread that runs nobody's code; nearly all. None: it is not that, and nothing was called.
#[expect(clippy::inline_always, reason = "see `call_read`")]
#[inline(always)]
pub(crate) fn admit_at_once(
    here: Here,
    at: Place<'_>,
    offset: u64,
    size: u8,
    attrs: Attrs,
) -> Option<reentrancy::First> {
    let calls = at.calls();
    let owner = calls.owner();
    if !calls.is_usual(offset, size) || attrs.is_memory_only() || owner.is_withdrawn() {
        return None;
    }
    // A thread that runs a listener is not first either.
    reentrancy::enter_first(here, owner)
}

/// Several calls, or one of another size; none where the region vetoes it as a whole.
#[inline(never)]
fn read_in_parts(at: Place<'_>, offset: u64, size: u8, attrs: Attrs) -> (u64, MemTx) {
    let (calls, owner) = (at.calls(), &**at.calls().owner());
    let access = Access {
        offset,
        size,
        attrs,
    };
    let part = |offset, size| {
        let part = Access {
            offset,
            size,
            attrs,
        };
        calls.ops().read(owner, part)
    };
    let called = catch_unwind(AssertUnwindSafe(|| {
        let accepted = calls.ops().accepts(owner, access, false);
        accepted.then(|| access::read(calls.rules, offset, size, part))
    }));
    match called {
        Ok(Some(read)) => read,
        Ok(None) => (0, at.invalid(access, false)),
        Err(panic) => (0, at.panicked(panic)),
    }
}

/// See [`read_in_parts`].
#[inline(never)]
fn write_in_parts(at: Place<'_>, offset: u64, size: u8, attrs: Attrs, value: u64) -> MemTx {
    let (calls, owner) = (at.calls(), &**at.calls().owner());
    let access = Access {
        offset,
        size,
        attrs,
    };
    let part = |offset, size, value| {
        let part = Access {
            offset,
            size,
            attrs,
        };
        calls.ops().write(owner, part, value)
    };
    let called = catch_unwind(AssertUnwindSafe(|| {
        let accepted = calls.ops().accepts(owner, access, true);
        accepted.then(|| access::write(calls.rules, offset, size, value, part))
    }));
    match called {
        Ok(Some(result)) => result,
        Ok(None) => at.invalid(access, true),
        Err(panic) => at.panicked(panic),
    }
}

/// Whether a callback may be entered, and on whose behalf.
#[expect(clippy::inline_always, reason = "see `call_read`")]
#[inline(always)]
fn admit(
    at: Place<'_>,
    offset: u64,
    size: u8,
    attrs: Attrs,
    is_write: bool,
) -> Result<Option<reentrancy::Inside>, MemTx> {
    let calls: &Calls = at.calls();
    let owner = calls.owner();
    // Under the topology lock nobody's code runs but listeners'.
    if attrs.is_memory_only() || layer::depth(layer::Place::Listener) > 0 {
        return Err(at.forbidden(attrs));
    }
    // A callback of a withdrawn owner is not entered any more. A region that is withdrawn without its owner is seen until the
    // view without it is published, which is before the withdrawal returns.
    if owner.is_withdrawn() {
        return Err(MemTx::DECODE_ERROR);
    }
    if !calls.is_plain(offset, size) && !access::is_valid(calls.rules, offset, size) {
        let access = Access {
            offset,
            size,
            attrs,
        };
        return Err(at.invalid(access, is_write));
    }
    if calls.is_reentrant() {
        return Ok(None);
    }
    match reentrancy::enter(owner) {
        Some(inside) => Ok(Some(inside)),
        None => Err(at.reentered(offset, size, attrs, is_write)),
    }
}

impl Place<'_> {
    #[cold]
    fn forbidden(self, attrs: Attrs) -> MemTx {
        if !attrs.is_memory_only() {
            tracing::error!(
                region = self.core().name.as_str(),
                "a listener reached for a device"
            );
        }
        MemTx::ACCESS_ERROR
    }

    #[cold]
    pub(crate) fn invalid(self, access: Access, is_write: bool) -> MemTx {
        tracing::debug!(
            region = self.core().name.as_str(),
            offset = access.offset,
            size = access.size,
            is_write,
            "guest error: invalid access"
        );
        MemTx::DECODE_ERROR
    }

    /// What the region vetoes it vetoes to its own device, too.
    #[cold]
    fn reentered(self, offset: u64, size: u8, attrs: Attrs, is_write: bool) -> MemTx {
        let access = Access {
            offset,
            size,
            attrs,
        };
        let (calls, owner) = (self.calls(), self.calls().owner());
        let accepts = || calls.ops().accepts(owner, access, is_write);
        match catch_unwind(AssertUnwindSafe(accepts)) {
            Ok(true) => {
                tracing::warn!(
                    region = self.core().name.as_str(),
                    offset,
                    "guest error: a device reaches its own registers"
                );
                MemTx::ACCESS_ERROR
            }
            Ok(false) => self.invalid(access, is_write),
            Err(panic) => self.panicked(panic),
        }
    }

    #[cold]
    pub(crate) fn panicked(self, panic: Box<dyn Any + Send>) -> MemTx {
        let text = layer::message_of(panic);
        let owner = self.calls().owner();
        tracing::error!(owner = %owner.describe(), region = self.core().name.as_str(), panic = text, "a callback panicked");
        layer::machine_of(owner).report_panic(owner.describe(), "callback".into(), text);
        MemTx::ERROR
    }
}
