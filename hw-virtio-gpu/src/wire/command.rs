//! Requests: every command of the specification, parsed from and printed to bytes.

use super::{HEADER_BYTES, Header, ParseError, Reader, Rect, Writer};

/// Most backing entries one request may carry (`RESOURCE_ATTACH_BACKING`, `RESOURCE_CREATE_BLOB`). The specification
/// sets no bound; this is QEMU's.
pub const MAX_BACKING_ENTRIES: u32 = 16384;

/// Bytes of one backing entry.
const ENTRY_BYTES: usize = 16;

/// A command and its header.
///
/// ```
/// use hw_virtio_gpu::wire::{Command, Header, Request};
///
/// let request = Request::new(Header { ctx_id: 3, ..Header::default() }, Command::CtxDestroy);
/// assert_eq!(Request::parse(&request.encode()), Ok(request));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The header; its type always fits the command.
    pub header: Header,
    /// The command.
    pub command: Command,
}

/// The type of a command, without its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub enum CommandKind {
    GetDisplayInfo = 0x0100,
    ResourceCreate2d = 0x0101,
    ResourceUnref = 0x0102,
    SetScanout = 0x0103,
    ResourceFlush = 0x0104,
    TransferToHost2d = 0x0105,
    ResourceAttachBacking = 0x0106,
    ResourceDetachBacking = 0x0107,
    GetCapsetInfo = 0x0108,
    GetCapset = 0x0109,
    GetEdid = 0x010a,
    ResourceAssignUuid = 0x010b,
    ResourceCreateBlob = 0x010c,
    SetScanoutBlob = 0x010d,
    CtxCreate = 0x0200,
    CtxDestroy = 0x0201,
    CtxAttachResource = 0x0202,
    CtxDetachResource = 0x0203,
    ResourceCreate3d = 0x0204,
    TransferToHost3d = 0x0205,
    TransferFromHost3d = 0x0206,
    Submit3d = 0x0207,
    ResourceMapBlob = 0x0208,
    ResourceUnmapBlob = 0x0209,
    UpdateCursor = 0x0300,
    MoveCursor = 0x0301,
}

impl CommandKind {
    /// Every command type.
    pub const ALL: [Self; 26] = [
        Self::GetDisplayInfo,
        Self::ResourceCreate2d,
        Self::ResourceUnref,
        Self::SetScanout,
        Self::ResourceFlush,
        Self::TransferToHost2d,
        Self::ResourceAttachBacking,
        Self::ResourceDetachBacking,
        Self::GetCapsetInfo,
        Self::GetCapset,
        Self::GetEdid,
        Self::ResourceAssignUuid,
        Self::ResourceCreateBlob,
        Self::SetScanoutBlob,
        Self::CtxCreate,
        Self::CtxDestroy,
        Self::CtxAttachResource,
        Self::CtxDetachResource,
        Self::ResourceCreate3d,
        Self::TransferToHost3d,
        Self::TransferFromHost3d,
        Self::Submit3d,
        Self::ResourceMapBlob,
        Self::ResourceUnmapBlob,
        Self::UpdateCursor,
        Self::MoveCursor,
    ];

    /// The type field's value.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The command type with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.number() == number)
    }
}

/// A stretch of guest memory that backs a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemEntry {
    /// Guest physical address.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
}

/// Fields of `RESOURCE_CREATE_BLOB`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateBlob {
    /// New resource id.
    pub resource: u32,
    /// Where its memory is: [`CreateBlob::GUEST`], [`CreateBlob::HOST3D`], [`CreateBlob::HOST3D_GUEST`].
    pub memory: u32,
    /// [`CreateBlob::MAPPABLE`] and others.
    pub flags: u32,
    /// The renderer's name for the memory, for host blobs.
    pub blob_id: u64,
    /// Bytes.
    pub size: u64,
    /// Guest memory, for guest blobs.
    pub entries: Vec<MemEntry>,
}

impl CreateBlob {
    /// Guest memory.
    pub const GUEST: u32 = 1;
    /// The renderer's memory.
    pub const HOST3D: u32 = 2;
    /// The renderer's memory with guest memory behind it.
    pub const HOST3D_GUEST: u32 = 3;
    /// The guest may map the blob into its address space.
    pub const MAPPABLE: u32 = 1;
    /// The blob may be shared with other drivers in the guest.
    pub const SHAREABLE: u32 = 2;
    /// The blob may be shared with other virtio devices.
    pub const CROSS_DEVICE: u32 = 4;
}

