//! Addresses, offsets, sizes and spans as types of their own, exact up to 2^64.
//!
//! A guest-physical space has 2^64 bytes, one more than a `u64` counts. So a [`Size`] is a type that
//! reaches 2^64, and a [`Span`] holds its first and its *last* address and is never empty.

use std::fmt;

use thiserror::Error;

/// A guest-physical or bus address: a byte's place in an address space. Unit: bytes; any `u64`.
///
/// ```
/// use memory::addr::{Gpa, Size};
/// assert_eq!(Gpa(0x1000).checked_add(Size::new(0x10)), Some(Gpa(0x1010)));
/// assert_eq!(Gpa(u64::MAX).checked_add(Size::new(1)), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gpa(pub u64);

impl Gpa {
    /// The address `size` bytes further on, or `None` where that is past the end of the space.
    pub fn checked_add(self, size: Size) -> Option<Self> {
        self.0.checked_add(size.as_u64()?).map(Self)
    }

    /// How far `self` lies behind `base`, or `None` where it lies before it.
    pub fn offset_from(self, base: Self) -> Option<Offset> {
        self.0.checked_sub(base.0).map(Offset)
    }
}

impl fmt::Display for Gpa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A byte's place inside a region. Unit: bytes; any `u64`.
///
/// ```
/// use memory::addr::Offset;
/// assert_eq!(Offset(0x20).to_string(), "0x20");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The offset `size` bytes further on, or `None` where that is past 2^64 - 1.
    pub fn checked_add(self, size: Size) -> Option<Self> {
        self.0.checked_add(size.as_u64()?).map(Self)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A number of bytes from 0 up to and including 2^64, the size of a whole address space.
///
/// QEMU writes 2^64 as `UINT64_MAX` in its interface; here every value means itself.
///
/// ```
/// use memory::addr::Size;
/// assert_eq!(Size::MAX.get(), 1 << 64);
/// assert_eq!(Size::new(0x1000).as_u64(), Some(0x1000));
/// assert!(Size::try_from((1u128 << 64) + 1).is_err());
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u128);

/// A number of bytes is more than an address space has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a size of {0:#x} bytes is more than the 2^64 bytes of an address space")]
pub struct SizeOverflow(pub u128);

impl Size {
    /// No bytes. Regions of this size are legal and show nothing.
    pub const ZERO: Self = Self(0);
    /// 2^64 bytes: a whole address space.
    pub const MAX: Self = Self(1 << 64);

    /// A size below 2^64.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes as u128)
    }

    /// The number of bytes, 0 to 2^64.
    pub const fn get(self) -> u128 {
        self.0
    }

    /// The number of bytes, or `None` for 2^64.
    pub fn as_u64(self) -> Option<u64> {
        u64::try_from(self.0).ok()
    }

    /// Whether there are no bytes.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The offset of the last byte, or `None` where there is none.
    pub fn last(self) -> Option<u64> {
        self.0
            .checked_sub(1)
            .and_then(|last| u64::try_from(last).ok())
    }

    /// The sum, or `None` above 2^64.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Self::try_from(self.0 + other.0).ok()
    }

    /// The difference, or `None` below 0.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

impl From<u64> for Size {
    fn from(bytes: u64) -> Self {
        Self::new(bytes)
    }
}

impl TryFrom<u128> for Size {
    type Error = SizeOverflow;

