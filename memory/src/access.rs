//! What one access to a region's callbacks is: which sizes are legal, how it is split, and in which byte order it travels.
//!
//! All of this is arithmetic without state, as QEMU's memory API does it. An access of any length reaches a region in steps:
//!
//! 1. [`chunk_len`] cuts it into naturally sized chunks,
//! 2. [`is_valid`] rejects chunks that the device does not take (a rejected read gives 0, a rejected write is dropped, the
//!    result is [`MemTx::DECODE_ERROR`]),
//! 3. [`swap_to`] turns a value between the requester's byte order and the region's, once for the whole chunk,
//! 4. [`read()`] and [`write()`] turn a chunk into calls of the sizes that the device implements.
//!
//! The region's own veto (its `accepts` hook), ioeventfds and the re-entrancy guard stand between these steps and belong to the caller.

mod result;

pub use result::{AccessError, MemTx, MemTxError};

use thiserror::Error;

use crate::attrs::Attrs;

/// One call of a region's callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Where in the region, in bytes. Not necessarily aligned to `size`: a narrow access to a device that implements only wide ones
    /// arrives at its own offset.
    pub offset: u64,
    /// How wide the call is, in bytes: 1, 2, 4 or 8.
    pub size: u8,
    /// On whose behalf.
    pub attrs: Attrs,
}

/// A byte order as it is on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// The lowest byte first.
    Little,
    /// The highest byte first.
    Big,
}

impl ByteOrder {
    /// The byte order that [`Endian::Native`] stands for where nothing else is said: that of the targets this library serves.
    pub const TARGET: ByteOrder = ByteOrder::Little;

    /// The byte order of the host, in which values are in registers and [`VolatileBytes`](crate::VolatileBytes) loads them.
    pub const HOST: ByteOrder = if cfg!(target_endian = "big") {
        ByteOrder::Big
    } else {
        ByteOrder::Little
    };
}

/// The byte order that a region or a requester declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Endian {
    /// That of the target, whichever it is. The default, as in QEMU.
    #[default]
    Native,
    /// Little-endian on every target.
    Little,
    /// Big-endian on every target.
    Big,
}

impl Endian {
    /// The byte order meant, on [`ByteOrder::TARGET`].
    #[inline]
    pub const fn order(self) -> ByteOrder {
        self.order_on(ByteOrder::TARGET)
    }

    /// The byte order meant, on a given target. A machine whose target differs resolves its rules with it when it makes a region.
    #[inline]
    pub const fn order_on(self, target: ByteOrder) -> ByteOrder {
        match self {
            Endian::Native => target,
            Endian::Little => ByteOrder::Little,
            Endian::Big => ByteOrder::Big,
        }
    }
}

impl From<ByteOrder> for Endian {
    fn from(order: ByteOrder) -> Self {
        match order {
            ByteOrder::Little => Endian::Little,
            ByteOrder::Big => Endian::Big,
        }
    }
}

/// A range of access sizes in bytes, and whether unaligned ones are among them.
///
/// Zero in `min` or `max` means "not said"; what that amounts to differs between [`AccessRules::valid`] and [`AccessRules::implemented`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SizeRange {
    /// The smallest size: 0, 1, 2, 4 or 8.
    pub min: u8,
    /// The largest size: 0, 1, 2, 4 or 8.
    pub max: u8,
    /// Whether an access need not be aligned to its size.
    pub unaligned: bool,
}

impl SizeRange {
    /// Nothing said.
    pub const UNSAID: SizeRange = SizeRange {
        min: 0,
        max: 0,
        unaligned: false,
    };

    /// Aligned accesses from `min` to `max` bytes.
    pub const fn new(min: u8, max: u8) -> Self {
        Self {
            min,
            max,
            unaligned: false,
        }
    }

    /// The same sizes, unaligned too.
    pub const fn unaligned(self) -> Self {
        Self {
            unaligned: true,
            ..self
        }
    }
}