/// Fields of `SET_SCANOUT_BLOB`. Strides and offsets are those of the first plane; the three others are not used by any
/// format the device knows and are printed as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetScanoutBlob {
    /// What part of the picture the scanout shows.
    pub rect: Rect,
    /// The scanout.
    pub scanout: u32,
    /// The blob, 0 to turn the scanout off.
    pub resource: u32,
    /// Width of the picture in the blob, in pixels.
    pub width: u32,
    /// Its height.
    pub height: u32,
    /// Number of the pixel format.
    pub format: u32,
    /// Bytes from row to row.
    pub stride: u32,
    /// Byte at which the picture begins.
    pub offset: u32,
}

/// Fields of `RESOURCE_CREATE_3D`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct Resource3d {
    pub resource: u32,
    pub target: u32,
    pub format: u32,
    pub bind: u32,
    pub width: u32,
    pub height: u32,
    pub depth: u32,
    pub array_size: u32,
    pub last_level: u32,
    pub nr_samples: u32,
    pub flags: u32,
}

/// A box in a 3D resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "position and extent along three axes")]
pub struct Box3 {
    pub x: u32,
    pub y: u32,
    pub z: u32,
    pub width: u32,
    pub height: u32,
    pub depth: u32,
}

/// Fields of `TRANSFER_TO_HOST_3D` and `TRANSFER_FROM_HOST_3D`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct Transfer3d {
    pub area: Box3,
    pub offset: u64,
    pub resource: u32,
    pub level: u32,
    pub stride: u32,
    pub layer_stride: u32,
}

/// Where a cursor is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CursorPosition {
    /// The scanout it is on.
    pub scanout: u32,
    /// Pixels from the left.
    pub x: u32,
    /// Pixels from the top.
    pub y: u32,
}

/// Fields of `UPDATE_CURSOR` and `MOVE_CURSOR`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpdateCursor {
    /// Where the cursor is.
    pub position: CursorPosition,
    /// The picture, 0 for none; ignored by `MOVE_CURSOR`.
    pub resource: u32,
    /// The hot spot's distance from the picture's left edge.
    pub hot_x: u32,
    /// The hot spot's distance from the picture's upper edge.
    pub hot_y: u32,
}

/// A command with its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after the specification's")]
pub enum Command {
    GetDisplayInfo,
    ResourceCreate2d {
        resource: u32,
        format: u32,
        width: u32,
        height: u32,
    },
    ResourceUnref {
        resource: u32,
    },
    SetScanout {
        rect: Rect,
        scanout: u32,
        resource: u32,
    },
    ResourceFlush {
        rect: Rect,
        resource: u32,
    },
    TransferToHost2d {
        rect: Rect,
        offset: u64,
        resource: u32,
    },
    ResourceAttachBacking {
        resource: u32,
        entries: Vec<MemEntry>,
    },
    ResourceDetachBacking {
        resource: u32,
    },
    GetCapsetInfo {
        index: u32,
    },
    GetCapset {
        id: u32,
        version: u32,
    },
    GetEdid {
        scanout: u32,
    },
    ResourceAssignUuid {
        resource: u32,
    },
    ResourceCreateBlob(CreateBlob),
    SetScanoutBlob(SetScanoutBlob),
    CtxCreate {
        init: u32,
        /// At most 64 bytes; what the length field says, bounded by that.
        name: Vec<u8>,
    },
    CtxDestroy,
    CtxAttachResource {
        resource: u32,
    },
    CtxDetachResource {
        resource: u32,
    },
    ResourceCreate3d(Resource3d),
    TransferToHost3d(Transfer3d),
    TransferFromHost3d(Transfer3d),
    Submit3d {
        /// The commands, as many bytes as the size field says.
        commands: Vec<u8>,
    },
    ResourceMapBlob {
        resource: u32,
        offset: u64,
    },
    ResourceUnmapBlob {
        resource: u32,
    },
    UpdateCursor(UpdateCursor),
    MoveCursor(UpdateCursor),
}

/// Room for a context's name, in bytes.
const NAME_BYTES: usize = 64;

