//! The bytes of virtio-gpu: what requests and replies look like in guest memory.
//!
//! Everything is little-endian and is read and written by hand, field by field: no struct is laid over guest bytes, so
//! no alignment, padding or invalid value of a guest's can matter. Parsing is total: any bytes give either a value or
//! a [`ParseError`]. Nothing is allocated before the length that asks for it was compared with the bytes that are there.
//!
//! Source: Virtual I/O Device (VIRTIO) Version 1.3, section 5.7 "GPU Device".

use thiserror::Error;

mod command;
mod request;
mod response;

pub use command::{
    Box3, Command, CommandKind, CreateBlob, CursorPosition, MAX_BACKING_ENTRIES, MemEntry,
    Resource3d, SetScanoutBlob, Transfer3d, UpdateCursor,
};
pub use request::Request;
pub use response::{DisplayMode, ErrorCode, MapCaching, Response};

/// Length of the header that opens every request and every reply, in bytes.
pub const HEADER_BYTES: usize = 24;

/// Scanouts a display-info reply has room for, whatever the device offers.
pub const MAX_SCANOUTS: usize = 16;

/// Room for an EDID in a reply, in bytes, whatever the EDID's own length.
pub const EDID_REPLY_BYTES: usize = 1024;

/// The feature bits of virtio-gpu (bits 0 to 31 of the virtio features).
pub mod feature {
    /// 3D commands, contexts and capsets.
    pub const VIRGL: u64 = 1 << 0;
    /// `GET_EDID`.
    pub const EDID: u64 = 1 << 1;
    /// `RESOURCE_ASSIGN_UUID`.
    pub const RESOURCE_UUID: u64 = 1 << 2;
    /// Blob resources.
    pub const RESOURCE_BLOB: u64 = 1 << 3;
    /// Context types and fence rings.
    pub const CONTEXT_INIT: u64 = 1 << 4;
    /// All of the above.
    pub const ALL: u64 = VIRGL | EDID | RESOURCE_UUID | RESOURCE_BLOB | CONTEXT_INIT;
}

/// What a request's bytes can lack.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// The bytes end before the fields do.
    #[error("{what} needs {needed} bytes, the request has {present}")]
    Short {
        /// What was being read.
        what: &'static str,
        /// Bytes it takes from the start of the request.
        needed: u64,
        /// Bytes the request has.
        present: usize,
    },
    /// The type field names no command, or no reply.
    #[error("type {0:#06x} is not known")]
    UnknownType(u32),
    /// More backing entries than a request may carry.
    #[error("{0} backing entries, at most {MAX_BACKING_ENTRIES} are allowed")]
    TooManyEntries(u32),
    /// A field of a reply has a value that stands for nothing.
    #[error("{field} has the undefined value {value}")]
    BadValue {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

/// The header of a request or a reply.
///
/// ```
/// use hw_virtio_gpu::wire::{Header, HEADER_BYTES};
///
/// let header = Header { kind: 0x0100, flags: Header::FENCE, fence_id: 7, ctx_id: 2, ring_idx: 0 };
/// let bytes = header.encode();
/// assert_eq!(bytes.len(), HEADER_BYTES);
/// assert_eq!(Header::parse(&bytes), Ok(header));
/// assert!(Header::parse(&bytes[..23]).is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The command or reply type.
    pub kind: u32,
    /// [`Header::FENCE`], [`Header::RING_IDX`].
    pub flags: u32,
    /// The guest's name for the fence; meaningful with [`Header::FENCE`].
    pub fence_id: u64,
    /// The context the command belongs to, 0 for none.
    pub ctx_id: u32,
    /// The context's fence ring; meaningful with [`Header::RING_IDX`].
    pub ring_idx: u8,
}

impl Header {
    /// The reply is to come when the work is done, and to carry the fence.
    pub const FENCE: u32 = 1 << 0;
    /// `ring_idx` is meaningful: the fence is on a ring of the context.
    pub const RING_IDX: u32 = 1 << 1;

    /// Reads a header from the start of `bytes`.
    ///
    /// # Errors
    /// [`ParseError::Short`] for fewer than [`HEADER_BYTES`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes, "header");
        let header = Self {
            kind: reader.u32()?,
            flags: reader.u32()?,
            fence_id: reader.u64()?,
            ctx_id: reader.u32()?,
            ring_idx: reader.u32()?.to_le_bytes()[0],
        };
        Ok(header)
    }

    /// Prints the header; the three bytes after `ring_idx` are zero.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&self.kind.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.flags.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.fence_id.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.ctx_id.to_le_bytes());
        bytes[20] = self.ring_idx;
        bytes
    }

    /// Whether the sender wants its fence back.
    pub fn is_fenced(&self) -> bool {
        self.flags & Self::FENCE != 0
    }

    /// The fence ring, where the header names one.
    pub fn ring(&self) -> Option<u8> {
        (self.flags & Self::RING_IDX != 0).then_some(self.ring_idx)
    }

    /// The header of the reply of type `kind` to a request with this header.
    ///
    /// The context id always comes back. Flags, fence id and ring index come back where the request is fenced, and are
    /// zero otherwise.
    pub fn reply(&self, kind: u32) -> Self {
        if self.is_fenced() {
            Self {
                kind,
                flags: self.flags & (Self::FENCE | Self::RING_IDX),
                fence_id: self.fence_id,
                ctx_id: self.ctx_id,
                ring_idx: self.ring().unwrap_or(0),
            }
        } else {
            Self {
                kind,
                flags: 0,
                fence_id: 0,
                ctx_id: self.ctx_id,
                ring_idx: 0,
            }
        }
    }
}

