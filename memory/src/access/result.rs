//! What became of a memory transaction: a set of bits, and the error types made of it.

use std::fmt;
use std::num::NonZeroU8;
use std::ops::{BitOr, BitOrAssign};

use thiserror::Error;

/// The result of a transaction: a set of what went wrong, empty if nothing did.
///
/// Mirrors QEMU's `MemTxResult`. The results of an access that was split are united with `|`.
///
/// ```
/// use memory::MemTx;
///
/// let both = MemTx::OK | MemTx::ERROR | MemTx::DECODE_ERROR;
/// assert!(both.contains(MemTx::ERROR) && !both.contains(MemTx::ACCESS_ERROR));
/// assert_eq!(both.bits(), 3);
/// assert_eq!(both.ok().unwrap_err().to_string(), "device error and decode error");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[must_use = "a transaction may have failed"]
pub struct MemTx(u8);

const NAMES: [(u8, &str); 3] = [
    (1, "device error"),
    (2, "decode error"),
    (4, "access error"),
];

impl MemTx {
    /// All went well.
    pub const OK: MemTx = MemTx(0);
    /// The device was reached and reported an error.
    pub const ERROR: MemTx = MemTx(1);
    /// Nothing is there, or it does not take accesses of this size or alignment.
    pub const DECODE_ERROR: MemTx = MemTx(2);
    /// The access was denied: by its attributes, or because the device is busy with a callback of its own.
    pub const ACCESS_ERROR: MemTx = MemTx(4);

    /// Whether nothing went wrong.
    #[inline]
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// Whether everything in `other` went wrong here too.
    #[inline]
    pub const fn contains(self, other: MemTx) -> bool {
        self.0 & other.0 == other.0
    }

    /// QEMU's numbers: 1 device error, 2 decode error, 4 access error.
    #[inline]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// As a `Result`, for `?`.
    ///
    /// # Errors
    ///
    /// The same set, where it is not empty.
    #[inline]
    pub const fn ok(self) -> Result<(), MemTxError> {
        match NonZeroU8::new(self.0) {
            None => Ok(()),
            Some(bits) => Err(MemTxError(bits)),
        }
    }
}

impl BitOr for MemTx {
    type Output = MemTx;

    #[inline]
    fn bitor(self, other: MemTx) -> MemTx {
        MemTx(self.0 | other.0)
    }
}

impl BitOrAssign for MemTx {
    #[inline]
    fn bitor_assign(&mut self, other: MemTx) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for MemTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemTx({self})")
    }
}

impl fmt::Display for MemTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ok() {
            return f.write_str("ok");
        }
        let mut separator = "";
        for (_, name) in NAMES.iter().filter(|(bit, _)| self.0 & bit != 0) {
            write!(f, "{separator}{name}")?;
            separator = " and ";
        }
        Ok(())
    }
}

/// A [`MemTx`] in which something went wrong: what callbacks answer with and accesses fail with.
///
/// ```
/// use memory::{MemTx, MemTxError};
///
/// fn register(offset: u64) -> Result<u64, MemTxError> {
///     match offset {
///         0 => Ok(0x4711),
///         _ => Err(MemTxError::DEVICE),
///     }
/// }
/// assert_eq!(MemTx::from(&register(4)), MemTx::ERROR);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Error)]
#[error("{}", self.result())]
pub struct MemTxError(NonZeroU8);

impl MemTxError {
    /// [`MemTx::ERROR`]: the device was reached and reports an error.
    pub const DEVICE: MemTxError = MemTxError(NonZeroU8::new(1).unwrap());
    /// [`MemTx::DECODE_ERROR`]: nothing is there, or not for such an access.
    pub const DECODE: MemTxError = MemTxError(NonZeroU8::new(2).unwrap());
    /// [`MemTx::ACCESS_ERROR`]: the access was denied.
    pub const ACCESS: MemTxError = MemTxError(NonZeroU8::new(4).unwrap());

    /// The set of what went wrong, never empty.
    #[inline]
    pub const fn result(self) -> MemTx {
        MemTx(self.0.get())
    }
}

impl fmt::Debug for MemTxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemTxError({self})")
    }
}

impl BitOr for MemTxError {
    type Output = MemTxError;

    #[inline]
    fn bitor(self, other: MemTxError) -> MemTxError {
        MemTxError(self.0 | other.0)
    }
}

impl From<MemTxError> for MemTx {
    #[inline]
    fn from(error: MemTxError) -> MemTx {
        error.result()
    }
}

impl<T> From<&Result<T, MemTxError>> for MemTx {
    #[inline]
    fn from(result: &Result<T, MemTxError>) -> MemTx {
        match result {
            Ok(_) => MemTx::OK,
            Err(error) => error.result(),
        }
    }
}

/// A failed access, with the place: what the outermost layer tells a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("an access of {len} bytes at address {address:#x} failed")]
pub struct AccessError {
    /// The first address of the access, in the address space it was made in.
    pub address: u64,
    /// How many bytes it spanned.
    pub len: u64,
    /// What went wrong.
    #[source]
    pub source: MemTxError,
}

impl From<AccessError> for MemTxError {
    #[inline]
    fn from(error: AccessError) -> MemTxError {
        error.source
    }
}

impl From<AccessError> for MemTx {
    #[inline]
    fn from(error: AccessError) -> MemTx {
        error.source.result()
    }
}
