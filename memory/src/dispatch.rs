//! The hot path: from an address in a view to bytes or to a callback.

mod callback;

use crate::access::{self, ByteOrder, Endian, MemTx, MemTxError};
use crate::attrs::Attrs;
use crate::leaf::{Calls, Leaf, Place};
use crate::region::RegionKind;
use crate::view::View;
pub(crate) use callback::{admit_at_once, loaded};
use callback::{call_read, call_write};
use std::sync::atomic::Ordering;

/// A number that one access can carry: `u8`, `u16`, `u32`, `u64`.
pub trait Scalar: Copy + private::Sealed {
    /// Its width in bytes.
    const SIZE: u8;
    /// From the low bytes of a register.
    fn from_u64(value: u64) -> Self;
    /// To a register.
    fn to_u64(self) -> u64;
}

mod private {
    pub trait Sealed {}
}

macro_rules! scalar {
    ($($ty:ty: $size:literal),*) => {$(
        impl private::Sealed for $ty {}
        impl Scalar for $ty {
            const SIZE: u8 = $size;
            #[inline]
            fn from_u64(value: u64) -> Self {
                let mut bytes = [0; $size];
                bytes.copy_from_slice(&value.to_le_bytes()[..$size]);
                Self::from_le_bytes(bytes)
            }
            #[inline]
            fn to_u64(self) -> u64 { u64::from(self) }
        }
    )*};
}
scalar!(u8: 1, u16: 2, u32: 4, u64: 8);

/// Between a value as the host loads it and the requested order.
#[inline]
fn swap_ram(value: u64, size: u8, order: Endian) -> u64 {
    if order.order() == ByteOrder::HOST {
        value
    } else {
        value.swap_bytes() >> (64 - 8 * u32::from(size))
    }
}

/// What a load finds at once.
pub(crate) enum AtOnce<'v, T> {
    /// Memory, and what is there.
    Value(T),
    /// Callbacks, and the place in their region.
    Calls(Place<'v>, u64),
    /// Anything else.
    Other,
}

/// The usual loads: memory, aligned; callbacks. It calls nothing.
#[expect(clippy::inline_always, reason = "see `SpanMap::find`")]
#[inline(always)]
pub(crate) fn load_at_once<T: Scalar>(view: &View, addr: u64, order: Endian) -> AtOnce<'_, T> {
    let Some((span, leaf)) = view.flat.near_at_once(addr) else {
        return AtOnce::Other;
    };
    // Before the range this is past all that there is in it.
    let offset = addr.wrapping_sub(span.first());
    // INVARIANT: the bytes are no more than the range has, so that what lies within them lies within it.
    if let Some(bytes) = leaf.direct() {
        return match bytes.load_at_once(offset, T::SIZE) {
            Some(value) => AtOnce::Value(T::from_u64(swap_ram(value, T::SIZE, order))),
            None => AtOnce::Other,
        };
    }
    if !span.contains(addr) {
        return AtOnce::Other;
    }
    match leaf.calls_for_read(offset) {
        Some((at, offset)) => AtOnce::Calls(at, offset),
        None => AtOnce::Other,
    }
}

#[inline]
pub(crate) fn load<T: Scalar>(
    view: &View,
    addr: u64,
    order: Endian,
    attrs: Attrs,
) -> Result<T, MemTxError> {
    let Some((span, leaf)) = view.flat.get(addr) else {
        return load_slowly(view, addr, T::SIZE, order, attrs).map(T::from_u64);
    };
    let offset = addr - span.first();
    if let Some(bytes) = leaf.direct()
        && let Some(value) = bytes.load(offset, T::SIZE, Ordering::Relaxed)
    {
        return Ok(T::from_u64(swap_ram(value, T::SIZE, order)));
    }
    if let Some((at, offset)) = leaf.calls_for_read(offset) {
        return loaded(call_read(at, offset, T::SIZE, order, attrs));
    }
    load_slowly(view, addr, T::SIZE, order, attrs).map(T::from_u64)
}