    fn try_from(bytes: u128) -> Result<Self, SizeOverflow> {
        if bytes <= Self::MAX.0 {
            Ok(Self(bytes))
        } else {
            Err(SizeOverflow(bytes))
        }
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Size({:#x})", self.0)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Consecutive addresses, first and last included: never empty, and able to cover all 2^64.
///
/// ```
/// use memory::addr::{Size, Span};
/// let page = Span::new(0x1000, 0x1fff).unwrap();
/// assert_eq!(page.size(), Size::new(0x1000));
/// assert_eq!(page.intersection(Span::ALL), Some(page));
/// assert_eq!(Span::ALL.size(), Size::MAX);
/// assert_eq!(Span::at(0x1000, Size::ZERO), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    // INVARIANT: first <= last. Private fields and checked constructors keep it.
    first: u64,
    last: u64,
}

impl Span {
    /// Every address.
    pub const ALL: Self = Self {
        first: 0,
        last: u64::MAX,
    };

    /// The addresses `first..=last`, or `None` where `last < first`.
    pub const fn new(first: u64, last: u64) -> Option<Self> {
        if first <= last {
            Some(Self { first, last })
        } else {
            None
        }
    }

    /// `size` bytes from `start`, or `None` where that is no byte or more than the space has.
    pub fn at(start: u64, size: Size) -> Option<Self> {
        let last = start.checked_add(size.last()?)?;
        Some(Self { first: start, last })
    }

    /// `size` bytes from `start` as far as the space goes, or `None` where that is no byte.
    pub fn clipped(start: u64, size: Size) -> Option<Self> {
        let last = start.saturating_add(size.last()?);
        Some(Self { first: start, last })
    }

    /// The first address.
    pub const fn first(self) -> u64 {
        self.first
    }

    /// The last address.
    pub const fn last(self) -> u64 {
        self.last
    }

    /// The first address, as an address of a space.
    pub const fn start(self) -> Gpa {
        Gpa(self.first)
    }

    /// How many addresses there are: 1 to 2^64.
    pub fn size(self) -> Size {
        Size(u128::from(self.last - self.first) + 1)
    }

    /// Whether `addr` is among the addresses.
    pub const fn contains(self, addr: u64) -> bool {
        self.first <= addr && addr <= self.last
    }

    /// Whether every address of `other` is among them.
    pub const fn covers(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// Whether the two have an address in common.
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Whether the two overlap, or one begins right where the other ends.
    pub fn touches(self, other: Self) -> bool {
        self.first.saturating_sub(1) <= other.last && other.first.saturating_sub(1) <= self.last
    }

    /// The addresses that both have, or `None`.
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }

    /// The smallest span that covers both.
    #[must_use]
    pub fn hull(self, other: Self) -> Self {
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }

    /// The span `by` bytes higher, or `None` where it would pass the end of the space.
    pub fn checked_add(self, by: u64) -> Option<Self> {
        Some(Self {
            first: self.first.checked_add(by)?,
            last: self.last.checked_add(by)?,
        })
    }

    /// The span `by` bytes lower, or `None` where it would pass 0.
    pub fn checked_sub(self, by: u64) -> Option<Self> {
        Some(Self {
            first: self.first.checked_sub(by)?,
            last: self.last - by,
        })
    }

    /// What is left of the span `by` bytes higher within the space, or `None`.
    pub fn shifted_up(self, by: u64) -> Option<Self> {
        Some(Self {
            first: self.first.checked_add(by)?,
            last: self.last.saturating_add(by),
        })
    }

    /// What is left of the span `by` bytes lower within the space, or `None`.
    pub fn shifted_down(self, by: u64) -> Option<Self> {
        Some(Self {
            first: self.first.saturating_sub(by),
            last: self.last.checked_sub(by)?,
        })
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..={:#x}", self.first, self.last)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}-{:#x}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first: u64, last: u64) -> Span {
        Span::new(first, last).unwrap()
    }

    #[test]
    fn a_whole_space_is_exact() {
        assert_eq!(Span::at(0, Size::MAX), Some(Span::ALL));
        assert_eq!(Span::at(1, Size::MAX), None);
        assert_eq!(Span::clipped(1, Size::MAX), Some(span(1, u64::MAX)));
        assert_eq!(Span::ALL.size().get(), 1 << 64);
        assert_eq!(Size::MAX.last(), Some(u64::MAX));
        assert_eq!(Size::MAX.as_u64(), None);
    }

    #[test]
    fn empty_spans_do_not_exist() {
        assert_eq!(Span::at(7, Size::ZERO), None);
        assert_eq!(Span::clipped(7, Size::ZERO), None);
        assert_eq!(Span::new(8, 7), None);
        assert_eq!(Size::ZERO.last(), None);
    }

    #[test]
    fn sums_stop_at_the_end() {
        assert_eq!(Size::MAX.checked_add(Size::new(1)), None);
        assert_eq!(
            Size::new(u64::MAX).checked_add(Size::new(1)),
            Some(Size::MAX)
        );
        assert_eq!(Size::new(1).checked_sub(Size::new(2)), None);
        assert_eq!(Size::try_from(1u128 << 65), Err(SizeOverflow(1 << 65)));
        assert_eq!(span(1, 2).checked_add(u64::MAX - 1), None);
        assert_eq!(
            span(1, 2).checked_add(u64::MAX - 2),
            Some(span(u64::MAX - 1, u64::MAX))
        );
        assert_eq!(
            span(1, 2).shifted_up(u64::MAX - 1),
            Some(span(u64::MAX, u64::MAX))
        );
        assert_eq!(span(1, 2).shifted_up(u64::MAX), None);
        assert_eq!(span(1, 2).checked_sub(2), None);
        assert_eq!(span(1, 2).shifted_down(2), Some(span(0, 0)));
        assert_eq!(span(1, 2).shifted_down(3), None);
    }

    #[test]
    fn overlap_and_touch() {
        let page = span(0x1000, 0x1fff);
        assert!(page.overlaps(span(0x1fff, 0x3000)));
        assert!(!page.overlaps(span(0x2000, 0x3000)));
        assert!(page.touches(span(0x2000, 0x3000)));
        assert!(page.touches(span(0, 0xfff)));
        assert!(!page.touches(span(0, 0xffe)));
        assert!(!page.touches(span(0x2001, 0x3000)));
        assert!(span(0, 0).touches(span(0, 5)));
        assert_eq!(
            page.intersection(span(0, 0x1000)),
            Some(span(0x1000, 0x1000))
        );
        assert_eq!(page.intersection(span(0, 0xfff)), None);
        assert_eq!(page.hull(span(0, 0)), span(0, 0x1fff));
        assert!(Span::ALL.covers(page) && !page.covers(Span::ALL));
    }
}