impl Command {
    /// The command's type.
    pub fn kind(&self) -> CommandKind {
        match self {
            Self::GetDisplayInfo => CommandKind::GetDisplayInfo,
            Self::ResourceCreate2d { .. } => CommandKind::ResourceCreate2d,
            Self::ResourceUnref { .. } => CommandKind::ResourceUnref,
            Self::SetScanout { .. } => CommandKind::SetScanout,
            Self::ResourceFlush { .. } => CommandKind::ResourceFlush,
            Self::TransferToHost2d { .. } => CommandKind::TransferToHost2d,
            Self::ResourceAttachBacking { .. } => CommandKind::ResourceAttachBacking,
            Self::ResourceDetachBacking { .. } => CommandKind::ResourceDetachBacking,
            Self::GetCapsetInfo { .. } => CommandKind::GetCapsetInfo,
            Self::GetCapset { .. } => CommandKind::GetCapset,
            Self::GetEdid { .. } => CommandKind::GetEdid,
            Self::ResourceAssignUuid { .. } => CommandKind::ResourceAssignUuid,
            Self::ResourceCreateBlob(_) => CommandKind::ResourceCreateBlob,
            Self::SetScanoutBlob(_) => CommandKind::SetScanoutBlob,
            Self::CtxCreate { .. } => CommandKind::CtxCreate,
            Self::CtxDestroy => CommandKind::CtxDestroy,
            Self::CtxAttachResource { .. } => CommandKind::CtxAttachResource,
            Self::CtxDetachResource { .. } => CommandKind::CtxDetachResource,
            Self::ResourceCreate3d(_) => CommandKind::ResourceCreate3d,
            Self::TransferToHost3d(_) => CommandKind::TransferToHost3d,
            Self::TransferFromHost3d(_) => CommandKind::TransferFromHost3d,
            Self::Submit3d { .. } => CommandKind::Submit3d,
            Self::ResourceMapBlob { .. } => CommandKind::ResourceMapBlob,
            Self::ResourceUnmapBlob { .. } => CommandKind::ResourceUnmapBlob,
            Self::UpdateCursor(_) => CommandKind::UpdateCursor,
            Self::MoveCursor(_) => CommandKind::MoveCursor,
        }
    }
}

impl Request {
    /// A request; the header's type is set from the command.
    pub fn new(header: Header, command: Command) -> Self {
        let kind = command.kind().number();
        Self {
            header: Header { kind, ..header },
            command,
        }
    }