/// Which accesses a region takes and which its callbacks implement.
///
/// Mirrors the `endianness`, `valid` and `impl` members of QEMU's `MemoryRegionOps`, zeroes included.
///
/// ```
/// use memory::access::{AccessRules, Endian, SizeRange};
///
/// // A device whose registers are 32 bits wide, and which the guest may also read by bytes.
/// const RULES: AccessRules = AccessRules {
///     endian: Endian::Little,
///     valid: SizeRange::new(1, 4),
///     implemented: SizeRange::new(4, 4),
/// };
/// RULES.check().expect("legal rules");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AccessRules {
    /// The byte order of the registers.
    pub endian: Endian,
    /// What the guest may do. `max` 0: chunks of at most 4 bytes are made, and every size is taken.
    pub valid: SizeRange,
    /// What the callbacks are called with. `min` 0 means 1, `max` 0 means 4. `unaligned`: accesses are not cut at aligned addresses first.
    pub implemented: SizeRange,
}

/// Why [`AccessRules`] make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RulesError {
    /// A size that no access has.
    #[error("the {which} access sizes {min} to {max} are not a range of 0, 1, 2, 4 and 8")]
    Sizes {
        /// `valid` or `implemented`.
        which: &'static str,
        /// The smallest size, in bytes.
        min: u8,
        /// The largest size, in bytes.
        max: u8,
    },
    /// Callbacks that implement unaligned accesses which the rules then reject.
    #[error("unaligned accesses are implemented but not valid")]
    UnalignedNotValid,
}

impl AccessRules {
    /// QEMU's zeroed rules: aligned accesses of up to 4 bytes in the target's byte order.
    pub const DEFAULT: AccessRules = AccessRules {
        endian: Endian::Native,
        valid: SizeRange::UNSAID,
        implemented: SizeRange::UNSAID,
    };

    /// Whether the rules can be obeyed; asked once, when a region is made. The functions of this module are total all the same: on rules
    /// that fail the check they neither panic nor loop without bound.
    ///
    /// # Errors
    ///
    /// [`RulesError::Sizes`] for a size that is no power of two up to 8, or a smallest above the largest;
    /// [`RulesError::UnalignedNotValid`] where QEMU asserts the same.
    pub const fn check(self) -> Result<(), RulesError> {
        match (
            check_sizes("valid", self.valid),
            check_sizes("implemented", self.implemented),
        ) {
            (Err(error), _) | (_, Err(error)) => Err(error),
            _ if self.implemented.unaligned && !self.valid.unaligned => {
                Err(RulesError::UnalignedNotValid)
            }
            _ => Ok(()),
        }
    }

    /// The sizes, as bits 1, 2, 4 and 8, of which an aligned access is valid and is one call of that size.
    pub(crate) fn plain_sizes(self) -> u8 {
        let is_plain = |size: &u8| is_valid(self, 0, *size) && self.width(*size) == *size;
        [1, 2, 4, 8].into_iter().filter(is_plain).sum()
    }

    /// The width of the calls that an access of `size` bytes is made of.
    #[inline]
    const fn width(self, size: u8) -> u8 {
        let SizeRange { min, max, .. } = self.implemented;
        let min = if min == 0 { 1 } else { min };
        let max = if max == 0 { 4 } else { max };
        // The smallest width wins over the largest one where they contradict each other.
        let width = if size < max { size } else { max };
        if width > min { width } else { min }
    }
}

const fn check_sizes(which: &'static str, sizes: SizeRange) -> Result<(), RulesError> {
    let SizeRange { min, max, .. } = sizes;
    let legal = matches!(min, 0 | 1 | 2 | 4 | 8) && matches!(max, 0 | 1 | 2 | 4 | 8);
    if legal && (max == 0 || min <= max) {
        Ok(())
    } else {
        Err(RulesError::Sizes { which, min, max })
    }
}

/// Step 1: how many of `remaining` bytes the next chunk takes, at `offset` in the region. 1, 2, 4 or 8; 0 only if none remain.
///
/// The largest power of two that neither `remaining` nor the largest valid size (4 if not said) exceeds; and, unless unaligned
/// accesses are implemented, one by which `offset` is divisible. The smallest valid size is not looked at: a chunk below it is made, and then
/// rejected by [`is_valid`].
#[inline]
pub fn chunk_len(rules: AccessRules, offset: u64, remaining: usize) -> usize {
    let max = match rules.valid.max {
        0 => 4,
        max => usize::from(max.min(8)),
    };
    let mut most = remaining.min(max);
    if !rules.implemented.unaligned && offset != 0 {
        // 8 bounds the chunk anyway, and keeps the shift inside a usize.
        most = most.min(1 << offset.trailing_zeros().min(3));
    }
    match most.checked_ilog2() {
        Some(log) => 1 << log,
        None => 0,
    }
}

