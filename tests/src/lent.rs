//! Bytes that a caller lends to a region, with a keeper that says when they may go.
#![expect(unsafe_code, reason = "lending bytes is a promise to the library")]

use std::any::Any;
use std::ptr::NonNull;

use memory::{Backing, BackingError};

// Soundness: what is lent are the bytes of another backing, which the keeper holds; nobody else is given them.

/// The keeper: the bytes, and whatever is to be dropped with them.
struct Keeper<K> {
    _with: K,
    _bytes: Backing,
}

/// Lends all of `bytes`; `with` is dropped when the last holder of the new backing lets go, and then the bytes.
///
/// # Errors
/// As [`Backing::foreign`].
///
/// ```
/// use memory::Backing;
/// let lent = holdfast_tests::lent::lend(Backing::anonymous(4096)?, ())?;
/// assert_eq!(lent.bytes().load_u32(0), Some(0));
/// # Ok::<(), memory::BackingError>(())
/// ```
///
/// # Panics
/// Host memory never begins at 0.
pub fn lend(bytes: Backing, with: impl Any + Send + Sync) -> Result<Backing, BackingError> {
    let start = NonNull::new(bytes.host().as_ptr()).expect("host memory begins somewhere");
    let len = bytes.len();
    let keeper = Keeper {
        _with: with,
        _bytes: bytes,
    };
    // SAFETY: the keeper holds the backing that maps the bytes for writing, and everybody reaches them through backings.
    unsafe { Backing::foreign(start, len, Box::new(keeper)) }
}