    /// Parses a request. Bytes behind it are ignored.
    ///
    /// # Errors
    /// [`ParseError`] for an unknown type, for fewer bytes than the fields need, and for too many backing entries.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let header = Header::parse(bytes)?;
        let kind =
            CommandKind::from_number(header.kind).ok_or(ParseError::UnknownType(header.kind))?;
        let mut r = Reader::new(bytes, "command");
        r.take(HEADER_BYTES)?;
        let command = match kind {
            CommandKind::GetDisplayInfo => Command::GetDisplayInfo,
            CommandKind::ResourceCreate2d => Command::ResourceCreate2d {
                resource: r.u32()?,
                format: r.u32()?,
                width: r.u32()?,
                height: r.u32()?,
            },
            CommandKind::ResourceUnref => Command::ResourceUnref {
                resource: id_and_padding(&mut r)?,
            },
            CommandKind::SetScanout => Command::SetScanout {
                rect: r.rect()?,
                scanout: r.u32()?,
                resource: r.u32()?,
            },
            CommandKind::ResourceFlush => Command::ResourceFlush {
                rect: r.rect()?,
                resource: id_and_padding(&mut r)?,
            },
            CommandKind::TransferToHost2d => Command::TransferToHost2d {
                rect: r.rect()?,
                offset: r.u64()?,
                resource: id_and_padding(&mut r)?,
            },
            CommandKind::ResourceAttachBacking => {
                let resource = r.u32()?;
                let count = r.u32()?;
                Command::ResourceAttachBacking {
                    resource,
                    entries: entries(&mut r, count)?,
                }
            }
            CommandKind::ResourceDetachBacking => Command::ResourceDetachBacking {
                resource: id_and_padding(&mut r)?,
            },
            CommandKind::GetCapsetInfo => Command::GetCapsetInfo {
                index: id_and_padding(&mut r)?,
            },
            CommandKind::GetCapset => Command::GetCapset {
                id: r.u32()?,
                version: r.u32()?,
            },
            CommandKind::GetEdid => Command::GetEdid {
                scanout: id_and_padding(&mut r)?,
            },
            CommandKind::ResourceAssignUuid => Command::ResourceAssignUuid {
                resource: id_and_padding(&mut r)?,
            },
            CommandKind::ResourceCreateBlob => Command::ResourceCreateBlob(create_blob(&mut r)?),
            CommandKind::SetScanoutBlob => Command::SetScanoutBlob(set_scanout_blob(&mut r)?),
            CommandKind::CtxCreate => {
                let len = r.u32()?;
                let init = r.u32()?;
                let room = r.take(NAME_BYTES)?;
                let len = usize::try_from(len).unwrap_or(NAME_BYTES).min(NAME_BYTES);
                Command::CtxCreate {
                    init,
                    name: room[..len].to_vec(),
                }
            }
            CommandKind::CtxDestroy => Command::CtxDestroy,
            CommandKind::CtxAttachResource => Command::CtxAttachResource {
                resource: id_and_padding(&mut r)?,
            },
            CommandKind::CtxDetachResource => Command::CtxDetachResource {
                resource: id_and_padding(&mut r)?,
            },
            CommandKind::ResourceCreate3d => Command::ResourceCreate3d(resource_3d(&mut r)?),
            CommandKind::TransferToHost3d => Command::TransferToHost3d(transfer_3d(&mut r)?),
            CommandKind::TransferFromHost3d => Command::TransferFromHost3d(transfer_3d(&mut r)?),
            CommandKind::Submit3d => {
                let size = id_and_padding(&mut r)?;
                let commands = r.take(usize::try_from(size).unwrap_or(usize::MAX))?;
                Command::Submit3d {
                    commands: commands.to_vec(),
                }
            }
            CommandKind::ResourceMapBlob => Command::ResourceMapBlob {
                resource: id_and_padding(&mut r)?,
                offset: r.u64()?,
            },
            CommandKind::ResourceUnmapBlob => Command::ResourceUnmapBlob {
                resource: id_and_padding(&mut r)?,
            },
            CommandKind::UpdateCursor => Command::UpdateCursor(cursor(&mut r)?),
            CommandKind::MoveCursor => Command::MoveCursor(cursor(&mut r)?),
        };
        Ok(Self { header, command })
    }

    /// Prints the request, the header's type taken from the command.
    pub fn encode(&self) -> Vec<u8> {
        let kind = self.command.kind().number();
        let mut w = Writer(
            Header {
                kind,
                ..self.header
            }
            .encode()
            .to_vec(),
        );
        match &self.command {
            Command::GetDisplayInfo | Command::CtxDestroy => {}
            Command::ResourceCreate2d {
                resource,
                format,
                width,
                height,
            } => w.u32s(&[*resource, *format, *width, *height]),
            Command::SetScanout {
                rect,
                scanout,
                resource,
            } => {
                w.rect(rect);
                w.u32s(&[*scanout, *resource]);
            }
            Command::ResourceFlush { rect, resource } => {
                w.rect(rect);
                w.u32s(&[*resource, 0]);
            }
            Command::TransferToHost2d {
                rect,
                offset,
                resource,
            } => {
                w.rect(rect);
                w.u64(*offset);
                w.u32s(&[*resource, 0]);
            }
            Command::ResourceAttachBacking { resource, entries } => {
                w.u32s(&[*resource, count(entries)]);
                encode_entries(&mut w, entries);
            }
            Command::ResourceUnref { resource: id }
            | Command::ResourceDetachBacking { resource: id }
            | Command::GetCapsetInfo { index: id }
            | Command::GetEdid { scanout: id }
            | Command::ResourceAssignUuid { resource: id }
            | Command::CtxAttachResource { resource: id }
            | Command::CtxDetachResource { resource: id }
            | Command::ResourceUnmapBlob { resource: id } => w.u32s(&[*id, 0]),
            Command::GetCapset { id, version } => w.u32s(&[*id, *version]),
            Command::ResourceCreateBlob(blob) => {
                w.u32s(&[blob.resource, blob.memory, blob.flags, count(&blob.entries)]);
                w.u64(blob.blob_id);
                w.u64(blob.size);
                encode_entries(&mut w, &blob.entries);
            }
            Command::SetScanoutBlob(s) => {
                w.rect(&s.rect);
                w.u32s(&[s.scanout, s.resource, s.width, s.height, s.format, 0]);
                w.u32s(&[s.stride, 0, 0, 0, s.offset, 0, 0, 0]);
            }
            Command::CtxCreate { init, name } => {
                let mut room = [0; NAME_BYTES];
                let len = name.len().min(NAME_BYTES);
                room[..len].copy_from_slice(&name[..len]);
                w.u32s(&[u32::try_from(len).unwrap_or(0), *init]);
                w.0.extend_from_slice(&room);
            }
            Command::ResourceCreate3d(c) => {
                w.u32s(&[c.resource, c.target, c.format, c.bind, c.width, c.height]);
                w.u32s(&[c.depth, c.array_size, c.last_level, c.nr_samples]);
                w.u32s(&[c.flags, 0]);
            }
            Command::TransferToHost3d(t) | Command::TransferFromHost3d(t) => {
                let b = &t.area;
                w.u32s(&[b.x, b.y, b.z, b.width, b.height, b.depth]);
                w.u64(t.offset);
                w.u32s(&[t.resource, t.level, t.stride, t.layer_stride]);
            }
            Command::Submit3d { commands } => {
                w.u32s(&[u32::try_from(commands.len()).unwrap_or(u32::MAX), 0]);
                w.0.extend_from_slice(commands);
            }
            Command::ResourceMapBlob { resource, offset } => {
                w.u32s(&[*resource, 0]);
                w.u64(*offset);
            }
            Command::UpdateCursor(c) | Command::MoveCursor(c) => {
                w.u32s(&[c.position.scanout, c.position.x, c.position.y, 0]);
                w.u32s(&[c.resource, c.hot_x, c.hot_y, 0]);
            }
        }
        w.0
    }
}