/// Step 2: whether the rules let a chunk of `size` bytes at `offset` through. The region's own veto comes before it.
#[inline]
pub fn is_valid(rules: AccessRules, offset: u64, size: u8) -> bool {
    let SizeRange {
        min,
        max,
        unaligned,
    } = rules.valid;
    let aligned = offset & u64::from(size).wrapping_sub(1) == 0;
    (unaligned || aligned) && (max == 0 || (min <= size && size <= max))
}

/// Step 5 of a read: the calls that make up `size` bytes at `offset`, and the value they give, in the region's byte order.
///
/// `call` gets offset and width of each call, in ascending order of offsets for both byte orders, and is called for all of them whatever they answer;
/// the results are united. A width above `size` (a narrow access to a device that implements only wide ones) does not move the offset: a
/// little-endian region gives the low bytes, a big-endian one has its top bytes shifted down. The value can have bits above `size` only if such a
/// device returns them, as in QEMU.
#[inline]
pub fn read(
    rules: AccessRules,
    offset: u64,
    size: u8,
    mut call: impl FnMut(u64, u8) -> (u64, MemTx),
) -> (u64, MemTx) {
    let width = rules.width(size);
    let mask = mask(width);
    let mut value = 0;
    let mut result = MemTx::OK;
    let mut at = 0;
    while at < size {
        let (part, part_result) = call(offset.wrapping_add(u64::from(at)), width);
        value |= shift_left(part & mask, place(rules, size, width, at));
        result |= part_result;
        at = at.saturating_add(width);
    }
    (value, result)
}

/// Step 5 of a write: the calls that make up `size` bytes at `offset`, of a value in the region's byte order.
///
/// `call` gets offset, width and value of each call, as [`read()`] does. A width above `size` carries zeroes in the bytes that the access does
/// not have: above the value for a little-endian region, below it for a big-endian one.
#[inline]
pub fn write(
    rules: AccessRules,
    offset: u64,
    size: u8,
    value: u64,
    mut call: impl FnMut(u64, u8, u64) -> MemTx,
) -> MemTx {
    let width = rules.width(size);
    let mask = mask(width);
    let mut result = MemTx::OK;
    let mut at = 0;
    while at < size {
        let part = shift_left(value, -place(rules, size, width, at)) & mask;
        result |= call(offset.wrapping_add(u64::from(at)), width, part);
        at = at.saturating_add(width);
    }
    result
}

/// Step 3: turns the `size`-byte `value` between the region's byte order and the `requested` one (it is its own inverse).
///
/// Where the orders are equal the value stays as it is, with whatever is above `size`; where they differ, the `size` low bytes are
/// reversed and the rest is cleared (a single byte has nothing to reverse and stays).
#[inline]
pub fn swap_to(rules: AccessRules, requested: Endian, size: u8, value: u64) -> u64 {
    if requested.order() == rules.endian.order() || size <= 1 {
        return value;
    }
    let unused = 64 - 8 * u32::from(size.min(8));
    value.swap_bytes() >> unused
}

#[inline]
pub(crate) const fn mask(width: u8) -> u64 {
    if width >= 8 {
        u64::MAX
    } else {
        (1 << (8 * width)) - 1
    }
}

/// How far left (in bits; negative: right) the call at byte `at` of an access stands in its value.
#[inline]
fn place(rules: AccessRules, size: u8, width: u8, at: u8) -> i32 {
    let bytes = match rules.endian.order() {
        ByteOrder::Little => i32::from(at),
        ByteOrder::Big => i32::from(size) - i32::from(width) - i32::from(at),
    };
    8 * bytes
}

/// `value << by`, to the right if negative; what leaves the 64 bits is lost.
#[inline]
fn shift_left(value: u64, by: i32) -> u64 {
    if by >= 0 {
        value.checked_shl(by.unsigned_abs()).unwrap_or(0)
    } else {
        value.checked_shr(by.unsigned_abs()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
