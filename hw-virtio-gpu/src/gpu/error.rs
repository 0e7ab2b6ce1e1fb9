//! Why a command is refused: the full reason, and the code the guest gets for it.

use thiserror::Error;

use super::env::WindowError;
use crate::{
    guest::{BackingError, GuestMemoryError},
    limits::LimitReached,
    renderer::RendererError,
    wire::{CommandKind, ErrorCode, ParseError},
};

/// Why a command is refused. Logged in full; the guest gets [`GuestError::code`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GuestError {
    /// The bytes are no request.
    #[error("malformed request")]
    Malformed(#[from] ParseError),
    /// The request is longer than the device takes.
    #[error("request of {len} bytes, at most {limit} are taken")]
    RequestTooLong {
        /// Its length in bytes.
        len: usize,
        /// [`Limits::request_bytes`](crate::limits::Limits::request_bytes).
        limit: usize,
    },
    /// The command needs a feature that was not negotiated.
    #[error("{0:?} without its feature")]
    Feature(CommandKind),
    /// The device does not do this.
    #[error("{0:?} is not offered")]
    NotOffered(CommandKind),
    /// The command came on the wrong queue.
    #[error("{0:?} on the wrong queue")]
    WrongQueue(CommandKind),
    /// A limit is reached.
    #[error(transparent)]
    Limit(#[from] LimitReached),
    /// The host has no memory left.
    #[error("the host has no {0} bytes left")]
    HostMemory(u64),
    /// No resource has this id.
    #[error("resource {0} does not exist")]
    UnknownResource(u32),
    /// A new resource's id is 0 or in use.
    #[error("resource id {0} is zero or in use")]
    ResourceId(u32),
    /// The resource is of the wrong kind for the command.
    #[error("resource {resource} is not {wanted}")]
    WrongKind {
        /// The resource.
        resource: u32,
        /// What it would have to be.
        wanted: &'static str,
    },
    /// The resource has no backing.
    #[error("resource {0} has no backing")]
    NoBacking(u32),
    /// The resource has a backing already.
    #[error("resource {0} has a backing already")]
    HasBacking(u32),
    /// No context has this id.
    #[error("context {0} does not exist")]
    UnknownContext(u32),
    /// A new context's id is 0 or in use.
    #[error("context id {0} is zero or in use")]
    ContextId(u32),
    /// No scanout has this id.
    #[error("scanout {0} does not exist")]
    UnknownScanout(u32),
    /// A field's value makes no sense here.
    #[error("{field} of {value:#x} is not valid here")]
    Value {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A rectangle is empty, too small, or reaches outside.
    #[error("a rectangle is outside what it is taken from, or too small")]
    Rectangle,
    /// Guest memory cannot be used.
    #[error(transparent)]
    Backing(#[from] BackingError),
    /// The blob is mapped already.
    #[error("resource {0} is mapped already")]
    AlreadyMapped(u32),
    /// The blob is not mapped.
    #[error("resource {0} is not mapped")]
    NotMapped(u32),
    /// The range is outside the window, or another blob is there.
    #[error("bytes {offset:#x}+{len:#x} are not free in a window of {window:#x}")]
    Range {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
        /// The window's length.
        window: u64,
    },
    /// The blob cannot be put into the window.
    #[error("the window refuses a blob")]
    Window(#[from] WindowError),
    /// The renderer refuses.
    #[error("the renderer refuses")]
    Renderer(#[from] RendererError),
}

impl From<GuestMemoryError> for GuestError {
    fn from(error: GuestMemoryError) -> Self {
        Self::Backing(BackingError::NotRam(error))
    }
}

impl GuestError {
    /// What the guest is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Malformed(_)
            | Self::Feature(_)
            | Self::NotOffered(_)
            | Self::WrongQueue(_)
            | Self::NoBacking(_)
            | Self::HasBacking(_)
            | Self::Backing(BackingError::NotRam(_)) => ErrorCode::Unspecified,
            Self::RequestTooLong { .. }
            | Self::Limit(_)
            | Self::HostMemory(_)
            | Self::Window(_) => ErrorCode::OutOfMemory,
            Self::UnknownResource(_) | Self::ResourceId(_) => ErrorCode::InvalidResourceId,
            Self::UnknownContext(_) | Self::ContextId(_) => ErrorCode::InvalidContextId,
            Self::UnknownScanout(_) => ErrorCode::InvalidScanoutId,
            Self::WrongKind { .. }
            | Self::Value { .. }
            | Self::Rectangle
            | Self::Backing(BackingError::OutOfRange { .. })
            | Self::AlreadyMapped(_)
            | Self::NotMapped(_)
            | Self::Range { .. } => ErrorCode::InvalidParameter,
            Self::Renderer(error) => error.code(),
        }
    }
}