/// Reads an id and the four bytes of padding behind it.
fn id_and_padding(r: &mut Reader<'_>) -> Result<u32, ParseError> {
    let id = r.u32()?;
    r.u32()?;
    Ok(id)
}

fn entries(r: &mut Reader<'_>, count: u32) -> Result<Vec<MemEntry>, ParseError> {
    if count > MAX_BACKING_ENTRIES {
        return Err(ParseError::TooManyEntries(count));
    }
    // 16384 entries of 16 bytes fit any `usize`, and `take` compares with the bytes present before anything is allocated.
    let bytes = r.take(count as usize * ENTRY_BYTES)?;
    let (chunks, _) = bytes.as_chunks::<ENTRY_BYTES>();
    Ok(chunks
        .iter()
        .map(|&[a, b, c, d, e, f, g, h, i, j, k, l, ..]| MemEntry {
            addr: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            len: u32::from_le_bytes([i, j, k, l]),
        })
        .collect())
}

fn count(entries: &[MemEntry]) -> u32 {
    u32::try_from(entries.len()).unwrap_or(u32::MAX)
}

fn encode_entries(w: &mut Writer, entries: &[MemEntry]) {
    for entry in entries {
        w.u64(entry.addr);
        w.u32s(&[entry.len, 0]);
    }
}

fn create_blob(r: &mut Reader<'_>) -> Result<CreateBlob, ParseError> {
    let resource = r.u32()?;
    let memory = r.u32()?;
    let flags = r.u32()?;
    let count = r.u32()?;
    Ok(CreateBlob {
        resource,
        memory,
        flags,
        blob_id: r.u64()?,
        size: r.u64()?,
        entries: entries(r, count)?,
    })
}

fn set_scanout_blob(r: &mut Reader<'_>) -> Result<SetScanoutBlob, ParseError> {
    let rect = r.rect()?;
    let scanout = r.u32()?;
    let resource = r.u32()?;
    let width = r.u32()?;
    let height = r.u32()?;
    let format = r.u32()?;
    r.u32()?;
    let stride = r.u32()?;
    r.take(12)?;
    let offset = r.u32()?;
    r.take(12)?;
    Ok(SetScanoutBlob {
        rect,
        scanout,
        resource,
        width,
        height,
        format,
        stride,
        offset,
    })
}

fn resource_3d(r: &mut Reader<'_>) -> Result<Resource3d, ParseError> {
    let created = Resource3d {
        resource: r.u32()?,
        target: r.u32()?,
        format: r.u32()?,
        bind: r.u32()?,
        width: r.u32()?,
        height: r.u32()?,
        depth: r.u32()?,
        array_size: r.u32()?,
        last_level: r.u32()?,
        nr_samples: r.u32()?,
        flags: r.u32()?,
    };
    r.u32()?;
    Ok(created)
}

fn transfer_3d(r: &mut Reader<'_>) -> Result<Transfer3d, ParseError> {
    Ok(Transfer3d {
        area: Box3 {
            x: r.u32()?,
            y: r.u32()?,
            z: r.u32()?,
            width: r.u32()?,
            height: r.u32()?,
            depth: r.u32()?,
        },
        offset: r.u64()?,
        resource: r.u32()?,
        level: r.u32()?,
        stride: r.u32()?,
        layer_stride: r.u32()?,
    })
}

fn cursor(r: &mut Reader<'_>) -> Result<UpdateCursor, ParseError> {
    let scanout = r.u32()?;
    let x = r.u32()?;
    let y = r.u32()?;
    r.u32()?;
    let update = UpdateCursor {
        position: CursorPosition { scanout, x, y },
        resource: r.u32()?,
        hot_x: r.u32()?,
        hot_y: r.u32()?,
    };
    r.u32()?;
    Ok(update)
}
