//! Why there is no such backing: what was asked for, and what is wrong with it.

use std::ffi::NulError;
use std::io;
use thiserror::Error;

/// Why there is no such backing.
#[derive(Debug, Error)]
pub enum BackingError {
    /// A backing of no bytes: a region without bytes simply has no backing.
    #[error("{what}: zero bytes were asked for")]
    ZeroLength {
        /// What was asked for: anonymous memory, a memory file by its name, a slice of which backing where.
        what: String,
    },
    /// More bytes than a host address space can ever hold, or a range that wraps around it.
    #[error("{what}: {len:#x} bytes were asked for, more than any host mapping spans")]
    TooLong {
        /// What was asked for; see [`ZeroLength`](Self::ZeroLength).
        what: String,
        /// The length asked for, in bytes.
        len: u64,
    },
    /// A slice that does not lie inside its backing.
    #[error(
        "a slice of {len:#x} bytes at {offset:#x} does not lie inside a backing of {size:#x} bytes"
    )]
    OutOfBounds {
        /// Where the slice would start, in bytes.
        offset: u64,
        /// How long it would be, in bytes.
        len: u64,
        /// The length of the backing, in bytes.
        size: u64,
    },
    /// A file offset that the host cannot map.
    #[error("file offset {offset:#x} is not a multiple of {granule:#x}, the file's page size")]
    MisalignedOffset {
        /// The offset asked for, in bytes.
        offset: u64,
        /// What it must be a multiple of, in bytes.
        granule: u64,
    },
    /// A regular file that ends before the window does; an access past its end would be a fault.
    #[error(
        "a window of {len:#x} bytes at {offset:#x} does not lie inside a file of {size:#x} bytes"
    )]
    FileTooShort {
        /// Where the window would start, in bytes.
        offset: u64,
        /// How long it would be, in bytes.
        len: u64,
        /// The size of the file, in bytes.
        size: u64,
    },
    /// A memory file's name with a zero byte in it.
    #[error("the name of a memory file has a zero byte in it")]
    Name(#[source] NulError),
    /// The host refused.
    #[error("{call} for a backing of {len:#x} bytes failed")]
    Os {
        /// The call that failed.
        call: &'static str,
        /// The length of the backing that was being made, in bytes.
        len: u64,
        /// What the host said.
        #[source]
        source: io::Error,
    },
}