/// A load by callback in the target's byte order that is not admitted at once. Apart, so that the usual way stays short; and what it gives is what
/// is called gives, so that nothing is left to do where that is called instead.
#[inline(never)]
pub(crate) fn load_by_call(at: Place<'_>, offset: u64, size: u8, attrs: Attrs) -> (u64, MemTx) {
    call_read(at, offset, size, Endian::Native, attrs)
}

/// A load that no single range serves: pieces, holes, ends of backings.
#[cold]
fn load_slowly(
    view: &View,
    addr: u64,
    size: u8,
    order: Endian,
    attrs: Attrs,
) -> Result<u64, MemTxError> {
    let mut buf = [0; 8];
    read(view, addr, &mut buf[..usize::from(size)], attrs).ok()?;
    Ok(match order.order() {
        ByteOrder::Little => u64::from_le_bytes(buf),
        ByteOrder::Big => u64::from_be_bytes(buf) >> (64 - 8 * u32::from(size)),
    })
}

/// What a store does at once.
pub(crate) enum StoreAtOnce<'v> {
    /// It is done.
    Done,
    /// Callbacks, and the place in their region.
    Calls(Place<'v>, u64),
    /// Anything else; nothing was written.
    Other,
}

/// The usual stores in the target's byte order: memory, aligned; callbacks. It calls nothing.
#[expect(clippy::inline_always, reason = "see `SpanMap::find`")]
#[inline(always)]
pub(crate) fn store_at_once<T: Scalar>(view: &View, addr: u64, value: T) -> StoreAtOnce<'_> {
    let Some((span, leaf)) = view.flat.near_at_once(addr) else {
        return StoreAtOnce::Other;
    };
    // As in `load_at_once`.
    let offset = addr.wrapping_sub(span.first());
    if let Some(bytes) = leaf.direct() {
        let raw = swap_ram(value.to_u64(), T::SIZE, Endian::Native);
        return if bytes.store_at_once(offset, T::SIZE, raw) {
            StoreAtOnce::Done
        } else {
            StoreAtOnce::Other
        };
    }
    if !span.contains(addr) {
        return StoreAtOnce::Other;
    }
    match leaf.calls_for_write(offset) {
        Some((at, offset)) => StoreAtOnce::Calls(at, offset),
        None => StoreAtOnce::Other,
    }
}

#[inline]
pub(crate) fn store<T: Scalar>(
    view: &View,
    addr: u64,
    value: T,
    order: Endian,
    attrs: Attrs,
) -> Result<(), MemTxError> {
    let value = value.to_u64();
    if let Some((span, leaf)) = view.flat.get(addr) {
        let offset = addr - span.first();
        if let Some(bytes) = leaf.writable_bytes() {
            let raw = swap_ram(value, T::SIZE, order);
            if bytes.store(offset, T::SIZE, raw, Ordering::Relaxed).is_ok() {
                return Ok(());
            }
        } else if let Some((at, offset)) = leaf.calls_for_write(offset) {
            return call_write(at, offset, T::SIZE, value, order, attrs).ok();
        }
    }
    store_slowly(view, addr, T::SIZE, value, order, attrs)
}

/// See [`load_by_call`].
#[inline(never)]
pub(crate) fn store_by_call(
    at: Place<'_>,
    offset: u64,
    size: u8,
    attrs: Attrs,
    value: u64,
) -> MemTx {
    call_write(at, offset, size, value, Endian::Native, attrs)
}

#[cold]
fn store_slowly(
    view: &View,
    addr: u64,
    size: u8,
    value: u64,
    order: Endian,
    attrs: Attrs,
) -> Result<(), MemTxError> {
    let bytes = match order.order() {
        ByteOrder::Little => value.to_le_bytes(),
        ByteOrder::Big => (value << (64 - 8 * u32::from(size))).to_be_bytes(),
    };
    write(view, addr, &bytes[..usize::from(size)], attrs).ok()
}

