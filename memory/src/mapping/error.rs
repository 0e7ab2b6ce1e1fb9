//! What a mapping is for, and why one was refused or has ended.

use crate::access::MemTx;
use crate::addr::Gpa;
use crate::host::BackingError;
use qom::TreeError;
use qom::grace::GraceError;
use std::borrow::Cow;

/// What a mapping or a pin is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intent {
    /// Reading guest memory.
    Read,
    /// Writing guest memory.
    Write,
    /// Both.
    ReadWrite,
}

impl Intent {
    pub(super) fn writes(self) -> bool {
        self != Self::Read
    }
    pub(super) fn reads(self) -> bool {
        self != Self::Write
    }
}

/// A mapping, a pin or a slice was refused, or has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// No bytes were asked for.
    #[error("{by} asked for zero bytes at {at}")]
    Empty {
        /// Who asked, and of which space.
        by: Cow<'static, str>,
        /// Where.
        at: Gpa,
    },
    /// There is no RAM, or no RAM that may be written.
    #[error("no RAM at {at} for what {by} wants of it")]
    NotRam {
        /// Who asked, and of which space.
        by: Cow<'static, str>,
        /// Where.
        at: Gpa,
    },
    /// There is RAM, but not that much of it in one piece.
    #[error("fewer than {wanted:#x} bytes of RAM in one piece at {at} for {by}")]
    TooShort {
        /// Who asked, and of which space.
        by: Cow<'static, str>,
        /// Where.
        at: Gpa,
        /// How many bytes.
        wanted: u64,
    },
    /// Readers hold up so much of what is retired that there is no new bounce buffer.
    #[error("address space `{space}` has no bounce buffer for `{holder}`")]
    Overloaded {
        /// The address space.
        space: String,
        /// Who asked.
        holder: String,
        /// Who holds it up.
        source: Box<GraceError>,
    },
    /// The space has no bounce buffer left.
    #[error(
        "bounce buffers of address space `{space}` are used up: {used} of {limit} bytes, {wanted} wanted by {holder}"
    )]
    BounceExhausted {
        /// The space.
        space: String,
        /// Who asked.
        holder: String,
        /// Bytes in use.
        used: u64,
        /// Bytes allowed.
        limit: u64,
        /// Bytes asked for.
        wanted: u64,
    },
    /// What was to be bounced could not be read.
    #[error("reading {at} into a bounce buffer for {holder}: {result}")]
    BounceRead {
        /// Where.
        at: Gpa,
        /// Who asked.
        holder: String,
        /// What the read came to.
        result: MemTx,
    },
    /// A bounce buffer is a copy, and cannot be pinned.
    #[error("the mapping of {what} by {holder} is a bounce buffer and cannot be pinned")]
    Bounced {
        /// What is mapped.
        what: String,
        /// Who mapped it.
        holder: String,
    },
    /// The mapping has been unmapped.
    #[error("the mapping of {what} by {holder} has been unmapped")]
    Unmapped {
        /// What was mapped.
        what: String,
        /// Who mapped it.
        holder: String,
    },
    /// The region or the holder has been withdrawn.
    #[error("{what}, mapped by {holder}, is withdrawn")]
    Withdrawn {
        /// What was mapped.
        what: String,
        /// Who mapped it.
        holder: String,
    },
    /// Holder and region are in two machines.
    #[error("{holder} of machine `{holder_machine}` cannot map {what} of machine `{machine}`")]
    OtherMachine {
        /// What was to be mapped.
        what: Box<str>,
        /// Its machine.
        machine: Box<str>,
        /// Who asked.
        holder: Box<str>,
        /// The holder's machine.
        holder_machine: Box<str>,
    },
    /// The holder is withdrawn, gone, or in init.
    #[error(transparent)]
    Holder(#[from] TreeError),
    /// The holder is gone.
    #[error(transparent)]
    Gone(#[from] qom::Gone),
    /// No memory for a bounce buffer.
    #[error("a bounce buffer for {holder}")]
    Backing {
        /// Who asked.
        holder: String,
        /// Why not.
        #[source]
        source: BackingError,
    },
}
