//! Requests: commands parsed from bytes and printed to them.

use super::{
    Box3, Command, CommandKind, CreateBlob, CursorPosition, HEADER_BYTES, Header,
    MAX_BACKING_ENTRIES, MemEntry, ParseError, Reader, Resource3d, SetScanoutBlob, Transfer3d,
    UpdateCursor, Writer,
};

/// Bytes of one backing entry.
const ENTRY_BYTES: usize = 16;

/// Room for a context's name, in bytes.
const NAME_BYTES: usize = 64;

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