pub(crate) fn compare_exchange<T: Scalar>(
    view: &View,
    addr: u64,
    current: T,
    new: T,
    _attrs: Attrs,
) -> Result<Result<T, T>, MemTxError> {
    let swap = |v: u64| swap_ram(v, T::SIZE, Endian::Native);
    let (span, leaf) = view.flat.get(addr).ok_or(MemTxError::DECODE)?;
    let bytes = leaf.writable_bytes().ok_or(MemTxError::DECODE)?;
    let (current, new) = (swap(current.to_u64()), swap(new.to_u64()));
    let seen = bytes
        .compare_exchange(addr - span.first(), T::SIZE, current, new)
        .map_err(|_| MemTxError::DECODE)?;
    let value = T::from_u64(swap(seen));
    Ok(if seen == current {
        Ok(value)
    } else {
        Err(value)
    })
}

/// How much of a transfer one step took, and what came of it.
struct Step {
    len: u64,
    result: MemTx,
}

/// Walks `len` bytes from `addr` on in steps: a step of direct bytes, of one callback access, or over a hole.
fn walk(
    view: &View,
    addr: u64,
    len: usize,
    attrs: Attrs,
    mut step: impl FnMut(Option<(&Leaf, u64)>, u64, usize) -> Step,
) -> MemTx {
    let mut result = MemTx::OK;
    let mut done: usize = 0;
    while done < len {
        let rest = (len - done) as u64;
        let Some(at) = addr.checked_add(done as u64) else {
            // Beyond the last address there is nothing.
            return result | step(None, rest, done).result | MemTx::DECODE_ERROR;
        };
        let taken = if let Some((span, leaf)) = view.flat.get(at) {
            if attrs.is_memory_only() && leaf.core().kind != RegionKind::Ram {
                // What begins there is refused as a whole.
                let most = if done == 0 {
                    rest
                } else {
                    rest.min(left_of(span.last(), at))
                };
                let _ = step(None, most, done).result;
                Step {
                    len: most,
                    result: MemTx::ACCESS_ERROR,
                }
            } else {
                let mut s = step(Some((leaf, at - span.first())), rest, done);
                s.len = s.len.min(rest);
                s
            }
        } else {
            let hole = view
                .flat
                .after(at)
                .map_or(rest, |(next, _)| next.span.first() - at);
            let mut s = step(None, rest.min(hole), done);
            s.result |= MemTx::DECODE_ERROR;
            s
        };
        result |= taken.result;
        // INVARIANT: each step takes at least one byte: holes and ranges are not empty, a chunk has one byte or more.
        done += usize::try_from(taken.len.max(1)).unwrap_or(len);
    }
    result
}

/// Bytes from `at` to `last`, both included; saturates at 2^64 - 1.
fn left_of(last: u64, at: u64) -> u64 {
    (last - at).saturating_add(1)
}

pub(crate) fn read(view: &View, addr: u64, buf: &mut [u8], attrs: Attrs) -> MemTx {
    walk(view, addr, buf.len(), attrs, |found, most, done| {
        let Some((leaf, offset)) = found else {
            return zeroes(buf, done, most, MemTx::OK);
        };
        if let Some(bytes) = leaf.direct()
            && offset < bytes.len()
        {
            let n = most.min(bytes.len() - offset);
            let result = match bytes.read(offset, part(buf, done, n)) {
                Ok(()) => MemTx::OK,
                Err(_) => MemTx::DECODE_ERROR,
            };
            return Step { len: n, result };
        }
        let left = left_of(leaf.range().span.last(), leaf.range().span.first() + offset);
        if let Some((at, offset)) = leaf.calls_for_read(offset) {
            let size = chunk(at.calls(), offset, most.min(left));
            let (value, result) = call_read(at, offset, size, Endian::Little, attrs);
            let n = usize::from(size);
            part(buf, done, u64::from(size)).copy_from_slice(&value.to_le_bytes()[..n]);
            Step {
                len: u64::from(size),
                result,
            }
        } else {
            zeroes(buf, done, most.min(left), MemTx::DECODE_ERROR)
        }
    })
}

