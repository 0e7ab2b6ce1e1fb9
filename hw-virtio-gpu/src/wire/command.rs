//! Commands: every one of the specification, with its fields.

use super::Rect;

/// Most backing entries one request may carry (`RESOURCE_ATTACH_BACKING`, `RESOURCE_CREATE_BLOB`). The specification
/// sets no bound; this is QEMU's.
pub const MAX_BACKING_ENTRIES: u32 = 16384;

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