/// A rectangle in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rect {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl Rect {
    /// A rectangle from its left edge, upper edge, width and height.
    pub const fn new(x: u32, y: u32, width: u32, height: u32) -> Self {
        Self {
            x,
            y,
            width,
            height,
        }
    }

    /// One past the right edge; cannot overflow.
    pub fn right(&self) -> u64 {
        u64::from(self.x) + u64::from(self.width)
    }

    /// One past the lower edge; cannot overflow.
    pub fn bottom(&self) -> u64 {
        u64::from(self.y) + u64::from(self.height)
    }

    /// Whether the whole rectangle lies within `width` by `height` pixels.
    pub fn is_inside(&self, width: u32, height: u32) -> bool {
        self.right() <= u64::from(width) && self.bottom() <= u64::from(height)
    }

    /// Whether no pixel lies in it.
    pub fn is_empty(&self) -> bool {
        self.width == 0 || self.height == 0
    }

    /// What both rectangles cover, if anything.
    ///
    /// ```
    /// use hw_virtio_gpu::wire::Rect;
    /// let a = Rect::new(0, 0, 20, 20);
    /// assert_eq!(a.intersection(&Rect::new(10, 15, u32::MAX, 1)), Some(Rect::new(10, 15, 10, 1)));
    /// assert_eq!(a.intersection(&Rect::new(20, 0, 5, 5)), None);
    /// ```
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let x = self.x.max(other.x);
        let y = self.y.max(other.y);
        let right = self.right().min(other.right());
        let bottom = self.bottom().min(other.bottom());
        let width = right.checked_sub(u64::from(x)).filter(|&w| w > 0)?;
        let height = bottom.checked_sub(u64::from(y)).filter(|&h| h > 0)?;
        // Neither is larger than the smaller of the two rectangles, whose sides are 32 bits.
        Some(Self {
            x,
            y,
            width: u32::try_from(width).ok()?,
            height: u32::try_from(height).ok()?,
        })
    }
}

/// A pixel format of a 2D resource or a blob scanout. The names give the bytes in memory order; all take four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "the names say it all: bytes in memory order, X ignored"
)]
pub enum Format {
    B8G8R8A8,
    B8G8R8X8,
    A8R8G8B8,
    X8R8G8B8,
    R8G8B8A8,
    X8B8G8R8,
    A8B8G8R8,
    R8G8B8X8,
}

impl Format {
    /// Bytes of a pixel, the same for all formats.
    pub const BYTES: u32 = 4;

    /// Every format, in the order of its number.
    pub const ALL: [Self; 8] = [
        Self::B8G8R8A8,
        Self::B8G8R8X8,
        Self::A8R8G8B8,
        Self::X8R8G8B8,
        Self::R8G8B8A8,
        Self::X8B8G8R8,
        Self::A8B8G8R8,
        Self::R8G8B8X8,
    ];

    /// The format's number on the wire.
    pub fn number(self) -> u32 {
        match self {
            Self::B8G8R8A8 => 1,
            Self::B8G8R8X8 => 2,
            Self::A8R8G8B8 => 3,
            Self::X8R8G8B8 => 4,
            Self::R8G8B8A8 => 67,
            Self::X8B8G8R8 => 68,
            Self::A8B8G8R8 => 121,
            Self::R8G8B8X8 => 134,
        }
    }

    /// The format with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.number() == number)
    }

    /// One pixel as red, green, blue, alpha; formats without alpha are opaque.
    ///
    /// ```
    /// use hw_virtio_gpu::wire::Format;
    /// assert_eq!(Format::B8G8R8X8.rgba([1, 2, 3, 9]), [3, 2, 1, 255]);
    /// assert_eq!(Format::A8R8G8B8.rgba([9, 3, 2, 1]), [3, 2, 1, 9]);
    /// ```
    pub fn rgba(self, [a, b, c, d]: [u8; 4]) -> [u8; 4] {
        match self {
            Self::B8G8R8A8 => [c, b, a, d],
            Self::B8G8R8X8 => [c, b, a, 255],
            Self::A8R8G8B8 => [b, c, d, a],
            Self::X8R8G8B8 => [b, c, d, 255],
            Self::R8G8B8A8 => [a, b, c, d],
            Self::X8B8G8R8 => [d, c, b, 255],
            Self::A8B8G8R8 => [d, c, b, a],
            Self::R8G8B8X8 => [a, b, c, 255],
        }
    }
}

/// Reads little-endian fields from bytes, front to back.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, at: 0, what }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], ParseError> {
        let short = ParseError::Short {
            what: self.what,
            needed: self.at as u64 + len as u64,
            present: self.bytes.len(),
        };
        if len > self.remaining() {
            return Err(short);
        }
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ParseError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, ParseError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn rect(&mut self) -> Result<Rect, ParseError> {
        Ok(Rect {
            x: self.u32()?,
            y: self.u32()?,
            width: self.u32()?,
            height: self.u32()?,
        })
    }
}

/// Appends little-endian fields to bytes.
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn u32s(&mut self, values: &[u32]) {
        for value in values {
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn rect(&mut self, rect: &Rect) {
        self.u32s(&[rect.x, rect.y, rect.width, rect.height]);
    }
}

#[cfg(test)]
mod tests;
