//! Replies: printed by the device, parsed by tests and by the replay of recorded traces.

use thiserror::Error;

use super::{
    EDID_REPLY_BYTES, HEADER_BYTES, Header, MAX_SCANOUTS, ParseError, Reader, Rect, Writer,
};

/// Why the device refuses a command, as the guest sees it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ErrorCode {
    /// `ERR_UNSPEC`.
    #[error("unspecified error")]
    Unspecified = 0x1200,
    /// `ERR_OUT_OF_MEMORY`.
    #[error("out of memory")]
    OutOfMemory = 0x1201,
    /// `ERR_INVALID_SCANOUT_ID`.
    #[error("invalid scanout id")]
    InvalidScanoutId = 0x1202,
    /// `ERR_INVALID_RESOURCE_ID`.
    #[error("invalid resource id")]
    InvalidResourceId = 0x1203,
    /// `ERR_INVALID_CONTEXT_ID`.
    #[error("invalid context id")]
    InvalidContextId = 0x1204,
    /// `ERR_INVALID_PARAMETER`.
    #[error("invalid parameter")]
    InvalidParameter = 0x1205,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::OutOfMemory,
        Self::InvalidScanoutId,
        Self::InvalidResourceId,
        Self::InvalidContextId,
        Self::InvalidParameter,
    ];
}

/// How the guest may cache a mapped blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum MapCaching {
    /// Unknown.
    None = 0,
    /// Write-back.
    Cached = 1,
    /// Uncached.
    Uncached = 2,
    /// Write-combining.
    WriteCombining = 3,
}

impl MapCaching {
    /// Every kind of caching.
    pub const ALL: [Self; 4] = [
        Self::None,
        Self::Cached,
        Self::Uncached,
        Self::WriteCombining,
    ];
}

/// One scanout in a display-info reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DisplayMode {
    /// Position and preferred size, in pixels; all zero for a scanout that is off.
    pub rect: Rect,
    /// Whether something is connected.
    pub enabled: bool,
    /// No flag is defined.
    pub flags: u32,
}

/// A reply without its header.
///
/// ```
/// use hw_virtio_gpu::wire::{ErrorCode, Header, Response};
///
/// let request = Header { kind: 0x0209, flags: Header::FENCE, fence_id: 5, ..Header::default() };
/// let bytes = Response::Error(ErrorCode::InvalidParameter).encode(&request);
/// let (header, response) = Response::parse(&bytes)?;
/// assert_eq!((header.kind, header.fence_id), (0x1205, 5));
/// assert_eq!(response, Response::Error(ErrorCode::InvalidParameter));
/// # Ok::<(), hw_virtio_gpu::wire::ParseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// `OK_NODATA`.
    Ok,
    /// `OK_DISPLAY_INFO`.
    DisplayInfo(Box<[DisplayMode; MAX_SCANOUTS]>),
    /// `OK_CAPSET_INFO`.
    CapsetInfo {
        /// The capset's id.
        id: u32,
        /// Its newest version.
        max_version: u32,
        /// Its size in bytes.
        max_size: u32,
    },
    /// `OK_CAPSET`.
    Capset(Vec<u8>),
    /// `OK_EDID`: at most [`EDID_REPLY_BYTES`] bytes; the reply is always as long as if it were that many.
    Edid(Vec<u8>),
    /// `OK_RESOURCE_UUID`.
    ResourceUuid([u8; 16]),
    /// `OK_MAP_INFO`.
    MapInfo(MapCaching),
    /// One of the error replies.
    Error(ErrorCode),
}

impl Response {
    /// The type field's value.
    pub fn number(&self) -> u32 {
        match self {
            Self::Ok => 0x1100,
            Self::DisplayInfo(_) => 0x1101,
            Self::CapsetInfo { .. } => 0x1102,
            Self::Capset(_) => 0x1103,
            Self::Edid(_) => 0x1104,
            Self::ResourceUuid(_) => 0x1105,
            Self::MapInfo(_) => 0x1106,
            Self::Error(code) => *code as u32,
        }
    }

    /// Prints the reply to a request with the header `to` ([`Header::reply`]).
    pub fn encode(&self, to: &Header) -> Vec<u8> {
        let mut w = Writer(to.reply(self.number()).encode().to_vec());
        match self {
            Self::Ok | Self::Error(_) => {}
            Self::DisplayInfo(modes) => {
                for mode in modes.iter() {
                    w.rect(&mode.rect);
                    w.u32s(&[u32::from(mode.enabled), mode.flags]);
                }
            }
            Self::CapsetInfo {
                id,
                max_version,
                max_size,
            } => w.u32s(&[*id, *max_version, *max_size, 0]),
            Self::Capset(data) => w.0.extend_from_slice(data),
            Self::Edid(edid) => {
                let len = edid.len().min(EDID_REPLY_BYTES);
                let mut room = [0; EDID_REPLY_BYTES];
                room[..len].copy_from_slice(&edid[..len]);
                w.u32s(&[u32::try_from(len).unwrap_or(0), 0]);
                w.0.extend_from_slice(&room);
            }
            Self::ResourceUuid(uuid) => w.0.extend_from_slice(uuid),
            Self::MapInfo(caching) => w.u32s(&[*caching as u32, 0]),
        }
        w.0
    }

    /// Parses a reply and its header.
    ///
    /// # Errors
    /// [`ParseError`] for an unknown type, a reply that is too short, or a value that is not defined.
    pub fn parse(bytes: &[u8]) -> Result<(Header, Self), ParseError> {
        let header = Header::parse(bytes)?;
        let mut r = Reader::new(bytes, "reply");
        r.take(HEADER_BYTES)?;
        let response = match header.kind {
            0x1100 => Self::Ok,
            0x1101 => {
                let mut modes = Box::new([DisplayMode::default(); MAX_SCANOUTS]);
                for mode in modes.iter_mut() {
                    mode.rect = r.rect()?;
                    mode.enabled = match r.u32()? {
                        0 => false,
                        1 => true,
                        value => return Err(bad("enabled", value)),
                    };
                    mode.flags = r.u32()?;
                }
                Self::DisplayInfo(modes)
            }
            0x1102 => {
                let info = Self::CapsetInfo {
                    id: r.u32()?,
                    max_version: r.u32()?,
                    max_size: r.u32()?,
                };
                r.u32()?;
                info
            }
            0x1103 => Self::Capset(r.take(r.remaining())?.to_vec()),
            0x1104 => {
                let len = r.u32()?;
                r.u32()?;
                let room = r.take(EDID_REPLY_BYTES)?;
                let edid = usize::try_from(len).ok().and_then(|len| room.get(..len));
                Self::Edid(edid.ok_or_else(|| bad("EDID size", len))?.to_vec())
            }
            0x1105 => Self::ResourceUuid(r.array()?),
            0x1106 => {
                let value = r.u32()?;
                r.u32()?;
                let caching = MapCaching::ALL.into_iter().find(|c| *c as u32 == value);
                Self::MapInfo(caching.ok_or_else(|| bad("map_info", value))?)
            }
            kind => {
                let code = ErrorCode::ALL.into_iter().find(|c| *c as u32 == kind);
                Self::Error(code.ok_or(ParseError::UnknownType(kind))?)
            }
        };
        Ok((header, response))
    }
}

fn bad(field: &'static str, value: u32) -> ParseError {
    ParseError::BadValue {
        field,
        value: u64::from(value),
    }
}