pub(crate) fn write(view: &View, addr: u64, data: &[u8], attrs: Attrs) -> MemTx {
    walk(view, addr, data.len(), attrs, |found, most, done| {
        let Some((leaf, offset)) = found else {
            return Step {
                len: most,
                result: MemTx::OK,
            };
        };
        if let Some(bytes) = leaf.writable_bytes()
            && offset < bytes.len()
        {
            let n = most.min(bytes.len() - offset);
            let result = match bytes.write(offset, of(data, done, n)) {
                Ok(()) => MemTx::OK,
                Err(_) => MemTx::DECODE_ERROR,
            };
            return Step { len: n, result };
        }
        let left = left_of(leaf.range().span.last(), leaf.range().span.first() + offset);
        if let Some((at, offset)) = leaf.calls_for_write(offset) {
            let size = chunk(at.calls(), offset, most.min(left));
            let mut value = [0; 8];
            value[..usize::from(size)].copy_from_slice(of(data, done, u64::from(size)));
            let result = call_write(
                at,
                offset,
                size,
                u64::from_le_bytes(value),
                Endian::Little,
                attrs,
            );
            Step {
                len: u64::from(size),
                result,
            }
        } else {
            Step {
                len: most.min(left),
                result: MemTx::DECODE_ERROR,
            }
        }
    })
}

pub(crate) fn write_rom(view: &View, addr: u64, data: &[u8]) -> MemTx {
    let mut result = MemTx::OK;
    let _ = walk(
        view,
        addr,
        data.len(),
        Attrs::default(),
        |found, most, done| {
            let Some((leaf, offset)) = found else {
                result |= MemTx::DECODE_ERROR;
                return Step {
                    len: most,
                    result: MemTx::OK,
                };
            };
            // A ROM device in callback mode has bytes as well.
            if let Some(backing) = leaf.core().backing() {
                let at = leaf.range().offset.0.saturating_add(offset);
                let left = left_of(leaf.range().span.last(), leaf.range().span.first() + offset);
                let n = most.min(left).min(backing.len().saturating_sub(at));
                if n > 0 {
                    if backing.bytes().write(at, of(data, done, n)).is_err() {
                        result |= MemTx::DECODE_ERROR;
                    }
                    return Step {
                        len: n,
                        result: MemTx::OK,
                    };
                }
            }
            let left = left_of(leaf.range().span.last(), leaf.range().span.first() + offset);
            Step {
                len: most.min(left),
                result: MemTx::OK,
            }
        },
    );
    result
}

fn zeroes(buf: &mut [u8], done: usize, len: u64, result: MemTx) -> Step {
    part(buf, done, len).fill(0);
    Step { len, result }
}

fn part(buf: &mut [u8], done: usize, len: u64) -> &mut [u8] {
    let len = usize::try_from(len)
        .unwrap_or(usize::MAX)
        .min(buf.len() - done);
    &mut buf[done..done + len]
}

fn of(data: &[u8], done: usize, len: u64) -> &[u8] {
    let len = usize::try_from(len)
        .unwrap_or(usize::MAX)
        .min(data.len() - done);
    &data[done..done + len]
}

/// The size of the next callback access: 1, 2, 4 or 8.
fn chunk(calls: &Calls, offset: u64, most: u64) -> u8 {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    // INVARIANT: a chunk has 1 to 8 bytes where at least one byte is left.
    u8::try_from(access::chunk_len(calls.rules, offset, most))
        .unwrap_or(1)
        .max(1)
}
